//! Serves one application of the comparison; `http.sh` puts it under load.
//!
//! * `http bare`, or any other name of [`Around`]: serves, and prints its port.
//! * `http users`: prints users for whom exactly 50 of the 100 flags are on, as `id groups` lines.
//! * `http about`: prints what is measured.

use std::io::Write as _;

use tower_flags_benches::server::{self, Around};
use tower_flags_benches::workload::{HEADER_BYTES, fifty_active};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let argument = std::env::args().nth(1).unwrap_or_default();
    match argument.as_str() {
        "users" => {
            for user in fifty_active().take(256) {
                println!("{} {}", user.id, user.groups.join(","));
            }
            Ok(())
        }
        "about" => {
            println!("100 flags, 50 active, X-Active-Flags of {HEADER_BYTES} bytes, 256 users in turn");
            Ok(())
        }
        name => {
            let around: Around = name.parse()?;
            match server::serve(around, |port| {
                println!("{port}");
                // Whoever waits for the port reads a pipe.
                let _ = std::io::stdout().flush();
            })? {}
        }
    }
}

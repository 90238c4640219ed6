//! Server CPU per request on real sockets, beyond bare axum: `cargo bench -p tower-flags-benches --bench wire`.
//!
//! 100 flags, of which 50 are partial rollouts and exactly 50 are on, with a header of 944 bytes. It takes a quarter of a
//! minute, and repeats better than `http.sh`, which measures requests a second.

use axum::Router;
use tower_flags_benches::server::{Around, app};
use tower_flags_benches::wire;
use tower_flags_benches::workload::{User, fifty_active};

/// Rounds of a repeat.
const ROUNDS: usize = 101;

fn main() {
    // `cargo test --benches` only checks that it starts.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let applications: [(&str, Router); 4] = [
        ("bare", Around::Bare),
        ("header on, one read", Around::HeaderOn),
        ("header off, one read", Around::HeaderOff),
        ("header off, unread", Around::Unread),
    ]
    .map(|(name, around)| (name, app(around)));
    let users: Vec<User> = fifty_active().take(256).collect();
    wire::print(&wire::measure(&applications, &users, ROUNDS));
}

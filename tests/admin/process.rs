//! Another process of the fleet: this program once more, with the admin API and an application over a store.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use axum::Router;
use tokio::io::AsyncReadExt;
use tower_flags::admin::Admin;
use tower_flags::source::Live;

use super::api::{EDITOR, Operator, shop, tokens};
use super::support::{get_as, serve};
use super::urls::open;

/// What such a process does; it ends with its standard input, which whoever started it holds open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests, which start it with what it needs"]
async fn process() {
    let Ok(url) = std::env::var("PROCESS_STORE") else { return };
    let live = Live::builder(open(&url));
    #[cfg(feature = "file")]
    let live = match std::env::var_os("PROCESS_BACKUP") {
        Some(path) => live.backup(path),
        None => live,
    };
    let live = live.connect().await.unwrap();
    let admin = Admin::new(open(&url), live.clone(), tokens()).router();
    let address = serve(Router::new().nest_service("/admin", admin).merge(shop(live))).await;
    println!("\nprocess at {address}");
    tokio::io::stdin().read_to_end(&mut Vec::new()).await.unwrap();
}

/// A process that ends with this value, by `kill -9`.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    /// An editor at its admin API.
    pub(crate) admin: Operator,
}

impl Process {
    pub(crate) fn start(url: &str, backup: Option<&Path>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["process::process", "--exact", "--include-ignored", "--nocapture"]);
        command.env("PROCESS_STORE", url).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(path) = backup {
            command.env("PROCESS_BACKUP", path);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("process at ")?.parse().ok());
        let address = address.expect("it says where it listens");
        Self { child, address, admin: Operator::at(address, "/admin", EDITOR) }
    }

    /// What its application answers about a flag.
    pub(crate) async fn is_on(&self, flag: &str) -> bool {
        let reply = get_as(self.address, &format!("/{flag}"), "somebody").await;
        assert!(reply.status == 200 && ["on", "off"].contains(&reply.text()), "{reply:?}");
        reply.text() == "on"
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

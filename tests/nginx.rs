//! A real cache in front: nobody is served the page of somebody else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use tempfile::TempDir;
use tower_flags::{FlagLayer, flag};

use support::{Client, mine, serve};

/// An nginx that keeps what a server says may be kept, and for ten minutes what says nothing.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    fn before(server: SocketAddr) -> Self {
        // Between the choice of a port and the start of nginx somebody may take it; another one then.
        (0..10).find_map(|_| Self::start(server)).expect("nginx starts on one of ten ports")
    }

    fn start(server: SocketAddr) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(folder.path(), address, server)).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-e").arg(folder.path().join("error.log")).stderr(Stdio::null());
        let process = command.spawn().expect("nginx is there: tests/run.sh installs it");
        let mut nginx = Self { process, address, _folder: folder };
        nginx.is_listening().then_some(nginx)
    }

    fn is_listening(&mut self) -> bool {
        let start = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "nginx does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(folder: &Path, address: SocketAddr, server: SocketAddr) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
         events {{}}
         http {{
             access_log off;
             keepalive_requests 1000000;
             {temporary}
             proxy_cache_path {folder}/cache keys_zone=pages:1m;
             upstream app {{ server {server}; keepalive 4; }}
             server {{
                 listen {address};
                 location / {{
                     proxy_pass http://app;
                     proxy_http_version 1.1;
                     proxy_set_header Connection '';
                     proxy_cache pages;
                     proxy_cache_valid 200 10m;
                     add_header X-Cache $upstream_cache_status;
                 }}
             }}
         }}"
    )
}

/// Whose page it is, by a flag that is on for alice alone.
fn whose() -> &'static str {
    if flag("mine") { "alice's" } else { "somebody's" }
}

fn pages(layer: FlagLayer) -> Router {
    Router::new()
        .route("/says-nothing", get(async || whose()))
        .route("/may-be-kept", get(async || ([(CACHE_CONTROL, "public, max-age=600")], whose())))
        .route("/reads-nothing", get(async || "the same for everybody"))
        .layer(layer.trust_headers())
}

/// Two users ask for a page in turn. How many answers were the other's, and how many came from the cache.
async fn alternate(client: &mut Client, path: &str, turns: usize) -> (usize, usize) {
    let (mut others, mut kept) = (0, 0);
    for turn in 0..turns {
        let (user, page, active) =
            if turn % 2 == 0 { ("alice", "alice's", true) } else { ("bob", "somebody's", false) };
        let reply = client.get(path, &[("X-User-ID", user)]).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let is_own_page = path == "/reads-nothing" || reply.text() == page;
        let is_own_header = path == "/may-be-kept" || (reply.active() == Some("mine")) == active;
        others += usize::from(!is_own_page || !is_own_header);
        kept += usize::from(reply.header("x-cache") == Some("HIT"));
    }
    (others, kept)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx, which tests/run.sh installs"]
async fn of_ten_thousand_turns_of_two_users_none_is_served_the_others_page() {
    let nginx = Nginx::before(serve(pages(FlagLayer::new(mine("alice")))).await);
    let mut client = Client::open(nginx.address).await;
    assert_eq!(alternate(&mut client, "/says-nothing", 10_000).await, (0, 0), "private: never kept");
    let (others, kept) = alternate(&mut client, "/may-be-kept", 10_000).await;
    assert_eq!((others, kept), (0, 9_998), "kept once for each user");
    let (others, kept) = alternate(&mut client, "/reads-nothing", 10_000).await;
    assert_eq!((others, kept), (0, 9_998), "its header names a flag of alice, so it is kept for each user too");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx, which tests/run.sh installs"]
async fn without_the_cache_headers_the_same_cache_serves_pages_of_others() {
    let nginx = Nginx::before(serve(pages(FlagLayer::new(mine("alice")).leave_cache_headers())).await);
    let mut client = Client::open(nginx.address).await;
    for path in ["/says-nothing", "/may-be-kept", "/reads-nothing"] {
        assert_eq!(alternate(&mut client, path, 100).await, (50, 99), "{path}: bob gets alice's");
    }
}

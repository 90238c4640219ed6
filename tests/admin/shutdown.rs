//! Servers that shut down gracefully while dashboards are open.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower_flags::admin::Admin;
use tower_flags::source::{Env, Layered, Live};
use tower_flags::store::{Author, Change, StoreExt};

use super::api::{EDITOR, VIEWER, shop, store, tokens};
use super::support::Client;

/// Far more than a server takes to end, and less than anybody waits for a test.
const LONG: Duration = Duration::from_secs(60);

/// What ends a server and streams.
#[derive(Clone)]
struct Signal(watch::Sender<bool>);

impl Signal {
    fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    fn give(&self) {
        self.0.send_replace(true);
    }

    fn given(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut signal = self.0.subscribe();
        async move {
            signal.wait_for(|is_given| *is_given).await.unwrap();
        }
    }
}

/// A server that shuts down gracefully by a signal.
async fn start(router: Router, signal: &Signal) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = axum::serve(listener, router).with_graceful_shutdown(signal.given());
    (address, tokio::spawn(async move { served.await.unwrap() }))
}

/// A dashboard's stream, of which the first event has come.
async fn listen(address: SocketAddr, token: &str) -> Client {
    let mut client = Client::open(address).await;
    client.ask("GET", "/admin/events", &[("authorization", format!("Bearer {token}").as_bytes())]).await;
    assert_eq!(client.head().await.status, 200);
    let first = client.frame().await.unwrap();
    assert!(first.starts_with(b"event: status"), "{first:?}");
    client
}

/// Reads a stream to its end.
async fn ends(mut client: Client) {
    tokio::time::timeout(LONG, async { while client.frame().await.is_some() {} }).await.expect("the stream goes on");
}

async fn has_ended(server: JoinHandle<()>) {
    tokio::time::timeout(LONG, server).await.expect("the server waits for something").unwrap();
}

#[tokio::test]
async fn open_dashboards_do_not_hold_up_a_server_that_shuts_down() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let signal = Signal::new();
    let admin = Admin::new(store.clone(), live.clone(), tokens()).with_shutdown(signal.given()).router();
    let (address, server) = start(Router::new().nest_service("/admin", admin).merge(shop(live.clone())), &signal).await;
    let pages = [listen(address, EDITOR).await, listen(address, VIEWER).await];
    // A connection that is kept for later requests.
    let mut kept = Client::open(address).await;
    assert_eq!(kept.get("/a", &[]).await.text(), "on");
    store.change("a", Change::kill(), &Author::new("carol")).await.unwrap();
    signal.give();
    for page in pages {
        ends(page).await;
    }
    has_ended(server).await;
}

#[tokio::test]
async fn a_page_that_reads_nothing_does_not_hold_up_the_end_of_the_others() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let signal = Signal::new();
    let admin = Admin::new(store.clone(), live, tokens()).with_shutdown(signal.given()).router();
    let (address, server) = start(Router::new().nest_service("/admin", admin), &signal).await;
    let (silent, page) = (listen(address, EDITOR).await, listen(address, EDITOR).await);
    // More than wait for it, each of them larger than what a connection takes.
    for _ in 0..40 {
        let text = format!(r#"{{"enabled": true, "metadata": {{"m": "{}"}}}}"#, "x".repeat(500_000));
        store.change("a", Change::put_text(text), &Author::new("carol")).await.unwrap();
        store.change("a", Change::kill(), &Author::new("carol")).await.unwrap();
    }
    signal.give();
    ends(page).await;
    drop(silent);
    has_ended(server).await;
}

#[tokio::test]
async fn a_stream_that_is_asked_for_after_the_signal_ends_at_once() {
    let store = store(&[]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let (streams, never) = (Signal::new(), Signal::new());
    let admin = Admin::new(store, live, tokens()).with_shutdown(streams.given()).router();
    let (address, server) = start(Router::new().nest_service("/admin", admin), &never).await;
    let page = listen(address, EDITOR).await;
    streams.give();
    ends(page).await;
    let mut late = Client::open(address).await;
    late.ask("GET", "/admin/events", &[("authorization", format!("Bearer {EDITOR}").as_bytes())]).await;
    assert_eq!(late.head().await.status, 200);
    ends(late).await;
    let mut other = Client::open(address).await;
    let flags = other.get("/admin/flags", &[("authorization", &format!("Bearer {EDITOR}"))]).await;
    assert_eq!(flags.status, 200, "streams alone end");
    server.abort();
}

#[tokio::test]
async fn the_signal_of_a_router_that_was_made_without_a_runtime_counts() {
    let store = store(&[]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let signal = Signal::new();
    let given = signal.given();
    let made = std::thread::spawn(move || Admin::new(store, live, tokens()).with_shutdown(given).router());
    let admin = made.join().unwrap();
    let (address, server) = start(Router::new().nest_service("/admin", admin), &signal).await;
    let page = listen(address, EDITOR).await;
    signal.give();
    ends(page).await;
    has_ended(server).await;
}

#[tokio::test]
async fn streams_end_by_themselves_when_the_application_has_dropped_the_source() {
    for is_layered in [false, true] {
        let store = store(&[("a", "true")]).await;
        let live = Live::connect(store.clone()).await.unwrap();
        let (of_shop, of_admin) = (Signal::new(), Signal::new());
        // Each has a port of its own.
        let mut admin = Admin::new(store, live.clone(), tokens());
        let source = Layered::over(live.clone()).with(Env::from_pairs([("FF_A", "off")]));
        if is_layered {
            admin = admin.effective_in(source.clone());
        }
        let (address, operated) = start(Router::new().nest_service("/admin", admin.router()), &of_admin).await;
        let (shop_address, served) = start(shop(live), &of_shop).await;
        let page = listen(address, EDITOR).await;
        let mut client = Client::open(shop_address).await;
        assert_eq!(client.get("/a", &[]).await.text(), "on");
        of_admin.give();
        of_shop.give();
        has_ended(served).await;
        assert!(!operated.is_finished(), "the dashboard is open");
        drop(source);
        ends(page).await;
        has_ended(operated).await;
    }
}

#[tokio::test]
async fn the_stream_of_a_router_that_alone_holds_the_source_goes_on() {
    let store = store(&[("a", "true")]).await;
    let live = Live::connect(store.clone()).await.unwrap();
    let never = Signal::new();
    let admin = Admin::new(store.clone(), live, tokens()).router();
    let (address, server) = start(Router::new().nest_service("/admin", admin), &never).await;
    let mut page = listen(address, EDITOR).await;
    // A problem shows in the status when that is looked at again, together with who holds the source.
    let text = r#"{"enabled": true, "requires": ["nowhere"]}"#;
    store.change("b", Change::put_text(text), &Author::new("carol")).await.unwrap();
    while !page.frame().await.expect("the stream goes on").starts_with(b"event: status") {}
    store.change("a", Change::kill(), &Author::new("carol")).await.unwrap();
    while !page.frame().await.expect("the stream goes on").starts_with(b"event: change") {}
    server.abort();
}

//! Readiness behind a gate: only a caller whom the gate lets in waits for what it hides, or fails with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_flags::{FlagLayer, Flags, RequireFlagLayer, try_flag};

use support::{Client, Reply, get_as, memory, mine, serve};

/// Far longer than anything here takes: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Open for alice alone.
fn gate() -> RequireFlagLayer {
    RequireFlagLayer::new("mine")
}

fn layer() -> FlagLayer {
    FlagLayer::new(mine("alice")).trust_headers()
}

/// Tells when a request is inside, and lets it go on by a permit.
#[derive(Clone)]
struct Room {
    entered: UnboundedSender<()>,
    leave: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
}

impl Room {
    fn new() -> (Self, UnboundedReceiver<()>) {
        let (entered, arrivals) = unbounded_channel();
        (Self { entered, leave: Arc::new(Semaphore::new(0)), inside: Arc::default() }, arrivals)
    }

    /// A service that stays in the room until it may leave; it counts how many are in at once.
    fn service(
        &self,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
    {
        let room = self.clone();
        service_fn(move |_: Request| {
            let room = room.clone();
            async move {
                let before = room.inside.fetch_add(1, Ordering::SeqCst);
                room.entered.send(()).unwrap();
                room.leave.acquire().await.unwrap().forget();
                room.inside.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Infallible>(format!("{before} before me").into_response())
            }
        })
    }
}

/// Is ready as it is told to be.
#[derive(Clone)]
struct Told(fn() -> Poll<Result<(), BoxError>>);

const NEVER: Told = Told(|| Poll::Pending);
const FAILS: Told = Told(|| Poll::Ready(Err("out of order".into())));

impl Service<Request> for Told {
    type Response = Response;
    type Error = BoxError;
    type Future = Ready<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        (self.0)()
    }

    fn call(&mut self, _: Request) -> Self::Future {
        unreachable!("it was never ready")
    }
}

/// A page that never fails, among services that do.
fn page(
    text: &'static str,
) -> impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static {
    service_fn(move |_: Request| async move { Ok::<_, BoxError>(text.into_response()) })
}

/// Serves at `/` what may fail, which is answered by 502.
async fn serve_fallible<S>(service: S) -> SocketAddr
where
    S: Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static,
{
    let failed = HandleErrorLayer::new(|_: BoxError| async { StatusCode::BAD_GATEWAY });
    let service = ServiceBuilder::new().layer(failed).service(service);
    serve(Router::new().route_service("/", service).layer(layer())).await
}

#[tokio::test]
async fn an_outsider_does_not_wait_for_the_limit_that_testers_fill() {
    let (room, mut arrivals) = Room::new();
    let hidden = GlobalConcurrencyLimitLayer::new(1).layer(room.service());
    let server = serve(Router::new().route_service("/", gate().layer(hidden)).layer(layer())).await;
    let mut testers = [Client::open(server).await, Client::open(server).await];
    for tester in &mut testers {
        tester.ask("GET", "/", &[("X-User-ID", b"alice")]).await;
    }
    arrivals.recv().await.unwrap();
    assert_eq!(get_as(server, "/", "bob").await.status, 404, "while one tester is inside and one waits");

    room.leave.add_permits(2);
    for tester in &mut testers {
        assert_eq!(tester.reply().await.text(), "0 before me", "the limit holds for those who are let in");
    }
}

#[tokio::test]
async fn an_outsider_hears_nothing_of_a_hidden_service_that_fails_or_is_never_ready() {
    let fails = serve_fallible(gate().layer(FAILS)).await;
    assert_eq!(get_as(fails, "/", "bob").await.status, 404);
    assert_eq!(get_as(fails, "/", "alice").await.status, 502, "whoever is let in hears of it");

    let never = serve_fallible(gate().layer(NEVER)).await;
    assert_eq!(get_as(never, "/", "bob").await.status, 404);
}

#[tokio::test]
async fn a_tester_hears_nothing_of_a_fallback_that_is_busy_fails_or_is_never_ready() {
    let fails = serve_fallible(gate().fallback(FAILS).layer(page("welcome"))).await;
    assert_eq!(get_as(fails, "/", "alice").await.text(), "welcome");
    assert_eq!(get_as(fails, "/", "bob").await.status, 502);

    let never = serve_fallible(gate().fallback(NEVER).layer(page("welcome"))).await;
    assert_eq!(get_as(never, "/", "alice").await.text(), "welcome");

    let (room, mut arrivals) = Room::new();
    let busy = GlobalConcurrencyLimitLayer::new(1).layer(room.service());
    let welcome = service_fn(|_: Request| async { Ok::<_, Infallible>("welcome".into_response()) });
    let hidden = gate().fallback(busy).layer(welcome);
    let server = serve(Router::new().route_service("/", hidden).layer(layer())).await;
    let mut outsider = Client::open(server).await;
    outsider.ask("GET", "/", &[("X-User-ID", b"bob")]).await;
    arrivals.recv().await.unwrap();
    assert_eq!(get_as(server, "/", "alice").await.text(), "welcome");
    room.leave.add_permits(1);
    assert_eq!(outsider.reply().await.text(), "0 before me");
}

/// Serves each connection by a clone of its own that is made ready before anything is read, as tower's
/// contract has it, and tells when it waits for a request.
async fn serve_ready_clones<S>(service: S, is_ready: UnboundedSender<()>) -> SocketAddr
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut service, is_ready) = (service.clone(), is_ready.clone());
            tokio::spawn(async move {
                let service = service.ready().await.unwrap();
                is_ready.send(()).unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let user = if head.windows(5).any(|word| word == b"alice") { "alice" } else { "bob" };
                let request = Request::builder().header("x-user-id", user).body(Body::empty()).unwrap();
                let status = service.call(request).await.unwrap().status().as_u16();
                let response = format!("HTTP/1.1 {status} -\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(response.as_bytes()).await.unwrap();
            });
        }
    });
    address
}

#[tokio::test]
async fn connections_that_ask_for_nothing_hold_no_permit_of_what_is_hidden() {
    let (ready, mut readies) = unbounded_channel();
    let page = service_fn(|_: Request| async { Ok::<_, Infallible>("welcome".into_response()) });
    let hidden = GlobalConcurrencyLimitLayer::new(2).layer(page);
    let service = layer().layer(gate().layer(hidden));
    let service = service.map_response(|response: http::Response<_>| response.map(Body::new));
    let server = serve_ready_clones(service, ready).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(Client::open(server).await);
        timeout(PATIENCE, readies.recv()).await.expect("a gate is always ready").unwrap();
    }
    assert_eq!(get_as(server, "/", "alice").await.status, 200, "three idle ones, and a limit of two");
    for client in &mut idle {
        assert_eq!(client.get("/", &[("X-User-ID", "bob")]).await.status, 404);
    }
}

/// Panics when it is called without having said that it is ready, and its clones are not ready. It is ready
/// in the second poll.
#[derive(Debug, Default)]
struct Strict {
    polls: usize,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request> for Strict {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        assert!(try_flag("mine").is_ok(), "it gets ready within the scope");
        self.polls += 1;
        if self.polls > 1 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: Request) -> Self::Future {
        assert_eq!(std::mem::take(&mut self.polls), 2, "called unready");
        ready(Ok(try_flag("mine").unwrap().to_string().into_response()))
    }
}

#[tokio::test]
async fn the_service_that_was_made_ready_is_the_one_that_is_called() {
    let hidden = gate().fallback(Strict::default()).layer(Strict::default());
    let server = serve(Router::new().route_service("/", hidden).layer(layer())).await;
    for _ in 0..3 {
        assert_eq!(get_as(server, "/", "alice").await.text(), "true");
        assert_eq!(get_as(server, "/", "bob").await.text(), "false");
    }
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_the_place_to_the_next() {
    let (room, mut arrivals) = Room::new();
    let hidden = ConcurrencyLimitLayer::new(1).layer(room.service());
    let mut service = gate().layer(hidden);
    let mut ask = || {
        let flags = Flags::builder().on("mine").build(tower_flags::Context::user("alice"));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(flags);
        service.ready().now_or_never().expect("a gate is always ready").unwrap().call(request)
    };
    let mut cx = Context::from_waker(Waker::noop());
    // Boxed, so that one that has ended is dropped, and its permit with it.
    let [mut first, mut away, mut last] = [Box::pin(ask()), Box::pin(ask()), Box::pin(ask())];
    for waiting in [&mut first, &mut away, &mut last] {
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
    }
    drop(away);
    arrivals.recv().await.unwrap();
    room.leave.add_permits(2);
    for waiting in [first, last] {
        let response = timeout(PATIENCE, waiting).await.expect("there is a place").unwrap();
        assert_eq!(text(response).await, "0 before me");
    }
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn what_answers_for_others_stays_as_it_was() {
    async fn reply(server: SocketAddr, user: &str) -> (u16, String) {
        let Reply { status, body, .. } = get_as(server, "/", user).await;
        (status, String::from_utf8(body).unwrap())
    }
    let open = serve_fallible(gate().fallback(page("not yet")).layer(page("welcome"))).await;
    assert_eq!(reply(open, "alice").await, (200, "welcome".to_owned()));
    assert_eq!(reply(open, "bob").await, (200, "not yet".to_owned()));
    let killed = FlagLayer::new(memory(r#"{"mine": false}"#));
    let closed = serve(Router::new().route_service("/", gate().layer(axum::routing::get(|| async {}))).layer(killed));
    assert_eq!(reply(closed.await, "alice").await, (404, String::new()));
}

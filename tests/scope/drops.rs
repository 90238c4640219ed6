//! What runs while a request is taken down: by a client that went away, at its end, or by a panic.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http_body_util::StreamBody;
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tower::{Layer, Service, service_fn};
use tower_flags::{FlagLayer, Flags, flag, try_flag};

use super::Guard;
use super::support::{Client, get_as, memory, mine, serve};

type Reports = Extension<UnboundedSender<Option<bool>>>;

#[tokio::test]
async fn a_handler_whose_client_went_away_is_dropped_in_scope() {
    async fn handler(Extension(report): Reports, Extension(is_running): Extension<Arc<Notify>>) {
        let _guard = Guard(report);
        is_running.notify_one();
        pending::<()>().await;
    }
    let (report, mut reports) = unbounded_channel();
    let is_running = Arc::new(Notify::new());
    let router = Router::new().route("/", get(handler)).layer(Extension(Arc::clone(&is_running)));
    let address = serve(router.layer(Extension(report)).layer(FlagLayer::new(mine("alice")))).await;
    let mut client = Client::open(address).await;
    client.ask("GET", "/", &[("X-User-ID", b"alice")]).await;
    is_running.notified().await;
    drop(client);
    assert_eq!(reports.recv().await, Some(Some(true)));
}

/// A service whose future holds a guard itself, and which ends at once or never.
fn guarded(
    report: UnboundedSender<Option<bool>>,
    ends: bool,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send {
    service_fn(move |_: Request| {
        let guard = Guard(report.clone());
        poll_fn(move |_| {
            let _held = &guard;
            if ends { Poll::Ready(Ok::<_, Infallible>(().into_response())) } else { Poll::Pending }
        })
    })
}

#[tokio::test]
async fn a_future_is_dropped_in_scope_before_and_after_its_first_poll_and_at_its_end() {
    let (report, mut reports) = unbounded_channel();
    let layer = FlagLayer::new(memory(r#"{"mine": true}"#));

    drop(layer.layer(guarded(report.clone(), false)).call(Request::default()));
    assert_eq!(reports.try_recv(), Ok(Some(true)), "before the first poll");

    let mut future = Box::pin(layer.layer(guarded(report.clone(), false)).call(Request::default()));
    assert!(future.as_mut().now_or_never().is_none());
    assert!(reports.try_recv().is_err());
    drop(future);
    assert_eq!(reports.try_recv(), Ok(Some(true)), "after the first poll");

    let mut future = Box::pin(layer.layer(guarded(report, true)).call(Request::default()));
    future.as_mut().now_or_never().unwrap().unwrap();
    assert_eq!(reports.try_recv(), Ok(Some(true)), "at its end");
    drop(future);
    assert!(reports.try_recv().is_err());
}

struct Guarded<S> {
    stream: S,
    _guard: Guard,
}

impl<S: Stream + Unpin> Stream for Guarded<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.stream.poll_next_unpin(cx)
    }
}

fn guarded_body(report: UnboundedSender<Option<bool>>, ends: bool) -> Body {
    let first = stream::iter([Ok::<_, Infallible>("first")]);
    let stream = if ends { first.chain(stream::empty()).boxed() } else { first.chain(stream::pending()).boxed() };
    Body::from_stream(Guarded { stream, _guard: Guard(report) })
}

#[tokio::test]
async fn a_body_is_dropped_in_scope_at_its_end_and_when_its_client_went_away() {
    let (report, mut reports) = unbounded_channel();
    let router = Router::new()
        .route("/ends", get(|Extension(report): Reports| async { guarded_body(report, true) }))
        .route("/goes/on", get(|Extension(report): Reports| async { guarded_body(report, false) }));
    let address = serve(router.layer(Extension(report)).layer(FlagLayer::new(mine("alice")))).await;

    assert_eq!(get_as(address, "/ends", "alice").await.text(), "first");
    assert_eq!(reports.recv().await, Some(Some(true)));

    let mut client = Client::open(address).await;
    client.ask("GET", "/goes/on", &[("X-User-ID", b"alice")]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.frame().await.unwrap(), b"first");
    assert!(reports.try_recv().is_err());
    drop(client);
    assert_eq!(reports.recv().await, Some(Some(true)));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_dropped_in_scope() {
    let (report, mut reports) = unbounded_channel();
    let router = Router::new().route("/", get(|Extension(report): Reports| async { guarded_body(report, false) }));
    let address = serve(router.layer(Extension(report)).layer(FlagLayer::new(mine("alice")))).await;
    let mut client = Client::open(address).await;
    client.ask("HEAD", "/", &[("X-User-ID", b"alice")]).await;
    assert_eq!(client.head().await.status, 200);
    assert_eq!(reports.recv().await, Some(Some(true)));
}

async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            assert!(Flags::current().is_none(), "the scope ends with the panic");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[tokio::test]
async fn a_panic_caught_on_the_task_leaks_nothing_into_the_next_request() {
    async fn panics() {
        assert!(flag("mine"));
        tokio::task::yield_now().await;
        assert!(flag("mine"));
        panic!("as the test wants");
    }
    let panics_in_call = service_fn(|_: Request| -> std::future::Ready<Result<Response, Infallible>> {
        assert!(flag("mine"));
        panic!("as the test wants")
    });
    let layer = FlagLayer::new(mine("alice"));
    let router = Router::new()
        .route("/panics", get(panics))
        .route("/mine", get(|| async { flag("mine").to_string() }))
        .layer(layer.clone())
        .route_service("/panics/in/call", layer.layer(panics_in_call))
        .route("/outside", get(|| async { Flags::current().is_none().to_string() }))
        .layer(from_fn(catch_panics));
    let mut client = Client::open(serve(router).await).await;
    for path in ["/panics", "/panics/in/call"] {
        assert_eq!(client.get(path, &[("X-User-ID", "alice")]).await.status, 500);
        assert_eq!(client.get("/outside", &[("X-User-ID", "alice")]).await.text(), "true");
        assert_eq!(client.get("/mine", &[("X-User-ID", "bob")]).await.text(), "false");
        assert_eq!(client.get("/mine", &[("X-User-ID", "alice")]).await.text(), "true");
    }
}

#[tokio::test]
async fn a_panic_in_a_frame_ends_its_scope_and_the_body_is_still_dropped_in_one() {
    let (report, mut reports) = unbounded_channel();
    let service = service_fn(move |_: Request<()>| {
        let report = report.clone();
        let frames = stream::iter([()]).map(move |()| -> Result<http_body::Frame<Bytes>, Infallible> {
            panic!("as the test wants: {}", flag("mine"))
        });
        let body = StreamBody::new(Guarded { stream: frames, _guard: Guard(report) });
        std::future::ready(Ok::<_, Infallible>(http::Response::new(body)))
    });
    let mut service = FlagLayer::new(memory(r#"{"mine": true}"#)).layer(service);
    let mut body = Box::pin(service.call(Request::new(())).await.unwrap().into_body());
    let cx = &mut Context::from_waker(std::task::Waker::noop());
    let panic = catch_unwind(AssertUnwindSafe(|| body.as_mut().poll_frame(cx))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "as the test wants: true");
    assert!(try_flag("mine").is_err());
    drop(body);
    assert_eq!(reports.recv().await, Some(Some(true)));
}

/// A thread that ends drops what it holds after, in part, its own thread-locals: there is no scope
/// then, and the process has to survive that.
#[tokio::test]
async fn a_body_that_outlives_the_thread_locals_of_its_thread_is_dropped_all_the_same() {
    use std::cell::RefCell;

    const MARK: &str = "TOWER_FLAGS_TEST_ENDS_A_THREAD";

    type AnyBody = Pin<Box<dyn HttpBody<Data = Bytes, Error = axum::Error>>>;

    thread_local! {
        static HELD: RefCell<Option<AnyBody>> = const { RefCell::new(None) };
    }

    if std::env::var_os(MARK).is_some() {
        let ends = std::thread::spawn(|| {
            // Thread-locals are destroyed in the opposite order of their first use.
            HELD.with(|held| assert!(held.borrow().is_none()));
            let mut service = FlagLayer::new(memory(r#"{"mine": true}"#)).layer(service_fn(|_: Request<()>| async {
                Ok::<_, Infallible>(http::Response::new(Body::from("a")))
            }));
            let mut future = pin!(service.call(Request::new(())));
            let response = future.as_mut().now_or_never().unwrap().unwrap();
            HELD.with(|held| *held.borrow_mut() = Some(Box::pin(response.into_body())));
        });
        ends.join().unwrap();
        return;
    }
    let this = std::env::current_exe().unwrap();
    let name = "drops::a_body_that_outlives_the_thread_locals_of_its_thread_is_dropped_all_the_same";
    let output = std::process::Command::new(this).args(["--exact", name]).env(MARK, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

//! Callers who are identified asynchronously: who they are, what a panic costs, and which service is called.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::FutureExt;
use futures_util::future::join_all;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::yield_now;
use tokio::time::timeout;
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_flags::engine::Query;
use tower_flags::request::{BoxAnswers, IdentifyLayer, Identity, Resolve, ResolveLayer, ResponseBody};
use tower_flags::{Context, FlagLayer, FlagService, Flags, Memory, Source, Timestamp, flag};

use support::{Client, Log, get_as, mine, serve};

/// Far longer than anything here takes: a test that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user whom the request's header names.
fn user_of(request: &Parts) -> Option<String> {
    Some(request.headers.get("x-user-id")?.to_str().ok()?.to_owned())
}

/// The caller, and whether `mine` is on.
fn seen() -> String {
    let flags = Flags::current().unwrap();
    format!("{} {}", flags.context().user_id().unwrap_or("anonymous"), flag("mine"))
}

/// `mine` is on for alice. Headers name the caller where nothing else does.
fn flag_layer() -> FlagLayer {
    FlagLayer::new(mine("alice")).trust_headers()
}

/// A page at every path, behind the flag layer.
fn page() -> Router {
    Router::new().fallback(get(|| async { seen() })).layer(flag_layer())
}

#[tokio::test]
async fn a_skipped_request_passes_without_a_call_of_the_closure() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let identify = IdentifyLayer::new(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        let user = user_of(request);
        async move { user.map(Context::user) }
    });
    let server = serve(page().layer(identify.skip(|request| request.uri.path() == "/health"))).await;
    for (path, expected) in [("/health", 0), ("/", 1), ("/health", 1)] {
        assert_eq!(get_as(server, path, "alice").await.text(), "alice true", "{path}");
        assert_eq!(calls.load(Ordering::SeqCst), expected, "{path}");
    }
}

#[tokio::test]
async fn without_an_identity_the_caller_is_anonymous_whatever_trusted_headers_say() {
    let none = page().layer(IdentifyLayer::new(|_| async { None::<Context> }));
    let none_with_a_value = page().layer(IdentifyLayer::new(|_| async { None::<(Context, u8)> }));
    let anonymous = page().layer(IdentifyLayer::new(|_| async { Context::anonymous() }));
    for router in [none, none_with_a_value, anonymous] {
        assert_eq!(get_as(serve(router).await, "/", "alice").await.text(), "anonymous false");
    }
    assert_eq!(get_as(serve(page()).await, "/", "alice").await.text(), "alice true", "without the layer");
}

/// Panics when it is dropped, if it is true.
struct PanicOnDrop(bool);

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        assert!(!self.0, "broken");
    }
}

/// Sends three requests over one connection. Each is answered with this text and counts one more panic, and one is logged.
async fn assert_panics_are_counted_and_logged_once<I, F>(identify: IdentifyLayer<I>, text: &str, closure: &str)
where
    I: Fn(&Parts) -> F + Send + Sync + 'static,
    F: Future<Output: Identity> + Send + 'static,
{
    let log = Log::open();
    let mut client = Client::open(serve(page().layer(identify.clone())).await).await;
    for panics in 1..4 {
        let reply = client.get("/", &[("X-User-ID", "alice")]).await;
        assert_eq!((reply.status, reply.text()), (200, text), "{closure}");
        assert_eq!(identify.counts().closure_panics, panics, "{closure}");
    }
    let lines = log.lines("panicked");
    assert_eq!(lines.len(), 1, "{log:?}");
    assert!(["ERROR", closure, "broken"].iter().all(|part| lines[0].contains(part)), "{closure}: {lines:?}");
}

#[tokio::test]
async fn a_closure_that_panics_makes_the_caller_anonymous_and_costs_no_request() {
    for place in ["call", "first poll", "later poll", "end"] {
        let identify = IdentifyLayer::new(move |request| {
            assert!(place != "call", "broken");
            let user = user_of(request);
            async move {
                let _end = PanicOnDrop(place == "end");
                assert!(place != "first poll", "broken");
                yield_now().await;
                assert!(place != "later poll", "broken");
                user.map(Context::user)
            }
        });
        assert_panics_are_counted_and_logged_once(identify, "anonymous false", "IdentifyLayer").await;
    }
}

#[tokio::test]
async fn a_predicate_that_panics_skips_nothing_and_costs_no_request() {
    let identify = IdentifyLayer::new(|_| async { Context::user("bob") }).skip(|_| panic!("broken"));
    assert_panics_are_counted_and_logged_once(identify, "bob false", "`skip`").await;
}

#[tokio::test]
async fn a_future_that_panics_when_it_is_dropped_after_its_answer_costs_nothing() {
    /// Answers at once.
    struct Identified {
        context: Context,
        _end: PanicOnDrop,
    }

    impl Future for Identified {
        type Output = Context;

        fn poll(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Context> {
            Poll::Ready(self.context.clone())
        }
    }

    let identify = IdentifyLayer::new(|_| Identified { context: Context::user("alice"), _end: PanicOnDrop(true) });
    assert_panics_are_counted_and_logged_once(identify, "alice true", "IdentifyLayer").await;
}

#[test]
fn a_panic_while_a_request_is_dropped_goes_no_further() {
    let log = Log::open();
    let identify = IdentifyLayer::new(|_| {
        let end = PanicOnDrop(true);
        async move {
            let _end = end;
            pending::<Context>().await
        }
    });
    let mut service = identify.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    for (is_polled, panics) in [(true, 1), (false, 2)] {
        let mut future = Box::pin(service.call(Request::new(())));
        if is_polled {
            assert!(future.as_mut().now_or_never().is_none());
        }
        catch_unwind(AssertUnwindSafe(|| drop(future))).expect("the panic is caught");
        assert_eq!(identify.counts().closure_panics, panics);
    }
    assert_eq!(log.lines("panicked").len(), 1, "{log:?}");
}

/// Panics when it is called without having said that it is ready. It is ready in the second poll, and its clones are not.
#[derive(Default)]
struct Strict {
    polls: usize,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.polls += 1;
        if self.polls > 1 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert_eq!(std::mem::take(&mut self.polls), 2, "called unready");
        ready(Ok(Response::new(seen())))
    }
}

async fn text(response: Response<ResponseBody<String>>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_that_was_made_ready_is_the_one_that_is_called() {
    let identify = IdentifyLayer::new(|_| async {
        yield_now().await;
        Context::user("alice")
    });
    let mut skipped = identify.clone().skip(|_| true).layer(flag_layer().layer(Strict::default()));
    let mut service = identify.layer(flag_layer().layer(Strict::default()));
    for _ in 0..3 {
        let ready = service.ready().now_or_never().expect("it is always ready").unwrap();
        assert_eq!(text(ready.call(Request::new(())).await.unwrap()).await, "alice true");
        assert_eq!(text(skipped.call(Request::new(())).await.unwrap()).await, "anonymous false");
    }
}

/// Reports its drop.
struct ReportDrop(UnboundedSender<()>);

impl Drop for ReportDrop {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_the_closure_waits_ends_the_waiting() {
    let (asked, mut asks) = unbounded_channel();
    let (dropped, mut drops) = unbounded_channel();
    let identify = IdentifyLayer::new(move |_| {
        asked.send(()).unwrap();
        let report = ReportDrop(dropped.clone());
        async move {
            let _report = report;
            pending::<Context>().await
        }
    });
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let handler = move || {
        count.fetch_add(1, Ordering::SeqCst);
        ready("called")
    };
    let server = serve(Router::new().route("/", get(handler)).layer(flag_layer()).layer(identify)).await;
    let mut client = Client::open(server).await;
    client.ask("GET", "/", &[]).await;
    timeout(PATIENCE, asks.recv()).await.expect("the closure is called").unwrap();
    assert!(drops.try_recv().is_err(), "the closure is waited for");
    drop(client);
    timeout(PATIENCE, drops.recv()).await.expect("the closure's future is dropped").unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// Takes several polls for a request, and counts the requests inside.
#[derive(Clone, Default)]
struct Crowded {
    inside: Arc<AtomicUsize>,
}

/// Most requests at once.
const LIMIT: usize = 2;

impl Service<Request<()>> for Crowded {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<String>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        struct Leave(Arc<AtomicUsize>);

        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }

        let before = self.inside.fetch_add(1, Ordering::SeqCst);
        let leave = Leave(Arc::clone(&self.inside));
        Box::pin(async move {
            let _leave = leave;
            assert!(before < LIMIT, "{before} are inside already");
            for _ in 0..4 {
                yield_now().await;
            }
            Ok(Response::new(seen()))
        })
    }
}

/// Sends many requests at once through this layer, which is outside of a flag layer and a limit.
async fn assert_limited_calls_see_flags<L>(layer: L, flag_layer: FlagLayer)
where
    L: Layer<FlagService<ConcurrencyLimit<Crowded>>>,
    L::Service: Service<Request<()>, Response = Response<ResponseBody<String>>, Error = Infallible> + Clone,
{
    let service = layer.layer(flag_layer.layer(ConcurrencyLimit::new(Crowded::default(), LIMIT)));
    let ask = |user: &str| {
        let request = Request::builder().header("x-user-id", user).body(()).unwrap();
        service.clone().call(request)
    };
    for round in 0..3 {
        // Four callers leave early: two are being served, one waits for a place, and one for the layer outside.
        let mut leaving = [(); 4].map(|()| Box::pin(ask("alice")));
        for polled in (1..=leaving.len()).rev() {
            for future in &mut leaving[..polled] {
                assert!(future.as_mut().now_or_never().is_none(), "round {round}");
            }
        }
        drop(leaving);
        let users = ["alice", "bob", "carol", "alice", "dave", "alice", "erin"];
        let ask = &ask;
        let calls = users.map(|user| async move { text(ask(user).await.unwrap()).await });
        let replies = timeout(PATIENCE, join_all(calls)).await.expect("every caller is served");
        let expected = users.map(|user| format!("{user} {}", user == "alice"));
        assert_eq!(replies, expected, "round {round}");
    }
}

#[tokio::test]
async fn callers_inside_of_a_limit_see_their_flags_when_they_were_identified() {
    let identify = IdentifyLayer::new(|request| {
        let user = user_of(request);
        async move {
            yield_now().await;
            user.map(Context::user)
        }
    });
    assert_limited_calls_see_flags(identify, FlagLayer::new(mine("alice"))).await;
}

#[tokio::test]
async fn callers_inside_of_a_limit_see_what_was_resolved() {
    /// Memory that answers after a wait.
    struct Slow(Memory);

    impl Resolve for Slow {
        fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
            Box::pin(async move {
                yield_now().await;
                self.0.answer(&Query::new(context, now))
            })
        }
    }

    let resolve = ResolveLayer::new(Slow(mine("alice"))).trust_headers().deadline(Duration::MAX);
    assert_limited_calls_see_flags(resolve, FlagLayer::new(Memory::new())).await;
}

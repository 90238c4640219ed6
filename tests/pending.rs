//! Sources that are not ready: in time, too late, never, and dropped while they are waited for. The
//! clock is paused throughout, so that times are exact and nothing is waited for.
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use futures_util::FutureExt;
use http::{Request, Response};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant as Time, sleep};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_flags::engine::{Reason, SourceId};
use tower_flags::source::{Evaluation, Source, Status};
use tower_flags::{Context, FlagLayer, Flags, Instant, Memory, flag, try_flag};

use support::{Client, Log, get_as, memory, mine, serve};

const NEVER: Duration = Duration::MAX;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Memory that is asked over a slow line.
struct Slow {
    memory: Memory,
    takes: Duration,
    fallback: Option<Box<dyn Source>>,
    /// Hears when a future of this source is dropped, unfinished or not.
    dropped: Option<UnboundedSender<()>>,
}

impl Slow {
    fn new(takes: Duration) -> Self {
        Self { memory: memory(r#"{"mine": true}"#), takes, fallback: None, dropped: None }
    }

    fn over(memory: Memory, takes: Duration) -> Self {
        Self { memory, ..Self::new(takes) }
    }

    fn or(self, fallback: impl Source) -> Self {
        Self { fallback: Some(Box::new(fallback)), ..self }
    }

    fn reporting(self, dropped: UnboundedSender<()>) -> Self {
        Self { dropped: Some(dropped), ..self }
    }
}

struct ReportDrop(Option<UnboundedSender<()>>);

impl Drop for ReportDrop {
    fn drop(&mut self) {
        if let Some(dropped) = &self.0 {
            dropped.send(()).unwrap();
        }
    }
}

impl Source for Slow {
    fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
        let (memory, context, takes) = (self.memory.clone(), context.clone(), self.takes);
        let report = ReportDrop(self.dropped.clone());
        Evaluation::Pending(Box::pin(async move {
            let _report = report;
            if takes > Duration::ZERO {
                sleep(takes).await;
            }
            match memory.evaluate(&context, now) {
                Evaluation::Ready(flags) => flags,
                other => unreachable!("memory is ready: {other:?}"),
            }
        }))
    }

    fn status(&self) -> Status {
        Status::fresh()
    }

    fn fallback(&self) -> Option<&dyn Source> {
        self.fallback.as_deref()
    }
}

/// One request through a layer around a service that answers with its flags, and how long it took.
async fn ask(layer: &FlagLayer) -> (Flags, http::HeaderMap, Duration) {
    let service = service_fn(|request: Request<&'static str>| {
        let in_call = try_flag("mine");
        async move {
            assert_eq!(request.body(), &"body");
            assert_eq!(try_flag("mine"), in_call);
            let flags = Flags::current().unwrap();
            assert!(request.extensions().get::<Flags>().unwrap().ptr_eq(&flags));
            let mut response = Response::new(());
            response.extensions_mut().insert((flags, in_call.is_ok()));
            Ok::<_, Infallible>(response)
        }
    });
    let start = Time::now();
    let request = Request::builder().header("x-user-id", "alice").body("body").unwrap();
    let response = layer.layer(service).oneshot(request).await.unwrap();
    let (flags, is_call_in_scope) = response.extensions().get::<(Flags, bool)>().unwrap().clone();
    assert!(is_call_in_scope);
    (flags, response.headers().clone(), start.elapsed())
}

/// The timers of tokio count in milliseconds and round up.
fn assert_took(took: Duration, expected: Duration) {
    assert!((expected..=expected + millis(1)).contains(&took), "{took:?} and not {expected:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_used() {
    for takes in [0, 1, 49] {
        let layer = FlagLayer::new(Slow::new(millis(takes)).or(memory(r#"{"other": true}"#)));
        let (flags, headers, took) = ask(&layer).await;
        assert!(flags.is_enabled("mine") && !flags.is_enabled("other"));
        assert_eq!(flags.context().user_id(), Some("alice"));
        assert_eq!(headers["x-active-flags"], "mine");
        assert_took(took, millis(takes));
        assert_eq!(layer.counts().late_evaluations, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_is_replaced_by_the_fallback_at_the_deadline() {
    for takes in [millis(60), NEVER] {
        let layer = FlagLayer::new(Slow::new(takes).or(memory(r#"{"other": true}"#)));
        for late in 1..4 {
            let (flags, headers, took) = ask(&layer).await;
            assert!(flags.is_enabled("other"));
            assert_eq!(flags.evaluation("mine").reason, Reason::Unknown);
            assert_eq!(flags.context().user_id(), Some("alice"));
            assert_eq!(headers["x-active-flags"], "other");
            assert_took(took, millis(50));
            assert_eq!(layer.counts().late_evaluations, late);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_ready_fallback_every_flag_is_unavailable() {
    let pending_fallback = || Slow::new(NEVER).or(Slow::new(millis(1)));
    for source in [Slow::new(millis(60)), Slow::new(NEVER), pending_fallback()] {
        let layer = FlagLayer::new(source);
        let (flags, headers, took) = ask(&layer).await;
        assert!(!flags.is_enabled("mine"));
        assert!(flags.is_enabled_or("mine", true), "the caller's own default applies");
        assert_eq!(flags.evaluation("mine").reason, Reason::Unavailable);
        assert_eq!(flags.context().user_id(), Some("alice"));
        assert_eq!(flags.active().count(), 0);
        assert!(!headers.contains_key("x-active-flags"));
        assert_took(took, millis(50));
        assert_eq!(layer.counts().late_evaluations, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_can_be_set() {
    for (deadline, takes, in_time) in [(1, 2, false), (1, 0, true), (0, 0, true), (2000, 1999, true), (0, 1, false)] {
        let layer = FlagLayer::new(Slow::new(millis(takes))).deadline(millis(deadline));
        let (flags, _, took) = ask(&layer).await;
        assert_eq!(flags.is_enabled("mine"), in_time, "{deadline} {takes}");
        assert_took(took, millis(takes.min(deadline)));
        assert_eq!(layer.counts().late_evaluations, u64::from(!in_time));
    }
    let patient = FlagLayer::new(Slow::new(millis(86_400_000))).deadline(NEVER);
    assert!(ask(&patient).await.0.is_enabled("mine"));
}

#[tokio::test(start_paused = true)]
async fn late_answers_are_counted_each_and_logged_once() {
    let log = Log::open();
    let layer = FlagLayer::new(Slow::new(NEVER));
    for _ in 0..3 {
        ask(&layer).await;
    }
    assert_eq!(layer.counts().late_evaluations, 3);
    let lines = log.lines("not decided in time");
    assert_eq!(lines.len(), 1, "{log:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("50ms"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_that_hangs_is_dropped_when_the_fallback_has_answered() {
    let (dropped, mut drops) = unbounded_channel();
    let layer = FlagLayer::new(Slow::new(NEVER).reporting(dropped));
    let service = service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
    let mut future = Box::pin(layer.layer(service).oneshot(Request::new(())));
    assert!(tokio::time::timeout(millis(100), future.as_mut()).await.is_err());
    drops.try_recv().expect("dropped while the handler runs");
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_waiting_drops_the_evaluation_and_calls_nobody() {
    let (dropped, mut drops) = unbounded_channel();
    let layer = FlagLayer::new(Slow::new(millis(10)).reporting(dropped));
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<()>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(Response::new(())) }
    });
    let mut service = layer.layer(ConcurrencyLimit::new(inner, 1));
    for is_polled in [false, true] {
        let mut future = Box::pin(service.ready().await.unwrap().call(Request::new(())));
        if is_polled {
            assert!(future.as_mut().now_or_never().is_none());
        }
        assert!(service.ready().now_or_never().is_none(), "the one permit is taken along");
        assert!(drops.try_recv().is_err());
        drop(future);
        assert!(drops.try_recv().is_ok(), "{is_polled}");
        assert!(service.ready().now_or_never().is_some(), "the permit is given back");
    }
    sleep(millis(100)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(layer.counts().late_evaluations, 0);
    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_side_by_side() {
    let layer = FlagLayer::new(Slow::new(millis(30)));
    let start = Time::now();
    let (a, b, c) = tokio::join!(ask(&layer), ask(&layer), ask(&layer));
    assert!([a, b, c].iter().all(|(flags, _, _)| flags.is_enabled("mine")));
    assert_took(start.elapsed(), millis(30));
}

/// A service that answers with its flags, behind two layers.
async fn ask_nested(outer: &FlagLayer, inner: &FlagLayer) -> Flags {
    let service = service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        response.extensions_mut().insert(Seen(Flags::current().unwrap()));
        Ok::<_, Infallible>(response)
    });
    let request = Request::builder().header("x-user-id", "alice").body(()).unwrap();
    let response = outer.layer(inner.layer(service)).oneshot(request).await.unwrap();
    response.extensions().get::<Seen>().unwrap().0.clone()
}

#[derive(Clone)]
struct Seen(Flags);

#[tokio::test(start_paused = true)]
async fn a_pending_source_inside_another_answers_first_and_leaves_the_rest_to_the_outer_one() {
    let outer = FlagLayer::new(memory(r#"{"both": {"percentage": 0}, "only_outer": true, "killed": false}"#));
    let rules = r#"{"both": true, "killed": true, "needs": {"enabled": true, "requires": ["killed"]}}"#;
    let in_time = FlagLayer::new(Slow::over(memory(rules), millis(10)));
    let by_fallback = FlagLayer::new(Slow::new(NEVER).or(memory(rules)));
    for inner in [in_time, by_fallback] {
        let flags = ask_nested(&outer, &inner).await;
        assert_eq!(flags.active().collect::<Vec<_>>(), ["both", "only_outer"]);
        assert_eq!(flags.context().user_id(), Some("alice"));
    }
    let unavailable = ask_nested(&outer, &FlagLayer::new(Slow::new(NEVER))).await;
    assert_eq!(unavailable.active().collect::<Vec<_>>(), ["only_outer"]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_inside_a_pending_one_over_the_same_source_does_not_ask_again() {
    /// Counts how often it is asked.
    struct Counting(Slow, Arc<AtomicUsize>);

    impl Source for Counting {
        fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.evaluate(context, now)
        }

        fn status(&self) -> Status {
            self.0.status()
        }

        fn id(&self) -> Option<SourceId> {
            self.0.memory.id()
        }
    }

    let asked = Arc::new(AtomicUsize::new(0));
    let source = Arc::new(Counting(Slow::new(millis(10)), Arc::clone(&asked)));
    let layer = || FlagLayer::new(Arc::clone(&source));
    assert!(ask_nested(&layer(), &layer()).await.is_enabled("mine"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_the_layer_around_is_over_answers_from_the_rules_pinned_there() {
    let shared = memory(r#"{"mine": true}"#);
    let outer = FlagLayer::new(shared.clone());
    let inner = FlagLayer::new(Slow::new(NEVER).or(shared.clone()));
    let reload = sleep(millis(20)).map(|()| shared.set("mine", false).unwrap());
    let (flags, ()) = tokio::join!(ask_nested(&outer, &inner), reload);
    assert_eq!((flags.version(), flags.is_enabled("mine")), (1, true));
}

#[tokio::test(start_paused = true)]
async fn a_server_over_a_hanging_source_answers_with_flags_off() {
    let router = Router::new().route("/", get(|| async { format!("{:?}", try_flag("mine")) }));
    let layer = FlagLayer::new(Slow::new(NEVER));
    let address = serve(router.layer(layer.clone())).await;
    for late in 1..4 {
        let reply = get_as(address, "/", "alice").await;
        assert_eq!((reply.status, reply.text(), reply.active()), (200, "Ok(false)", None));
        assert_eq!(layer.counts().late_evaluations, late);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_over_a_slow_source_answers_with_its_flags() {
    let router = Router::new().route("/", get(|| async { flag("mine").to_string() }));
    let layer = FlagLayer::new(Slow::over(mine("alice"), millis(20)));
    let address = serve(router.layer(layer)).await;
    let (alice, bob) = tokio::join!(get_as(address, "/", "alice"), get_as(address, "/", "bob"));
    assert_eq!((alice.text(), alice.active()), ("true", Some("mine")));
    assert_eq!((bob.text(), bob.active()), ("false", None));
}

#[tokio::test]
async fn a_client_that_goes_away_while_flags_are_waited_for_ends_the_waiting() {
    /// Says when it is asked, and never answers.
    struct Hanging(UnboundedSender<()>, Slow);

    impl Source for Hanging {
        fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
            self.0.send(()).unwrap();
            self.1.evaluate(context, now)
        }

        fn status(&self) -> Status {
            self.1.status()
        }
    }

    let (dropped, mut drops) = unbounded_channel();
    let (asked, mut asks) = unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = |Extension(calls): Extension<Arc<AtomicUsize>>| async move {
        calls.fetch_add(1, Ordering::SeqCst);
    };
    let layer = FlagLayer::new(Hanging(asked, Slow::new(NEVER).reporting(dropped))).deadline(NEVER);
    let router = Router::new().route("/", get(handler)).layer(Extension(Arc::clone(&calls))).layer(layer);
    let mut client = Client::open(serve(router).await).await;
    client.ask("GET", "/", &[]).await;
    asks.recv().await.unwrap();
    assert!(drops.try_recv().is_err());
    drop(client);
    drops.recv().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

/// Is late once, and ready from then on.
struct LateOnce {
    memory: Memory,
    has_been: AtomicBool,
}

impl Source for LateOnce {
    fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
        if self.has_been.swap(true, Ordering::Relaxed) {
            self.memory.evaluate(context, now)
        } else {
            Evaluation::Pending(Box::pin(std::future::pending()))
        }
    }

    fn status(&self) -> Status {
        self.memory.status()
    }

    fn id(&self) -> Option<SourceId> {
        self.memory.id()
    }
}

#[tokio::test]
async fn what_was_decided_without_a_late_source_stays_decided_for_the_request() {
    async fn between(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
        let before = flag("mine");
        let mut response = next.run(request).await;
        response.headers_mut().insert("x-before", before.to_string().parse().unwrap());
        response
    }
    let source = Arc::new(LateOnce { memory: mine("alice"), has_been: AtomicBool::new(false) });
    let layer = || FlagLayer::new(Arc::clone(&source)).deadline(Duration::ZERO).trust_headers();
    let handler = |Extension(flags): Extension<Flags>| async move {
        format!("{} {:?}", flag("mine"), flags.evaluation("mine").reason)
    };
    let router = Router::new().route("/", get(handler)).layer(layer());
    let server = serve(router.layer(axum::middleware::from_fn(between)).layer(layer())).await;
    let first = get_as(server, "/", "alice").await;
    assert_eq!((first.text(), first.header("x-before"), first.active()), ("false Unavailable", Some("false"), None));
    let second = get_as(server, "/", "alice").await;
    assert_eq!((second.text(), second.header("x-before")), ("true User", Some("true")));
}

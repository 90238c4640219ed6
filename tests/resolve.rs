//! Engines that have to be awaited: in time, too late, never, and dropped while they are waited for. The clock is paused
//! throughout, so that times are exact and nothing is waited for.
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use futures_util::FutureExt;
use http::{Request, Response};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_flags::engine::{Query, Reason};
use tower_flags::request::{BoxAnswers, Resolve, ResolveLayer};
use tower_flags::source::Source;
use tower_flags::{Context, FlagLayer, Flags, Memory, Timestamp, flag, try_flag};

use support::{Client, Log, get_as, memory, mine, serve};

const NEVER: Duration = Duration::MAX;

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Memory that is asked over a slow line.
struct Slow {
    memory: Memory,
    takes: Duration,
    /// Hears when a future of this engine is dropped, unfinished or not.
    dropped: Option<UnboundedSender<()>>,
}

impl Slow {
    fn new(takes: Duration) -> Self {
        Self { memory: memory(r#"{"mine": true}"#), takes, dropped: None }
    }

    fn over(memory: Memory, takes: Duration) -> Self {
        Self { memory, ..Self::new(takes) }
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

impl Resolve for Slow {
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
        let report = ReportDrop(self.dropped.clone());
        Box::pin(async move {
            let _report = report;
            if self.takes > Duration::ZERO {
                sleep(self.takes).await;
            }
            self.memory.answer(&Query::new(context, now))
        })
    }
}

/// Counts how often it is asked.
struct Counting(Slow, Arc<AtomicUsize>);

impl Resolve for Counting {
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.resolve(context, now)
    }
}

/// A layer over an empty source, inside of those that resolve.
fn empty() -> FlagLayer {
    FlagLayer::new(Memory::new())
}

/// One request through a layer around a service that answers with its flags, and how long it took.
async fn ask(layer: &ResolveLayer) -> (Flags, http::HeaderMap, Duration) {
    ask_through(layer, &empty()).await
}

/// The same with the flag layer inside, which a refresh needs.
async fn ask_through(layer: &ResolveLayer, inside: &FlagLayer) -> (Flags, http::HeaderMap, Duration) {
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
    let start = Instant::now();
    let request = Request::builder().header("x-user-id", "alice").body("body").unwrap();
    let response = layer.layer(inside.layer(service)).oneshot(request).await.unwrap();
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
        let layer = ResolveLayer::new(Slow::new(millis(takes))).fallback(memory(r#"{"other": true}"#));
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
        let layer = ResolveLayer::new(Slow::new(takes)).fallback(memory(r#"{"other": true}"#));
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
async fn without_a_fallback_every_flag_is_unavailable() {
    for engine in [Slow::new(millis(60)), Slow::new(NEVER)] {
        let layer = ResolveLayer::new(engine);
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
        let layer = ResolveLayer::new(Slow::new(millis(takes))).deadline(millis(deadline));
        let (flags, _, took) = ask(&layer).await;
        assert_eq!(flags.is_enabled("mine"), in_time, "{deadline} {takes}");
        assert_took(took, millis(takes.min(deadline)));
        assert_eq!(layer.counts().late_evaluations, u64::from(!in_time));
    }
    let patient = ResolveLayer::new(Slow::new(millis(86_400_000))).deadline(NEVER);
    assert!(ask(&patient).await.0.is_enabled("mine"));
}

#[tokio::test(start_paused = true)]
async fn late_answers_are_counted_each_and_logged_once() {
    let log = Log::open();
    let layer = ResolveLayer::new(Slow::new(NEVER));
    for _ in 0..3 {
        ask(&layer).await;
    }
    assert_eq!(layer.counts().late_evaluations, 3);
    let lines = log.lines("not resolved in time");
    assert_eq!(lines.len(), 1, "{log:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains("50ms"), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_that_hangs_is_dropped_when_the_fallback_has_answered() {
    let (dropped, mut drops) = unbounded_channel();
    let layer = ResolveLayer::new(Slow::new(NEVER).reporting(dropped));
    let service = service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>());
    let mut future = Box::pin(layer.layer(empty().layer(service)).oneshot(Request::new(())));
    assert!(tokio::time::timeout(millis(100), future.as_mut()).await.is_err());
    drops.try_recv().expect("dropped while the handler runs");
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_while_waiting_drops_the_evaluation_and_calls_nobody() {
    let (dropped, mut drops) = unbounded_channel();
    let layer = ResolveLayer::new(Slow::new(millis(10)).reporting(dropped));
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<()>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok::<_, Infallible>(Response::new(())) }
    });
    let mut service = layer.layer(ConcurrencyLimit::new(empty().layer(inner), 1));
    for is_polled in [false, true] {
        let mut future = Box::pin(service.ready().await.unwrap().call(Request::new(())));
        if is_polled {
            assert!(future.as_mut().now_or_never().is_none());
        }
        assert!(drops.try_recv().is_err());
        drop(future);
        assert!(drops.try_recv().is_ok() || !is_polled, "{is_polled}");
        assert!(service.ready().now_or_never().is_some(), "it holds no permit while it waits");
    }
    sleep(millis(100)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(layer.counts().late_evaluations, 0);
    service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_wait_side_by_side() {
    let layer = ResolveLayer::new(Slow::new(millis(30)));
    let start = Instant::now();
    let (a, b, c) = tokio::join!(ask(&layer), ask(&layer), ask(&layer));
    assert!([a, b, c].iter().all(|(flags, _, _)| flags.is_enabled("mine")));
    assert_took(start.elapsed(), millis(30));
}

/// A service that answers with its flags, behind a flag layer and a resolving layer inside.
async fn ask_nested(outer: &FlagLayer, inner: &ResolveLayer) -> Flags {
    let service = service_fn(|_: Request<()>| async {
        let mut response = Response::new(());
        response.extensions_mut().insert(Seen(Flags::current().unwrap()));
        Ok::<_, Infallible>(response)
    });
    let request = Request::builder().header("x-user-id", "alice").body(()).unwrap();
    let service = outer.layer(inner.layer(empty().layer(service)));
    let response = service.oneshot(request).await.unwrap();
    response.extensions().get::<Seen>().unwrap().0.clone()
}

#[derive(Clone)]
struct Seen(Flags);

#[tokio::test(start_paused = true)]
async fn an_engine_inside_a_flag_layer_answers_first_and_leaves_the_rest_to_the_outer_one() {
    let outer = FlagLayer::new(memory(r#"{"both": {"percentage": 0}, "only_outer": true, "killed": false}"#));
    let rules = r#"{"both": true, "killed": true, "needs": {"enabled": true, "requires": ["killed"]}}"#;
    let in_time = ResolveLayer::new(Slow::over(memory(rules), millis(10)));
    let by_fallback = ResolveLayer::new(Slow::new(NEVER)).fallback(memory(rules));
    for inner in [in_time, by_fallback] {
        let flags = ask_nested(&outer, &inner).await;
        assert_eq!(flags.active().collect::<Vec<_>>(), ["both", "only_outer"]);
        assert_eq!(flags.context().user_id(), Some("alice"));
    }
    let unavailable = ask_nested(&outer, &ResolveLayer::new(Slow::new(NEVER))).await;
    assert_eq!(unavailable.active().collect::<Vec<_>>(), ["only_outer"]);
}

#[tokio::test(start_paused = true)]
async fn two_flag_layers_inside_share_the_answers_and_its_caller() {
    let asked = Arc::new(AtomicUsize::new(0));
    let outermost = ResolveLayer::new(Counting(Slow::over(mine("alice"), millis(10)), Arc::clone(&asked)));
    let outermost = outermost.identify(|_| Some(Context::user("alice")));
    let router = Router::new().route("/", get(|| async { flag("mine").to_string() }));
    let server = serve(router.layer(empty()).layer(empty()).layer(outermost)).await;
    let reply = get_as(server, "/", "bob").await;
    assert_eq!((reply.text(), reply.active()), ("true", Some("mine")), "the header has what was resolved");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn two_flag_layers_inside_share_the_answer_that_stands_for_a_late_one() {
    for has_fallback in [true, false] {
        let (asked, rules) = (Arc::new(AtomicUsize::new(0)), memory(r#"{"other": true}"#));
        let layer = ResolveLayer::new(Counting(Slow::new(millis(60)), Arc::clone(&asked)));
        let layer = if has_fallback { layer.fallback(rules.clone()) } else { layer };
        let service = service_fn(|request: Request<Flags>| async move {
            // The engine would have answered meanwhile.
            sleep(millis(100)).await;
            let mut response = Response::new(());
            response.extensions_mut().insert((Seen(request.into_body()), Seen(Flags::current().unwrap())));
            Ok::<_, Infallible>(response)
        });
        // Between the two flag layers the rules of the fallback change.
        let between = empty().layer(service).map_request(move |request: Request<()>| {
            rules.set("other", false).unwrap();
            let flags = Flags::current().unwrap();
            request.map(|()| flags)
        });
        let start = Instant::now();
        let response = layer.layer(empty().layer(between)).oneshot(Request::new(())).await.unwrap();
        assert_took(start.elapsed(), millis(150));
        let (Seen(outer), Seen(inner)) = response.extensions().get::<(Seen, Seen)>().unwrap();
        for flags in [outer, inner] {
            let reason = if has_fallback { Reason::Unknown } else { Reason::Unavailable };
            assert_eq!(flags.evaluation("mine").reason, reason);
            assert_eq!(flags.is_enabled("other"), has_fallback);
            assert!(flags.is_enabled_or("mine", true), "the caller's own default applies");
        }
        assert_eq!(response.headers().get("x-active-flags").is_some(), has_fallback);
        assert_eq!((asked.load(Ordering::SeqCst), layer.counts().late_evaluations), (1, 1));
    }
}

#[cfg(feature = "overrides")]
#[tokio::test(start_paused = true)]
async fn testers_force_what_was_resolved() {
    use tower_flags::request::{OverrideToken, Overrides, SigningKey};

    let key = || SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2").unwrap();
    let rules = r#"{"dark": {"percentage": 0, "overridable": true}, "fixed": {"percentage": 0}}"#;
    let layer = empty().overrides(Overrides::new(key()));
    let router = Router::new().route(
        "/",
        get(|Extension(flags): Extension<Flags>| async move { flags.evaluation("dark").reason.to_string() }),
    );
    let server = serve(router.layer(layer).layer(ResolveLayer::new(Slow::over(memory(rules), millis(10))))).await;
    let until = Timestamp::from_unix_millis(Timestamp::now().unix_millis() + 60_000);
    let token = OverrideToken::until(until).on("dark").on("fixed").sign(&key()).unwrap();
    let reply = support::ask(server, "/", &[("x-flag-override", &token)]).await;
    assert_eq!((reply.text(), reply.active()), ("Override", Some("dark")));
}

#[tokio::test(start_paused = true)]
async fn answers_are_resolved_again_on_a_refresh_and_stay_if_that_is_late() {
    for (takes, is_late) in [(millis(49), false), (millis(51), true)] {
        let rules = memory(r#"{"mine": true}"#);
        let engine = Arc::new(Slow::over(rules.clone(), takes));
        let layer = ResolveLayer::new(SlowTheSecondTime(engine, AtomicUsize::new(0)));
        let inside = empty();
        let (flags, _, _) = ask_through(&layer, &inside).await;
        rules.set("mine", false).unwrap();
        let again = flags.refresh().await;
        assert_eq!(again.is_enabled("mine"), is_late);
        assert_eq!(layer.counts().late_evaluations, u64::from(is_late));
    }
}

/// Answers at once for requests, and slowly after that.
struct SlowTheSecondTime(Arc<Slow>, AtomicUsize);

impl Resolve for SlowTheSecondTime {
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            Box::pin(async move { self.0.memory.answer(&Query::new(context, now)) })
        } else {
            self.0.resolve(context, now)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_the_layer_around_is_over_answers_from_the_rules_pinned_there() {
    let shared = memory(r#"{"mine": true}"#);
    let outer = FlagLayer::new(shared.clone());
    let inner = ResolveLayer::new(Slow::new(NEVER)).fallback(shared.clone());
    let reload = sleep(millis(20)).map(|()| shared.set("mine", false).unwrap());
    let (flags, ()) = tokio::join!(ask_nested(&outer, &inner), reload);
    assert!(flags.is_enabled("mine"));
}

#[tokio::test(start_paused = true)]
async fn a_server_over_a_hanging_engine_answers_with_flags_off() {
    let router = Router::new().route("/", get(|| async { format!("{:?}", try_flag("mine")) }));
    let layer = ResolveLayer::new(Slow::new(NEVER));
    let address = serve(router.layer(empty()).layer(layer.clone())).await;
    for late in 1..4 {
        let reply = get_as(address, "/", "alice").await;
        assert_eq!((reply.status, reply.text(), reply.active()), (200, "Ok(false)", None));
        assert_eq!(layer.counts().late_evaluations, late);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_over_a_slow_engine_answers_with_its_flags() {
    let router = Router::new().route("/", get(|| async { flag("mine").to_string() }));
    let layer = ResolveLayer::new(Slow::over(mine("alice"), millis(20)));
    let address = serve(router.layer(empty()).layer(layer)).await;
    let (alice, bob) = tokio::join!(get_as(address, "/", "alice"), get_as(address, "/", "bob"));
    assert_eq!((alice.text(), alice.active()), ("true", Some("mine")));
    assert_eq!((bob.text(), bob.active()), ("false", None));
}

#[tokio::test]
async fn a_client_that_goes_away_while_flags_are_waited_for_ends_the_waiting() {
    /// Says when it is asked, and never answers.
    struct Hanging(UnboundedSender<()>, Slow);

    impl Resolve for Hanging {
        fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
            self.0.send(()).unwrap();
            self.1.resolve(context, now)
        }
    }

    let (dropped, mut drops) = unbounded_channel();
    let (asked, mut asks) = unbounded_channel();
    let calls = Arc::new(AtomicUsize::new(0));
    let handler = |Extension(calls): Extension<Arc<AtomicUsize>>| async move {
        calls.fetch_add(1, Ordering::SeqCst);
    };
    let layer = ResolveLayer::new(Hanging(asked, Slow::new(NEVER).reporting(dropped))).deadline(NEVER);
    let router = Router::new().route("/", get(handler)).layer(Extension(Arc::clone(&calls)));
    let router = router.layer(empty()).layer(layer);
    let mut client = Client::open(serve(router).await).await;
    client.ask("GET", "/", &[]).await;
    asks.recv().await.unwrap();
    assert!(drops.try_recv().is_err());
    drop(client);
    drops.recv().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_costs_flags_and_no_request() {
    /// Panics at its first call, at its first poll, at a later one, when it is done, or when it is given up.
    struct Broken(&'static str);

    struct BreaksWhenDropped(bool);

    impl Drop for BreaksWhenDropped {
        fn drop(&mut self) {
            assert!(!self.0, "broken");
        }
    }

    impl Resolve for Broken {
        fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
            let place = self.0;
            assert!(place != "call", "broken");
            let breaks = BreaksWhenDropped(matches!(place, "end" | "late"));
            Box::pin(async move {
                let _breaks = breaks;
                assert!(place != "first", "broken");
                tokio::task::yield_now().await;
                assert!(place != "later", "broken");
                if place == "late" {
                    std::future::pending::<()>().await;
                }
                memory(r#"{"mine": true}"#).answer(&Query::new(context, now))
            })
        }
    }

    for place in ["call", "first", "later", "end", "late"] {
        let log = Log::open();
        let layer = ResolveLayer::new(Broken(place)).trust_headers();
        for times in 1..4 {
            let (flags, _, _) = ask(&layer).await;
            assert_eq!(flags.evaluation("mine").reason, Reason::Unavailable, "{place}");
            assert!(flags.is_enabled_or("mine", true), "{place}");
            assert_eq!(layer.counts().source_panics, times, "{place}");
        }
        assert_eq!(log.lines("panicked").len(), 1, "{log:?}");
        let layer = ResolveLayer::new(Broken(place)).fallback(memory(r#"{"other": true}"#));
        assert!(ask(&layer).await.0.is_enabled("other"), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_skipped_is_not_resolved() {
    let asked = Arc::new(AtomicUsize::new(0));
    let layer = ResolveLayer::new(Counting(Slow::new(NEVER), Arc::clone(&asked)));
    let layer = layer.skip(|request| request.uri.path() == "/health");
    let read = || async { format!("{:?}", try_flag("mine")) };
    let router = Router::new().route("/", get(read)).route("/health", get(read));
    let server = serve(router.layer(empty()).layer(layer.clone())).await;
    for (path, expected) in [("/health", 0), ("/", 1), ("/health", 1)] {
        assert_eq!(get_as(server, path, "alice").await.text(), "Ok(false)", "{path}");
        assert_eq!(asked.load(Ordering::SeqCst), expected, "{path}");
        assert_eq!(layer.counts().late_evaluations, expected as u64, "{path}");
    }
}

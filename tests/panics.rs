//! Panics of what the application brings along, its source and its closures: they cost flags, and no request.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tower_flags::engine::SourceId;
use tower_flags::source::{Evaluation, Source, Status};
use tower_flags::{Context, FlagLayer, Flags, HeaderPolicy, Instant, Memory};

use support::{Client, Log, Reply, get_as, memory, serve};

/// Where a source panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Nowhere,
    Evaluate,
    Id,
    Fallback,
    FirstPoll,
    LaterPoll,
    /// Of the future, when it is done or given up.
    Drop,
    /// Of a future that is late.
    DropLate,
}

/// Memory in which `mine` is on, and a panic.
struct Broken {
    place: Place,
    memory: Memory,
    fallback: Option<Arc<dyn Source>>,
    is_broken: Arc<AtomicBool>,
}

impl Broken {
    fn at(place: Place) -> Self {
        let is_broken = Arc::new(AtomicBool::new(true));
        Self { place, memory: memory(r#"{"mine": true}"#), fallback: None, is_broken }
    }

    fn or(self, fallback: impl Source) -> Self {
        Self { fallback: Some(Arc::new(fallback)), ..self }
    }

    fn breaks(&self, place: Place) {
        assert!(self.place != place || !self.is_broken.load(Ordering::Relaxed), "the source broke at {place:?}");
    }
}

struct BreaksWhenDropped(bool);

impl Drop for BreaksWhenDropped {
    fn drop(&mut self) {
        assert!(!self.0, "the source broke in a drop");
    }
}

impl Source for Broken {
    fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
        self.breaks(Place::Evaluate);
        let ready = self.memory.evaluate(context, now);
        let (Evaluation::Ready(flags), true) = (ready, self.is_broken.load(Ordering::Relaxed)) else {
            return self.memory.evaluate(context, now);
        };
        let place = self.place;
        match place {
            Place::FirstPoll | Place::LaterPoll | Place::Drop | Place::DropLate => {
                let breaks = BreaksWhenDropped(matches!(place, Place::Drop | Place::DropLate));
                Evaluation::Pending(Box::pin(async move {
                    let _breaks = breaks;
                    if place == Place::DropLate {
                        std::future::pending::<()>().await;
                    }
                    if place == Place::LaterPoll {
                        tokio::task::yield_now().await;
                    }
                    assert!(place == Place::Drop, "the source broke at {place:?}");
                    flags
                }))
            }
            _ => Evaluation::Ready(flags),
        }
    }

    fn status(&self) -> Status {
        Status::fresh()
    }

    fn id(&self) -> Option<SourceId> {
        self.breaks(Place::Id);
        self.memory.id()
    }

    fn fallback(&self) -> Option<&dyn Source> {
        self.breaks(Place::Fallback);
        self.fallback.as_deref()
    }
}

/// What a page says of the flag `mine`, and with a default.
async fn page(flags: Flags) -> String {
    format!("{} {:?} {}", flags.is_enabled("mine"), flags.evaluation("mine").reason, flags.is_enabled_or("mine", true))
}

async fn asked(layer: &FlagLayer) -> Reply {
    get_as(serve(Router::new().route("/", get(page)).layer(layer.clone())).await, "/", "alice").await
}

#[tokio::test]
async fn a_source_that_panics_turns_flags_off_and_no_request_away() {
    for place in [Place::Evaluate, Place::FirstPoll, Place::LaterPoll] {
        let log = Log::open();
        let layer = FlagLayer::new(Broken::at(place)).trust_headers();
        for times in 1..4 {
            let reply = asked(&layer).await;
            assert_eq!((reply.status, reply.text()), (200, "false Unavailable true"), "{place:?}");
            assert_eq!((reply.active(), layer.counts().source_panics), (None, times), "{place:?}");
        }
        let lines = log.lines("panicked");
        assert_eq!(lines.len(), 1, "{log:?}");
        assert!(
            lines[0].contains("ERROR") && lines[0].contains(&format!("the source broke at {place:?}")),
            "{lines:?}"
        );
        assert_eq!(layer.counts().late_evaluations, 0);
    }
}

#[tokio::test]
async fn its_fallback_answers_for_it_and_may_panic_too() {
    let other = || memory(r#"{"mine": true, "other": true}"#);
    for place in [Place::Evaluate, Place::FirstPoll, Place::LaterPoll] {
        let layer = FlagLayer::new(Broken::at(place).or(other())).trust_headers();
        let reply = asked(&layer).await;
        assert_eq!((reply.text(), reply.active()), ("true Static true", Some("mine,other")), "{place:?}");
        assert_eq!(layer.counts().source_panics, 1);

        for worse in [Place::Evaluate, Place::FirstPoll, Place::Drop, Place::DropLate] {
            let layer = FlagLayer::new(Broken::at(place).or(Broken::at(worse))).trust_headers();
            assert_eq!(asked(&layer).await.text(), "false Unavailable true", "{place:?} {worse:?}");
        }
    }
    // A fallback that cannot be asked for at all, while the source is late.
    struct Late(Place);
    impl Source for Late {
        fn evaluate(&self, _: &Context, _: Instant) -> Evaluation {
            Evaluation::Pending(Box::pin(std::future::pending()))
        }

        fn status(&self) -> Status {
            Status::fresh()
        }

        fn fallback(&self) -> Option<&dyn Source> {
            assert!(self.0 != Place::Fallback, "there is none");
            None
        }

        fn id(&self) -> Option<SourceId> {
            assert!(self.0 != Place::Id, "there is none");
            None
        }
    }
    for place in [Place::Fallback, Place::Id] {
        let layer = FlagLayer::new(Late(place)).deadline(Duration::ZERO).trust_headers();
        assert_eq!(asked(&layer).await.text(), "false Unavailable true", "{place:?}");
        let counts = layer.counts();
        assert!(counts.late_evaluations == 1 && counts.source_panics > 0, "{counts:?}");
    }
}

#[tokio::test]
async fn a_future_that_panics_when_it_is_dropped_costs_nothing() {
    let layer = FlagLayer::new(Broken::at(Place::Drop)).trust_headers();
    assert_eq!(asked(&layer).await.text(), "false Unavailable true", "it panicked before it had answered");
    let layer = FlagLayer::new(Broken::at(Place::DropLate).or(memory(r#"{"mine": true}"#))).trust_headers();
    assert_eq!(asked(&layer.clone().deadline(Duration::ZERO)).await.text(), "true Static true");
    assert_eq!(layer.counts().source_panics, 1);

    // A client that goes away while flags are waited for, on a connection that goes on.
    let service = tower::service_fn(|_: http::Request<()>| std::future::ready(Ok::<_, ()>(http::Response::new(()))));
    let future = tower::Layer::layer(&layer, service);
    let mut future = Box::pin(tower::ServiceExt::oneshot(future, http::Request::new(())));
    assert!(futures_util::FutureExt::now_or_never(future.as_mut()).is_none());
    drop(future);
    assert_eq!(layer.counts().source_panics, 2);
}

#[tokio::test]
async fn inside_of_another_layer_the_answers_of_that_one_stand() {
    let outer = FlagLayer::new(memory(r#"{"mine": true, "killed": false}"#)).trust_headers();
    for place in [Place::Evaluate, Place::Id, Place::LaterPoll, Place::Nowhere] {
        let inner = FlagLayer::new(Broken::at(place));
        let router = Router::new().route("/", get(page)).layer(inner.clone()).layer(outer.clone());
        let reply = get_as(serve(router).await, "/", "alice").await;
        assert_eq!((reply.text(), reply.active()), ("true Static true", Some("mine")), "{place:?}");
        assert_eq!(inner.counts().source_panics > 0, place != Place::Nowhere);
    }
}

#[tokio::test]
async fn a_refresh_keeps_the_answers_of_before() {
    for place in [Place::Evaluate, Place::FirstPoll, Place::LaterPoll] {
        let source = Broken::at(place);
        let is_broken = Arc::clone(&source.is_broken);
        is_broken.store(false, Ordering::Relaxed);
        let layer = FlagLayer::new(source).trust_headers();
        let handler = move |flags: Flags| async move {
            is_broken.store(true, Ordering::Relaxed);
            let fresh = flags.refresh().await;
            format!("{} {}", fresh.is_enabled("mine"), fresh.ptr_eq(&flags))
        };
        let router = Router::new().route("/", get(handler)).layer(layer.clone());
        assert_eq!(get_as(serve(router).await, "/", "alice").await.text(), "true true", "{place:?}");
        assert_eq!(layer.counts().source_panics, 1);
    }
}

/// Everything of the caller that a page sees.
async fn caller(flags: Flags) -> String {
    let groups: Vec<&str> = flags.context().groups().collect();
    format!("{:?} {groups:?} {}", flags.context().user_id(), flags.is_enabled("mine"))
}

#[tokio::test]
async fn a_closure_that_panics_is_as_one_that_says_nothing() {
    let rules = || memory(r#"{"mine": true, "listed": {"allowed_users": ["alice"]}}"#);
    let layer = || FlagLayer::new(rules());
    let (anonymous, alice) = ("None [] true", "Some(\"alice\") [] true");
    let cases: [(&str, FlagLayer, &str, Option<&str>); 6] = [
        // Not even the headers that are trusted say who it is: the closure may have known better.
        ("identify", layer().trust_headers().identify(|_| panic!("broken")), anonymous, Some("mine")),
        ("identify", layer().identify(|_| panic!("broken")), anonymous, Some("mine")),
        ("header policy", layer().header_policy(HeaderPolicy::when(|_| panic!("broken"))), alice, None),
        ("skip", layer().skip(|_| panic!("broken")), alice, Some("listed,mine")),
        ("clock", layer().clock(|| panic!("broken")), alice, Some("listed,mine")),
        ("clock", FlagLayer::new(Flagged).clock(|| panic!("broken")), alice, Some("mine")),
    ];
    for (what, layer, text, active) in cases {
        let log = Log::open();
        let server = serve(Router::new().route("/", get(caller)).layer(layer.clone())).await;
        let mut client = Client::open(server).await;
        for times in 1..4 {
            let reply = client.get("/", &[("X-User-ID", "alice")]).await;
            assert_eq!((reply.status, reply.text(), reply.active()), (200, text, active), "{what}");
            assert_eq!((layer.counts().closure_panics, layer.counts().source_panics), (times, 0), "{what}");
        }
        let lines = log.lines("panicked");
        assert!(lines.len() == 1 && lines[0].contains(what) && lines[0].contains("broken"), "{what}: {log:?}");
    }
}

/// On while the instant is one of this century.
struct Flagged;

impl Source for Flagged {
    fn evaluate(&self, context: &Context, now: Instant) -> Evaluation {
        let is_now = now > "2020-01-01T00:00:00Z".parse().unwrap();
        let flags = Flags::builder();
        let flags = if is_now { flags.on("mine") } else { flags.off("mine") };
        Evaluation::Ready(flags.build(context.clone()))
    }

    fn status(&self) -> Status {
        Status::fresh()
    }
}

#[tokio::test]
async fn a_closure_that_panics_inside_of_another_layer_names_nobody_of_the_layer_around() {
    let outer =
        FlagLayer::new(memory(r#"{"mine": true}"#)).identify(|_| Some(Context::user("alice").in_groups(["staff"])));
    let inner = FlagLayer::new(memory("{}")).identify(|_| panic!("broken"));
    let router = Router::new().route("/", get(caller)).layer(inner).layer(outer);
    assert_eq!(get_as(serve(router).await, "/", "alice").await.text(), "None [] true");
}

#[cfg(feature = "overrides")]
#[tokio::test]
async fn so_is_the_clock_of_a_client_that_sends_decisions() {
    use tower::{Layer, Service};
    use tower_flags::request::{SendDecisions, SigningKey};

    let log = Log::open();
    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    let layer = SendDecisions::new("shop", ["mine"]).any_host("payments", key).clock(|| panic!("broken"));
    let send = |request: http::Request<()>| {
        let is_sent = request.headers().contains_key("x-flag-decisions");
        std::future::ready(Ok::<_, ()>(http::Response::new(is_sent)))
    };
    let flags = Flags::builder().on("mine").build(Context::anonymous());
    for _ in 0..2 {
        let mut client = layer.layer(tower::service_fn(send));
        let is_sent = flags.sync_scope(|| client.call(http::Request::new(()))).await.unwrap();
        assert!(is_sent.body());
    }
    let lines = log.lines("panicked");
    assert!(lines.len() == 1 && lines[0].contains("clock"), "{log:?}");
}

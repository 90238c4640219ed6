//! Panics of what the application brings along, its source and its closures: they cost flags, and no request.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "axum")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::get;
use tower_flags::engine::{Answers, Query, SourceId};
use tower_flags::source::{Source, Status};
use tower_flags::{Context, FlagLayer, Flags, HeaderPolicy, Memory};

use support::{Client, Log, Reply, get_as, memory, serve};

/// Where a source panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Nowhere,
    Answer,
    Id,
}

/// Memory in which `mine` is on, and a panic.
struct Broken {
    place: Place,
    memory: Memory,
    is_broken: Arc<AtomicBool>,
}

impl Broken {
    fn at(place: Place) -> Self {
        let is_broken = Arc::new(AtomicBool::new(true));
        Self { place, memory: memory(r#"{"mine": true}"#), is_broken }
    }

    fn breaks(&self, place: Place) {
        assert!(self.place != place || !self.is_broken.load(Ordering::Relaxed), "the source broke at {place:?}");
    }
}

impl Source for Broken {
    fn answer(&self, query: &Query<'_>) -> Answers {
        self.breaks(Place::Answer);
        self.memory.answer(query)
    }

    fn status(&self) -> Status {
        Status::fresh()
    }

    fn id(&self) -> Option<SourceId> {
        self.breaks(Place::Id);
        self.memory.id()
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
    for place in [Place::Answer] {
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
async fn inside_of_another_layer_the_answers_of_that_one_stand() {
    let outer = FlagLayer::new(memory(r#"{"mine": true, "killed": false}"#)).trust_headers();
    for place in [Place::Answer, Place::Id, Place::Nowhere] {
        let inner = FlagLayer::new(Broken::at(place));
        let router = Router::new().route("/", get(page)).layer(inner.clone()).layer(outer.clone());
        let reply = get_as(serve(router).await, "/", "alice").await;
        assert_eq!((reply.text(), reply.active()), ("true Static true", Some("mine")), "{place:?}");
        assert_eq!(inner.counts().source_panics > 0, place != Place::Nowhere);
    }
}

#[tokio::test]
async fn a_refresh_keeps_the_answers_of_before() {
    for place in [Place::Answer] {
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
    fn answer(&self, query: &Query<'_>) -> Answers {
        let is_now = query.now > "2020-01-01T00:00:00Z".parse().unwrap();
        let flags = Flags::builder();
        let flags = if is_now { flags.on("mine") } else { flags.off("mine") };
        flags.answer(query)
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
    use tower_flags::request::{SendDecisionsLayer, SigningKey};

    let log = Log::open();
    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    let layer = SendDecisionsLayer::new("shop", ["mine"]).any_host("payments", key).clock(|| panic!("broken"));
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

//! Another engine behind `FlagSet::builder` and `Answers::of`: its results, what is forced beside them, and sets that many
//! requests share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::future::ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tower_flags::engine::{Answers, FlagSet, Forced, ForcedBy, Query, Reason};
use tower_flags::request::{BoxAnswers, Resolve, ResolveLayer};
use tower_flags::source::Status;
use tower_flags::{Context, FlagLayer, Flags, Memory, Source, Timestamp};

use support::{get_as, memory, serve};

/// `pricing` with two variants, and two flags without any, of which testers may force `search`.
fn set() -> Arc<FlagSet> {
    let builder = FlagSet::builder().flag("fixed").overridable("search");
    builder.variant("pricing", "lower", 0.8).variant("pricing", "higher", 1.2).overridable("pricing").build()
}

fn number(set: &FlagSet, name: &str) -> u32 {
    set.number(name).unwrap()
}

/// The answers to a query of alice, with these forced.
fn answers(set: &Arc<FlagSet>, forced: &[Forced]) -> Answers {
    Answers::of(set, &Query::new(&Context::user("alice"), Timestamp::now()).forced(forced))
}

/// The variant of a flag that is on, `on` if it has none, or `off`; after all ways to read it have agreed.
fn read(answers: &Answers, name: &str) -> String {
    let evaluation = answers.evaluation(name);
    let entry = answers.iter().find(|entry| entry.name == name).unwrap();
    assert_eq!((entry.enabled, entry.variant), (answers.is_enabled(name), answers.variant(name)), "{name}");
    assert_eq!((entry.enabled, entry.variant), (evaluation.enabled, evaluation.variant.as_deref()), "{name}");
    assert_eq!(answers.active().any(|active| active == name), entry.enabled, "{name}");
    assert_eq!(answers.value::<f64>(name).unwrap().map(Into::into), evaluation.value, "{name}");
    entry.variant.unwrap_or(if entry.enabled { "on" } else { "off" }).to_owned()
}

#[test]
fn a_flag_is_off_until_the_engine_says_otherwise() {
    let set = set();
    let mut answers = answers(&set, &[]);
    for name in ["fixed", "pricing", "search"] {
        assert_eq!((read(&answers, name).as_str(), answers.evaluation(name).reason), ("off", Reason::Engine));
    }
    answers.set(number(&set, "search"), true).set_variant(number(&set, "pricing"), "higher");
    assert_eq!(["fixed", "pricing", "search"].map(|name| read(&answers, name)), ["off", "higher", "on"]);
    answers.set(number(&set, "pricing"), false);
    assert_eq!(read(&answers, "pricing"), "off", "the last result counts");
}

#[test]
fn what_the_query_forces_stays_whatever_the_engine_sets() {
    let set = set();
    let forced = [
        Forced::new("fixed", true, ForcedBy::Upstream),
        Forced::new("pricing", true, ForcedBy::Override).with_variant("lower"),
        Forced::new("search", false, ForcedBy::Override),
    ];
    let mut answers = answers(&set, &forced);
    let expected = ["on", "lower", "off"];
    assert_eq!(["fixed", "pricing", "search"].map(|name| read(&answers, name)), expected);
    answers.set(number(&set, "fixed"), false).set(number(&set, "search"), true);
    answers.set_variant(number(&set, "pricing"), "higher");
    assert_eq!(["fixed", "pricing", "search"].map(|name| read(&answers, name)), expected);
    answers.set(number(&set, "pricing"), false);
    for reason in [Reason::Rollout, Reason::Unavailable] {
        for name in ["fixed", "pricing", "search"] {
            answers.set_reason(number(&set, name), reason);
        }
        assert_eq!(["fixed", "pricing", "search"].map(|name| read(&answers, name)), expected, "{reason}");
        assert!(!answers.is_enabled_or("search", true), "{reason}");
    }
    let reasons = ["fixed", "pricing", "search"].map(|name| answers.evaluation(name).reason);
    assert_eq!(reasons, [Reason::Upstream, Reason::Override, Reason::Override]);
}

#[test]
fn a_tester_forces_no_flag_that_is_not_overridable() {
    let set = set();
    let mut answers = answers(&set, &[Forced::new("fixed", true, ForcedBy::Override)]);
    assert_eq!(read(&answers, "fixed"), "off");
    answers.set(number(&set, "fixed"), true);
    assert_eq!((read(&answers, "fixed").as_str(), answers.evaluation("fixed").reason), ("on", Reason::Engine));
}

#[test]
fn an_unknown_variant_counts_as_none() {
    let set = set();
    let mut given = answers(&set, &[]);
    given.set_variant(number(&set, "pricing"), "no_such_variant").set_variant(number(&set, "search"), "higher");
    assert_eq!(["pricing", "search"].map(|name| read(&given, name)), ["on", "on"]);
    let by_whom = Forced::new("pricing", true, ForcedBy::Upstream);
    for forced in [by_whom.clone(), by_whom.with_variant("no_such_variant")] {
        let mut answers = answers(&set, &[forced]);
        assert_eq!(read(&answers, "pricing"), "on", "the set has no weights that could choose");
        answers.set_variant(number(&set, "pricing"), "lower");
        assert_eq!(read(&answers, "pricing"), "on", "it is forced");
    }
}

#[test]
fn what_the_engine_disables_is_off_whatever_is_forced() {
    let set = set();
    let (pricing, search) = (number(&set, "pricing"), number(&set, "search"));
    let forced = [
        Forced::new("pricing", true, ForcedBy::Upstream).with_variant("higher"),
        Forced::new("search", true, ForcedBy::Override),
    ];
    let mut answers = answers(&set, &forced);
    assert_eq!(["pricing", "search"].map(|name| read(&answers, name)), ["higher", "on"]);
    answers.set_reason(pricing, Reason::Disabled).set_reason(search, Reason::Disabled);
    answers.set_variant(pricing, "lower").set(search, true);
    for name in ["pricing", "search"] {
        assert_eq!((read(&answers, name).as_str(), answers.evaluation(name).reason), ("off", Reason::Disabled));
        assert!(!answers.is_enabled_or(name, true), "{name}: a disabled flag is not left to its reader");
    }
}

#[test]
fn with_a_default_reason_readers_get_their_own_default() {
    let set = set();
    let mut answers = answers(&set, &[]);
    answers.set_reason(number(&set, "search"), Reason::Unavailable);
    assert!(answers.is_enabled_or("search", true) && !answers.is_enabled("search"));
    assert_eq!(answers.evaluation("search").reason, Reason::Unavailable);
}

#[test]
fn names_and_numbers_that_the_set_does_not_have() {
    let set = set();
    let mut answers = answers(&set, &[Forced::new("unknown", true, ForcedBy::Upstream)]);
    assert_eq!((set.number("unknown"), set.names().count()), (None, 3));
    assert!(!answers.is_enabled("unknown") && answers.is_enabled_or("unknown", true));
    assert_eq!((answers.variant("unknown"), answers.value::<f64>("unknown")), (None, Ok(None)));
    let evaluation = answers.evaluation("unknown");
    assert_eq!((evaluation.enabled, evaluation.reason), (false, Reason::Unknown));
    let calls: [&mut dyn FnMut(&mut Answers); 3] = [
        &mut |answers| _ = answers.set(3, true),
        &mut |answers| _ = answers.set_variant(u32::MAX, "higher"),
        &mut |answers| _ = answers.set_reason(3, Reason::Disabled),
    ];
    for call in calls {
        let panic = catch_unwind(AssertUnwindSafe(|| call(&mut answers))).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.starts_with("expected the number of a flag, below 3, found "), "{message}");
    }
}

/// Knows alice and bob, by one set for all requests.
struct Engine {
    set: Arc<FlagSet>,
}

impl Source for Engine {
    fn answer(&self, query: &Query<'_>) -> Answers {
        let mut answers = Answers::of(&self.set, query);
        let (search, pricing) = (number(&self.set, "search"), number(&self.set, "pricing"));
        match query.context.user_id() {
            Some("alice") => answers.set(search, true).set_variant(pricing, "higher"),
            Some("bob") => answers.set(search, false).set_variant(pricing, "lower"),
            _ => answers.set_reason(search, Reason::Unavailable),
        };
        answers
    }

    fn status(&self) -> Status {
        Status::fresh()
    }
}

#[tokio::test]
async fn one_set_serves_two_requests_at_once() {
    let set = set();
    let both_are_inside = Arc::new(tokio::sync::Barrier::new(2));
    let expected = Arc::clone(&set);
    let handler = move || {
        let (expected, both_are_inside) = (Arc::clone(&expected), Arc::clone(&both_are_inside));
        async move {
            both_are_inside.wait().await;
            let flags = Flags::current().unwrap();
            assert!(Arc::ptr_eq(flags.flag_set(), &expected), "no set is made for a request");
            format!("{:?} {:?}", flags.is_enabled("search"), flags.value::<f64>("pricing").unwrap())
        }
    };
    let layer = FlagLayer::new(Engine { set: Arc::clone(&set) }).trust_headers();
    let server = serve(Router::new().route("/", get(handler)).layer(layer)).await;
    for _ in 0..3 {
        let (alice, bob) = tokio::join!(get_as(server, "/", "alice"), get_as(server, "/", "bob"));
        assert_eq!((alice.text(), alice.active()), ("true Some(1.2)", Some("pricing=higher,search")));
        assert_eq!((bob.text(), bob.active()), ("false Some(0.8)", Some("pricing=lower")));
    }
}

/// Awaits the same engine.
impl Resolve for Engine {
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
        Box::pin(ready(self.answer(&Query::new(context, now))))
    }
}

#[tokio::test]
async fn a_layer_around_answers_for_names_that_the_engine_does_not_have_and_disables_its_flags() {
    let handler = || async {
        let flags = Flags::current().unwrap();
        ["only_around", "search", "pricing"].map(|name| flags.is_enabled_or(name, true).to_string()).join(" ")
    };
    let cases = [
        (r#"{"only_around": false, "search": false, "pricing": false}"#, ["false false false"; 3]),
        (
            r#"{"only_around": true, "search": true, "pricing": true}"#,
            ["true true true", "true false true", "true true false"],
        ),
    ];
    for (rules, expected) in cases {
        let around = || FlagLayer::new(memory(rules)).trust_headers();
        let router = Router::new().route("/", get(handler));
        let answering = router.clone().layer(FlagLayer::new(Engine { set: set() })).layer(around());
        let resolving = ResolveLayer::new(Engine { set: set() }).deadline(Duration::MAX);
        let awaited = router.layer(FlagLayer::new(Memory::new())).layer(resolving).layer(around());
        for router in [answering, awaited] {
            let server = serve(router).await;
            for (user, expected) in ["alice", "bob", "carol"].into_iter().zip(expected) {
                assert_eq!(get_as(server, "/", user).await.text(), expected, "{user} {rules}");
            }
        }
    }
}

//! What applications test with: fixed flags, and runs over every combination.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(all(feature = "axum", feature = "testing"))]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::get;
use futures_util::FutureExt;
use tokio::sync::Barrier;
use tower_flags::testing::{Combinations, TestFlags, with_flags};
use tower_flags::{Context, FlagLayer, Flags, HeaderPolicy, declare_flags, flag, variant};

use support::{get_as, serve};

declare_flags! {
    static ALL;
    /// One-page checkout.
    NEW_CHECKOUT: bool = "new_checkout";
    /// What the pricing page shows.
    PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing_page";
}

#[tokio::test]
async fn fixed_flags_are_in_scope_and_say_what_was_asked() {
    assert_eq!(ALL.len(), 2);
    let flags = TestFlags::new().on(NEW_CHECKOUT).variant_with_value(PRICING, "higher", 1.2).off("dark_mode");
    assert_eq!(flags.asked(), [""; 0]);
    with_flags(&flags, async {
        assert!(flag("new_checkout") && NEW_CHECKOUT.get() && !flag("misspelt"));
        assert_eq!((variant(PRICING).as_deref(), PRICING.get()), (Some("higher"), Pricing::Higher));
        assert_eq!(Flags::current().unwrap().value::<f64>(PRICING).unwrap(), Some(1.2));
        tower_flags::spawn(async { assert!(!flag("dark_mode")) }).await.unwrap();
    })
    .await;
    assert_eq!(flags.asked(), ["new_checkout", "misspelt", "pricing_page", "dark_mode"], "each once, in order");
    assert!(format!("{flags:?}").contains("misspelt"));
}

#[tokio::test]
async fn a_layer_answers_everybody_from_fixed_flags_and_records_over_all_requests() {
    let flags = TestFlags::new().on("everywhere").off("nowhere");
    let handler = |flags: Flags| async move {
        format!("{} {} {}", flags.context().user_id().unwrap_or("nobody"), flag("everywhere"), flag("nowhere"))
    };
    let layer = FlagLayer::new(flags.clone()).trust_headers().header_policy(HeaderPolicy::All);
    let server = serve(Router::new().route("/", get(handler)).layer(layer)).await;
    let reply = get_as(server, "/", "alice").await;
    assert_eq!((reply.text(), reply.active()), ("alice true false", Some("everywhere")));
    assert_eq!(get_as(server, "/", "bob").await.text(), "bob true false");
    assert_eq!(flags.asked(), ["everywhere", "nowhere"], "writing the header asks nothing");
}

#[test]
fn answers_are_for_the_caller_that_is_named() {
    let flags = TestFlags::new().on("x").flags_for(Context::user("alice").in_groups(["staff"]));
    assert_eq!(flags.context().user_id(), Some("alice"));
    assert!(flags.is_enabled("x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_side_by_side_do_not_see_each_others_flags() {
    let barrier = Arc::new(Barrier::new(16));
    let tests = (0..16).map(|number| {
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            let flags = if number % 2 == 0 { TestFlags::new().on("x") } else { TestFlags::new().off("x") };
            with_flags(&flags, async {
                for _ in 0..50 {
                    barrier.wait().await;
                    assert_eq!(flag("x"), number % 2 == 0);
                }
            })
            .await;
            assert_eq!(flags.asked(), ["x"]);
        })
    });
    for test in tests.collect::<Vec<_>>() {
        test.await.unwrap();
    }
}

#[tokio::test]
async fn every_combination_is_run_once_with_its_flags_in_scope() {
    let seen = Mutex::new(Vec::new());
    let all = Combinations::of(["a", "b"]).with_variants(PRICING, ["control", "higher"]);
    all.run(|flags| {
        let started = (flag("a"), flag("b"));
        let seen = &seen;
        async move {
            tokio::task::yield_now().await;
            assert_eq!(started, (flag("a"), flag("b")), "while the future is made, too");
            assert_eq!(flags.asked(), ["a", "b"]);
            seen.lock().unwrap().push((flag("a"), flag("b"), variant(PRICING)));
        }
    })
    .await;
    let mut expected = Vec::new();
    for a in [false, true] {
        for b in [false, true] {
            for variant in [None, Some("control"), Some("higher")] {
                expected.push((a, b, variant.map(str::to_owned)));
            }
        }
    }
    assert_eq!(seen.into_inner().unwrap(), expected);
}

/// What a run panics with.
fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    *panic.downcast::<String>().unwrap()
}

const REPORT: &str = "2 of 6 combinations failed\n\
    with new_checkout on, pricing_page off: the control has no button\n\
    with new_checkout on, pricing_page=control: the control has no button";

#[tokio::test]
async fn a_failure_names_the_combinations_and_the_others_are_run_all_the_same() {
    let mut runs = 0;
    let all = Combinations::of([NEW_CHECKOUT]).with_variants(PRICING, ["control", "higher"]);
    let run = all.run(|_| {
        runs += 1;
        async {
            tokio::task::yield_now().await;
            assert!(!flag(NEW_CHECKOUT) || PRICING.get() != Pricing::Control, "the control has no button");
        }
    });
    assert_eq!(message(AssertUnwindSafe(run).catch_unwind().await.unwrap_err()), REPORT);
    assert_eq!(runs, 6);

    let run_sync = || {
        all.run_sync(|flags| {
            let is_control = flags.flags().get(PRICING) == Pricing::Control;
            assert!(!flag(NEW_CHECKOUT) || !is_control, "the control has no button");
        });
    };
    assert_eq!(message(catch_unwind(run_sync).unwrap_err()), REPORT);
}

#[test]
fn more_combinations_than_anybody_waits_for_are_refused() {
    let panic = catch_unwind(|| Combinations::of((0..9).map(|number| format!("flag_{number}")))).unwrap_err();
    assert_eq!(
        message(panic),
        "expected at most 256 combinations, found more with flag \"flag_8\"; test fewer flags together"
    );
    let mut runs = 0;
    Combinations::of((0..8).map(|number| format!("flag_{number}"))).run_sync(|_| runs += 1);
    assert_eq!(runs, 256);
}

#[test]
fn names_that_no_flag_can_have_panic_where_they_are_written() {
    let panic = message(catch_unwind(|| TestFlags::new().on("new checkout")).unwrap_err());
    assert!(panic.starts_with("flag \"new checkout\": expected a name of 1 to 128 characters"), "{panic}");
}

#[tokio::test]
async fn what_asks_for_all_hides_nothing_that_is_asked_for_later() {
    let flags = TestFlags::new().on("a").off("b");
    let answers = flags.flags();
    assert_eq!(answers.active().count(), 1);
    assert!(answers.is_enabled("a"));
    assert_eq!(flags.asked(), ["a"]);
}

#[tokio::test]
async fn a_test_that_returns_an_error_has_failed() {
    let all = Combinations::of(["a"]);
    let run = all.run(|_| async { if flag("a") { Err("no a") } else { Ok(()) } });
    let expected = "1 of 2 combinations failed\nwith a on: \"no a\"";
    assert_eq!(message(AssertUnwindSafe(run).catch_unwind().await.unwrap_err()), expected);
    let run_sync = || all.run_sync(|_| if flag("a") { Err("no a") } else { Ok(()) });
    assert_eq!(message(catch_unwind(run_sync).unwrap_err()), expected);
}

#[test]
fn declared_variants_are_combined_and_no_others_taken() {
    let mut seen = Vec::new();
    Combinations::of([PRICING]).run_sync(|_| seen.push(variant(PRICING)));
    assert_eq!(seen, [None, Some("control".to_owned()), Some("higher".to_owned())]);
    Combinations::default().with_variants(PRICING, [Pricing::Higher]).run_sync(|_| ());
    assert_eq!(TestFlags::new().variant(PRICING, Pricing::Higher).flags().get(PRICING), Pricing::Higher);

    let panic = message(catch_unwind(|| TestFlags::new().variant(PRICING, "highr")).unwrap_err());
    assert_eq!(
        panic,
        "expected one of the declared variants [\"control\", \"higher\"] of flag \"pricing_page\", found \"highr\""
    );
    let panic = message(catch_unwind(|| Combinations::of(["a", "b", "a"])).unwrap_err());
    assert_eq!(panic, "expected each flag once, found \"a\" twice");
}

#[tokio::test]
async fn a_router_without_a_layer_reads_the_flags_of_the_test() {
    let extracted = |flags: Flags| async move { flags.is_enabled("a").to_string() };
    let router = Router::new().route("/", get(extracted));
    for is_on in [true, false] {
        let flags = if is_on { TestFlags::new().on("a") } else { TestFlags::new().off("a") };
        let request = http::Request::get("/").body(axum::body::Body::empty()).unwrap();
        let response = with_flags(&flags, tower::ServiceExt::oneshot(router.clone(), request)).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        assert_eq!(body, is_on.to_string());
    }
}

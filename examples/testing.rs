//! How an application tests both branches of its flags: `cargo test --example testing`.

use axum::routing::get;
use axum::{Json, Router};
use tower_flags::{FlagLayer, Flags, Source, declare_flags, flag};

declare_flags! {
    /// Every flag of this application.
    static FLAGS;

    /// One-page checkout.
    NEW_CHECKOUT: bool = "new_checkout" { owner: "payments", expires_at: "2027-03-01" };

    /// What the pricing page shows.
    PRICING: enum Pricing { Control = "control", Higher = "higher" } = "pricing_page" { kind: Experiment };
}

fn button() -> &'static str {
    if flag(NEW_CHECKOUT) { "Buy now" } else { "Add to cart" }
}

fn price(flags: &Flags) -> f64 {
    match flags.get(PRICING) {
        Pricing::Control => 10.0,
        Pricing::Higher => 12.0,
    }
}

async fn checkout(flags: Flags) -> String {
    format!("{} for {}", button(), price(&flags))
}

async fn front_end(flags: Flags) -> Json<Flags> {
    Json(flags)
}

fn app(rules: impl Source) -> Router {
    Router::new()
        .route("/checkout", get(checkout))
        .route("/flags", get(front_end))
        .layer(FlagLayer::new(rules).ignore_headers())
}

fn main() {
    let _ = app(tower_flags::Memory::new());
    println!("{} flags are declared; run me with `cargo test --example testing`", FLAGS.len());
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;
    use tower_flags::testing::{Combinations, TestFlags, with_flags};

    use super::*;

    async fn get(app: Router, path: &str) -> String {
        let request = Request::get(path).body(Body::empty()).expect("this is a request");
        let response = app.oneshot(request).await.expect("a router answers");
        String::from_utf8(to_bytes(response.into_body(), 10_000).await.expect("it is short").into())
            .expect("it is text")
    }

    #[tokio::test]
    async fn the_button_changes_with_the_flag() {
        with_flags(TestFlags::new().on(NEW_CHECKOUT), async { assert_eq!(button(), "Buy now") }).await;
        with_flags(TestFlags::new().off(NEW_CHECKOUT), async { assert_eq!(button(), "Add to cart") }).await;
    }

    #[tokio::test]
    async fn the_page_has_a_button_and_a_price_whatever_the_flags() {
        let all = Combinations::of([NEW_CHECKOUT]).with_variants(PRICING, ["control", "higher"]);
        all.run(|flags| async {
            let page = get(app(flags), "/checkout").await;
            assert!(page.contains(" for 1"), "{page}");
        })
        .await;
    }

    #[tokio::test]
    async fn the_page_asks_for_the_flags_that_it_says() {
        let flags = TestFlags::new().on(NEW_CHECKOUT).variant(PRICING, "higher");
        assert_eq!(get(app(flags.clone()), "/checkout").await, "Buy now for 12");
        assert_eq!(flags.asked(), ["new_checkout", "pricing_page"]);
    }

    #[tokio::test]
    async fn the_front_end_is_told() {
        let flags = TestFlags::new().off(NEW_CHECKOUT).variant(PRICING, "higher");
        assert_eq!(get(app(flags), "/flags").await, r#"{"new_checkout":false,"pricing_page":"higher"}"#);
    }

    #[test]
    fn every_flag_is_in_the_rules() {
        let rules = r#"{"flags": {"new_checkout": {"percentage": 5}, "pricing_page": {"percentage": 50, "variants": {"control": 50, "higher": 50}}}}"#;
        let rules = tower_flags::Document::from_json(rules).expect("these are rules");
        let differences = tower_flags::FlagSet::compile(&rules, tower_flags::Timestamp::MIN).differences(&[FLAGS]);
        assert!(differences.is_empty(), "{differences}");
    }
}

//! Caches in Rust that keep responses beside `FlagLayer`: nobody gets what was made for somebody else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::header::CACHE_CONTROL;
use axum::routing::get;
use axum_response_cache::CacheLayer;
use http_cache::MokaManager;
use http_cache_tower_server::ServerCacheLayer;
use tower::ServiceBuilder;
use tower_flags::flag;
use tower_flags_composition::{PAGE, failed, flags, over_http, page};

/// A page that says itself how long it may be kept, and not by whom.
fn dated() -> Router {
    let handler = || async { ([(CACHE_CONTROL, "max-age=60")], flag("mine").to_string()) };
    Router::new().route("/", get(handler))
}

/// Keeps what the headers allow.
fn obedient() -> ServerCacheLayer<MokaManager> {
    ServerCacheLayer::new(MokaManager::default())
}

#[tokio::test]
async fn a_cache_between_two_layers_keeps_the_page_and_not_whose_flags_are_on() {
    let kept = CacheLayer::with_lifespan(Duration::from_secs(60));
    // It asks nobody whether it may: the page is alice's. The header is of whoever asks.
    assert_eq!(over_http(page().layer(flags()).layer(kept).layer(flags())).await, ["true mine", "true -"]);
}

#[tokio::test]
async fn a_cache_around_the_layer_keeps_no_page_that_read_a_flag_of_the_caller() {
    let kept = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(obedient());
    assert_eq!(over_http(dated().layer(flags()).layer(kept)).await, PAGE);
}

#[tokio::test]
async fn a_cache_between_two_layers_keeps_no_page_that_read_a_flag_of_the_caller() {
    let kept = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(obedient());
    assert_eq!(over_http(dated().layer(flags()).layer(kept).layer(flags())).await, PAGE);
}

/// Without this the two cases before would pass for a cache that keeps nothing.
#[tokio::test]
async fn a_cache_around_the_layer_keeps_a_page_that_read_no_flag() {
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let handler = move || async move {
        let made = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        ([(CACHE_CONTROL, "max-age=60")], made.to_string())
    };
    let kept = obedient();
    let metrics = kept.metrics().clone();
    let kept = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(kept);
    let page = Router::new().route("/", get(handler)).layer(flags().header_policy(tower_flags::HeaderPolicy::Never));
    assert_eq!(over_http(page.layer(kept)).await, ["0 -", "0 -"]);
    assert_eq!(metrics.hits.load(std::sync::atomic::Ordering::Relaxed), 1);
}

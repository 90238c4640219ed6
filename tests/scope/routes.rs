//! Which routes of a router a layer is around: those that were there before it.

use axum::Router;
use axum::routing::{get, post};
use tower_flags::request::reads_out_of_scope;
use tower_flags::{FlagLayer, Flags, flag};

use super::lost::READS;
use super::support::{Reply, get_as, mine, serve};

async fn seen() -> String {
    match Flags::current() {
        Some(flags) => format!("flags of {}", flags.context().user_id().unwrap_or("nobody")),
        None => "none".to_owned(),
    }
}

fn assert_in_scope(reply: &Reply) {
    assert_eq!((reply.text(), reply.active()), ("flags of alice", Some("mine")));
}

fn assert_out_of_scope(reply: &Reply) {
    assert_eq!((reply.text(), reply.active()), ("none", None));
}

fn layer() -> FlagLayer {
    FlagLayer::new(mine("alice"))
}

#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_have_the_header() {
    let address = serve(Router::new().route("/", post(seen)).layer(layer())).await;
    let not_found = get_as(address, "/nowhere", "alice").await;
    assert_eq!((not_found.status, not_found.active()), (404, Some("mine")));
    let wrong_method = get_as(address, "/", "alice").await;
    assert_eq!((wrong_method.status, wrong_method.active()), (405, Some("mine")));
    assert_eq!(wrong_method.header("allow"), Some("POST"));
}

#[tokio::test]
async fn fallbacks_that_were_there_before_the_layer_are_in_scope() {
    let router = Router::new()
        .route("/post", post(seen))
        .fallback(seen)
        .method_not_allowed_fallback(seen)
        .nest("/api", Router::new().route("/known", get(seen)))
        .layer(layer());
    let address = serve(router).await;
    for path in ["/nowhere", "/post", "/api/nowhere", "/api/known"] {
        assert_in_scope(&get_as(address, path, "alice").await);
    }
}

#[tokio::test]
async fn routes_and_fallbacks_added_after_the_layer_are_out_of_scope() {
    let router = Router::new()
        .route("/before", get(seen))
        .layer(layer())
        .route("/after", get(seen))
        .merge(Router::new().route("/merged", get(seen)))
        .nest("/nested", Router::new().route("/inside", get(seen)).fallback(seen))
        .fallback(seen);
    let address = serve(router).await;
    assert_in_scope(&get_as(address, "/before", "alice").await);
    for path in ["/after", "/merged", "/nested/inside", "/nested/nowhere", "/nowhere"] {
        assert_out_of_scope(&get_as(address, path, "alice").await);
    }
}

#[tokio::test]
async fn a_layer_in_a_nested_router_is_around_that_one_alone() {
    let inside = Router::new().route("/known", get(seen)).fallback(seen).layer(layer());
    let router = Router::new().nest("/api", inside).route("/sibling", get(seen));
    let address = serve(router).await;
    assert_in_scope(&get_as(address, "/api/known", "alice").await);
    assert_in_scope(&get_as(address, "/api/nowhere", "alice").await);
    assert_out_of_scope(&get_as(address, "/sibling", "alice").await);
}

#[tokio::test]
async fn a_path_that_a_nested_router_does_not_have_belongs_to_the_outer_one() {
    let inside = || Router::new().route("/known", get(seen)).layer(layer());
    let without = serve(Router::new().nest("/api", inside()).fallback(seen)).await;
    assert_in_scope(&get_as(without, "/api/known", "alice").await);
    assert_out_of_scope(&get_as(without, "/api/nowhere", "alice").await);
    // The fix: the layer around the outermost router, last.
    let with = serve(Router::new().nest("/api", inside()).fallback(seen).layer(layer())).await;
    assert_in_scope(&get_as(with, "/api/nowhere", "alice").await);
}

#[tokio::test]
async fn a_route_layer_is_around_matching_routes_alone() {
    let address = serve(Router::new().route("/known", get(seen)).fallback(seen).route_layer(layer())).await;
    assert_in_scope(&get_as(address, "/known", "alice").await);
    assert_out_of_scope(&get_as(address, "/nowhere", "alice").await);
}

#[tokio::test]
async fn a_flag_read_after_the_layer_is_false_and_counted() {
    let _turn = READS.lock().await;
    let router = Router::new()
        .layer(layer())
        .route("/after", get(|| async { flag("mine").to_string() }))
        .fallback(|| async { flag("mine").to_string() });
    let address = serve(router).await;
    let before = reads_out_of_scope();
    for (path, count) in [("/after", 1), ("/nowhere", 2), ("/after", 3)] {
        assert_eq!(get_as(address, path, "alice").await.text(), "false");
        assert_eq!(reads_out_of_scope() - before, count);
    }
}

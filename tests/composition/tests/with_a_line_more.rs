//! What composes with a line more, as the limitations name it, and services that are no layers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::Request;
use axum::handler::HandlerWithoutStateExt;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::Full;
use tower::buffer::BufferLayer;
use tower::limit::RateLimitLayer;
use tower::load::{CompleteOnResponse, PeakEwma, PendingRequests};
use tower::spawn_ready::SpawnReadyLayer;
use tower::steer::Steer;
use tower::util::{BoxCloneService, BoxCloneServiceLayer, BoxCloneSyncServiceLayer, BoxLayer, option_layer};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_flags_composition::{HIDDEN, PAGE, Plain, boxed, failed, flags, gate, in_process, over_http, page};
use tower_http::map_response_body::MapResponseBodyLayer;
use tower_http::services::{Redirect, ServeDir, ServeFile};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_layer_that_may_be_there_is_one_that_skips() {
    for (is_there, seen) in [(true, PAGE), (false, ["false -"; 2])] {
        assert_eq!(over_http(page().layer(flags().skip(move |_| !is_there))).await, seen);
    }
}

#[tokio::test]
async fn an_optional_layer_has_the_body_of_the_service_inside() {
    for (is_there, seen) in [(true, PAGE), (false, ["false -"; 2])] {
        let layer = is_there.then(|| (MapResponseBodyLayer::new(Body::new), flags()));
        assert_eq!(over_http(page().layer(option_layer(layer))).await, seen);
    }
}

#[tokio::test]
async fn an_optional_gate_needs_nothing() {
    for (is_there, seen) in [(true, HIDDEN), (false, PAGE)] {
        let layer = ServiceBuilder::new().layer(flags()).layer(option_layer(is_there.then(gate)));
        assert_eq!(over_http(page().layer(layer)).await, seen);
    }
}

#[tokio::test]
async fn a_service_that_is_not_clone_goes_behind_a_buffer() {
    let limited = || ServiceBuilder::new().layer(BufferLayer::new(8)).layer(RateLimitLayer::new(100, SECOND));
    assert_eq!(in_process(flags().layer(limited().service(Plain))).await, PAGE);
    assert_eq!(in_process(flags().layer(gate().layer(limited().service(Plain)))).await, HIDDEN);
    assert_eq!(in_process(limited().layer(flags()).service(Plain)).await, PAGE, "outside it needs one anyway");
    let early = || ServiceBuilder::new().layer(BufferLayer::new(8)).layer(SpawnReadyLayer::new());
    assert_eq!(in_process(flags().layer(early().service(Plain))).await, PAGE);
    assert_eq!(in_process(flags().layer(gate().layer(early().service(Plain)))).await, HIDDEN);
    let layer = ServiceBuilder::new().layer(HandleErrorLayer::new(failed)).layer(BufferLayer::new(8));
    assert_eq!(over_http(page().layer(layer.layer(RateLimitLayer::new(100, SECOND)).layer(flags()))).await, PAGE);
}

#[tokio::test]
async fn boxed_services_and_layers() {
    type Boxed = BoxCloneService<http::Request<Full<Bytes>>, http::Response<Full<Bytes>>, Infallible>;

    let inside = || Boxed::new(Plain);
    assert_eq!(in_process(flags().layer(inside())).await, PAGE);
    assert_eq!(in_process(flags().layer(gate().layer(inside()))).await, HIDDEN);
    assert_eq!(in_process(BoxCloneService::new(flags().layer(Plain))).await, PAGE);

    let layer =
        BoxLayer::new(ServiceBuilder::new().map_response(|response: http::Response<_>| response).layer(flags()));
    let service = layer.layer(Plain);
    let mut request = http::Request::new(Full::<Bytes>::default());
    request.extensions_mut().insert(tower_flags::Context::user("alice"));
    assert_eq!(service.oneshot(request).await.unwrap().headers()["x-active-flags"], "mine");

    let layer = BoxCloneServiceLayer::new(ServiceBuilder::new().map_response(|r: http::Response<_>| r).layer(flags()));
    assert_eq!(in_process(layer.layer(Plain)).await, PAGE);

    let layer = ServiceBuilder::new().map_response(|response: Response<_>| response.map(Body::new)).layer(flags());
    assert_eq!(over_http(page().layer(BoxCloneSyncServiceLayer::new(layer))).await, PAGE);
}

#[tokio::test]
async fn services_that_choose_and_count() {
    let services = [flags().layer(Plain), flags().layer(Plain)];
    let mut steer = Steer::new(services, |_: &http::Request<Full<Bytes>>, services: &[_]| services.len() - 1);
    let mut request = http::Request::new(Full::<Bytes>::default());
    request.extensions_mut().insert(tower_flags::Context::user("alice"));
    let response = steer.ready().await.unwrap().oneshot(request.clone()).await.unwrap();
    assert_eq!(response.headers()["x-active-flags"], "mine");

    let counted = PendingRequests::new(flags().layer(gate().layer(Plain)), CompleteOnResponse::default());
    assert_eq!(counted.oneshot(request.clone()).await.unwrap().headers()["x-active-flags"], "mine");
    let measured = PeakEwma::new(flags().layer(Plain), SECOND, 1e6, CompleteOnResponse::default());
    assert_eq!(measured.oneshot(request).await.unwrap().headers()["x-active-flags"], "mine");
}

#[tokio::test]
async fn files_behind_a_gate() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let nothing_here = (async || "nothing here").into_service();

    // The body of a file is not `Default`: either the gate has a fallback, or the body is boxed.
    let files = MapResponseBodyLayer::new(boxed).layer(ServeDir::new(folder));
    let hidden = Router::new().fallback_service(gate().layer(files)).layer(flags());
    let [_, bob] = over_http(hidden).await;
    assert_eq!(bob, " -");
    let file = MapResponseBodyLayer::new(boxed).layer(ServeFile::new(manifest));
    let hidden = Router::new().route_service("/", gate().fallback(nothing_here).layer(file)).layer(flags());
    let [alice, bob] = over_http(hidden).await;
    assert!(alice.starts_with("[package]") && alice.ends_with(" mine"), "{alice}");
    assert_eq!(bob, "nothing here -");

    let file = flags().layer(ServeFile::new(manifest));
    let [alice, bob] = over_http(Router::new().route_service("/", file)).await;
    assert!(alice.ends_with(" mine") && bob.ends_with(" -"), "{alice} {bob}");
}

#[tokio::test]
async fn a_redirect_behind_a_gate() {
    let redirect = Redirect::<Body>::temporary("/there".parse().unwrap());
    let hidden = Router::new().route_service("/", gate().layer(redirect)).layer(flags());
    assert_eq!(over_http(hidden).await, [" mine", " -"]);
}

#[tokio::test]
async fn layers_in_layers_and_gates_in_gates() {
    let nested = ServiceBuilder::new().layer(gate()).layer(flags()).layer(gate()).layer(flags()).layer(gate());
    assert_eq!(over_http(page().layer(nested).layer(flags())).await, HIDDEN);
    let service = ServiceBuilder::new().layer(flags()).layer(gate()).layer(flags()).layer(gate()).service(Plain);
    assert_eq!(in_process(service).await, HIDDEN);
    let handler = async |request: Request| request.extensions().get::<tower_flags::Flags>().is_some().to_string();
    let service = Router::new().fallback_service(flags().layer(gate().layer(handler.into_service())));
    assert_eq!(over_http(service).await, HIDDEN);
}

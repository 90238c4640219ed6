//! Decisions for the next service, under tower-http's own layer that follows redirects.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::header::LOCATION;
use http::{Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_flags::flag;
use tower_flags::request::{SendDecisionsLayer, SigningKey};
use tower_flags_composition::flags;
use tower_http::follow_redirect::FollowRedirectLayer;

const HEADER: &str = "x-flag-decisions";

/// What a client received: the host, and whether the header was there.
type Hops = Arc<Mutex<Vec<(String, bool)>>>;

fn decisions() -> SendDecisionsLayer {
    let key = SigningKey::new("a key for tests, of 32 bytes or more").unwrap();
    SendDecisionsLayer::new("shop", ["mine"]).to("payments", key, ["payments.internal", "https://next.internal"])
}

/// The network: one host redirects to the next.
async fn hop(hops: Hops, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let host = request.uri().host().unwrap().to_owned();
    let next = match &*host {
        "payments.internal" => Some("https://next.internal/"),
        // With the name of the first host before it, and on another port.
        "next.internal" if request.uri().port().is_none() => Some("http://payments.internal@evil.example/"),
        "evil.example" => Some("https://next.internal:8443/"),
        _ => None,
    };
    hops.lock().unwrap().push((host, request.headers().contains_key(HEADER)));
    let response = Response::builder();
    Ok(match next {
        Some(next) => {
            response.status(StatusCode::TEMPORARY_REDIRECT).header(LOCATION, next).body(Body::empty()).unwrap()
        }
        None => response.body(Body::empty()).unwrap(),
    })
}

/// Asks the payments in a request of alice, with a header that came in.
async fn asked<L, S>(layers: ServiceBuilder<L>) -> Vec<(String, bool)>
where
    L: tower::Layer<tower::util::BoxCloneService<Request<Body>, Response<Body>, Infallible>, Service = S>,
    S: tower::Service<Request<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let hops = Hops::default();
    let network = Arc::clone(&hops);
    let client = service_fn(move |request| hop(Arc::clone(&network), request));
    let client = layers.service(tower::util::BoxCloneService::new(client));
    let handler = service_fn(move |_: Request<Body>| {
        let client = client.clone();
        async move {
            assert!(flag("mine"));
            let request = Request::get("http://payments.internal/pay").header(HEADER, "foreign").body(Body::empty());
            client.oneshot(request.unwrap()).await.map(|_| Response::new(Body::empty()))
        }
    });
    let request = Request::get("/").header("x-user-id", "alice").body(Body::empty()).unwrap();
    ServiceBuilder::new().layer(flags()).service(handler).oneshot(request).await.unwrap();
    let hops = hops.lock().unwrap();
    hops.clone()
}

fn hops(has_header: [bool; 4]) -> Vec<(String, bool)> {
    let hosts = ["payments.internal", "next.internal", "evil.example", "next.internal"];
    hosts.into_iter().map(str::to_owned).zip(has_header).collect()
}

#[tokio::test]
async fn inside_of_the_layer_that_follows_redirects_each_hop_is_judged() {
    let layers = ServiceBuilder::new().layer(FollowRedirectLayer::new()).layer(decisions());
    assert_eq!(asked(layers).await, hops([true, true, false, false]));
}

#[tokio::test]
async fn a_second_one_inside_takes_away_what_a_redirect_carries() {
    let layers = ServiceBuilder::new().layer(decisions()).layer(FollowRedirectLayer::new()).layer(decisions());
    assert_eq!(asked(layers).await, hops([true, true, false, false]));
}

#[tokio::test]
async fn outside_alone_it_does_not_see_where_the_header_goes() {
    // What the documentation warns of. If this changes, so may the documentation.
    let layers = ServiceBuilder::new().layer(decisions()).layer(FollowRedirectLayer::new());
    assert_eq!(asked(layers).await, hops([true, true, true, true]));
}

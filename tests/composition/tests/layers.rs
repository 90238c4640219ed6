//! Every layer of tower-http and of tower that fits, outside and inside of `FlagLayer` and of `RequireFlagLayer`: by
//! `Router::layer`, by `ServiceBuilder`, and around a service that knows nothing of axum.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::{BoxError, Extension};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tower::ServiceBuilder;
use tower::buffer::BufferLayer;
use tower::filter::{AsyncFilterLayer, FilterLayer};
use tower::limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::retry::RetryLayer;
use tower::util::{
    AndThenLayer, MapErrLayer, MapFutureLayer, MapRequestLayer, MapResponseLayer, MapResultLayer, ThenLayer,
    option_layer,
};
use tower_flags_composition::{HIDDEN, PAGE, Plain, boxed, failed, flags, gate, in_process, over_http, page};
use tower_http::map_response_body::MapResponseBodyLayer;

const SECOND: Duration = Duration::from_secs(1);
const X_OWN: HeaderName = HeaderName::from_static("x-own");

/// Tests of a layer in all its positions. In brackets: what handles its errors, and, where its body is not
/// `Default`, what a gate needs around it.
macro_rules! composes {
    ($($name:ident: [$($handle:tt)*] [$($default:tt)*] $layer:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let by_router = page().layer(ServiceBuilder::new()$($handle)*.layer($layer));
            assert_eq!(over_http(by_router.clone().layer(flags())).await, PAGE, "inside, by the router");
            assert_eq!(over_http(by_router.clone().layer(gate()).layer(flags())).await, HIDDEN, "inside the gate");

            let outside = ServiceBuilder::new()$($handle)*.layer($layer);
            let by_router = page().layer(flags()).layer(outside);
            assert_eq!(over_http(by_router).await, PAGE, "outside, by the router");
            let outside = ServiceBuilder::new()$($handle)*.layer($layer);
            let by_router = page().layer(gate()).layer(outside).layer(flags());
            assert_eq!(over_http(by_router).await, HIDDEN, "outside the gate");

            let outside = ServiceBuilder::new()$($handle)*.layer($layer).layer(flags());
            assert_eq!(over_http(page().layer(outside)).await, PAGE, "outside, by a builder");
            let inside = ServiceBuilder::new().layer(flags())$($handle)*.layer($layer);
            assert_eq!(over_http(page().layer(inside)).await, PAGE, "inside, by a builder");
            let outside = ServiceBuilder::new().layer(flags())$($handle)*.layer($layer).layer(gate());
            assert_eq!(over_http(page().layer(outside)).await, HIDDEN, "outside the gate, by a builder");
            let inside = ServiceBuilder::new().layer(flags()).layer(gate())$($default)*$($handle)*.layer($layer);
            assert_eq!(over_http(page().layer(inside)).await, HIDDEN, "inside the gate, by a builder");
            let nested = ServiceBuilder::new().layer(flags()).layer(gate())$($default)*$($handle)*.layer($layer);
            assert_eq!(over_http(page().layer(nested.layer(flags()))).await, HIDDEN, "around a layer in a gate");

            let outside = ServiceBuilder::new().layer($layer).layer(flags()).service(Plain);
            assert_eq!(in_process(outside).await, PAGE, "outside, around a service");
            let inside = ServiceBuilder::new().layer(flags()).layer($layer).service(Plain);
            assert_eq!(in_process(inside).await, PAGE, "inside, around a service");
            let outside = ServiceBuilder::new().layer(flags()).layer($layer).layer(gate()).service(Plain);
            assert_eq!(in_process(outside).await, HIDDEN, "outside the gate, around a service");
            let inside = ServiceBuilder::new().layer(flags()).layer(gate())$($default)*.layer($layer).service(Plain);
            assert_eq!(in_process(inside).await, HIDDEN, "inside the gate, around a service");
        }
    )*};
}

// Of tower-http.
composes! {
    add_authorization: [] [] tower_http::auth::AddAuthorizationLayer::bearer("token");
    add_extension: [] [] tower_http::add_extension::AddExtensionLayer::new(1_u8);
    async_require_authorization: [] [] tower_http::auth::AsyncRequireAuthorizationLayer::new(
        async |request: Request<_>| Ok::<_, Response<_>>(request)
    );
    catch_panic: [] [] tower_http::catch_panic::CatchPanicLayer::new();
    compression: [] [] tower_http::compression::CompressionLayer::new();
    cors: [] [] tower_http::cors::CorsLayer::permissive();
    csrf: [] [] tower_http::csrf::CsrfLayer::new();
    decompression: [] [] tower_http::decompression::DecompressionLayer::new();
    follow_redirect: [] [] tower_http::follow_redirect::FollowRedirectLayer::new();
    in_flight_requests: [] [.layer(MapResponseBodyLayer::new(boxed))]
        tower_http::metrics::InFlightRequestsLayer::pair().0;
    map_request_body: [] [] tower_http::map_request_body::MapRequestBodyLayer::new(|body| body);
    map_response_body: [] [] MapResponseBodyLayer::new(boxed);
    normalize_path: [] [] tower_http::normalize_path::NormalizePathLayer::trim_trailing_slash();
    on_early_drop: [] [.layer(MapResponseBodyLayer::new(boxed))] tower_http::on_early_drop::OnEarlyDropLayer::new(
        tower_http::on_early_drop::EarlyDropsAsFailures::new(tower_http::trace::DefaultOnFailure::new())
    );
    propagate_header: [] [] tower_http::propagate_header::PropagateHeaderLayer::new(X_OWN);
    propagate_request_id: [] [] tower_http::request_id::PropagateRequestIdLayer::x_request_id();
    request_body_deadline: [] [] tower_http::timeout::RequestBodyDeadlineLayer::new(SECOND);
    request_body_limit: [] [] tower_http::limit::RequestBodyLimitLayer::new(1024);
    request_body_timeout: [] [] tower_http::timeout::RequestBodyTimeoutLayer::new(SECOND);
    request_decompression: [] [] tower_http::decompression::RequestDecompressionLayer::new();
    response_body_deadline: [] [.layer(MapResponseBodyLayer::new(boxed))]
        tower_http::timeout::ResponseBodyDeadlineLayer::new(SECOND);
    response_body_timeout: [] [.layer(MapResponseBodyLayer::new(boxed))]
        tower_http::timeout::ResponseBodyTimeoutLayer::new(SECOND);
    set_multiple_request_headers: [] [] tower_http::set_header::request::SetMultipleRequestHeadersLayer::overriding(
        vec![(X_OWN, HeaderValue::from_static("1")).into()]
    );
    set_multiple_response_headers: [] [] tower_http::set_header::response::SetMultipleResponseHeadersLayer::overriding(
        vec![(X_OWN, HeaderValue::from_static("1")).into()]
    );
    set_request_header: [] [] tower_http::set_header::SetRequestHeaderLayer::overriding(
        X_OWN, HeaderValue::from_static("1")
    );
    set_request_id: [] [] tower_http::request_id::SetRequestIdLayer::x_request_id(tower_http::request_id::MakeRequestUuid);
    set_response_header: [] [] tower_http::set_header::SetResponseHeaderLayer::overriding(
        X_OWN, HeaderValue::from_static("1")
    );
    set_sensitive_headers: [] [] tower_http::sensitive_headers::SetSensitiveHeadersLayer::new([AUTHORIZATION]);
    set_sensitive_request_headers: [] []
        tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer::new([AUTHORIZATION]);
    set_sensitive_response_headers: [] []
        tower_http::sensitive_headers::SetSensitiveResponseHeadersLayer::new([AUTHORIZATION]);
    set_status: [] [] tower_http::set_status::SetStatusLayer::new(StatusCode::ACCEPTED);
    timeout: [] [] tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, SECOND);
    trace: [] [.layer(MapResponseBodyLayer::new(boxed))] tower_http::trace::TraceLayer::new_for_http();
    trace_grpc: [] [.layer(MapResponseBodyLayer::new(boxed))] tower_http::trace::TraceLayer::new_for_grpc();
    validate_request: [] [] tower_http::validate_request::ValidateRequestHeaderLayer::accept("text/plain");
}

/// Never tries again.
#[derive(Clone, Debug)]
struct Once;

impl<B, R, E> tower::retry::Policy<Request<B>, R, E> for Once {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, _: &mut Result<R, E>) -> Option<Self::Future> {
        None
    }

    fn clone_request(&mut self, _: &Request<B>) -> Option<Request<B>> {
        None
    }
}

// Of tower, and axum's own.
composes! {
    and_then: [] [] AndThenLayer::new(async |response: Response<_>| Ok::<_, Infallible>(response));
    async_filter: [.layer(HandleErrorLayer::new(failed))] []
        AsyncFilterLayer::new(async |request: Request<_>| Ok::<_, BoxError>(request));
    axum_extension: [] [] Extension(1_u8);
    buffer: [.layer(HandleErrorLayer::new(failed))] [] BufferLayer::new(8);
    concurrency_limit: [] [] ConcurrencyLimitLayer::new(1);
    filter: [.layer(HandleErrorLayer::new(failed))] [] FilterLayer::new(|request: Request<_>| Ok::<_, BoxError>(request));
    global_concurrency_limit: [] [] GlobalConcurrencyLimitLayer::new(1);
    load_shed: [.layer(HandleErrorLayer::new(failed))] [] LoadShedLayer::new();
    map_err: [] [] MapErrLayer::new(|error: Infallible| error);
    map_future: [] [] MapFutureLayer::new(|future| future);
    map_request: [] [] MapRequestLayer::new(|request: Request<_>| request);
    map_response: [] [] MapResponseLayer::new(|response: Response<_>| response);
    map_result: [] [] MapResultLayer::new(|result: Result<_, Infallible>| result);
    no_layer: [] [] option_layer(None::<ConcurrencyLimitLayer>);
    retry: [] [] RetryLayer::new(Once);
    some_layer: [] [] option_layer(Some(ConcurrencyLimitLayer::new(1)));
    then: [] [] ThenLayer::new(async |result: Result<Response<_>, Infallible>| result);
    timeout_with_error: [.layer(HandleErrorLayer::new(failed))] [] tower::timeout::TimeoutLayer::new(SECOND);
}

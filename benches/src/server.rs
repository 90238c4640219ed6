//! A server that says hello: bare, behind a layer that does next to nothing, and behind the flags.

use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::str::FromStr;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tower_flags::{FlagLayer, HeaderPolicy, Memory, flag};
use tower_layer::Layer;
use tower_service::Service;

use crate::workload::{self, HEADER_BYTES, User};

/// The flag that the handler asks for.
const ASKED: &str = "search-redesign-0043";

static X_ACTIVE_FLAGS: HeaderName = HeaderName::from_static("x-active-flags");

/// What stands around the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Around {
    /// Nothing.
    Bare,
    /// A task-local scope and one short constant header.
    Trivial,
    /// The same with a constant header of [`HEADER_BYTES`]: what the bytes cost by themselves.
    Constant,
    /// `FlagLayer` over 100 flags, of which 50 are on, with their header.
    HeaderOn,
    /// The same without the header.
    HeaderOff,
    /// The same without the header, and with a handler that reads no flag.
    Unread,
}

impl Around {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Bare, Self::Trivial, Self::Constant, Self::HeaderOn, Self::HeaderOff, Self::Unread];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Trivial => "trivial",
            Self::Constant => "constant",
            Self::HeaderOn => "header-on",
            Self::HeaderOff => "header-off",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Around {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|around| around.name() == name);
        found.ok_or_else(|| format!("expected one of {}, found {name}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// The application. Its state is given, as a server does it: until then axum makes the route anew,
/// layers included, for every request.
///
/// # Panics
///
/// If the workload lacks the flag that the handler asks for.
pub fn app(around: Around) -> Router {
    let routes = || Router::new().route("/", get(hello));
    let reading = || Router::new().route("/", get(hello_by_flag));
    let constant = |value: &str| TrivialLayer(HeaderValue::from_str(value).expect("this is plain text"));
    let layer = |policy| {
        let flags = workload::half_active();
        let rules = Memory::from(workload::parse(&flags));
        assert!(flags.iter().any(|flag| flag.name == ASKED), "{ASKED} is not in the workload");
        FlagLayer::new(rules).trust_headers().header_policy(policy)
    };
    match around {
        Around::Bare => routes(),
        Around::Trivial => routes().layer(constant("on")),
        Around::Constant => routes().layer(constant(&"a".repeat(HEADER_BYTES))),
        Around::HeaderOn => reading().layer(layer(HeaderPolicy::All)),
        Around::HeaderOff => reading().layer(layer(HeaderPolicy::Never)),
        Around::Unread => routes().layer(layer(HeaderPolicy::Never)),
    }
    .with_state(())
}

async fn hello() -> &'static str {
    "Hello, World!"
}

/// Greets by a flag. It captures nothing, as the bare handler: axum copies handlers for each request.
pub async fn hello_by_flag() -> &'static str {
    if flag(ASKED) { "Hello, World." } else { "Hello, World!" }
}

/// A request of the user, as a proxy passes it on. Its header values share one buffer, as they do when
/// hyper has read them.
///
/// # Panics
///
/// Never: ids and groups of the workload are header values.
#[must_use]
pub fn request(user: &User) -> Request<Body> {
    let buffer = Bytes::from([user.id.clone(), user.groups.join(",")].concat());
    let value =
        |from, to| HeaderValue::from_maybe_shared(buffer.slice(from..to)).expect("ids and groups are plain text");
    Request::builder()
        .uri("/")
        .header("host", "127.0.0.1")
        .header("x-user-id", value(0, user.id.len()))
        .header("x-user-groups", value(user.id.len(), buffer.len()))
        .body(Body::empty())
        .expect("every part is valid")
}

/// Answers one request, body included, on this thread; returns the bytes of its `X-Active-Flags`.
///
/// # Panics
///
/// If the answer is not ready at once, which it is: nothing in the application waits.
pub fn answer(app: &mut Router, request: Request<Body>) -> usize {
    headers(app, request).get(&X_ACTIVE_FLAGS).map_or(0, HeaderValue::len)
}

/// Answers one request as [`answer`] does; returns the headers.
///
/// # Panics
///
/// The same.
pub fn headers(app: &mut Router, request: Request<Body>) -> HeaderMap {
    let cx = &mut Context::from_waker(Waker::noop());
    let mut future = pin!(Service::<Request<Body>>::call(app, request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(cx) else { panic!("the answer was not ready") };
    let (parts, body) = response.into_parts();
    let mut body = pin!(body);
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(cx) {
        std::hint::black_box(frame);
    }
    parts.headers
}

/// Serves the application on a free port of the loopback interface, on this thread.
///
/// # Errors
///
/// Where the system refuses.
pub fn serve(around: Around, ready: impl FnOnce(u16)) -> std::io::Result<Infallible> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        ready(listener.local_addr()?.port());
        axum::serve(listener, app(around)).await?;
        unreachable!("it serves until it is stopped")
    })
}

tokio::task_local! {
    static NUMBER: u64;
}

/// The least that a layer with a scope and a header can do; nothing of it is boxed.
#[derive(Clone, Debug)]
struct TrivialLayer(HeaderValue);

#[derive(Clone, Debug)]
struct TrivialService<S> {
    inner: S,
    value: HeaderValue,
}

pin_project! {
    struct TrivialFuture<F> {
        #[pin]
        future: TaskLocalFuture<u64, F>,
        value: Option<HeaderValue>,
    }
}

impl<S> Layer<S> for TrivialLayer {
    type Service = TrivialService<S>;

    fn layer(&self, inner: S) -> TrivialService<S> {
        TrivialService { inner, value: self.0.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for TrivialService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TrivialFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        TrivialFuture { future: NUMBER.scope(1, self.inner.call(request)), value: Some(self.value.clone()) }
    }
}

impl<F, R, E> Future for TrivialFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future.poll(cx).map_ok(|mut response| {
            if let Some(value) = this.value.take() {
                response.headers_mut().insert(&X_ACTIVE_FLAGS, value);
            }
            response
        })
    }
}

//! What the compositions have in common: a page, layers around it, and what a client has to see of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use axum::body::Body;
use axum::routing::get;
use axum::{BoxError, Router};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceExt};
use tower_flags::{Context, Flag, FlagLayer, Memory, RequireFlagLayer, flag};

/// The layer, with a flag that is on for alice alone.
pub fn flags() -> FlagLayer {
    let mine: Flag = r#"{"allowed_users": ["alice"]}"#.parse().unwrap();
    let source = Memory::new();
    source.set("mine", mine).unwrap();
    FlagLayer::new(source).trust_headers()
}

/// A gate that is open for alice alone.
pub fn gate() -> RequireFlagLayer {
    RequireFlagLayer::new("mine")
}

/// A router that says what its handler reads.
pub fn page() -> Router {
    Router::new().route("/", get(|| async { flag("mine").to_string() }))
}

/// The answer to an error of a layer.
pub async fn failed(error: BoxError) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

/// Says what it reads, whatever the body of the request; knows nothing of axum.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl<B> Service<Request<B>> for Plain {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        Box::pin(async { Ok(Response::new(flag("mine").to_string().into())) })
    }
}

/// What alice and bob get of a router, over a socket.
pub async fn over_http(router: Router) -> [String; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let mut answers = [(); 2].map(|()| String::new());
    for (user, answer) in ["alice", "bob"].into_iter().zip(&mut answers) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.0\r\nhost: test\r\nx-user-id: {user}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let active = head.lines().find_map(|line| line.strip_prefix("x-active-flags: "));
        *answer = format!("{body} {}", active.unwrap_or("-"));
    }
    server.abort();
    answers
}

/// What alice and bob get of a service that is no router.
pub async fn in_process<S, B>(service: S) -> [String; 2]
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>> + Clone,
    B: http_body::Body<Data: Debug, Error: Debug>,
{
    let mut answers = [(); 2].map(|()| String::new());
    for (user, answer) in ["alice", "bob"].into_iter().zip(&mut answers) {
        let mut request = Request::new(Full::default());
        request.extensions_mut().insert(Context::user(user));
        let response = service.clone().oneshot(request).await.map_err(Into::into).unwrap();
        let active = response.headers().get("x-active-flags").map(|value| value.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        *answer = format!("{} {}", std::str::from_utf8(&body).unwrap(), active.as_deref().unwrap_or("-"));
    }
    answers
}

/// What they get of a page that both may see.
pub const PAGE: [&str; 2] = ["true mine", "false -"];

/// What they get of a page that is hidden from bob.
pub const HIDDEN: [&str; 2] = ["true mine", " -"];

/// A body of one type, whatever it was: what a gate needs around a body that is not `Default`.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    Body::new(body)
}

//! Bodies that are produced after the handler has returned.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Extension;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tower::{Layer, Service, service_fn};
use tower_flags::{Context, FlagLayer, Flags, flag};

use super::support::{Client, document, get_as, memory, mine, serve};

type Steps = Arc<Mutex<Option<mpsc::UnboundedReceiver<()>>>>;

/// What the test steps through, for one request.
fn steps() -> (mpsc::UnboundedSender<()>, Steps) {
    let (step, steps) = mpsc::unbounded_channel();
    (step, Arc::new(Mutex::new(Some(steps))))
}

async fn stepped(steps: Steps) -> impl Stream<Item = String> + Send + 'static {
    let steps = steps.lock().await.take().unwrap();
    UnboundedReceiverStream::new(steps).map(|()| {
        let flags = Flags::current().unwrap();
        format!("{} {} {}", flag("mine"), flags.version(), flags.context().user_id().unwrap_or("nobody"))
    })
}

#[tokio::test]
async fn every_chunk_of_a_stream_sees_the_flags() {
    async fn handler(Extension(steps): Extension<Steps>) -> Body {
        Body::from_stream(stepped(steps).await.map(Ok::<_, Infallible>))
    }
    let (step, steps) = steps();
    let router = Router::new().route("/", get(handler)).layer(Extension(steps)).layer(FlagLayer::new(mine("alice")));
    let mut client = Client::open(serve(router).await).await;
    client.ask("GET", "/", &[("X-User-ID", b"alice")]).await;
    assert_eq!(client.head().await.active(), Some("mine"));
    for _ in 0..3 {
        step.send(()).unwrap();
        assert_eq!(client.frame().await.unwrap(), b"true 1 alice");
    }
    drop(step);
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn server_sent_events_see_the_flags() {
    async fn handler(Extension(steps): Extension<Steps>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
        Sse::new(stepped(steps).await.map(|seen| Ok(Event::default().data(seen))))
    }
    let (step, steps) = steps();
    let router = Router::new().route("/", get(handler)).layer(Extension(steps)).layer(FlagLayer::new(mine("alice")));
    let mut client = Client::open(serve(router).await).await;
    client.ask("GET", "/", &[("X-User-ID", b"alice")]).await;
    assert_eq!(client.head().await.header("content-type"), Some("text/event-stream"));
    for _ in 0..3 {
        step.send(()).unwrap();
        assert_eq!(client.frame().await.unwrap(), b"data: true 1 alice\n\n");
    }
}

#[tokio::test]
async fn a_request_sees_one_version_from_first_poll_to_last_frame() {
    async fn handler(Extension(source): Extension<tower_flags::Memory>, Extension(steps): Extension<Steps>) -> Body {
        let before = (flag("mine"), Flags::current().unwrap().version());
        source.set("mine", false).unwrap();
        assert_eq!((flag("mine"), Flags::current().unwrap().version()), before);
        Body::from_stream(stepped(steps).await.map(Ok::<_, Infallible>))
    }
    let source = mine("alice");
    let (step, steps) = steps();
    let router = Router::new()
        .route("/", get(handler))
        .route("/now", get(|| async { format!("{} {}", flag("mine"), Flags::current().unwrap().version()) }))
        .layer(Extension(steps))
        .layer(Extension(source.clone()))
        .layer(FlagLayer::new(source.clone()));
    let address = serve(router).await;
    let mut client = Client::open(address).await;
    client.ask("GET", "/", &[("X-User-ID", b"alice")]).await;
    assert_eq!(client.head().await.active(), Some("mine"));
    for newest in 2..5 {
        assert_eq!(get_as(address, "/now", "alice").await.text(), format!("false {newest}"));
        step.send(()).unwrap();
        assert_eq!(client.frame().await.unwrap(), b"true 1 alice");
        source.replace(document(r#"{"mine": false, "new": true}"#));
    }
    drop(step);
    assert_eq!(client.frame().await, None);
}

#[tokio::test]
async fn a_body_of_known_length_keeps_it() {
    let router = Router::new()
        .route("/", get(|| async { "twelve bytes" }))
        .route("/empty", get(|| async {}))
        .layer(FlagLayer::new(mine("alice")));
    let address = serve(router).await;
    let reply = get_as(address, "/", "alice").await;
    assert_eq!(reply.header("content-length"), Some("12"));
    assert_eq!(reply.header("transfer-encoding"), None);
    assert_eq!(reply.text(), "twelve bytes");
    assert_eq!(get_as(address, "/empty", "alice").await.header("content-length"), Some("0"));
}

async fn through_the_layer<B>(body: B) -> impl HttpBody<Data = B::Data, Error = B::Error>
where
    B: HttpBody + Clone,
{
    let mut service = FlagLayer::new(memory(r#"{"mine": true}"#))
        .layer(service_fn(move |_: Request<()>| std::future::ready(Ok::<_, Infallible>(Response::new(body.clone())))));
    service.call(Request::new(())).await.unwrap().into_body()
}

#[tokio::test]
async fn size_hint_and_end_of_stream_are_those_of_the_body() {
    /// Says of itself what bodies seldom say.
    #[derive(Clone)]
    struct Odd(bool);

    impl HttpBody for Odd {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            self.0
        }

        fn size_hint(&self) -> SizeHint {
            let mut hint = SizeHint::new();
            hint.set_lower(3);
            hint.set_upper(7);
            hint
        }
    }

    for is_end_stream in [false, true] {
        let body = through_the_layer(Odd(is_end_stream)).await;
        assert_eq!(body.is_end_stream(), is_end_stream);
        assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (3, Some(7)));
    }
    let body = through_the_layer(String::from("four")).await;
    assert_eq!(body.size_hint().exact(), Some(4));
    assert!(through_the_layer(String::new()).await.is_end_stream());
}

#[tokio::test]
async fn trailers_are_those_of_the_body_and_see_the_flags() {
    let service = service_fn(|_: Request<()>| {
        let frames = stream::iter([false, true]).map(|is_last| {
            let seen = flag("mine").to_string();
            Ok::<_, Infallible>(if is_last {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-seen", HeaderValue::from_str(&seen).unwrap());
                Frame::trailers(trailers)
            } else {
                Frame::data(Bytes::from(seen))
            })
        });
        std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    });
    let mut service = FlagLayer::new(mine("alice")).layer(service);
    let mut request = Request::new(());
    request.extensions_mut().insert(Context::user("alice"));
    let mut body = pin!(service.call(request).await.unwrap().into_body());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "true");
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap()["x-seen"], "true");
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn trailers_reach_the_client() {
    async fn handler() -> Response<Body> {
        let data = stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from("data"))) });
        let trailers = stream::once(async {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-seen", HeaderValue::from_str(&flag("mine").to_string()).unwrap());
            Ok(Frame::trailers(trailers))
        });
        let mut response = Response::new(Body::new(StreamBody::new(data.chain(trailers))));
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-seen"));
        response
    }
    let address = serve(Router::new().route("/", get(handler)).layer(FlagLayer::new(mine("alice")))).await;
    let mut client = Client::open(address).await;
    client.ask("GET", "/", &[("X-User-ID", b"alice"), ("TE", b"trailers")]).await;
    let reply = client.reply().await;
    assert_eq!(reply.text(), "data");
    assert_eq!(reply.trailers, [("x-seen".to_owned(), "true".to_owned())]);
}

//! The layer around services that know nothing of axum: any body types, any errors, and readiness as
//! the inner service has it.
#![allow(clippy::unwrap_used, reason = "a test that unwraps nothing fails, as it should")]

mod support;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll, Waker};

use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_flags::engine::Query;
use tower_flags::request::{BoxAnswers, Resolve, ResolveLayer, ResponseBody, ResponseFuture};
use tower_flags::{
    Context, FlagLayer, FlagService, Flags, IdentifyLayer, Memory, RequireFlagLayer, Source, Timestamp, flag, try_flag,
};

use support::{memory, mine};

fn cx() -> TaskContext<'static> {
    TaskContext::from_waker(Waker::noop())
}

/// Answers in the second poll, out of memory.
struct Slow(Memory);

impl Resolve for Slow {
    fn resolve<'a>(&'a self, context: &'a Context, now: Timestamp) -> BoxAnswers<'a> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.0.answer(&Query::new(context, now))
        })
    }
}

/// A layer that waits for its answers, and the flag layer inside.
fn resolving(memory: Memory) -> (ResolveLayer, FlagLayer) {
    (ResolveLayer::new(Slow(memory)), FlagLayer::new(Memory::new()))
}

#[tokio::test]
async fn strings_in_and_strings_out_are_a_service_with_flags() {
    let service = service_fn(|request: Request<String>| async move {
        let said = format!("{} said {}", flag("mine"), request.body());
        Ok::<_, Infallible>(Response::builder().status(StatusCode::CREATED).header("x-own", "1").body(said).unwrap())
    });
    let service = ServiceBuilder::new().layer(FlagLayer::new(mine("alice"))).service(service);
    for (user, said, header) in [("alice", "true said hello", Some("mine")), ("bob", "false said hello", None)] {
        let request = Request::builder().header("x-user-id", user).body("hello".to_owned()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["x-own"], "1");
        assert_eq!(response.headers().get("x-active-flags").map(|value| value.to_str().unwrap()), header);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), said);
    }
}

#[test]
fn a_ready_source_needs_no_runtime() {
    let service = service_fn(|_: Request<()>| {
        let in_call = flag("mine");
        async move { Ok::<_, Infallible>(Response::new(format!("{in_call} {}", flag("mine")))) }
    });
    let mut service = FlagLayer::new(memory(r#"{"mine": true}"#)).layer(service);
    assert!(service.poll_ready(&mut cx()).is_ready());
    let response = service.call(Request::new(())).now_or_never().unwrap().unwrap();
    let body = response.into_body().collect().now_or_never().unwrap().unwrap();
    assert_eq!(body.to_bytes(), "true true");
    assert!(try_flag("mine").is_err());
}

/// Neither a body, nor `Default`, nor `Clone`, nor `Debug`.
struct Opaque(u8);

#[tokio::test]
async fn request_and_response_may_hold_any_type() {
    let service = || {
        service_fn(|request: Request<Opaque>| async move {
            assert!(flag("mine"));
            Ok::<_, Infallible>(Response::builder().status(200 + u16::from(request.body().0)).body(Opaque(1)).unwrap())
        })
    };
    let check = |response: Response<ResponseBody<Opaque>>| {
        assert_eq!(response.status(), 202);
        assert_eq!(response.headers()["x-active-flags"], "mine");
    };
    let memory = memory(r#"{"mine": true}"#);
    let ready = FlagLayer::new(memory.clone()).layer(service());
    check(ready.oneshot(Request::new(Opaque(2))).await.unwrap());
    check(resolving(memory).layer(service()).oneshot(Request::new(Opaque(2))).await.unwrap());
}

/// Layer, service and future can be named, sent and stored where the inner ones can.
#[test]
fn the_types_can_be_named_sent_and_cloned() {
    fn sendable<T: Send + 'static>(value: T) -> T {
        value
    }

    #[derive(Clone)]
    struct Held {
        layer: FlagLayer,
        service: FlagService<Strict>,
    }

    let layer = FlagLayer::new(memory(r#"{"mine": true}"#));
    let mut held = sendable(Held { service: layer.layer(Strict::default()), layer }).clone();
    assert!(held.service.poll_ready(&mut cx()).is_ready());
    let future: ResponseFuture<Ready<Result<Response<String>, Infallible>>> =
        sendable(held.service.call(Request::new(())));
    let response = future.now_or_never().unwrap().unwrap();
    assert_eq!(sendable(response.into_body().collect()).now_or_never().unwrap().unwrap().to_bytes(), "true");
    assert!(format!("{:?} {:?}", held.layer, held.service).contains("FlagLayer"));
}

/// Each service of the crate gives out the one inside.
#[test]
fn the_inner_service_can_be_read_changed_and_taken_out() {
    /// No service, so that the accessors need none.
    #[derive(Debug, PartialEq)]
    struct Named(&'static str);

    macro_rules! assert_has_inner {
        ($layer:expr) => {
            let mut service = $layer.layer(Named("inner"));
            assert_eq!(service.get_ref(), &Named("inner"));
            *service.get_mut() = Named("changed");
            assert_eq!(service.get_ref(), &Named("changed"));
            assert_eq!(service.into_inner(), Named("changed"));
        };
    }

    assert_has_inner!(FlagLayer::new(Memory::new()));
    assert_has_inner!(RequireFlagLayer::new("mine"));
    assert_has_inner!(RequireFlagLayer::new("mine").status(StatusCode::FORBIDDEN));
    assert_has_inner!(RequireFlagLayer::new("mine").fallback("fallback"));
    assert_has_inner!(ResolveLayer::new(Slow(Memory::new())));
    assert_has_inner!(IdentifyLayer::new(|_| ready(Context::anonymous())));
    #[cfg(feature = "overrides")]
    assert_has_inner!(tower_flags::request::SendDecisionsLayer::new("shop", ["mine"]));
}

#[tokio::test]
async fn clones_of_a_service_share_the_counts_of_their_layer() {
    let layer = FlagLayer::new(mine("alice"));
    let service = layer.layer(service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) }));
    for service in [service.clone(), service] {
        let request = Request::builder().header("x-user-id", "").body(()).unwrap();
        service.oneshot(request).await.unwrap();
    }
    assert_eq!(layer.clone().counts().refused_user_ids, 2);
}

#[tokio::test]
async fn errors_pass_as_they_are() {
    #[derive(Debug, PartialEq)]
    struct Refused(u8);

    let service = || service_fn(|_: Request<()>| async { Err::<Response<()>, _>(Refused(7)) });
    let ready = FlagLayer::new(mine("alice")).layer(service());
    assert_eq!(ready.oneshot(Request::new(())).await.unwrap_err(), Refused(7));
    let resolving = resolving(mine("alice")).layer(service());
    assert_eq!(resolving.oneshot(Request::new(())).await.unwrap_err(), Refused(7));
}

#[tokio::test]
async fn flags_are_in_the_request_and_in_the_response_if_asked_for() {
    let layer = FlagLayer::new(mine("alice"));
    for (layer, is_asked_for) in [(layer.clone(), false), (layer.flags_in_response(), true)] {
        let service = service_fn(|request: Request<()>| async move {
            let flags = request.extensions().get::<Flags>().unwrap().clone();
            assert!(flags.ptr_eq(&Flags::current().unwrap()));
            Ok::<_, Infallible>(Response::new(flags))
        });
        let mut request = Request::new(());
        request.extensions_mut().insert(Context::user("alice"));
        let response = layer.layer(service).oneshot(request).await.unwrap();
        let in_response = response.extensions().get::<Flags>();
        assert_eq!(in_response.is_some(), is_asked_for);
        assert!(in_response.is_none_or(|flags| flags.context().user_id() == Some("alice")));
    }
}

/// Panics when it is called without having said that it is ready. Its clones are not ready.
#[derive(Debug, Default)]
struct Strict {
    is_ready: bool,
    clones: Arc<AtomicUsize>,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        self.clones.fetch_add(1, Ordering::SeqCst);
        Self { is_ready: false, clones: Arc::clone(&self.clones) }
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called unready");
        ready(Ok(Response::new(flag("mine").to_string())))
    }
}

#[tokio::test]
async fn a_service_that_panics_when_called_unready_is_called_ready() {
    let memory = memory(r#"{"mine": true}"#);
    let mut service = FlagLayer::new(memory.clone()).layer(Strict::default());
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "true");
    }
    // Without asking first it panics, so the above shows something.
    let unready = AssertUnwindSafe(async { service.call(Request::new(())).await.map(drop) }).catch_unwind().await;
    assert!(unready.is_err());

    // One that resolves is ready at once, and makes its own clone ready.
    let mut service = resolving(memory).layer(Strict::default());
    for _ in 0..3 {
        let response = service.call(Request::new(())).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "true");
    }
}

#[tokio::test]
async fn a_flag_layer_clones_nothing_and_one_that_resolves_clones_once_per_call() {
    async fn clones_per_call<S>(clones: &AtomicUsize, mut service: S) -> usize
    where
        S: Service<Request<()>, Error = Infallible>,
    {
        for _ in 0..4 {
            service.ready().await.unwrap().call(Request::new(())).await.unwrap();
        }
        clones.load(Ordering::SeqCst) / 4
    }

    let memory = memory(r#"{"mine": true}"#);
    let inner = Strict::default();
    let clones = Arc::clone(&inner.clones);
    assert_eq!(clones_per_call(&clones, FlagLayer::new(memory.clone()).layer(inner)).await, 0);
    let inner = Strict::default();
    let clones = Arc::clone(&inner.clones);
    assert_eq!(clones_per_call(&clones, resolving(memory).layer(inner)).await, 1);
}

#[test]
fn readiness_is_that_of_the_inner_service() {
    /// Says what it is told to say.
    #[derive(Clone)]
    struct Told(Poll<Result<(), u8>>);

    impl Service<Request<()>> for Told {
        type Response = Response<()>;
        type Error = u8;
        type Future = Pin<Box<dyn Future<Output = Result<Response<()>, u8>> + Send>>;

        fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), u8>> {
            cx.waker().wake_by_ref();
            self.0
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            unreachable!("it was never ready")
        }
    }

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let wakes = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&wakes));
    for told in [Poll::Pending, Poll::Ready(Err(3)), Poll::Ready(Ok(()))] {
        let mut service = FlagLayer::new(Memory::new()).layer(Told(told));
        assert_eq!(service.poll_ready(&mut TaskContext::from_waker(&waker)), told);
    }
    assert_eq!(wakes.0.load(Ordering::SeqCst), 3, "the inner service gets the caller's waker");
}

#[test]
fn a_panic_in_call_ends_the_scope() {
    let service = service_fn(|_: Request<()>| -> Ready<Result<Response<()>, Infallible>> {
        panic!("as the test wants: {}", flag("mine"))
    });
    let mut service = FlagLayer::new(memory(r#"{"mine": true}"#)).layer(service);
    let panic = catch_unwind(AssertUnwindSafe(|| drop(service.call(Request::new(()))))).unwrap_err();
    assert_eq!(panic.downcast_ref::<String>().unwrap(), "as the test wants: true");
    assert!(Flags::current().is_none());
}

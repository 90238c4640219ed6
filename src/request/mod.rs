//! One request: who asks, what is on for them, and where that can be read.
//!
//! ```
//! use axum::extract::Request;
//! use axum::middleware::{Next, from_fn};
//! use axum::response::Response;
//! use axum::{Router, routing::get};
//! use tower_flags::{Context, FlagLayer, Flags, Memory};
//!
//! /// Your own: whatever finds out who is logged in tells the layer by an extension.
//! async fn authenticate(mut request: Request, next: Next) -> Response {
//!     request.extensions_mut().insert(Context::user("alice").in_groups(["employees"]));
//!     next.run(request).await
//! }
//!
//! async fn home(flags: Flags) -> &'static str {
//!     if flags.is_enabled("new_home") { "new" } else { "old" }
//! }
//!
//! let app: Router = Router::new()
//!     .route("/", get(home))
//!     .layer(FlagLayer::new(Memory::new()))
//!     .layer(from_fn(authenticate)); // added later, so it is outside and runs first
//! ```
//!
//! # Who asks
//!
//! 1. A [`Context`](crate::Context) in the request's extensions, even an anonymous one, ends the search.
//! 2. The application's closure, [`FlagLayer::identify`]. With a closure no headers are read, unless
//!    [`FlagLayer::trust_headers`] asks for them.
//! 3. The headers `X-User-ID` and `X-User-Groups` (comma separated). **Anybody can send them**: trust
//!    them only behind a proxy that sets them. Until [`FlagLayer::trust_headers`] is called, the first
//!    caller named by a header is logged as a warning.
//! 4. The caller of a layer around this one, else an anonymous one.
//!
//! Where finding out who asks takes a wait, as sessions and tokens do, an [`IdentifyLayer`] outside leaves the context, and
//! what else it has found for handlers.
//!
//! A user id that is empty, not UTF-8, longer than 256 bytes or on two lines makes the caller anonymous
//! without groups. Groups that are not UTF-8, longer than 8 KiB, more than 100, with one over 128 bytes,
//! or on two lines are none. Nothing is cut to fit. Both are counted in [`FlagLayer::counts`].
//!
//! # Where the answers are
//!
//! The scope covers the call of the inner service, every poll, every frame of the body, and the drop of
//! both. [`flag`], [`variant`], [`try_flag`] and [`Flags::current`](crate::Flags::current) read it from
//! anywhere in the task; the extractor and the request's extensions hold the same value. A task that is
//! spawned has no scope of its own: [`spawn`], [`spawn_blocking`], [`FlagsExt`], [`Flags::scope`](crate::Flags::scope)
//! and [`Flags::sync_scope`](crate::Flags::sync_scope) take the answers along, and nothing else.
//! [`Flags::refresh`](crate::Flags::refresh) decides the same caller again, for connections that live long.
//! [The limitations](crate::docs::limitations) have the rest.
//!
//! # `X-Active-Flags`
//!
//! The active flags in ascending order on one line, separated by commas, a flag with variants as
//! `name=variant`. Hidden flags are never named. At most 1 024 bytes: the longest prefix that fits, and
//! `X-Active-Flags-Omitted: n` for the rest. One that came from further in is replaced or removed. It is
//! left out where nothing is active, and on responses that call themselves `public` or have `s-maxage`.
//! It tells clients which flags are on for them: [`HeaderPolicy`] turns it off.
//!
//! # What is forced
//!
//! Before a flag's own rules come a tester's `Overrides` and what the calling service has decided
//! (`SendDecisionsLayer` there, `AcceptDecisions` here), both signed and off unless set. A flag that is switched
//! off stays off.
//!
//! Both expire, and what lives longer than this side allows is rejected. Decisions are from one service and for one
//! service: a key of its own proves who has sent them, and the receiver's name stands in them. Each signature names its
//! key, so that keys can change while requests are on their way.
//!
//! Tokens, decisions and visitors' ids are marked as [sensitive](http::HeaderValue::is_sensitive) in responses, in
//! requests to the next service, and in the request that the inner service receives: `Debug` and loggers hide them.
//!
//! # Caches
//!
//! 1. If a flag was read whose answer depends on the caller before the response began, `Cache-Control:
//!    private` is added, unless the response says `no-store`, `private`, `public` or `s-maxage`.
//! 2. If one was read, or `X-Active-Flags` could be another for another caller, `Vary` gets the headers that
//!    may name the caller, where these were looked at.
//! 3. A request with a valid override token is answered with `no-store`, whatever the response said.
//!
//! Both headers keep their content and become one line each, since some caches read only the first line.
//! [`FlagLayer::leave_cache_headers`] turns the first two off.
//!
//! # Gates and exceptions
//!
//! [`RequireFlagLayer`] hides a route; [`FlagLayer::skip`] leaves requests without flags.
//!
//! # A layer inside a layer
//!
//! Over the same source, the inner one uses the rules that the request has pinned: for another caller it
//! decides again from them, for the same it passes the answers on. Over another source, its own answers
//! come first and the outer ones stand for names it does not know; a flag that is switched off in either
//! is off. The outermost writes the header, from what the handler saw.
//!
//! The inner layer finds the outer one through the request's extensions. If a middleware in between has rebuilt
//! the request without them, it finds the outer one through the scope of the task. It recognises the request by its
//! path and by one header: the one that names the user, or else the first. One of the two was moved or cloned, or both
//! are equal. A request that a handler makes from new values counts as a new request.
//!
//! The report of an inner layer in a response counts only for the request that the response was made for. A cache
//! in between therefore passes no flags of one caller to another.
//!
//! # Engines that have to be awaited
//!
//! A [`Source`](crate::source::Source) answers at once. An engine of another vendor that has to be awaited answers through a
//! [`ResolveLayer`] outside, which awaits it within a deadline. The flag layer finds its answers like those of a layer around.
//!
//! # What it does not do
//!
//! It does not authenticate: flags from headers are no authorisation. It never answers in the place of
//! the inner service, and a source that panics turns flags off, not requests away. Panics of the source and
//! of closures are counted in [`FlagLayer::counts`], and the first of each is logged. With `panic = "abort"` they end the
//! process.

mod accessors;
mod ask;
mod body;
mod builder;
mod caches;
mod carry;
mod caught;
mod config;
#[cfg(any(feature = "overrides", feature = "visitors"))]
mod cookie;
mod counts;
#[cfg(feature = "axum")]
mod extract;
mod flags;
mod future;
mod header;
#[cfg(feature = "overrides")]
mod hosts;
mod identify;
mod identity;
mod incoming;
mod layer;
mod marks;
mod oneshot;
#[cfg(feature = "overrides")]
mod propagate;
mod reads;
mod refresh;
mod require;
mod resolve;
mod resolved;
mod respond;
mod scope;
#[cfg(any(feature = "overrides", feature = "visitors"))]
mod sensitive;
mod serialize;
mod service;
#[cfg(feature = "overrides")]
mod signed;
mod then_call;
#[cfg(feature = "visitors")]
mod visitors;
mod watch;

pub use body::ResponseBody;
pub use builder::FlagsBuilder;
pub use carry::{FlagsExt, FlagsScope, spawn, spawn_blocking};
#[cfg(feature = "testing")]
pub(crate) use caught::caught;
pub use counts::RequestCounts;
#[cfg(feature = "axum")]
pub use extract::FlagsRejection;
pub use flags::Flags;
pub use future::ResponseFuture;
pub use header::HeaderPolicy;
pub use identify::{Identify, IdentifyFuture, IdentifyLayer, Identity};
pub use layer::FlagLayer;
pub use oneshot::Oneshot;
#[cfg(feature = "overrides")]
#[cfg_attr(docsrs, doc(cfg(feature = "overrides")))]
pub use propagate::{SendDecisions, SendDecisionsLayer};
pub use require::{
    Fallback, FallbackResponse, FallbackStatus, NotFound, RequireFlag, RequireFlagFuture, RequireFlagLayer,
};
pub use resolve::{BoxAnswers, Resolve, ResolveFuture, ResolveLayer, ResolveService};
pub use scope::{OutOfScopeError, flag, panic_out_of_scope, reads_out_of_scope, try_flag, variant};
pub use service::FlagService;
#[cfg(feature = "overrides")]
#[cfg_attr(docsrs, doc(cfg(feature = "overrides")))]
pub use signed::{AcceptDecisions, OverrideToken, Overrides, SigningKey};
#[cfg(feature = "visitors")]
#[cfg_attr(docsrs, doc(cfg(feature = "visitors")))]
pub use visitors::Visitors;

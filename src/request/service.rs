//! One request on its way in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};

use http::request::Parts;
use http::{HeaderValue, Request, Response};
use tower_service::Service;

use super::body::ResponseBody;
use super::caught::{Code, Pending};
use super::future::{ResponseFuture, Waiting};
use super::header::Wanted;
use super::identity::Found;
use super::incoming::Incoming;
use super::layer::Config;
use super::scope;
use crate::engine::{Context, Flags, Forced, ForcedBy, Instant, Reason};
use crate::source::{Evaluation, Source};

/// The service that [`FlagLayer`](super::FlagLayer) puts around another one.
#[derive(Clone, Debug)]
pub struct FlagService<S> {
    inner: S,
    config: Arc<Config>,
}

impl<S> FlagService<S> {
    pub(super) fn new(inner: S, config: Arc<Config>) -> Self {
        Self { inner, config }
    }
}

impl<S, B, R> Service<Request<B>> for FlagService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
{
    type Response = Response<ResponseBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, B> {
        let (parts, body) = request.into_parts();
        if self.config.skip.as_ref().is_some_and(|skip| skip(&parts)) {
            let future = self.inner.call(Request::from_parts(parts, body));
            return ResponseFuture::without_flags(future, Arc::clone(&self.config));
        }
        let asked = Asked::of(&parts, &self.config);
        #[cfg(any(feature = "overrides", feature = "visitors"))]
        let mut parts = parts;
        #[cfg(any(feature = "overrides", feature = "visitors"))]
        self.config.conceal(&mut parts.headers);
        match asked.evaluate(&self.config) {
            Evaluation::Ready(flags) => {
                let request = Request::from_parts(parts, body);
                ResponseFuture::running(&mut self.inner, request, flags, asked, Arc::clone(&self.config))
            }
            Evaluation::Pending(evaluation) => {
                // The service that was made ready goes along; a clone of it may not be ready, and some
                // services panic then.
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                let request = Request::from_parts(parts, body);
                let evaluation = Pending::new(evaluation, &self.config.counters);
                ResponseFuture::waiting(Waiting::new(evaluation, inner, request, asked), Arc::clone(&self.config))
            }
        }
    }
}

/// What a request asks of the layer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) context: Context,
    pub(super) now: Instant,
    /// The answers of a layer around this one.
    pub(super) outer: Option<Flags>,
    /// The number of the request, which all its layers share.
    pub(super) number: u64,
    pub(super) incoming: Incoming,
    /// What a tester or the calling service wants to be decided.
    forced: Vec<Forced>,
    pub(super) answer: Answering,
}

/// What is to be done with the response.
#[derive(Debug)]
pub(super) struct Answering {
    /// Whether a layer around this one writes the header.
    pub(super) is_nested: bool,
    pub(super) header: Wanted,
    /// Whether headers were looked at to find out who asks.
    pub(super) is_by_headers: bool,
    /// Whether a tester's token was accepted.
    pub(super) is_overridden: bool,
    pub(super) override_cookies: Vec<HeaderValue>,
    pub(super) visitor_cookie: Option<HeaderValue>,
}

/// The number of the request that a layer around has begun, else one that is unique in this process.
fn number(outer: Option<&Flags>) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);

    let begun = outer.and_then(|outer| match outer.request() {
        // The application has built these answers and put them into the request.
        0 => Flags::current().map(|flags| flags.request()),
        number => Some(number),
    });
    begun.filter(|&number| number != 0).unwrap_or_else(|| LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

impl Asked {
    fn of(parts: &Parts, config: &Config) -> Self {
        let around = scope::around(parts);
        let is_nested = around.is_some();
        let header = if is_nested { Wanted::None } else { config.header_policy.wants(parts) };
        let (context, found) = config.identity.of(parts, around.as_ref(), &config.counters);
        let incoming = Incoming::of(parts, &config.identity.user_header, found == Found::InExtension);
        let outer = around.map(|around| around.flags);
        let number = number(outer.as_ref());
        let now = outer.as_ref().map_or_else(|| (config.clock)(), Flags::instant);
        let answer = Answering {
            is_nested,
            header,
            is_by_headers: found == Found::ByHeaders,
            is_overridden: false,
            override_cookies: Vec::new(),
            visitor_cookie: None,
        };
        let asked = Self { context, now, outer, number, incoming, forced: Vec::new(), answer };
        let asked = asked.known_outside();
        #[cfg(feature = "visitors")]
        let asked = asked.recognised(parts, config);
        #[cfg(feature = "overrides")]
        let asked = asked.with_forced(parts, config);
        asked
    }

    /// An anonymous caller keeps the id that a layer around has given.
    fn known_outside(mut self) -> Self {
        if let Some(visitor) = self.outer.as_ref().and_then(|outer| outer.context().visitor())
            && self.context.is_anonymous()
            && self.context.visitor().is_none()
        {
            self.context = self.context.with_visitor(visitor);
        }
        self
    }

    #[cfg(feature = "visitors")]
    fn recognised(mut self, parts: &Parts, config: &Config) -> Self {
        if let Some(visitors) = &config.visitors {
            (self.context, self.answer.visitor_cookie) = visitors.recognise(parts, self.context);
        }
        self
    }

    #[cfg(feature = "overrides")]
    fn with_forced(mut self, parts: &Parts, config: &Config) -> Self {
        if let Some(overrides) = &config.overrides {
            let found = overrides.find(parts, &self.context, self.now, &config.counters);
            self.forced = found.forced;
            self.answer.is_overridden = found.is_valid;
            self.answer.override_cookies = found.set_cookies;
        }
        if let Some(accepted) = &config.accepted {
            self.forced.extend(accepted.find(&parts.headers, self.now, &config.counters));
        }
        self
    }

    /// Answers from the set that the request has pinned where there is one, else from the source.
    fn evaluate(&self, config: &Config) -> Evaluation {
        let evaluation = config.counters.caught(Code::Source, || self.ask(&*config.source));
        evaluation.unwrap_or_else(|| Evaluation::Ready(self.without_source(config)))
    }

    /// The answers if the source is late or has panicked: those of its fallback, else every flag is off.
    pub(super) fn without_source(&self, config: &Config) -> Flags {
        let counters = &config.counters;
        let fallback = counters.caught(Code::Source, || match self.ask(config.source.fallback()?) {
            Evaluation::Ready(flags) => Some(flags),
            Evaluation::Pending(_) => None,
        });
        let flags = fallback
            .flatten()
            .unwrap_or_else(|| self.settle(Flags::none(self.context.clone(), self.now, Reason::Unavailable)));
        flags.standing_for(counters.caught(Code::Source, || config.source.id()).flatten())
    }

    fn ask(&self, source: &dyn Source) -> Evaluation {
        let pinned = self.outer.as_ref().and_then(|outer| outer.decided_by(source.id()?, &self.context));
        if let Some(flags) = pinned {
            return Evaluation::Ready(force(flags, &self.forced));
        }
        match source.evaluate(&self.context, self.now) {
            Evaluation::Ready(flags) => Evaluation::Ready(self.settle(flags)),
            pending @ Evaluation::Pending(_) => pending,
        }
    }

    /// What a source has decided, with what is forced, inside of the answers of a layer around.
    pub(super) fn settle(&self, flags: Flags) -> Flags {
        let flags = force(flags, &self.forced);
        match &self.outer {
            Some(outer) => flags.inside(outer),
            None => flags,
        }
    }
}

/// The answers with these flags forced too. A tester's word counts for more than a service's.
pub(super) fn force(flags: Flags, forced: &[Forced]) -> Flags {
    let before = flags.requested();
    let new: Vec<Forced> = forced.iter().filter(|entry| !before.contains(entry)).cloned().collect();
    if new.is_empty() {
        return flags;
    }
    let mut all = [before, &new].concat();
    all.sort_by_key(|entry| entry.by != ForcedBy::Override);
    flags.with_forced(&all)
}

//! Who asks, when, and what is forced: everything that the answers of a request depend on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::request::Parts;

use super::caught::Code;
use super::config::Config;
use super::flags::{Flags, home};
use super::identity::ContextOrigin;
use super::incoming::Incoming;
use super::respond::ResponsePlan;
use super::scope::{self, OuterLayer};
use crate::context::Context;
use crate::document::Timestamp;
use crate::engine::{Answers, FlagSet, Forced, ForcedBy, Query, Reason, SourceId};

/// A request as its layer sees it.
#[derive(Debug)]
pub(super) struct RequestState {
    pub(super) context: Context,
    pub(super) now: Timestamp,
    /// The answers of the layers around.
    around: Option<Flags>,
    /// The number of the request, which all its layers share.
    number: u64,
    pub(super) incoming: Incoming,
    /// What a tester or the calling service has forced, testers first.
    forced: Vec<Forced>,
    pub(super) plan: ResponsePlan,
}

impl RequestState {
    pub(super) fn of(parts: &mut Parts, config: &Config) -> Self {
        let around = scope::around(parts);
        let is_nested = around.as_ref().is_some_and(|around| around.is_layer);
        let (context, found) = config.identity.of(parts, around.as_ref(), &config.counters);
        let incoming = Incoming::of(parts, &config.identity.user_header, found == ContextOrigin::InExtension);
        let flags = around.map(|OuterLayer { flags, .. }| flags);
        let mut state = Self {
            now: flags.as_ref().map_or_else(|| (config.clock)(), Flags::instant),
            number: number(flags.as_ref()),
            plan: ResponsePlan::of(parts, config, is_nested, found == ContextOrigin::ByHeaders),
            context: known_around(context, flags.as_ref()),
            around: flags,
            incoming,
            forced: Vec::new(),
        };
        #[cfg(feature = "visitors")]
        state.recognise(parts, config);
        #[cfg(feature = "overrides")]
        state.force(parts, config);
        if !is_nested {
            // An engine that was awaited knows nothing of what is forced.
            state.around = state.around.map(|resolved| resolved.with_forced(&state.forced));
        }
        state
    }

    #[cfg(feature = "visitors")]
    fn recognise(&mut self, parts: &Parts, config: &Config) {
        if let Some(visitors) = &config.visitors {
            let context = std::mem::take(&mut self.context);
            (self.context, self.plan.visitor_cookie) = visitors.recognise(parts, context);
        }
    }

    #[cfg(feature = "overrides")]
    fn force(&mut self, parts: &Parts, config: &Config) {
        if let Some(overrides) = &config.overrides {
            let found = overrides.find(parts, &self.context, self.now, &config.counters);
            self.forced = found.forced;
            self.plan.is_overridden = found.is_valid;
            self.plan.override_cookies = found.set_cookies;
        }
        if let Some(accepted) = &config.accepted {
            self.forced.extend(accepted.find(&parts.headers, self.now, &config.counters));
        }
    }

    /// The answers of the request. Where the response header names all of them they are decided here, else when somebody
    /// looks.
    pub(super) fn decide(&mut self, config: &Arc<Config>) -> Flags {
        let flags = self.flags(config);
        if self.plan.names_all() {
            flags.level().answers.decide_all();
        }
        flags
    }

    /// 1. The same source has answered the same question in the layer around: its answers are passed on.
    /// 2. It has answered another question: from the flag set that the request has pinned.
    /// 3. Else the source answers.
    fn flags(&mut self, config: &Arc<Config>) -> Flags {
        let Self { context, now, around, number, forced, .. } = self;
        let forced = std::mem::take(forced);
        let pinned = around.as_ref().and_then(|around| around.outward_from(id_of(config)?));
        let Some(pinned) = pinned else {
            let answers = answer(config, None, around.as_ref(), context, *now, &forced);
            return flags_of(answers, around.take(), forced, config, *number);
        };
        let is_innermost = around.as_ref().is_some_and(|around| around.ptr_eq(pinned));
        let is_known = forced.iter().all(|entry| pinned.forced().contains(entry));
        if is_innermost && is_known && pinned.context() == context {
            return pinned.clone();
        }
        let forced = [pinned.forced(), &forced].concat();
        let forced = by_precedence(forced);
        // The new answers take the place of those of the same source, unless those of another layer are between.
        let outside = if is_innermost { pinned.around() } else { around.as_ref() };
        let answers = answer(config, Some(pinned.flag_set()), outside, context, *now, &forced);
        flags_of(answers, outside.cloned(), forced, config, *number)
    }
}

/// The answers of a layer.
fn flags_of(answers: Answers, around: Option<Flags>, forced: Vec<Forced>, config: &Arc<Config>, number: u64) -> Flags {
    let flags = Flags::new(answers, around, forced, home(config), number);
    #[cfg(feature = "testing")]
    let flags = match &config.read_observer {
        Some(observer) => flags.observed_by(Arc::clone(observer)),
        None => flags,
    };
    flags
}

/// Decides the caller of these answers again, at the instant of now, inside of these answers of the layers around; `None`
/// if the source panics.
pub(super) fn decide_again(flags: &Flags, around: Option<Flags>, config: &Arc<Config>) -> Option<Flags> {
    let now = (config.clock)();
    let levels = levels_of(around.as_ref());
    let query = Query::new(flags.context(), now).forced(flags.forced()).inside(&levels);
    let answers = config.counters.caught(Code::Source, || config.source.answer(&query))?;
    Some(flags_of(answers, around, flags.forced().to_vec(), config, flags.request()))
}

fn id_of(config: &Config) -> Option<SourceId> {
    config.counters.caught(Code::Source, || config.source.id()).flatten()
}

/// The answers of a pinned set of ours, else of the source. Every flag is off if the source panics.
fn answer(
    config: &Config,
    pinned: Option<&Arc<FlagSet>>,
    around: Option<&Flags>,
    context: &Context,
    now: Timestamp,
    forced: &[Forced],
) -> Answers {
    let levels = levels_of(around);
    let query = Query::new(context, now).forced(forced).inside(&levels);
    match pinned.filter(|set| !set.is_of_engine()) {
        Some(set) => set.answer(&query),
        None => {
            let answers = config.counters.caught(Code::Source, || config.source.answer(&query));
            // With the source's id, so that a layer inside does not ask it again for this request.
            answers.unwrap_or_else(|| Answers::none(&query, Reason::Unavailable, id_of(config).unwrap_or_default()))
        }
    }
}

fn levels_of(around: Option<&Flags>) -> Vec<&Answers> {
    around.into_iter().flat_map(Flags::levels).map(|level| &level.answers).collect()
}

/// A tester's override counts for more than a service's decision. Each entry stands once.
fn by_precedence(forced: Vec<Forced>) -> Vec<Forced> {
    let mut sorted: Vec<Forced> = Vec::with_capacity(forced.len());
    for entry in forced {
        if !sorted.contains(&entry) {
            sorted.push(entry);
        }
    }
    sorted.sort_by_key(|entry| entry.by != ForcedBy::Override);
    sorted
}

/// An anonymous caller keeps the visitor's id that a layer around has given.
fn known_around(context: Context, around: Option<&Flags>) -> Context {
    match around.and_then(|around| around.context().visitor()) {
        Some(visitor) if context.is_anonymous() && context.visitor().is_none() => context.with_visitor(visitor),
        _ => context,
    }
}

/// The number of the request that a layer around has begun, else one that is unique in this process.
fn number(around: Option<&Flags>) -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);

    let begun = around.and_then(|around| match around.request() {
        // The application has built these answers and put them into the request.
        0 => Flags::current().map(|flags| flags.request()),
        number => Some(number),
    });
    begun.filter(|&number| number != 0).unwrap_or_else(|| LAST.fetch_add(1, Ordering::Relaxed) + 1)
}

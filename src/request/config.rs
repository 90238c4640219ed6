//! The settings that all services of a layer share.

use std::fmt;
use std::sync::Arc;

#[cfg(any(feature = "overrides", feature = "visitors"))]
use http::HeaderMap;

use super::caught::Predicate;
use super::counts::Counters;
use super::flags::Flags;
use super::header::HeaderPolicy;
use super::identity::Identification;
#[cfg(feature = "overrides")]
use super::signed::{AcceptDecisions, Overrides};
#[cfg(feature = "visitors")]
use super::visitors::Visitors;
use crate::document::Timestamp;
use crate::observe::Observer;
#[cfg(feature = "testing")]
use crate::source::ReadObserver;
use crate::source::Source;

/// What all services of a layer share.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) source: Arc<dyn Source>,
    pub(super) identity: Identification,
    pub(super) header_policy: HeaderPolicy,
    pub(super) header_limit: usize,
    pub(super) is_in_response: bool,
    pub(super) is_told_to_caches: bool,
    pub(super) skip: Option<Arc<Predicate>>,
    #[cfg(feature = "overrides")]
    pub(super) overrides: Option<Overrides>,
    #[cfg(feature = "overrides")]
    pub(super) accepted: Option<AcceptDecisions>,
    #[cfg(feature = "visitors")]
    pub(super) visitors: Option<Visitors>,
    pub(super) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    pub(super) counters: Arc<Counters>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    #[cfg(feature = "testing")]
    pub(super) read_observer: Option<Arc<dyn ReadObserver>>,
}

impl Config {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            #[cfg(feature = "testing")]
            read_observer: source.read_observer(),
            source,
            identity: Identification::default(),
            header_policy: HeaderPolicy::default(),
            header_limit: 1024,
            is_in_response: false,
            is_told_to_caches: true,
            skip: None,
            #[cfg(feature = "overrides")]
            overrides: None,
            #[cfg(feature = "overrides")]
            accepted: None,
            #[cfg(feature = "visitors")]
            visitors: None,
            clock: Arc::new(Timestamp::now),
            counters: Arc::default(),
            observers: Vec::new(),
        }
    }

    /// Whether answers may depend on what a calling service has decided.
    pub(super) fn accepts_decisions(&self) -> bool {
        #[cfg(feature = "overrides")]
        return self.accepted.is_some();
        #[cfg(not(feature = "overrides"))]
        false
    }

    /// Whether a flag was read that calling services may decide.
    pub(super) fn has_read_decided(&self, flags: &Flags) -> bool {
        #[cfg(feature = "overrides")]
        return self.accepted.as_ref().is_some_and(|accepted| flags.has_read_any(accepted.flags()));
        #[cfg(not(feature = "overrides"))]
        {
            let _ = flags;
            false
        }
    }

    /// Marks the headers of a request that are for this layer alone as sensitive, for inner loggers and for clients that
    /// send headers on.
    #[cfg(any(feature = "overrides", feature = "visitors"))]
    pub(super) fn conceal(&self, headers: &mut HeaderMap) {
        #[cfg(feature = "overrides")]
        if self.overrides.is_some() {
            Overrides::conceal(headers);
        }
        #[cfg(feature = "overrides")]
        if self.accepted.is_some() {
            AcceptDecisions::conceal(headers);
        }
        #[cfg(feature = "visitors")]
        if let Some(visitors) = &self.visitors {
            visitors.conceal(headers);
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlagLayer")
            .field("header_policy", &self.header_policy)
            .field("header_limit", &self.header_limit)
            .field("counts", &self.counters.read())
            .finish_non_exhaustive()
    }
}

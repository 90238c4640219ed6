//! Decisions of the calling service.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use super::key::SigningKey;
use super::token::{Claims, Refusal};
use crate::engine::{FlagName, Forced, ForcedBy, Instant};
use crate::request::counts::{Counters, count_reason};
use crate::request::sensitive::conceal;

pub(super) static X_FLAG_DECISIONS: HeaderName = HeaderName::from_static("x-flag-decisions");
pub(super) const DECISIONS: &str = "tower-flags decisions 1";

/// Takes over what the calling service has decided: [`FlagLayer::accept_decisions`](crate::FlagLayer::accept_decisions).
///
/// The caller sends them with [`SendDecisions`](super::SendDecisions) as `X-Flag-Decisions`. Taken are the
/// flags that are named here alone, and a flag that is switched off here stays off. A header that is not
/// signed, changed, expired, from another service, longer than 2 048 bytes or on two lines is as good as
/// none, and is counted.
///
/// ```
/// use tower_flags::request::{AcceptDecisions, SigningKey};
/// use tower_flags::{FlagLayer, Memory};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let accepted = AcceptDecisions::new(key, ["new_checkout"]).from_services(["shop"]);
/// let layer = FlagLayer::new(Memory::new()).accept_decisions(accepted);
/// # let _ = layer;
/// # Ok::<(), tower_flags::request::WeakKey>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "this does nothing until a layer has it"]
pub struct AcceptDecisions {
    keys: Vec<SigningKey>,
    flags: Arc<BTreeSet<String>>,
    services: Option<Arc<BTreeSet<String>>>,
}

impl AcceptDecisions {
    /// Takes decisions about these flags from every service that has the key.
    pub fn new(key: SigningKey, flags: impl IntoIterator<Item: FlagName>) -> Self {
        let flags = flags.into_iter().map(|flag| flag.name().to_owned()).collect();
        Self { keys: vec![key], flags: Arc::new(flags), services: None }
    }

    /// From these services alone, by the names that they give themselves.
    pub fn from_services(mut self, services: impl IntoIterator<Item: Into<String>>) -> Self {
        self.services = Some(Arc::new(services.into_iter().map(Into::into).collect()));
        self
    }

    /// Takes headers of another key too: the one before, while services change over.
    pub fn also_accept(mut self, key: SigningKey) -> Self {
        self.keys.push(key);
        self
    }

    /// The flags whose decisions are taken.
    pub(in crate::request) fn flags(&self) -> impl Iterator<Item = &String> {
        self.flags.iter()
    }

    pub(in crate::request) fn find(&self, headers: &HeaderMap, now: Instant, counters: &Counters) -> Vec<Forced> {
        let mut lines = headers.get_all(&X_FLAG_DECISIONS).iter();
        let Some(line) = lines.next() else { return Vec::new() };
        let claims = match (lines.next(), line.to_str()) {
            (None, Ok(line)) => self.open(line, now),
            _ => Err(Refusal::Signature),
        };
        match claims {
            Ok(claims) => {
                tracing::debug!(
                    from = claims.from,
                    origin = claims.origin,
                    "decisions of the calling service are taken over"
                );
                claims.forced(ForcedBy::Upstream).filter(|forced| self.flags.contains(&forced.flag)).collect()
            }
            Err(refusal) => {
                if count_reason(&counters.refused_decisions, &counters.told, 16 + refusal.number()) {
                    tracing::warn!(%refusal, "decisions of a calling service were refused. Further ones for this reason are only counted");
                }
                Vec::new()
            }
        }
    }

    /// Marks the headers of a request that are for this layer as sensitive.
    pub(in crate::request) fn conceal(headers: &mut HeaderMap) {
        conceal(headers, &X_FLAG_DECISIONS, |_| true);
    }

    fn open(&self, line: &str, now: Instant) -> Result<Claims, Refusal> {
        let claims = Claims::open(DECISIONS, &self.keys, line, now)?;
        let is_accepted = match (&self.services, &claims.from) {
            (None, _) => true,
            (Some(services), Some(from)) => services.contains(from),
            (Some(_), None) => false,
        };
        if is_accepted { Ok(claims) } else { Err(Refusal::OtherService) }
    }
}

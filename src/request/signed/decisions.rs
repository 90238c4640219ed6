//! Decisions of the calling service.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::claims::{Claims, Refusal, key_id};
use super::decision_header::{DECISIONS, LONGEST_LIFE, X_FLAG_DECISIONS, service_name};
use super::key::SigningKey;
use crate::document::{FlagName, Timestamp};
use crate::engine::{Forced, ForcedBy};
use crate::request::counts::{Counters, count_reason};
use crate::request::sensitive::conceal;

/// Takes over what the calling service has decided: [`FlagLayer::accept_decisions`](crate::FlagLayer::accept_decisions).
///
/// The caller sends its decisions with [`SendDecisionsLayer`](crate::request::SendDecisionsLayer) as `X-Flag-Decisions`.
///
/// 1. Only the flags that are named here are taken over, and a flag that is switched off here stays off.
/// 2. Each calling service has a key of its own, which proves who has decided. A key that two services share would let
///    each sign in the name of the other.
/// 3. A header is for one service, by its name, and lives for at most 60 s unless
///    [`longest_life`](Self::longest_life) allows more. It may expire 5 s later than that, since clocks differ.
/// 4. A header is ignored and counted if it is not signed with the key of the service that it names, changed, expired,
///    for another service, lives too long, has more than 2 048 bytes, or comes on two lines. The first one for each
///    reason is logged.
///
/// ```
/// use tower_flags::request::{AcceptDecisions, SigningKey};
/// use tower_flags::{FlagLayer, Memory};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let accepted = AcceptDecisions::new("payments", ["new_checkout"]).from("shop", key);
/// let layer = FlagLayer::new(Memory::new()).accept_decisions(accepted);
/// # let _ = layer;
/// # Ok::<(), tower_flags::Error>(())
/// ```
///
/// A key is shared by two sides, so each side that can check a signature can make one: give each pair of services a key of its
/// own unless the receiving services trust each other.
#[derive(Clone, Debug)]
#[must_use = "this does nothing until a layer has it"]
pub struct AcceptDecisions {
    name: String,
    senders: Vec<Sender>,
    flags: Arc<BTreeSet<String>>,
    longest_life: Duration,
}

/// A calling service, by one of its keys.
#[derive(Clone, Debug)]
struct Sender {
    service: String,
    key: SigningKey,
}

impl Borrow<SigningKey> for Sender {
    fn borrow(&self) -> &SigningKey {
        &self.key
    }
}

impl AcceptDecisions {
    /// Accepts decisions about these flags that are for the service of this name: this one. Every service is rejected
    /// until [`from`](Self::from) names it.
    ///
    /// # Panics
    ///
    /// If the name is empty.
    #[track_caller]
    pub fn new(own_name: impl Into<String>, flags: impl IntoIterator<Item: FlagName>) -> Self {
        let flags = flags.into_iter().map(|flag| flag.name().to_owned()).collect();
        let name = service_name(own_name.into());
        Self { name, senders: Vec::new(), flags: Arc::new(flags), longest_life: LONGEST_LIFE }
    }

    /// Accepts decisions of this service that are signed with this key. A service can have several keys: add the new
    /// one, let the service sign with it, and remove the old one.
    ///
    /// # Panics
    ///
    /// If the name is empty, or if another service has the same key: each could sign in the name of the other.
    #[track_caller]
    pub fn from(mut self, service: impl Into<String>, key: SigningKey) -> Self {
        let service = service_name(service.into());
        let other = self.senders.iter().find(|other| other.service != service && other.key.has_secret_of(&key));
        if let Some(other) = other {
            panic!(
                "expected a key of its own for each service, found the same key for {:?} and {service:?}; each could \
                 sign in the name of the other",
                other.service
            );
        }
        self.senders.push(Sender { service, key });
        self
    }

    /// Rejects headers that expire later than this from now on; 60 s unless set. Longer lives are for services whose
    /// requests wait in queues: until a header expires, every client that has seen it can send it again.
    pub fn longest_life(mut self, duration: Duration) -> Self {
        self.longest_life = duration;
        self
    }

    /// The flags whose decisions are taken.
    pub(in crate::request) fn flags(&self) -> impl Iterator<Item = &String> {
        self.flags.iter()
    }

    pub(in crate::request) fn find(&self, headers: &HeaderMap, now: Timestamp, counters: &Counters) -> Vec<Forced> {
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
                    revision = claims.revision,
                    "decisions of the calling service are taken over"
                );
                claims.forced(ForcedBy::Upstream).filter(|forced| self.flags.contains(&forced.flag)).collect()
            }
            Err(refusal) => {
                if count_reason(&counters.refused_decisions, &counters.told, 16 + refusal.number()) {
                    let key_id = key_id(line.as_bytes());
                    tracing::warn!(%refusal, key_id, "decisions of a calling service were rejected; further ones for this reason are only counted");
                }
                Vec::new()
            }
        }
    }

    /// Marks the headers of a request that are for this layer as sensitive.
    pub(in crate::request) fn conceal(headers: &mut HeaderMap) {
        conceal(headers, &X_FLAG_DECISIONS, |_| true);
    }

    fn open(&self, line: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let (sender, claims) = Claims::open(DECISIONS, &self.senders, line, now, self.longest_life)?;
        if claims.from.as_ref() != Some(&sender.service) {
            return Err(Refusal::OtherService);
        }
        if claims.audience.as_ref() == Some(&self.name) { Ok(claims) } else { Err(Refusal::OtherAudience) }
    }
}

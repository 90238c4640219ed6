//! Keys that entries of a history are chained with, so that a writer of the store cannot rewrite the past.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::history::{HistoryEntry, hex_of};
use crate::error::Error;
use crate::weak_key::WeakKey;

/// Longest id, in bytes.
const MAX_ID: usize = 32;

/// Keys for the history of one store. Its entries are then chained by HMAC-SHA-256 (RFC 2104) instead of SHA-256.
///
/// Any client can compute the digests of a chain without a key. With write access to the store alone, an attacker
/// can therefore change an entry and all digests after it, and no check of the chain finds that. With a key it does.
///
/// ```
/// use tower_flags::store::{Author, Change, HistoryKeys, MemoryStore, Store, StoreExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // From a secret of the deployment: `HistoryKeys::from_env("FLAGS_HISTORY_KEYS")?`.
/// let keys: HistoryKeys = "2026a:6f0e5c1f4b7d4a0f9c3b2e1d0a9f8e7d".parse()?;
/// let store = MemoryStore::new().with_history_keys(keys);
/// store.change("search", Change::put_text("true"), &Author::new("alice")).await?;
/// assert!(store.read("search").await?.head.digest.starts_with("2026a:"));
/// assert!(store.verify_history().await?.is_ok());
/// # Ok(())
/// # }
/// ```
///
/// # Rules
///
/// 1. **All processes that edit one store need the same keys.** Entries of a process without keys are still written, since
///    a kill must never wait for a key. They are a [break](super::BreakKind::Unkeyed) for the processes that have keys.
/// 2. Digests name their key: `id:` and 64 hexadecimal digits, in `previous` and in the head of the store. No table and no
///    format changes.
/// 3. Entries that were written before the first key stay as they are. They cannot be changed unnoticed once an entry with
///    a key follows them. An entry without a key after that is a break.
/// 4. To change the key: give all processes the next one by [`accept`](Self::accept) first, then make it the first one and
///    accept the previous one. Keep a previous key as long as the history has entries of it. If it has leaked, use
///    [`accept_up_to`](Self::accept_up_to), so that it is worth nothing for later entries.
/// 5. Each store has a key of its own: entries are not bound to a store otherwise.
///
/// # What remains possible
///
/// * A writer of the store can cut off the end of the history, back to any entry, and to before the first key.
///   [`keyed_from`](Self::keyed_from) prevents the latter. A process that has seen the end reports the former, as the admin
///   API does; after a restart of all processes nothing does. Export the history, or note the head elsewhere, if you need
///   that.
/// * A process that has the key can write anything, under any name.
#[derive(Clone, PartialEq, Eq)]
pub struct HistoryKeys {
    /// The first one is used for new entries.
    keys: Arc<[Key]>,
    keyed_from: Option<u64>,
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: String,
    secret: Arc<[u8]>,
    /// The last entry that it is accepted for.
    up_to: u64,
}

/// The result of comparing a digest with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attestation {
    /// The digest is that of the entry.
    Same,
    /// The entry has another digest.
    Other,
    /// No accepted key has this id.
    UnknownKey,
}

impl HistoryKeys {
    /// A key for new entries. `id` has 1 to 32 letters, digits, `.`, `_` or `-`, and is stored with each entry. The secret
    /// is taken as it is, in bytes: at least 32, from `openssl rand -hex 32` for example.
    ///
    /// # Errors
    ///
    /// Another id, a secret of fewer than 32 bytes, or one that is easy to guess: a pattern of fewer than 32 bytes that
    /// repeats, fewer than 5 different bytes, or bytes that count up or down.
    pub fn new(id: &str, secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        Ok(Self { keys: [Key::new(id, secret.as_ref(), u64::MAX)?].into(), keyed_from: None })
    }

    /// Reads the form `id:secret` from an environment variable. With white space between, further keys are
    /// [accepted](Self::accept).
    ///
    /// # Errors
    ///
    /// The variable is not set, or its value is not in that form.
    pub fn from_env(variable: &str) -> Result<Self, Error> {
        let text = std::env::var(variable)
            .map_err(|error| Error::configuration(format!("the environment variable {variable}: {error}")))?;
        text.parse().map_err(|error: Error| Error::configuration(format!("{variable}: {error}")))
    }

    /// Also accepts entries of this key: the next one, or a previous one.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new), and an id that is there already.
    pub fn accept(self, id: &str, secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        self.accept_up_to(u64::MAX, id, secret)
    }

    /// Also accepts entries of this previous key, up to this number: the status names the last entry that was verified.
    ///
    /// # Errors
    ///
    /// As for [`accept`](Self::accept).
    pub fn accept_up_to(self, number: u64, id: &str, secret: impl AsRef<[u8]>) -> Result<Self, Error> {
        if self.keys.iter().any(|key| key.id == id) {
            return Err(Error::configuration(format!("expected another id for each key, found {id:?} twice")));
        }
        let added = Key::new(id, secret.as_ref(), number)?;
        Ok(Self { keys: self.keys.iter().cloned().chain([added]).collect(), ..self })
    }

    /// Requires a key from this entry on: 1 for a history that has had one from the beginning. Without it, entries are
    /// accepted without a key until the first one that has a key.
    #[must_use]
    pub fn keyed_from(mut self, number: u64) -> Self {
        self.keyed_from = Some(number);
        self
    }

    /// The digest of an entry by the first key: `id:` and hexadecimal digits. It stands in the next entry, and in the
    /// store's head.
    #[must_use]
    pub fn digest(&self, entry: &HistoryEntry) -> String {
        self.keys[0].digest(&entry.digested())
    }

    pub(super) fn required_from(&self) -> Option<u64> {
        self.keyed_from
    }
}

/// The id of the key that a digest names; `None` for a digest without a key.
pub(super) fn key_of(digest: &str) -> Option<&str> {
    digest.split_once(':').map(|(id, _)| id)
}

/// The digest of an entry for the end of a history: with the first key where there are keys.
pub(super) fn digest_with(keys: Option<&HistoryKeys>, entry: &HistoryEntry) -> String {
    keys.map_or_else(|| entry.digest(), |keys| keys.digest(entry))
}

/// The digest of an entry in the form of another digest, by the key that this one names; `None` where that key is not
/// accepted.
pub(crate) fn digest_like(keys: Option<&HistoryKeys>, entry: &HistoryEntry, digest: &str) -> Option<String> {
    let Some(id) = key_of(digest) else { return Some(entry.digest()) };
    let key = keys?.keys.iter().find(|key| key.id == id && entry.number <= key.up_to)?;
    Some(key.digest(&entry.digested()))
}

/// Whether a digest is that of an entry. What it is compared with is no secret: a writer of the store sees all digests.
pub(super) fn attested(keys: Option<&HistoryKeys>, entry: &HistoryEntry, digest: &str) -> Attestation {
    match digest_like(keys, entry, digest) {
        None => Attestation::UnknownKey,
        Some(found) if found == digest => Attestation::Same,
        Some(_) => Attestation::Other,
    }
}

impl Key {
    fn new(id: &str, secret: &[u8], up_to: u64) -> Result<Self, Error> {
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if id.is_empty() || id.len() > MAX_ID || !id.chars().all(is_id) {
            let expected = format!("an id of 1 to {MAX_ID} letters, digits, '.', '_' or '-'");
            return Err(Error::configuration(format!("history key: expected {expected}, found {id:?}")));
        }
        if let Some(weak) = WeakKey::of(secret) {
            return Err(Error::configuration(format!("history key {id:?}: {weak}")));
        }
        Ok(Self { id: id.to_owned(), secret: secret.into(), up_to })
    }

    fn digest(&self, digested: &[u8]) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        format!("{}:{}", self.id, hex_of(&mac.chain_update(digested).finalize().into_bytes()))
    }
}

impl FromStr for HistoryKeys {
    type Err = Error;

    /// # Errors
    ///
    /// Not `id:secret` with white space between, or no key at all.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut keys: Option<Self> = None;
        for (number, entry) in text.split_whitespace().enumerate() {
            // The text itself may be a secret and is not repeated.
            let Some((id, secret)) = entry.split_once(':') else {
                return Err(Error::configuration(format!(
                    "entry {}: expected an id and a secret with ':' between",
                    number + 1
                )));
            };
            keys = Some(match keys {
                None => Self::new(id, secret)?,
                Some(keys) => keys.accept(id, secret)?,
            });
        }
        keys.ok_or_else(|| Error::configuration("expected at least one history key, found none"))
    }
}

impl fmt::Debug for HistoryKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.keys.iter().map(|key| key.id.as_str()).collect();
        f.debug_struct("HistoryKeys").field("ids", &ids).field("keyed_from", &self.keyed_from).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Timestamp;

    const SECRET: &str = "6f0e5c1f4b7d4a0f9c3b2e1d0a9f8e7d";
    const OTHER: &str = "0d9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a";

    fn entry(number: u64) -> HistoryEntry {
        HistoryEntry {
            number,
            flag: "x".to_owned(),
            version: 1,
            at: Timestamp::from_unix_millis(0),
            actor: Some("alice".to_owned()),
            reason: None,
            before: None,
            after: Some("true".to_owned()),
            previous: String::new(),
        }
    }

    #[test]
    fn digests_are_hmac_of_what_plain_digests_are_over() {
        let keys = HistoryKeys::new("a", SECRET).unwrap();
        // printf '%s' '[1,"x",1,"1970-01-01T00:00:00Z","alice",null,null,"true",""]' | openssl dgst -sha256 -hmac $SECRET
        assert_eq!(
            String::from_utf8(entry(1).digested()).unwrap(),
            r#"[1,"x",1,"1970-01-01T00:00:00Z","alice",null,null,"true",""]"#
        );
        assert_eq!(keys.digest(&entry(1)), "a:b3a79ddda94b267dbe462c0ab75d01b70322c80163d965bfa06b7f854962895f");
    }

    #[test]
    fn each_key_attests_its_own_entries_alone() {
        let old = HistoryKeys::new("old", OTHER).unwrap();
        let keys = HistoryKeys::new("new", SECRET).unwrap().accept_up_to(7, "old", OTHER).unwrap();
        let of = |number| attested(Some(&keys), &entry(number), &old.digest(&entry(number)));
        assert_eq!((of(7), of(8)), (Attestation::Same, Attestation::UnknownKey));
        assert_eq!(attested(Some(&keys), &entry(9), &keys.digest(&entry(9))), Attestation::Same);
        assert_eq!(attested(Some(&keys), &entry(9), &keys.digest(&entry(8))), Attestation::Other);
        assert_eq!(attested(Some(&old), &entry(9), &keys.digest(&entry(9))), Attestation::UnknownKey);
        assert_eq!(attested(None, &entry(9), &keys.digest(&entry(9))), Attestation::UnknownKey);
        assert_eq!(attested(Some(&keys), &entry(9), &entry(9).digest()), Attestation::Same, "without a key");
        let stolen = keys.digest(&entry(5)).replace("new:", "old:");
        assert_eq!(attested(Some(&keys), &entry(5), &stolen), Attestation::Other);
    }

    #[test]
    fn keys_that_protect_nothing_are_rejected_without_repeating_them() {
        let said = |text: &str| text.parse::<HistoryKeys>().unwrap_err().to_string();
        assert_eq!(said(" "), "expected at least one history key, found none");
        assert_eq!(said(SECRET), "entry 1: expected an id and a secret with ':' between");
        assert_eq!(
            said("a:short"),
            "history key \"a\": expected a key of at least 32 bytes, found 5; `openssl rand -hex 32` makes one"
        );
        for weak in ["0".repeat(64), "changeme".repeat(8), "abcdefghijklmnopqrstuvwxyz0123456789".to_owned()] {
            let error = said(&format!("a:{weak}"));
            assert!(error.starts_with("history key \"a\": expected a") && !error.contains(&weak), "{error}");
        }
        assert!(said(&format!("a/b:{SECRET}")).contains("found \"a/b\""));
        assert_eq!(said(&format!("a:{SECRET} a:{OTHER}")), "expected another id for each key, found \"a\" twice");
        let shown = format!("{:?}", format!("a:{SECRET} b:{OTHER}").parse::<HistoryKeys>().unwrap().keyed_from(3));
        assert_eq!(shown, "HistoryKeys { ids: [\"a\", \"b\"], keyed_from: Some(3) }");
    }
}

//! The shared secret, and texts that are sealed with it.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::Error;
use crate::weak_key::WeakKey;

/// A secret for HMAC-SHA256 (RFC 2104): at least 32 random bytes.
///
/// Each key has an id, which every text that it signs names, so that a receiver with several keys knows which one is
/// meant. To change a key: add the new one on the receiving side, sign with it, and remove the old one once everything
/// that it has signed has expired.
///
/// ```
/// use tower_flags::request::SigningKey;
///
/// assert!(SigningKey::new("secret").is_err(), "too short");
/// assert!(SigningKey::new([0; 32]).is_err(), "easy to guess");
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// assert_eq!(key.id(), "nbW0CUQt", "derived from the key");
/// let key = key.with_id("2026-12")?;
/// assert_eq!(format!("{key:?}"), r#"SigningKey { id: "2026-12", .. }"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SigningKey {
    id: Arc<str>,
    secret: Arc<[u8]>,
}

/// The purpose of a derived id.
const ID: &str = "tower-flags key id 1";
/// Length of a derived id in bytes, before base64.
const ID_LEN: usize = 6;
/// Longest id in bytes.
const MAX_ID: usize = 32;

impl SigningKey {
    /// Uses the bytes as they are, for example from an environment variable or a file.
    ///
    /// # Errors
    ///
    /// Returns an error for fewer than 32 bytes, and for bytes that are easy to guess: a pattern of fewer than 32 bytes
    /// that repeats (a single byte, too), fewer than 5 different bytes, and bytes that count up or down. A random key is
    /// rejected by mistake with a probability below 10^-12.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, Error> {
        let secret: Arc<[u8]> = bytes.as_ref().into();
        if let Some(weak) = WeakKey::of(&secret) {
            return Err(weak.into());
        }
        let digest = mac(&secret, ID, "", &[]).finalize().into_bytes();
        let id = URL_SAFE_NO_PAD.encode(&digest[..ID_LEN]);
        Ok(Self { id: id.into(), secret })
    }

    /// Gives the key this id in place of the derived one: 1 to 32 ASCII letters, digits, `-` and `_`. Both sides have to
    /// use the same id. It is no secret.
    ///
    /// # Errors
    ///
    /// Returns an error for an id of another form.
    pub fn with_id(self, id: impl AsRef<str>) -> Result<Self, Error> {
        let id = id.as_ref();
        if let Some(character) = id.chars().find(|character| !is_id_character(*character)) {
            return Err(invalid_id(format_args!("the character {character:?} in it")));
        }
        if !is_id(id) {
            return Err(invalid_id(format_args!("one of {}", id.len())));
        }
        Ok(Self { id: id.into(), ..self })
    }

    /// The id: eight characters that are derived from the key, unless [`with_id`](Self::with_id) has set another.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `{id}.{payload}.{mac}`, the last two in URL-safe base64 without padding. The purpose and the id are signed with
    /// the payload, so that a text for one purpose serves no other.
    pub(in crate::request) fn seal(&self, purpose: &str, payload: &[u8]) -> String {
        let mac = mac(&self.secret, purpose, &self.id, payload).finalize().into_bytes();
        format!("{}.{}.{}", self.id, URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(mac))
    }

    /// The length of a sealed payload, from the length of the payload, both in bytes.
    pub(in crate::request) fn sealed_len(&self, payload: usize) -> usize {
        // The id and a point, four characters for three bytes, a point, and a digest of 32 bytes.
        self.id.len() + 1 + (payload * 4).div_ceil(3) + 1 + 43
    }

    /// Whether this key has sealed the text for this purpose. Compared in constant time.
    pub(in crate::request) fn has_sealed(&self, purpose: &str, sealed: &SealedText<'_>) -> bool {
        mac(&self.secret, purpose, sealed.id, &sealed.payload).verify_slice(&sealed.mac).is_ok()
    }

    pub(in crate::request) fn has_secret_of(&self, other: &Self) -> bool {
        self.secret == other.secret
    }
}

/// A text in its parts, by whomever it was written.
pub(in crate::request) struct SealedText<'a> {
    pub(in crate::request) id: &'a str,
    pub(in crate::request) payload: Vec<u8>,
    mac: Vec<u8>,
}

impl<'a> SealedText<'a> {
    pub(in crate::request) fn parse(text: &'a str) -> Option<Self> {
        let (id, rest) = text.split_once('.').filter(|(id, _)| is_id(id))?;
        let (payload, mac) = rest.split_once('.')?;
        Some(Self { id, payload: URL_SAFE_NO_PAD.decode(payload).ok()?, mac: URL_SAFE_NO_PAD.decode(mac).ok()? })
    }
}

/// The purpose and the id contain no byte of value 0, so that no two inputs are the same bytes.
fn mac(secret: &[u8], purpose: &str, id: &str, payload: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.chain_update(purpose).chain_update([0]).chain_update(id).chain_update([0]).chain_update(payload)
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.chars().all(is_id_character)
}

fn is_id_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-' || character == '_'
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An id that no key can have. The message does not repeat the id, in case that it was the key.
fn invalid_id(found: fmt::Arguments<'_>) -> Error {
    let message = format!("expected a key id of 1 to {MAX_ID} ASCII letters, digits, `-` and `_`, found {found}");
    Error::configuration(message)
}

//! The shared secret.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A secret for HMAC-SHA256 (RFC 2104): at least 32 bytes that nobody can guess.
///
/// ```
/// use tower_flags::request::SigningKey;
///
/// assert!(SigningKey::new("secret").is_err());
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// assert_eq!(format!("{key:?}"), "SigningKey(..)");
/// # Ok::<(), tower_flags::request::WeakKey>(())
/// ```
#[derive(Clone)]
pub struct SigningKey(Arc<[u8]>);

impl SigningKey {
    /// Takes the key's bytes as they are, from an environment variable or a file, say.
    ///
    /// # Errors
    ///
    /// Fewer than 32 bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, WeakKey> {
        let bytes = bytes.as_ref();
        if bytes.len() < MIN_LEN { Err(WeakKey { len: bytes.len() }) } else { Ok(Self(bytes.into())) }
    }

    /// `{payload}.{mac}`, both in URL-safe base64 without padding. The purpose is signed with it, so that
    /// a text for one purpose serves no other.
    pub(super) fn seal(&self, purpose: &str, payload: &[u8]) -> String {
        let mac = self.mac(purpose, payload).finalize().into_bytes();
        format!("{}.{}", URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(mac))
    }

    /// How long a sealed payload of so many bytes is.
    pub(super) fn sealed_len(payload: usize) -> usize {
        // Four characters for three bytes, a point, and a digest of 32 bytes.
        (payload * 4).div_ceil(3) + 1 + 43
    }

    /// The payload of a text that this key has sealed for this purpose. Compared in constant time.
    pub(super) fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let (payload, mac) = sealed.split_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        self.mac(purpose, &payload).verify_slice(&mac).ok()?;
        Some(payload)
    }

    fn mac(&self, purpose: &str, payload: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.chain_update(purpose).chain_update([0]).chain_update(payload)
    }
}

const MIN_LEN: usize = 32;

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// A key that is too short to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WeakKey {
    /// How long it is, in bytes.
    pub len: usize,
}

impl fmt::Display for WeakKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected a signing key of at least {MIN_LEN} bytes, found {}; `openssl rand -hex 32` makes one",
            self.len
        )
    }
}

impl std::error::Error for WeakKey {}

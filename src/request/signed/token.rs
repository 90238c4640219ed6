//! The tokens that testers are given.

use std::time::Duration;

use super::claims::{Claims, ForcedState, spelled};
use super::key::SigningKey;
use crate::document::{FlagName, Timestamp};
use crate::error::Error;

pub(super) const OVERRIDE: &str = "tower-flags override 2";

/// Longest token of a tester, in bytes. It comes back as a cookie beside `X-Active-Flags` and
/// `X-Flag-Overrides`, and nginx takes less than 4 000 bytes of headers unless told otherwise.
pub(super) const MAX_TOKEN: usize = 1024;

/// Longest life of a token, unless the layer and the token are told otherwise.
pub(super) const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a tester may force, to be signed: until when, for whom, and which flags.
///
/// The text travels as `?flag_override=`, as a cookie or as the header `X-Flag-Override`; see
/// [`Overrides`](super::Overrides).
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_flags::request::{OverrideToken, SigningKey};
///
/// let key = SigningKey::new("fdc1d0a6c3b24ae0b0b4a7a0a1f3f5a7c9e2")?;
/// let tomorrow = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
/// let token = OverrideToken::until(tomorrow.into()).for_user("alice").on("new_checkout").variant("pricing_page", "higher");
/// let link = format!("https://shop.example/?flag_override={}", token.sign(&key)?);
/// # let _ = link;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a token is of use once it is signed"]
pub struct OverrideToken {
    claims: Claims,
    longest_life: Duration,
}

impl OverrideToken {
    /// A token that is void from this instant on, to the second.
    pub fn until(expires_at: Timestamp) -> Self {
        let claims = Claims::until(expires_at.unix_millis().div_euclid(1000));
        Self { claims, longest_life: LONGEST_LIFE }
    }

    /// For this user alone: nobody else's token of it counts. Without, whoever has the link has the flags.
    pub fn for_user(mut self, user_id: impl Into<String>) -> Self {
        self.claims.user = Some(user_id.into());
        self
    }

    /// The flag is on; where it has variants, the weights choose.
    pub fn on(self, flag: impl FlagName) -> Self {
        self.with(flag, ForcedState::Switch(true))
    }

    /// The flag is off.
    pub fn off(self, flag: impl FlagName) -> Self {
        self.with(flag, ForcedState::Switch(false))
    }

    /// The flag is on with this variant; where it has no such variant, the weights choose.
    pub fn variant(self, flag: impl FlagName, variant: impl AsRef<str>) -> Self {
        self.with(flag, ForcedState::Variant(variant.as_ref().to_owned()))
    }

    fn with(mut self, flag: impl FlagName, wanted: ForcedState) -> Self {
        self.claims.flags.insert(flag.name().to_owned(), wanted);
        self
    }

    /// Allows a token to live this long from when it is signed; 30 days unless set. For layers that allow it by
    /// [`Overrides::longest_life`](super::Overrides::longest_life).
    pub fn longest_life(mut self, duration: Duration) -> Self {
        self.longest_life = duration;
        self
    }

    /// The token's text: letters, digits, `-`, `_` and two `.`, which a URL takes as they are.
    ///
    /// # Errors
    ///
    /// Returns an error for a token of more than 1 024 bytes, some thirty flags, and for one that expires later than the
    /// longest life from now: no layer accepts it.
    pub fn sign(&self, key: &SigningKey) -> Result<String, Error> {
        self.sign_at(key, Timestamp::now())
    }

    /// [Signs](Self::sign) by this clock in place of the system's, for layers that have a
    /// [clock](crate::FlagLayer::clock) of their own.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn sign_at(&self, key: &SigningKey, now: Timestamp) -> Result<String, Error> {
        if self.claims.lives_longer(now, self.longest_life) {
            let message = format!(
                "expected a token that expires within {}, found one that expires at {}; sign it for a shorter time, or allow \
                 more by `longest_life` of both `Overrides` and `OverrideToken`",
                spelled(self.longest_life),
                self.claims.expiry()
            );
            return Err(Error::configuration(message));
        }
        let token = self.claims.seal(OVERRIDE, key);
        let len = token.len();
        if len > MAX_TOKEN {
            let message = format!("expected a token of at most {MAX_TOKEN} bytes, found {len}; name fewer flags");
            return Err(Error::configuration(message));
        }
        Ok(token)
    }
}

//! Instants and days, as data: the engine never asks what time it is.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use jiff::SignedDuration;
use jiff::civil::DateTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time in UTC, with nanoseconds.
///
/// Read and written as RFC 3339 with an offset; the offset is applied and not kept.
///
/// ```
/// use tower_flags::Timestamp;
///
/// let start: Timestamp = "2026-12-01T10:00:00+01:00".parse()?;
/// assert_eq!(start.to_string(), "2026-12-01T09:00:00Z");
/// assert!(start < "2026-12-01T09:00:00.5Z".parse()?);
/// assert!("2026-12-01".parse::<Timestamp>().is_err());
/// # Ok::<(), tower_flags::document::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Since 1970-01-01T00:00:00Z. A duration and not `jiff::Timestamp`, which ends a day before
    /// the year 9999 does.
    since_epoch: SignedDuration,
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl Timestamp {
    /// The earliest instant there is: the start of the year 0.
    pub const MIN: Self = Self { since_epoch: SignedDuration::new(-62_167_219_200, 0) };
    /// The latest instant there is: the last nanosecond of the year 9999.
    pub const MAX: Self = Self { since_epoch: SignedDuration::new(253_402_300_799, 999_999_999) };

    /// The instant that many milliseconds after 1970-01-01T00:00:00Z, held to [`MIN`](Self::MIN)
    /// and [`MAX`](Self::MAX).
    #[must_use]
    pub fn from_unix_millis(millis: i64) -> Self {
        Self::held(SignedDuration::from_millis(millis))
    }

    /// Whole milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn unix_millis(self) -> i64 {
        i64::try_from(self.since_epoch.as_millis()).expect("the years 0 to 9999 fit 64 bits of milliseconds")
    }

    /// The instant that much later; `None` beyond [`MAX`](Self::MAX).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tower_flags::Timestamp;
    ///
    /// let start: Timestamp = "2028-02-28T09:00:00Z".parse()?;
    /// let later = start.checked_add(Duration::from_secs(36 * 60 * 60)).unwrap();
    /// assert_eq!(later.to_string(), "2028-02-29T21:00:00Z");
    /// assert_eq!(later.saturating_duration_since(start).as_secs(), 36 * 60 * 60);
    /// # Ok::<(), tower_flags::document::ParseTimestampError>(())
    /// ```
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        let since_epoch = self.since_epoch.checked_add(SignedDuration::try_from(duration).ok()?)?;
        Some(Self { since_epoch }).filter(|instant| *instant <= Self::MAX)
    }

    /// The instant that much earlier; `None` before [`MIN`](Self::MIN).
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        let since_epoch = self.since_epoch.checked_sub(SignedDuration::try_from(duration).ok()?)?;
        Some(Self { since_epoch }).filter(|instant| *instant >= Self::MIN)
    }

    /// How much later this instant is than another one; nothing where it is not.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::try_from(self.since_epoch - earlier.since_epoch).unwrap_or_default()
    }

    fn held(since_epoch: SignedDuration) -> Self {
        Self { since_epoch: since_epoch.clamp(Self::MIN.since_epoch, Self::MAX.since_epoch) }
    }

    fn date_time(self) -> DateTime {
        EPOCH.checked_add(self.since_epoch).unwrap_or(DateTime::MAX)
    }
}

/// System times outside the years 0 to 9999 become [`Timestamp::MIN`] or [`Timestamp::MAX`].
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => SignedDuration::try_from(after).map_or(Self::MAX, Self::held),
            Err(before) => SignedDuration::try_from(before.duration()).map_or(Self::MIN, |before| Self::held(-before)),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.date_time())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// # Errors
    ///
    /// Whatever is not a date, a `T`, a time to the second and an offset (`Z` or `+HH:MM`).
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        // jiff reads more than RFC 3339 (missing minutes, zone annotations); a plan that other
        // readers of the same document refuse helps nobody.
        // A 61st second is no instant of ours: every minute has 60.
        if !has_rfc_3339_shape(text.as_bytes()) || text[17..].starts_with("60") {
            return Err(ParseTimestampError);
        }
        let (date_time, offset) = text.split_at(text.len() - if text.ends_with(['Z', 'z']) { 1 } else { 6 });
        // Beyond nanoseconds there is nothing to tell instants apart by.
        let date_time = &date_time[..date_time.len().min("0000-00-00T00:00:00.123456789".len())];
        let local: DateTime = date_time.parse().map_err(|_| ParseTimestampError)?;
        let since_epoch = local.duration_since(EPOCH) - offset_of(offset).ok_or(ParseTimestampError)?;
        let instant = Self { since_epoch };
        if (Self::MIN..=Self::MAX).contains(&instant) { Ok(instant) } else { Err(ParseTimestampError) }
    }
}

/// `Z`, or `+HH:MM` or `-HH:MM` below a day.
fn offset_of(text: &str) -> Option<SignedDuration> {
    let Some((sign, time)) = text.split_at_checked(1).filter(|(_, time)| !time.is_empty()) else {
        return Some(SignedDuration::ZERO);
    };
    let (hours, minutes) = time.split_once(':')?;
    let (hours, minutes) = (hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?);
    let offset = SignedDuration::from_secs((hours * 60 + minutes) * 60);
    (hours < 24 && minutes < 60).then_some(if sign == "-" { -offset } else { offset })
}

fn has_rfc_3339_shape(text: &[u8]) -> bool {
    fn matches(text: &[u8], shape: &[u8]) -> bool {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'T' | b'Z' => byte.to_ascii_uppercase() == *shape,
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte == shape,
            })
    }
    let Some((date_time, mut rest)) = text.split_at_checked(19) else { return false };
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    matches(date_time, b"0000-00-00T00:00:00") && (matches(rest, b"Z") || matches(rest, b"+00:00"))
}

/// A text that is not an instant; says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseTimestampError;

impl fmt::Display for ParseTimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", Timestamp::EXPECTED)
    }
}

impl std::error::Error for ParseTimestampError {}

impl Timestamp {
    pub(crate) const EXPECTED: &str = "an RFC 3339 instant with an offset, such as 2026-12-01T09:00:00Z";
}

/// A calendar day in UTC, as `created_at` and `expires_at` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(jiff::civil::Date);

impl Day {
    /// Whether the whole day lies before `now`.
    ///
    /// ```
    /// use tower_flags::document::Day;
    ///
    /// let expires: Day = "2027-03-01".parse()?;
    /// assert!(!expires.is_over_at("2027-03-01T23:59:59Z".parse().unwrap()));
    /// assert!(expires.is_over_at("2027-03-02T00:00:00Z".parse().unwrap()));
    /// # Ok::<(), tower_flags::document::ParseDayError>(())
    /// ```
    #[must_use]
    pub fn is_over_at(self, now: Timestamp) -> bool {
        now.date_time().date() > self.0
    }

    /// The first instant of the next day.
    #[cfg(feature = "admin")]
    pub(crate) fn end(self) -> Timestamp {
        let next = self.0.tomorrow().map(|day| day.to_datetime(jiff::civil::Time::midnight()));
        next.map_or(Timestamp::MAX, |next| Timestamp::held(next.duration_since(EPOCH)))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Day {
    type Err = ParseDayError;

    /// # Errors
    ///
    /// Whatever is not a day of the calendar written `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Self, ParseDayError> {
        if text.len() != 10 {
            return Err(ParseDayError);
        }
        text.parse().map(Self).map_err(|_| ParseDayError)
    }
}

impl Day {
    pub(crate) const EXPECTED: &str = "a day of the calendar, such as 2027-03-01";
}

/// A text that is not a day; says what one looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseDayError;

impl fmt::Display for ParseDayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", Day::EXPECTED)
    }
}

impl std::error::Error for ParseDayError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_applied_and_fractions_kept() {
        let instant: Timestamp = "2026-12-01T09:00:00.123456789-01:30".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-12-01T10:30:00.123456789Z");
        assert_eq!("2026-12-01T09:00:00.0000000009Z".parse(), "2026-12-01T09:00:00Z".parse::<Timestamp>());
        assert_eq!("2026-12-01t09:00:00z".parse::<Timestamp>().unwrap().to_string(), "2026-12-01T09:00:00Z");
    }

    #[test]
    fn the_years_0_to_9999_are_instants() {
        for text in ["0000-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "9999-12-31T23:59:59.999999999Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
        assert_eq!("0000-01-01T00:00:00Z".parse(), Ok(Timestamp::MIN));
        assert_eq!("9999-12-31T23:59:59.999999999Z".parse(), Ok(Timestamp::MAX));
        assert_eq!(Timestamp::from_unix_millis(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_unix_millis(-1).unix_millis(), -1);
    }

    #[test]
    fn instants_are_added_up_to_the_nanosecond_and_not_beyond_their_ends() {
        let nanosecond = Duration::from_nanos(1);
        let whole = Timestamp::MAX.saturating_duration_since(Timestamp::MIN);
        assert_eq!(Timestamp::MIN.checked_add(whole), Some(Timestamp::MAX));
        assert_eq!(Timestamp::MAX.checked_sub(whole), Some(Timestamp::MIN));
        for beyond in [nanosecond, whole, Duration::MAX] {
            assert_eq!(Timestamp::MAX.checked_add(beyond), None, "{beyond:?}");
            assert_eq!(Timestamp::MIN.checked_sub(beyond), None, "{beyond:?}");
        }
        assert_eq!(Timestamp::MIN.saturating_duration_since(Timestamp::MAX), Duration::ZERO);
        let epoch = Timestamp::from_unix_millis(0);
        let before = epoch.checked_sub(nanosecond).unwrap();
        assert_eq!(before.to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(epoch.saturating_duration_since(before), nanosecond);
    }

    #[test]
    fn what_rfc_3339_does_not_allow_is_refused() {
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T09:00:00",
            "2026-12-01T09:00Z",
            "2026-12-01 09:00:00Z",
            "2026-12-01T09:00:00+01",
            "2026-12-01T09:00:00+01:00[Europe/Paris]",
            "2026-13-01T09:00:00Z",
            "2026-02-29T09:00:00Z",
            "2026-12-31T23:59:60Z",
            "2026-12-01T24:00:00Z",
            "2026-12-01T09:00:00+24:00",
            "2026-12-01T09:00:00+01:60",
            "9999-12-31T23:59:59-00:01",
            "2026-12-01T09:00:00.Z",
            "２026-12-01T09:00:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(ParseTimestampError), "{text}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_utc() {
        let day: Day = "2028-02-29".parse().unwrap();
        #[cfg(feature = "admin")]
        {
            assert_eq!(day.end(), "2028-03-01T00:00:00Z".parse().unwrap());
            assert_eq!("9999-12-31".parse::<Day>().unwrap().end(), Timestamp::MAX);
        }
        assert!(!day.is_over_at("2028-02-29T23:59:59.999Z".parse().unwrap()));
        assert!(day.is_over_at("2028-03-01T00:00:00Z".parse().unwrap()));
        assert!("2027-02-29".parse::<Day>().is_err());
        assert!("20270301".parse::<Day>().is_err());
    }
}

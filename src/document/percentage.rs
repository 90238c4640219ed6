//! Shares of users, held in thousandths of a percent.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A percentage from 0 to 100 with at most three decimals, held exactly in thousandths.
///
/// ```
/// use tower_flags::Percentage;
///
/// let share: Percentage = "12.5".parse()?;
/// assert_eq!(share.thousandths(), 12_500);
/// assert_eq!(share.to_string(), "12.5");
/// assert!("0.0001".parse::<Percentage>().is_err());
/// # Ok::<(), tower_flags::document::PercentageError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percentage(u32);

impl Percentage {
    /// Nobody.
    pub const ZERO: Self = Self(0);
    /// Everybody.
    pub const HUNDRED: Self = Self(100_000);

    /// A percentage from thousandths of a percent, 0 to 100 000; `None` above.
    #[must_use]
    pub const fn from_thousandths(thousandths: u32) -> Option<Self> {
        if thousandths <= 100_000 { Some(Self(thousandths)) } else { None }
    }

    /// Thousandths of a percent, 0 to 100 000.
    #[must_use]
    pub const fn thousandths(self) -> u32 {
        self.0
    }

    pub(crate) const EXPECTED: &str = "a number from 0 to 100 with at most three decimals";
}

impl FromStr for Percentage {
    type Err = PercentageError;

    /// Reads a decimal number, with or without an exponent, exactly: no floating point is involved.
    ///
    /// # Errors
    ///
    /// Numbers below 0, above 100 or with a non-zero fourth decimal, and whatever is not a number.
    fn from_str(text: &str) -> Result<Self, PercentageError> {
        thousandths(text).and_then(Self::from_thousandths).ok_or(PercentageError)
    }
}

/// The number times 1000, if that is a whole number from 0 to `u32::MAX`.
pub(super) fn thousandths(text: &str) -> Option<u32> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    if digits().all(|digit| digit == b'0') {
        return Some(0);
    }
    if negative {
        return None;
    }
    // The decimal point of the thousandths, counted in digits from the left.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?.checked_add(3)?;
    let mut value: u32 = 0;
    let mut position = 0;
    for digit in digits().map(|digit| u32::from(digit - b'0')) {
        if position < point {
            value = value.checked_mul(10)?.checked_add(digit)?;
        } else if digit != 0 {
            return None;
        }
        position += 1;
    }
    while position < point {
        value = value.checked_mul(10)?;
        position += 1;
    }
    Some(value)
}

impl Percentage {
    /// A percentage that is written as a number in the code.
    ///
    /// # Panics
    ///
    /// If it is not a number from 0 to 100 with at most three decimals.
    #[track_caller]
    pub(crate) fn literal<P: TryInto<Self, Error: fmt::Display>>(percentage: P) -> Self {
        percentage.try_into().unwrap_or_else(|error| panic!("{error}"))
    }
}

impl TryFrom<i32> for Percentage {
    type Error = PercentageError;

    fn try_from(whole: i32) -> Result<Self, PercentageError> {
        whole.to_string().parse()
    }
}

impl TryFrom<f64> for Percentage {
    type Error = PercentageError;

    /// The shortest decimal number that is this float: `0.1` is a tenth of a percent.
    fn try_from(number: f64) -> Result<Self, PercentageError> {
        number.to_string().parse()
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1000, self.0 % 1000);
        if thousandths == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{thousandths:03}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

/// As a JSON number: whole percentages as integers.
impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u32(self.0 / 1000)
        } else {
            // Six significant digits survive the way through f64 and back to text.
            serializer.serialize_f64(f64::from(self.0) / 1000.0)
        }
    }
}

/// A text that is not a percentage; says what one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PercentageError;

impl fmt::Display for PercentageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", Percentage::EXPECTED)
    }
}

impl std::error::Error for PercentageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_is_read_exactly() {
        for (text, thousandths) in [
            ("0", 0),
            ("-0.0", 0),
            ("0e999999999999", 0),
            ("0.29", 290),
            ("29", 29_000),
            ("0.001", 1),
            ("12.500", 12_500),
            ("99.999", 99_999),
            ("100", 100_000),
            ("100.000", 100_000),
            ("1e2", 100_000),
            ("1E+1", 10_000),
            ("2500e-2", 25_000),
            ("0.0000001e7", 1_000),
            ("1.0e-3", 1),
        ] {
            assert_eq!(text.parse::<Percentage>().map(Percentage::thousandths), Ok(thousandths), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "-",
            ".",
            ".5",
            "-1",
            "-0.001",
            "0.0001",
            "99.9999",
            "99.99999999999999999999",
            "100.001",
            "101",
            "1e3",
            "1e308",
            "1e400",
            "1e99999999999999999999",
            "1e9223372036854775807",
            "4294967296",
            "9007199254740993",
            "NaN",
            "inf",
            ".inf",
            "5%",
            "1_0",
            "0x10",
            "١",
        ] {
            assert_eq!(text.parse::<Percentage>(), Err(PercentageError), "{text}");
        }
    }

    #[test]
    fn every_percentage_survives_display_and_json() {
        for thousandths in 0..=100_000 {
            let percentage = Percentage::from_thousandths(thousandths).unwrap();
            assert_eq!(percentage.to_string().parse(), Ok(percentage));
            assert_eq!(serde_json::to_string(&percentage).unwrap().parse(), Ok(percentage));
        }
    }
}

//! Numbers that rules compare.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::ser::{Serialize, Serializer};

use super::problem::{Problem, shortened};

/// Expected where a whole number is too large.
pub(crate) const WHOLE: &str = "a whole number from -9223372036854775808 to 18446744073709551615";

/// A number by its value, however it is written: `18`, `18.0` and `1.8e1` are one number.
///
/// Two numbers compare by their exact values, without rounding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// A whole number of 64 bits, with or without sign; an attribute may hold a larger one as a float.
    Whole(i128),
    /// A float with a fraction, or beyond the whole numbers above.
    Fraction(f64),
}

/// Why a text is not a number that a comparison can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NumberFault {
    NoNumber,
    TooLarge,
    Rounded,
}

impl Number {
    /// Reads the digits of a rule's number. Digits alone are a whole number of 64 bits; with a point or an exponent they
    /// are a float, which has to have exactly the written value.
    pub(crate) fn read(digits: &str) -> Result<Self, Problem> {
        Self::parse(digits).map_err(|wrong| {
            let found = shortened(digits);
            match wrong {
                NumberFault::NoNumber => Problem::new("a finite number", found),
                NumberFault::TooLarge => Problem::new(WHOLE, found)
                    .with_help("compare a longer number as text: put it and the attribute in quotes"),
                NumberFault::Rounded => Problem::new("a number that a 64-bit float holds exactly as written", found)
                    .with_help("write a whole number without a point or exponent, or a fraction with fewer digits"),
            }
        })
    }

    fn parse(digits: &str) -> Result<Self, NumberFault> {
        if is_whole(digits) {
            let number: i128 = digits.parse().map_err(|_| NumberFault::TooLarge)?;
            return if is_of_64_bits(number) { Ok(Self::Whole(number)) } else { Err(NumberFault::TooLarge) };
        }
        let float = digits.parse::<f64>().ok().filter(|float| float.is_finite()).ok_or(NumberFault::NoNumber)?;
        let number = Self::of_float(float);
        let is_held = match number {
            Self::Whole(whole) if !is_of_64_bits(whole) => return Err(NumberFault::TooLarge),
            Self::Whole(whole) => decimal(digits) == decimal(&whole.to_string()),
            Self::Fraction(float) if float.fract() == 0.0 => return Err(NumberFault::TooLarge),
            // No more digits than the shortest text of this float. There are two such texts if the float lies halfway.
            Self::Fraction(float) => {
                let shortest = format!("{float:e}");
                match (decimal(digits), decimal(&shortest)) {
                    (Some(written), Some(held)) => {
                        written == held || (float.is_normal() && written.1.len() == held.1.len())
                    }
                    _ => false,
                }
            }
        };
        if is_held { Ok(number) } else { Err(NumberFault::Rounded) }
    }

    /// The number that an attribute holds.
    pub(crate) fn of_attribute(number: &serde_json::Number) -> Option<Self> {
        match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Some(Self::Whole(whole.into())),
            (None, Some(whole)) => Some(Self::Whole(whole.into())),
            (None, None) => number.as_f64().map(Self::of_float),
        }
    }

    fn of_float(float: f64) -> Self {
        // Two to the 127th is the first float that does not fit.
        const END: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
        if float.fract() == 0.0 && float.abs() < END {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
            return Self::Whole(float as i128);
        }
        Self::Fraction(float)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (*self, *other) {
            (Self::Whole(one), Self::Whole(two)) => Some(one.cmp(&two)),
            (Self::Fraction(one), Self::Fraction(two)) => one.partial_cmp(&two),
            (Self::Whole(one), Self::Fraction(two)) => rounded(one).partial_cmp(&two),
            (Self::Fraction(one), Self::Whole(two)) => one.partial_cmp(&rounded(two)),
        }
    }
}

/// A whole number as a float, to compare it with a fraction. A fraction is below two to the 53rd, where nothing is
/// rounded, or beyond all whole numbers, where rounding does not change the order.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn rounded(whole: i128) -> f64 {
    whole as f64
}

/// Writes whole numbers with all digits, and fractions with the fewest digits that give the same float.
impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Fraction(float) => serializer.serialize_f64(float),
            Self::Whole(whole) => match (i64::try_from(whole), u64::try_from(whole)) {
                (Ok(whole), _) => serializer.serialize_i64(whole),
                (_, Ok(whole)) => serializer.serialize_u64(whole),
                _ => serializer.serialize_i128(whole),
            },
        }
    }
}

/// Whether a text is a number without a point or exponent.
pub(crate) fn is_whole(digits: &str) -> bool {
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    !unsigned.is_empty() && unsigned.bytes().all(|digit| digit.is_ascii_digit())
}

/// Whether a whole number is one of 64 bits, with or without sign.
fn is_of_64_bits(number: i128) -> bool {
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number)
}

/// Whether a JSON value keeps all digits that it has to keep: those of whole numbers.
pub(crate) fn keeps_digits(digits: &str) -> bool {
    !is_whole(digits) || digits.parse().is_ok_and(is_of_64_bits)
}

/// A decimal number in its normal form: sign, significant digits, and the power of ten of the last digit.
fn decimal(text: &str) -> Option<(bool, Cow<'_, str>, i64)> {
    let (is_negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = if fraction.is_empty() { Cow::Borrowed(whole) } else { Cow::Owned(format!("{whole}{fraction}")) };
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, Cow::Borrowed(""), 0));
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let power = i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
    let power = exponent.parse::<i64>().ok()?.checked_add(power)?;
    Some((is_negative, Cow::Owned(significant.to_owned()), power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_as_it_is_written_or_not_at_all() {
        for (text, written) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e99999999999999999999", "0"),
            ("+18", "18"),
            ("18.0", "18"),
            ("1.8e1", "18"),
            ("180E-1", "18"),
            ("1e19", "10000000000000000000"),
            ("-9.223372036854775808e18", "-9223372036854775808"),
            ("9007199254740992.0", "9007199254740992"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("0.1", "0.1"),
            ("0.10", "0.1"),
            ("-2.50", "-2.5"),
            ("1E-7", "1e-7"),
            ("5e-324", "5e-324"),
            ("4503599627370495.5", "4503599627370495.5"),
        ] {
            let number = Number::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!(serde_json::to_string(&number).unwrap(), written, "{text}");
        }
        for (text, wrong) in [
            ("18446744073709551616", NumberFault::TooLarge),
            ("-9223372036854775809", NumberFault::TooLarge),
            ("18446744073709551616.0", NumberFault::TooLarge),
            ("1e20", NumberFault::TooLarge),
            ("-1e300", NumberFault::TooLarge),
            ("9007199254740993.0", NumberFault::Rounded),
            ("1.8446744073709551615e19", NumberFault::TooLarge),
            ("1.2345678901234568e18", NumberFault::Rounded),
            ("1234567890123456789.5", NumberFault::Rounded),
            ("0.10000000000000000555", NumberFault::Rounded),
            ("1e-400", NumberFault::Rounded),
            ("1e-99999999999999999999", NumberFault::Rounded),
            ("1e400", NumberFault::NoNumber),
            ("inf", NumberFault::NoNumber),
            ("nan", NumberFault::NoNumber),
            ("out of range", NumberFault::NoNumber),
            ("-", NumberFault::NoNumber),
        ] {
            assert_eq!(Number::parse(text).unwrap_err(), wrong, "{text}");
        }
        assert_eq!(Number::parse(&"9".repeat(100_000)).unwrap_err(), NumberFault::TooLarge);
        // Both have the digits of -197108850599707.125, which is halfway between them.
        assert_eq!(Number::parse("-197108850599707.12").ok(), Number::parse("-197108850599707.13").ok());
    }

    #[test]
    fn order_is_that_of_the_values() {
        let ascending = [
            Number::Fraction(-1e300),
            Number::Fraction(-170_141_183_460_469_231_731_687_303_715_884_105_728.0),
            Number::Whole(i64::MIN.into()),
            Number::Whole(-9_007_199_254_740_993),
            Number::of_float(-9_007_199_254_740_992.0),
            Number::Fraction(-0.5),
            Number::of_float(-0.0),
            Number::Fraction(f64::MIN_POSITIVE),
            Number::Fraction(4_503_599_627_370_495.5),
            Number::Whole(4_503_599_627_370_496),
            Number::Whole(9_007_199_254_740_993),
            Number::Whole((u64::MAX - 1).into()),
            Number::Whole(u64::MAX.into()),
            Number::of_float(18_446_744_073_709_551_616.0),
            Number::Fraction(1e300),
        ];
        for (place, one) in ascending.iter().enumerate() {
            for (other_place, other) in ascending.iter().enumerate() {
                assert_eq!(one.partial_cmp(other), Some(place.cmp(&other_place)), "{one:?} and {other:?}");
            }
        }
    }
}

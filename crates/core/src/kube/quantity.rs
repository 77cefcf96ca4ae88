//! Kubernetes quantities (`250m`, `1.5Gi`, `1e3`): parsing, comparing, and writing in the API server's spelling.
//!
//! A port of `k8s.io/apimachinery/pkg/api/resource`, including its quirks: it keeps a text that the API server keeps,
//! and rewrites a text that the API server rewrites. It has no arithmetic.
//!
//! The file is longer than 500 lines, because it follows the files that it ports line by line.

use std::{cmp::Ordering, fmt};

/// The family of a quantity's suffix. A quantity is written with the family that it was parsed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `1e3`
    DecimalExponent,
    /// `1Ki`
    BinarySi,
    /// `1k`
    DecimalSi,
}

/// Suffixes with their family and exponent. The base is two for `BinarySi` and ten for the others.
const SUFFIXES: [(&str, Format, i32); 16] = [
    ("", Format::DecimalSi, 0),
    ("n", Format::DecimalSi, -9),
    ("u", Format::DecimalSi, -6),
    ("m", Format::DecimalSi, -3),
    ("k", Format::DecimalSi, 3),
    ("M", Format::DecimalSi, 6),
    ("G", Format::DecimalSi, 9),
    ("T", Format::DecimalSi, 12),
    ("P", Format::DecimalSi, 15),
    ("E", Format::DecimalSi, 18),
    ("Ki", Format::BinarySi, 10),
    ("Mi", Format::BinarySi, 20),
    ("Gi", Format::BinarySi, 30),
    ("Ti", Format::BinarySi, 40),
    ("Pi", Format::BinarySi, 50),
    ("Ei", Format::BinarySi, 60),
];

/// The exponent of the smallest fraction that the API server keeps.
const NANO: i32 = -9;
/// The exponent to which the API server rounds up resource lists.
const MILLI: i32 = -3;
/// The largest exponent that is accepted. The API server's parser overflows for larger ones, and none is useful.
const MAX_EXPONENT: i64 = 1000;

/// The text is not a quantity. The API server refuses it as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not have the form `<sign><digits>.<digits><suffix>`.
    #[error("a quantity is a number with a suffix such as m, k, Mi or e3")]
    Form,
    /// It has a suffix and no digits.
    #[error("a quantity needs a digit before its suffix")]
    NoDigits,
    /// Kubernetes does not have its suffix.
    #[error("the suffix of a quantity is one of n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent such as e3")]
    Suffix,
    /// Its exponent is not between -1000 and 1000.
    #[error("an exponent of a quantity lies between -1000 and 1000")]
    Exponent,
}

/// A number and its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    negative: bool,
    /// Decimal digits, the most significant first, without leading zeros. Zero has no digits.
    digits: Vec<u8>,
    /// The power of ten of the last digit.
    scale: i32,
    format: Format,
    /// The original text, if the API server keeps it.
    as_written: Option<String>,
}

impl Quantity {
    /// Parses a quantity as the API server does. Ignores white space around it.
    pub(crate) fn parse(text: &str) -> Result<Self, QuantityError> {
        let text = text.trim();
        let parts = Parts::split(text)?;
        let (format, exponent) = parts.suffix()?;
        let fraction = i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Form)?;
        let whole = i32::try_from(parts.whole.len().max(1)).map_err(|_| QuantityError::Form)?;

        let mut digits: Vec<u8> = [parts.whole, parts.fraction].concat().bytes().map(|digit| digit - b'0').collect();
        let mut scale = -fraction;
        // Only a number that fits the API server's fast path can keep its spelling.
        let fast = match format {
            Format::BinarySi => fraction == 0 && whole + exponent * 3 / 10 < 15,
            Format::DecimalSi | Format::DecimalExponent => {
                scale += exponent;
                whole + fraction <= 18 && scale >= NANO
            }
        };
        let keeps_spelling = fast
            && match format {
                Format::BinarySi => !last_three(&digits).is_multiple_of(8),
                Format::DecimalSi | Format::DecimalExponent => {
                    scale % 3 == 0 && !parts.whole.is_empty() && !digits.ends_with(&[0, 0, 0])
                }
            };
        if !fast && !parts.has_digits {
            return Err(QuantityError::NoDigits);
        }
        if format == Format::BinarySi {
            for _ in 0..exponent / 10 {
                multiply(&mut digits, 1024);
            }
        }
        strip_leading_zeros(&mut digits);

        let mut quantity = Self { negative: parts.negative, digits, scale, format, as_written: None };
        quantity.round_up(NANO);
        if format == Format::BinarySi {
            quantity.cap();
            if quantity.whole_digits().is_empty() {
                quantity.format = Format::DecimalSi;
            }
        }
        quantity.as_written = keeps_spelling.then(|| text.to_owned());
        Ok(quantity)
    }

    /// Compares the numbers, whatever their spelling.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let negative = |quantity: &Self| quantity.negative && !quantity.digits.is_empty();
        match (negative(self), negative(other)) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
        }
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        // The power of ten of the first digit, plus one. Zero has no digit and is less than all others.
        let size = |quantity: &Self| match i64::try_from(quantity.digits.len()) {
            Ok(0) | Err(_) => i64::MIN,
            Ok(digits) => digits + i64::from(quantity.scale),
        };
        let padded = |quantity: &Self, index: usize| quantity.digits.get(index).copied().unwrap_or_default();
        let digits = 0..self.digits.len().max(other.digits.len());
        size(self).cmp(&size(other)).then_with(|| {
            digits
                .map(|index| padded(self, index).cmp(&padded(other, index)))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }

    /// Rounds away from zero to thousandths, as the API server does with every resource list.
    pub(crate) fn round_up_to_milli(&mut self) {
        if self.scale < MILLI {
            self.as_written = None;
        }
        self.round_up(MILLI);
    }

    fn round_up(&mut self, scale: i32) {
        let Ok(surplus) = usize::try_from(scale - self.scale) else { return };
        let keep = self.digits.len().saturating_sub(surplus);
        let inexact = self.digits.split_off(keep).iter().any(|digit| *digit != 0);
        if inexact {
            increment(&mut self.digits);
        }
        self.scale = scale.max(self.scale);
    }

    /// Caps a binary quantity at 2^63-1, as the API server does.
    fn cap(&mut self) {
        const MOST: [u8; 19] = [9, 2, 2, 3, 3, 7, 2, 0, 3, 6, 8, 5, 4, 7, 7, 5, 8, 0, 7];
        let whole = self.whole_digits();
        let fraction = self.digits.get(whole.len()..).unwrap_or_default();
        let beyond = match whole.len().cmp(&MOST.len()).then_with(|| whole.cmp(&MOST[..])) {
            Ordering::Less => false,
            Ordering::Equal => fraction.iter().any(|digit| *digit != 0),
            Ordering::Greater => true,
        };
        if beyond {
            self.digits = MOST.to_vec();
            self.scale = 0;
        }
    }

    /// The digits before the decimal point. The scale must not be positive, which is true of every binary quantity.
    fn whole_digits(&self) -> &[u8] {
        let fraction = usize::try_from(-self.scale).unwrap_or_default();
        self.digits.get(..self.digits.len().saturating_sub(fraction)).unwrap_or_default()
    }

    /// The value in units, if it is an integer of at least 1024 and has a binary suffix.
    fn binary_value(&self) -> Option<u64> {
        let whole = self.whole_digits();
        let exact = self.digits.iter().skip(whole.len()).all(|digit| *digit == 0);
        if self.format != Format::BinarySi || !exact {
            return None;
        }
        // `cap` has run, so the value fits.
        let value =
            whole.iter().try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(*digit)))?;
        (value >= 1024).then_some(value)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = &self.as_written {
            return f.write_str(text);
        }
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        if self.negative {
            f.write_str("-")?;
        }
        if let Some(mut value) = self.binary_value() {
            let mut exponent = 0;
            while value >= 1024 && value % 1024 == 0 {
                value /= 1024;
                exponent += 10;
            }
            return write!(f, "{value}{}", suffix(Format::BinarySi, exponent));
        }
        let zeros = self.digits.iter().rev().take_while(|digit| **digit == 0).count();
        let significant = self.digits.len() - zeros;
        let mut exponent = self.scale + i32::try_from(zeros).unwrap_or_default();
        for digit in self.digits.iter().take(significant) {
            write!(f, "{digit}")?;
        }
        while exponent % 3 != 0 {
            f.write_str("0")?;
            exponent -= 1;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => Ok(()),
            Format::DecimalExponent => write!(f, "e{exponent}"),
            Format::BinarySi | Format::DecimalSi => f.write_str(suffix(Format::DecimalSi, exponent)),
        }
    }
}

/// The suffix for an exponent. Empty if there is none, as in the API server, which therefore writes `1` for `1000E`.
fn suffix(format: Format, exponent: i32) -> &'static str {
    SUFFIXES
        .iter()
        .find(|(_, family, power)| *power == exponent && (*family == format || exponent == 0))
        .map_or("", |(suffix, ..)| suffix)
}

/// The parts of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
    /// Whether the text has a digit, even if it is a zero.
    has_digits: bool,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Form);
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let stripped = unsigned.trim_start_matches('0');
        let (whole, rest) = split_digits(stripped);
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), split_digits);
        let has_digits = stripped.len() < unsigned.len() || !whole.is_empty() || !fraction.is_empty();

        let exponent = suffix.trim_start_matches(|letter| "eEinumkKMGTP".contains(letter));
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if !exponent.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(QuantityError::Form);
        }
        Ok(Self { negative, whole, fraction, suffix, has_digits })
    }

    fn suffix(&self) -> Result<(Format, i32), QuantityError> {
        if let Some((_, format, exponent)) = SUFFIXES.iter().find(|(suffix, ..)| *suffix == self.suffix) {
            return Ok((*format, *exponent));
        }
        let exponent: i64 = self
            .suffix
            .strip_prefix(['e', 'E'])
            .and_then(|exponent| exponent.parse().ok())
            .ok_or(QuantityError::Suffix)?;
        if !(-MAX_EXPONENT..=MAX_EXPONENT).contains(&exponent) {
            return Err(QuantityError::Exponent);
        }
        let exponent = i32::try_from(exponent).map_err(|_| QuantityError::Exponent)?;
        Ok((Format::DecimalExponent, exponent))
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// The last three digits as a number, which are enough to check divisibility by eight.
fn last_three(digits: &[u8]) -> u32 {
    let skip = digits.len().saturating_sub(3);
    digits.iter().skip(skip).fold(0, |value, digit| value * 10 + u32::from(*digit))
}

fn multiply(digits: &mut Vec<u8>, factor: u32) {
    let mut carry = 0;
    let mut product = Vec::with_capacity(digits.len() + 4);
    for digit in digits.iter().rev() {
        carry += u32::from(*digit) * factor;
        product.extend(u8::try_from(carry % 10));
        carry /= 10;
    }
    while carry > 0 {
        product.extend(u8::try_from(carry % 10));
        carry /= 10;
    }
    product.reverse();
    *digits = product;
}

fn increment(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return;
        }
        *digit = 0;
    }
    digits.insert(0, 1);
}

fn strip_leading_zeros(digits: &mut Vec<u8>) {
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Result<String, QuantityError> {
        Quantity::parse(text).map(|quantity| quantity.to_string())
    }

    fn in_a_resource_list(text: &str) -> String {
        let mut quantity = Quantity::parse(text).expect("a quantity");
        quantity.round_up_to_milli();
        quantity.to_string()
    }

    #[test]
    fn writes_the_largest_suffix_that_keeps_the_number_an_integer() {
        for (written, expected) in [
            ("1.5", "1500m"),
            (".25", "250m"),
            ("0.15", "150m"),
            ("1000m", "1"),
            ("1500", "1500"),
            ("1000", "1k"),
            ("1.5k", "1500"),
            ("2000000", "2M"),
            ("2048Mi", "2Gi"),
            ("1000Mi", "1000Mi"),
            ("0.5Gi", "512Mi"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("0.0001", "100u"),
            ("-1.5", "-1500m"),
            ("-2048Ki", "-2Mi"),
        ] {
            assert_eq!(canonical(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn writes_a_small_or_fractional_binary_quantity_as_decimal() {
        for (written, expected) in
            [("0.5Ki", "512"), ("1023Ki", "1023Ki"), ("0.0001Ki", "102400u"), ("1.3Ki", "1331200m"), ("0Mi", "0")]
        {
            assert_eq!(canonical(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn writes_an_exponent_as_an_exponent() {
        for (written, expected) in
            [("1e3", "1e3"), ("1E3", "1E3"), ("10e2", "1e3"), ("1.5e3", "1500"), ("5e-1", "500e-3"), ("1e+21", "1e+21")]
        {
            assert_eq!(canonical(written).as_deref(), Ok(expected), "{written}");
        }
    }

    // The API server keeps the text of a number that it considers canonical, whatever the text looks like.
    #[test]
    fn keeps_the_unusual_spellings_that_the_api_server_keeps() {
        for kept in ["+5", "007", "1.", "1.500", "1025.Mi", "5e3"] {
            assert_eq!(canonical(kept).as_deref(), Ok(kept), "{kept}");
        }
        assert_eq!(canonical(" 5 ").as_deref(), Ok("5"));
        assert_eq!(canonical("+.5").as_deref(), Ok("500m"));
    }

    #[test]
    fn rounds_up_small_fractions_and_caps_large_binary_quantities() {
        assert_eq!(canonical("1e-12").as_deref(), Ok("1e-9"));
        assert_eq!(canonical("0.0000000001").as_deref(), Ok("1n"));
        assert_eq!(canonical("-0.0000000001").as_deref(), Ok("-1n"));
        assert_eq!(canonical("16Ei").as_deref(), Ok("9223372036854775807"));
        assert_eq!(canonical("99999999999999999999").as_deref(), Ok("99999999999999999999"));
        // There is no suffix for 10^21, so the API server writes none.
        assert_eq!(canonical("1000E").as_deref(), Ok("1"));
    }

    #[test]
    fn rounds_up_to_thousandths_in_a_resource_list() {
        for (written, expected) in
            [("0.0001", "1m"), ("1.0005", "1001m"), ("-0.0001", "-1m"), ("1500u", "2m"), ("1.5", "1500m"), ("0", "0")]
        {
            assert_eq!(in_a_resource_list(written), expected, "{written}");
        }
    }

    #[test]
    fn compares_quantities_whatever_their_spelling() {
        let ascending = [
            "-1Ei", "-2", "-1500m", "-1n", "0", "1n", "0.1", "1", "1.5", "1999m", "2", "1e1", "999", "1k", "1Ki", "1M",
            "1Mi", "1G", "1Gi", "1.1Gi", "1e12", "1Ti", "1Pi", "1E", "1Ei", "1e30",
        ];
        for (index, one) in ascending.iter().enumerate() {
            for (other_index, other) in ascending.iter().enumerate() {
                let [one, other] = [one, other].map(|text| Quantity::parse(text).unwrap());
                assert_eq!(one.compare(&other), index.cmp(&other_index), "{one} {other}");
            }
        }
        for (one, other) in [
            ("1", "1000m"),
            ("1024Mi", "1Gi"),
            ("0", "-0"),
            ("0Ki", "0.0"),
            ("1e3", "1k"),
            ("007", "7.0"),
            ("10", "1e1"),
        ] {
            assert_eq!(
                Quantity::parse(one).unwrap().compare(&Quantity::parse(other).unwrap()),
                Ordering::Equal,
                "{one}"
            );
        }
    }

    #[test]
    fn an_error_says_why_a_text_is_not_a_quantity() {
        for (written, expected) in [
            ("", QuantityError::Form),
            ("1 Gi", QuantityError::Form),
            ("one", QuantityError::Form),
            ("1.2.3", QuantityError::Form),
            ("1g", QuantityError::Form),
            ("5mi", QuantityError::Suffix),
            ("5K", QuantityError::Suffix),
            ("Pi", QuantityError::NoDigits),
            ("1e4294967297", QuantityError::Exponent),
        ] {
            assert_eq!(canonical(written), Err(expected), "{written:?}");
        }
        // The API server reads these as zero.
        for written in ["+", "-", ".", "Ki", "m"] {
            assert_eq!(canonical(written).as_deref(), Ok("0"), "{written:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_for_any_text(text in "\\PC*") {
            let _ = canonical(&text);
        }

        #[test]
        fn orders_quantities_as_numbers(
            (one, other) in (-5000_i64..5000, -5000_i64..5000),
            (places, other_places) in (0_u32..4, 0_u32..4),
        ) {
            // The number is in thousandths; the quantity has a suffix.
            let quantity = |number: i64, places: u32| {
                let suffix = ["m", "", "k", "M"][places as usize];
                (Quantity::parse(&format!("{number}{suffix}")).unwrap(), number * 1000_i64.pow(places))
            };
            let ((one, number), (other, other_number)) = (quantity(one, places), quantity(other, other_places));
            prop_assert_eq!(one.compare(&other), number.cmp(&other_number));
        }

        #[test]
        fn parses_every_quantity_that_it_writes(text in "[-+]?[0-9]{0,25}(\\.[0-9]{0,12})?([numkMGTPE]|[KMGTPE]i|e-?[0-9]{1,2})?") {
            if let Ok(mut quantity) = Quantity::parse(&text) {
                prop_assert!(Quantity::parse(&quantity.to_string()).is_ok(), "{quantity}");
                quantity.round_up_to_milli();
                prop_assert!(Quantity::parse(&quantity.to_string()).is_ok(), "{quantity}");
            }
        }
    }
}

//! Kubernetes quantities (`250m`, `1.5Gi`, `1e3`) in the spelling that the API server gives them.
//!
//! A port of `k8s.io/apimachinery/pkg/api/resource`, quirks included: what the server keeps as it was written is kept
//! here, and what it rewrites is rewritten. Reading, writing and comparing; nothing here adds quantities. Called by
//! `defaults`, and by capability rules.

use std::{cmp::Ordering, fmt};

/// The family of suffixes that a quantity was written with, and so is written with again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `1e3`
    DecimalExponent,
    /// `1Ki`
    BinarySi,
    /// `1k`
    DecimalSi,
}

/// A suffix with its family and its exponent, of two for `BinarySi` and of ten for the others.
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

/// What the server keeps at most of a fraction.
const NANO: i32 = -9;
/// What resource lists are rounded up to.
const MILLI: i32 = -3;
/// Beyond this an exponent is a slip of the pen, and the server's own reading of it wraps around.
const MAX_EXPONENT: i64 = 1000;

/// A text that is not a quantity, as the API server would tell as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not `<sign><digits>.<digits><suffix>`.
    #[error("a quantity is a number with a suffix such as m, k, Mi or e3")]
    Form,
    /// A suffix with no digits before it.
    #[error("a quantity needs a digit before its suffix")]
    NoDigits,
    /// A suffix that is none of Kubernetes'.
    #[error("the suffix of a quantity is one of n u m k M G T P E, Ki Mi Gi Ti Pi Ei, or an exponent such as e3")]
    Suffix,
    /// An exponent that no cluster has a use for.
    #[error("an exponent of a quantity lies between -1000 and 1000")]
    Exponent,
}

/// A number and the way it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    negative: bool,
    /// Decimal digits, the most significant first, never beginning with a zero; none for zero.
    digits: Vec<u8>,
    /// The power of ten of the last digit.
    scale: i32,
    format: Format,
    /// The text as it was found, where the server keeps that.
    as_written: Option<String>,
}

impl Quantity {
    /// Reads a quantity as the API server does, white space around it ignored.
    pub(crate) fn parse(text: &str) -> Result<Self, QuantityError> {
        let text = text.trim();
        let parts = Parts::split(text)?;
        let (format, exponent) = parts.suffix()?;
        let fraction = i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Form)?;
        let whole = i32::try_from(parts.whole.len().max(1)).map_err(|_| QuantityError::Form)?;

        let mut digits: Vec<u8> = [parts.whole, parts.fraction].concat().bytes().map(|digit| digit - b'0').collect();
        let mut scale = -fraction;
        // What fits the server's fast path may keep its spelling; the rest never does.
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

    /// Which of two is more, however they are written.
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
        // The power of ten before the first digit; zero has no digit, and is less than all others.
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

    /// Rounds away from zero to thousandths, as the server does with every resource list.
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

    /// The server knows no binary quantity beyond what 63 bits hold.
    fn cap(&mut self) {
        const MOST: [u8; 19] = [9, 2, 2, 3, 3, 7, 2, 0, 3, 6, 8, 5, 4, 7, 7, 5, 8, 0, 7];
        let whole = self.whole_digits();
        let fraction = self.digits.get(whole.len()..).unwrap_or_default();
        let beyond = match whole.len().cmp(&MOST.len()).then_with(|| whole.cmp(&MOST[..])) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => fraction.iter().any(|digit| *digit != 0),
            std::cmp::Ordering::Greater => true,
        };
        if beyond {
            self.digits = MOST.to_vec();
            self.scale = 0;
        }
    }

    /// The digits before the decimal point, for a quantity whose scale is not positive, as binary ones have it.
    fn whole_digits(&self) -> &[u8] {
        let fraction = usize::try_from(-self.scale).unwrap_or_default();
        self.digits.get(..self.digits.len().saturating_sub(fraction)).unwrap_or_default()
    }

    /// The value in units, if that is whole, of at least 1024 and written with binary suffixes.
    fn binary_value(&self) -> Option<u64> {
        let whole = self.whole_digits();
        let exact = self.digits.iter().skip(whole.len()).all(|digit| *digit == 0);
        if self.format != Format::BinarySi || !exact {
            return None;
        }
        // `cap` ran, so this fits.
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

/// The suffix for an exponent; the server writes none where there is none, and so says 1 for `1000E`.
fn suffix(format: Format, exponent: i32) -> &'static str {
    SUFFIXES
        .iter()
        .find(|(_, family, power)| *power == exponent && (*family == format || exponent == 0))
        .map_or("", |(suffix, ..)| suffix)
}

/// A quantity's text, taken apart.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, leading zeros stripped.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
    /// Whether there was a digit at all, be it a zero.
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

/// The last three digits as a number, which is enough to tell divisibility by eight.
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
    fn the_suffix_is_the_largest_that_keeps_the_number_whole() {
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
    fn a_small_or_a_broken_binary_quantity_becomes_decimal() {
        for (written, expected) in
            [("0.5Ki", "512"), ("1023Ki", "1023Ki"), ("0.0001Ki", "102400u"), ("1.3Ki", "1331200m"), ("0Mi", "0")]
        {
            assert_eq!(canonical(written).as_deref(), Ok(expected), "{written}");
        }
    }

    #[test]
    fn an_exponent_stays_an_exponent() {
        for (written, expected) in
            [("1e3", "1e3"), ("1E3", "1E3"), ("10e2", "1e3"), ("1.5e3", "1500"), ("5e-1", "500e-3"), ("1e+21", "1e+21")]
        {
            assert_eq!(canonical(written).as_deref(), Ok(expected), "{written}");
        }
    }

    // The server caches the text of a number that it takes for canonical already, whatever that text looks like.
    #[test]
    fn some_odd_spellings_are_kept_as_the_server_keeps_them() {
        for kept in ["+5", "007", "1.", "1.500", "1025.Mi", "5e3"] {
            assert_eq!(canonical(kept).as_deref(), Ok(kept), "{kept}");
        }
        assert_eq!(canonical(" 5 ").as_deref(), Ok("5"));
        assert_eq!(canonical("+.5").as_deref(), Ok("500m"));
    }

    #[test]
    fn too_fine_is_rounded_up_and_too_large_is_capped_or_not() {
        assert_eq!(canonical("1e-12").as_deref(), Ok("1e-9"));
        assert_eq!(canonical("0.0000000001").as_deref(), Ok("1n"));
        assert_eq!(canonical("-0.0000000001").as_deref(), Ok("-1n"));
        assert_eq!(canonical("16Ei").as_deref(), Ok("9223372036854775807"));
        assert_eq!(canonical("99999999999999999999").as_deref(), Ok("99999999999999999999"));
        // No suffix for 10^21, so the server writes none.
        assert_eq!(canonical("1000E").as_deref(), Ok("1"));
    }

    #[test]
    fn a_resource_list_rounds_up_to_thousandths() {
        for (written, expected) in
            [("0.0001", "1m"), ("1.0005", "1001m"), ("-0.0001", "-1m"), ("1500u", "2m"), ("1.5", "1500m"), ("0", "0")]
        {
            assert_eq!(in_a_resource_list(written), expected, "{written}");
        }
    }

    #[test]
    fn quantities_are_compared_by_what_they_say_however_it_is_written() {
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
    fn what_is_not_a_quantity_says_why() {
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
        // The server takes these for zero.
        for written in ["+", "-", ".", "Ki", "m"] {
            assert_eq!(canonical(written).as_deref(), Ok("0"), "{written:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = canonical(&text);
        }

        #[test]
        fn quantities_are_ordered_as_the_numbers_that_they_are(
            (one, other) in (-5000_i64..5000, -5000_i64..5000),
            (places, other_places) in (0_u32..4, 0_u32..4),
        ) {
            // In thousandths, of which some are written as units and some with a suffix.
            let quantity = |number: i64, places: u32| {
                let suffix = ["m", "", "k", "M"][places as usize];
                (Quantity::parse(&format!("{number}{suffix}")).unwrap(), number * 1000_i64.pow(places))
            };
            let ((one, number), (other, other_number)) = (quantity(one, places), quantity(other, other_places));
            prop_assert_eq!(one.compare(&other), number.cmp(&other_number));
        }

        #[test]
        fn the_canonical_form_is_a_quantity_again(text in "[-+]?[0-9]{0,25}(\\.[0-9]{0,12})?([numkMGTPE]|[KMGTPE]i|e-?[0-9]{1,2})?") {
            if let Ok(mut quantity) = Quantity::parse(&text) {
                prop_assert!(Quantity::parse(&quantity.to_string()).is_ok(), "{quantity}");
                quantity.round_up_to_milli();
                prop_assert!(Quantity::parse(&quantity.to_string()).is_ok(), "{quantity}");
            }
        }
    }
}

//! Numbers in canonical JSON: ECMAScript's `Number::toString` (RFC 8785 section 3.2.2.3), of exact numbers only.
//!
//! A caller can send millions of numbers in one review. So a number is read once and written from its own digits, and
//! nothing is allocated. A double is computed only for a number of 16 or 17 digits, because fewer digits always survive
//! the way through a double and back, and more never do.

/// 2^53. Beyond it, several integers share one double (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2).
const MAX_EXACT: u64 = 1 << 53;
/// Two decimal numbers of at most so many digits never share a double (`DBL_DIG` of C), in the range of normal doubles.
const ALWAYS_EXACT: usize = 15;
/// The digits of the longest canonical text.
const MAX_DIGITS: usize = 17;
/// The smallest `point` for which every number is a normal double: `0.1e-306`.
const NORMAL: i64 = -306;
/// Beyond any exponent that a text of some gigabytes could compensate with zeros.
const HUGE: i64 = 1 << 40;

/// The text has no canonical number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// It does not begin with a JSON number.
    Syntax,
    /// A double does not hold the number, which has this length, exactly.
    Inexact(usize),
}

/// A decimal number independent of its spelling: 0.DIGITS times ten to the power of `point`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// The significant digits, without zeros at either end. Zero has none.
    digits: u64,
    /// How many digits there are. The value of `digits` means nothing if there are more than [`MAX_DIGITS`].
    length: usize,
    point: i64,
}

/// Appends the canonical form of the number at the beginning of `text`. Returns the length of the number in `text`.
pub(crate) fn append(out: &mut Vec<u8>, text: &str) -> Result<usize, NumberError> {
    if let Some(integer) = plain_integer(text.as_bytes()) {
        out.extend_from_slice(integer);
        return Ok(integer.len());
    }
    let (number, length) = Decimal::read(text.as_bytes()).ok_or(NumberError::Syntax)?;
    if !number.is_exact(text.get(..length).unwrap_or_default()) {
        return Err(NumberError::Inexact(length));
    }
    number.write(out);
    Ok(length)
}

/// The integer at the beginning of `text` if it is canonical as it is written. Nearly all numbers in a spec are.
fn plain_integer(text: &[u8]) -> Option<&[u8]> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let digits = text.iter().skip(sign).take_while(|byte| byte.is_ascii_digit()).count();
    let begins_as_one = matches!(text.get(sign), Some(b'1'..=b'9'));
    let end = sign + digits;
    let ends_as_one = !matches!(text.get(end), Some(b'.' | b'e' | b'E'));
    (begins_as_one && ends_as_one && digits <= ALWAYS_EXACT).then(|| text.get(..end)).flatten()
}

impl Decimal {
    /// The number at the beginning of `text`, and its length. `None`: there is none.
    fn read(text: &[u8]) -> Option<(Self, usize)> {
        let at = |index: usize| text.get(index).copied();
        let digit = |index: usize| at(index).filter(u8::is_ascii_digit).map(|byte| byte - b'0');
        let mut number = Self { negative: at(0) == Some(b'-'), digits: 0, length: 0, point: 0 };
        let mut index = usize::from(number.negative);
        // Zeros are significant only if another digit follows.
        let mut zeros = 0;
        let first = digit(index)?;
        while let Some(value) = digit(index) {
            number.push(value, &mut zeros);
            number.point += i64::from(number.length > 0);
            index += 1;
            if first == 0 {
                break;
            }
        }
        if at(index) == Some(b'.') {
            index += 1;
            digit(index)?;
            while let Some(value) = digit(index) {
                number.push(value, &mut zeros);
                number.point -= i64::from(number.length == 0);
                index += 1;
            }
        }
        if matches!(at(index), Some(b'e' | b'E')) {
            index += 1;
            let negative = at(index) == Some(b'-');
            index += usize::from(matches!(at(index), Some(b'+' | b'-')));
            digit(index)?;
            let mut exponent: i64 = 0;
            while let Some(value) = digit(index) {
                exponent = (exponent * 10 + i64::from(value)).min(HUGE);
                index += 1;
            }
            number.point += if negative { -exponent } else { exponent };
        }
        if number.length == 0 {
            number = Self { negative: false, digits: 0, length: 0, point: 0 };
        }
        Some((number, index))
    }

    fn push(&mut self, value: u8, zeros: &mut usize) {
        if value == 0 {
            *zeros += usize::from(self.length > 0);
            return;
        }
        self.length += *zeros + 1;
        if self.length <= MAX_DIGITS {
            for _ in 0..=*zeros {
                self.digits *= 10;
            }
            self.digits += u64::from(value);
        }
        *zeros = 0;
    }

    /// Whether the number, whose spelling is `text`, is exactly what its double writes, and no other integer shares the
    /// double.
    fn is_exact(self, text: &str) -> bool {
        if self.length > MAX_DIGITS || self.point > 16 {
            return false;
        }
        let length = i64::try_from(self.length).unwrap_or(i64::MAX);
        if length <= self.point {
            // An integer of at most 16 digits.
            let zeros = u32::try_from(self.point - length).unwrap_or(u32::MAX);
            return 10_u64.checked_pow(zeros).and_then(|power| self.digits.checked_mul(power)) <= Some(MAX_EXACT);
        }
        // 2^53 is between 16 digits with and without a fraction, so only the double decides there.
        if self.length <= ALWAYS_EXACT && (NORMAL..=15).contains(&self.point) {
            return true;
        }
        let Ok(double) = text.parse::<f64>() else { return false };
        #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
        let in_range = double.abs() <= MAX_EXACT as f64;
        let mut buffer = ryu_js::Buffer::new();
        in_range && Self::read(buffer.format_finite(double).as_bytes()).is_some_and(|(written, _)| written == self)
    }

    fn write(self, out: &mut Vec<u8>) {
        let mut buffer = [0; MAX_DIGITS];
        let mut rest = self.digits;
        let digits = buffer.get_mut(..self.length).unwrap_or_default();
        for place in digits.iter_mut().rev() {
            *place = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        let digits = &*digits;
        let zeros = |out: &mut Vec<u8>, count: i64| {
            out.resize(out.len() + usize::try_from(count).unwrap_or_default(), b'0');
        };
        if self.negative {
            out.push(b'-');
        }
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        match self.point {
            _ if digits.is_empty() => out.push(b'0'),
            // An exact integer has at most 16 digits, and ECMAScript writes up to 21 without an exponent.
            point if length <= point => {
                out.extend_from_slice(digits);
                zeros(out, point - length);
            }
            point @ 1.. => {
                let (whole, fraction) = digits.split_at(usize::try_from(point).unwrap_or_default().min(digits.len()));
                out.extend_from_slice(whole);
                out.push(b'.');
                out.extend_from_slice(fraction);
            }
            point @ -5..=0 => {
                out.extend_from_slice(b"0.");
                zeros(out, -point);
                out.extend_from_slice(digits);
            }
            point => {
                let (first, fraction) = digits.split_at(1);
                out.extend_from_slice(first);
                if !fraction.is_empty() {
                    out.push(b'.');
                    out.extend_from_slice(fraction);
                }
                out.extend_from_slice(b"e-");
                out.extend_from_slice((1 - point).to_string().as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Result<String, NumberError> {
        let mut out = Vec::new();
        let length = append(&mut out, text)?;
        assert_eq!(length, text.len(), "{text}");
        Ok(String::from_utf8(out).expect("ASCII"))
    }

    #[test]
    fn writes_numbers_as_ecmascript_does() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0"),
            ("-0e999", "0"),
            ("0e99999999999999999999", "0"),
            ("1", "1"),
            ("-1", "-1"),
            ("100", "100"),
            ("1.0", "1"),
            ("10.50", "10.5"),
            ("1e3", "1000"),
            ("1E+3", "1000"),
            ("1200e-2", "12"),
            ("0.1", "0.1"),
            ("-0.1", "-0.1"),
            ("0.000001", "0.000001"),
            ("0.0000012", "0.0000012"),
            ("0.0000001", "1e-7"),
            ("-0.00000012", "-1.2e-7"),
            ("1e-27", "1e-27"),
            ("1e-306", "1e-306"),
            ("1e-307", "1e-307"),
            ("5e-324", "5e-324"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("123456789012345.5", "123456789012345.5"),
            ("1234567890123.4568", "1234567890123.4568"),
            // Halfway between two texts of 17 digits, ECMAScript writes the even one.
            ("218755031775843.62", "218755031775843.62"),
            ("9007199254740991", "9007199254740991"),
            ("-9007199254740992", "-9007199254740992"),
            ("900719925474099200e-2", "9007199254740992"),
            ("9e15", "9000000000000000"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
        let long = format!("0.{}1e1000001", "0".repeat(1_000_000));
        assert_eq!(canonical(&long).as_deref(), Ok("1"));
    }

    #[test]
    fn refuses_a_number_that_a_double_does_not_hold_exactly() {
        for text in [
            "9007199254740993",
            "-9007199254740993",
            "9007199254740992.5",
            "9.1e15",
            "1e16",
            "1e400",
            "1e99999999999999999999",
            "18446744073709551616",
            "0.1000000000000000055",
            "0.30000000000000003",
            "1234567890123.4567",
            "1234567890123.45678",
            "218755031775843.63",
            "218755031775843.625",
            "4503599627370496.3",
            "1e-400",
            "1e-99999999999999999999",
            "3e-324",
            "5.1e-324",
        ] {
            assert_eq!(canonical(text), Err(NumberError::Inexact(text.len())), "{text}");
        }
    }

    #[test]
    fn refuses_a_text_that_does_not_begin_with_a_number() {
        for text in ["", "-", "--1", "+1", ".5", "1.", "1.e3", "1e", "1e+", "-a"] {
            assert_eq!(canonical(text), Err(NumberError::Syntax), "{text}");
        }
        // The rest is for the caller to refuse.
        for (text, length) in [("01", 1), ("1-2", 1), ("-0.5.5", 4), ("1e5e5", 3)] {
            assert_eq!(append(&mut Vec::new(), text), Ok(length), "{text}");
        }
    }

    /// The rule of the specification, by way of a double: the number is exact if the canonical text of its double
    /// denotes the same decimal number.
    fn by_double(text: &str) -> Result<String, NumberError> {
        let double: f64 = text.parse().expect("a number");
        let written = ryu_js::Buffer::new().format(double).to_owned();
        let value = |text: &str| Decimal::read(text.as_bytes()).map(|(number, _)| number);
        #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
        let is_exact = double.abs() <= MAX_EXACT as f64 && value(text) == value(&written);
        if is_exact { Ok(written) } else { Err(NumberError::Inexact(text.len())) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn agrees_with_a_double_about_any_number(
            text in "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?"
        ) {
            prop_assert_eq!(canonical(&text), by_double(&text));
        }

        #[test]
        fn agrees_with_a_double_about_small_numbers(text in "[1-9]\\.[0-9]{0,3}[1-9]e-(29[0-9]|3[0-3][0-9])") {
            prop_assert_eq!(canonical(&text), by_double(&text));
        }

        #[test]
        fn writes_every_double_up_to_2_to_the_53_as_ecmascript_does(bits: u64) {
            #[expect(clippy::cast_precision_loss, reason = "2^53 is exact")]
            let double = f64::from_bits(bits) % (MAX_EXACT as f64);
            prop_assume!(double.is_finite());
            let written = ryu_js::Buffer::new().format(double).to_owned();
            prop_assert_eq!(canonical(&written), Ok(written.clone()));
        }
    }
}

//! Times and durations as Writgate's documents write them.
//!
//! Deliberately stricter than RFC 3339: each time has one spelling, so that two readers cannot disagree about it.

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

/// The text is not a time in the form that [`parse_time`] accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a time: expected RFC 3339 with Z and whole seconds, as in 2026-11-22T10:00:00Z")]
pub struct TimeError {
    found: String,
}

/// Parses `YYYY-MM-DDTHH:MM:SSZ`. Fails for anything else: an offset, a fraction, a leap second or the year 0.
///
/// Fails for the last day of the year 9999 as well, because a [`Timestamp`] does not reach it.
pub fn parse_time(text: &str) -> Result<Timestamp, TimeError> {
    read_time(text).ok_or_else(|| TimeError { found: text.chars().take(40).collect() })
}

fn read_time(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    if year == 0 {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0)
        .ok()?
        .to_zoned(TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

/// Three numbers of exactly these widths. Accepts only ASCII digits, because `str::parse` would accept a sign.
fn fields(text: &str, separator: char, widths: [usize; 3]) -> Option<[i16; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The text is not a duration in the form that [`parse_duration`] accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a duration: expected a positive one such as 24h, 1h30m, 90s or 30d")]
pub struct DurationError {
    found: String,
}

/// Parses a positive duration: Go's notation (`24h`, `1h30m`, `1.5h`) or whole days (`30d`).
///
/// The maximum is Go's: 2^63-1 nanoseconds, about 292 years.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let nanoseconds = match text.strip_suffix('d') {
        Some(days) => whole_days(days),
        None => go_duration(text),
    };
    nanoseconds
        .filter(|&n| n > 0)
        .map(SignedDuration::from_nanos)
        .ok_or_else(|| DurationError { found: text.chars().take(40).collect() })
}

fn whole_days(days: &str) -> Option<i64> {
    const NANOSECONDS: i64 = 24 * 60 * 60 * 1_000_000_000;
    if !days.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    days.parse::<i64>().ok()?.checked_mul(NANOSECONDS)
}

/// The nanoseconds of a sequence of decimal numbers with units, as Go's `time.ParseDuration` reads it.
fn go_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        total = total.checked_add(in_nanoseconds(number, unit)?)?;
        rest = after;
    }
    Some(total)
}

fn in_nanoseconds(number: &str, unit: &str) -> Option<i64> {
    let unit: i64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60 * 1_000_000_000,
        "h" => 3_600 * 1_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Each digit of the fraction counts a tenth of the one before it. As in Go, less than a nanosecond is dropped.
    let mut place = unit;
    let mut total = whole.checked_mul(unit)?;
    for digit in fraction.chars() {
        place /= 10;
        total = total.checked_add(place.checked_mul(i64::from(digit.to_digit(10)?))?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_is_utc_to_the_second() {
        let time = parse_time("2026-11-22T10:00:00Z").unwrap();
        assert_eq!(time.to_string(), "2026-11-22T10:00:00Z");
        assert_eq!(parse_time("2024-02-29T23:59:59Z").unwrap().to_string(), "2024-02-29T23:59:59Z");
        assert_eq!(parse_time("0001-01-01T00:00:00Z").unwrap().to_string(), "0001-01-01T00:00:00Z");
    }

    #[test]
    fn a_time_has_one_spelling() {
        for text in [
            "",
            "Z",
            "2026-11-22",
            "2026-11-22T10:00Z",
            "2026-11-22T10:00:00",
            "2026-11-22T10:00:00z",
            "2026-11-22t10:00:00Z",
            "2026-11-22 10:00:00Z",
            "2026-11-22T10:00:00+00:00",
            "2026-11-22T10:00:00+00:00Z",
            "2026-11-22T10:00:00.0Z",
            "2026-11-22T10:00:60Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:60:00Z",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-1-1T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "-001-01-01T00:00:00Z",
            "+026-11-22T10:00:00Z",
            "2026-11-22T10:00:00ZZ",
            " 2026-11-22T10:00:00Z",
            "2026-11-22T10:00:00Z\n",
            "２０２６-11-22T10:00:00Z",
            "1763805600",
        ] {
            assert!(parse_time(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_duration_is_in_gos_notation_or_in_whole_days() {
        for (text, seconds) in
            [("24h", 86_400), ("1h30m", 5_400), ("90s", 90), ("30d", 2_592_000), ("1.5h", 5_400), ("1h1h", 7_200)]
        {
            assert_eq!(parse_duration(text).unwrap(), SignedDuration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse_duration(".5s").unwrap(), SignedDuration::from_millis(500));
        assert_eq!(parse_duration("1µs").unwrap(), SignedDuration::from_micros(1));
    }

    #[test]
    fn refuses_any_other_duration() {
        for text in [
            "",
            "0",
            "0s",
            "0h",
            "0d",
            "d",
            "24",
            "h",
            "-1h",
            "+1h",
            "1 h",
            " 1h",
            "1h ",
            "1d12h",
            "12h1d",
            "1.5d",
            "1w",
            "P1D",
            "PT1H",
            "1H",
            "1hour",
            ".h",
            "1..5h",
            "+1d",
            "-1d",
            "106752d",
            "2562048h",
            "99999999999999999999h",
            "9223372036s9999999999ns",
            "1h\n",
            "∞",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_for_any_text(text in "\\PC*", numbers in "[0-9.]{0,30}[a-zµ]{0,2}[0-9.dhms]{0,9}") {
            let _ = parse_time(&text);
            let _ = parse_duration(&text);
            let _ = parse_duration(&numbers);
        }

        #[test]
        fn a_written_time_parses_to_the_same_time(second in -62_135_596_800_i64..253_402_200_000) {
            let time = Timestamp::from_second(second).unwrap();
            prop_assert_eq!(parse_time(&time.to_string()), Ok(time));
        }
    }
}

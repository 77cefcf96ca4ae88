//! The `traceparent` header of W3C Trace Context, version 00 (<https://www.w3.org/TR/trace-context/#traceparent-header>). An API
//! server with `--tracing-config-file` sends it.
//!
//! It is a claim of the caller: anyone who reaches the port can send any value. It is therefore only logged. A record, which is signed,
//! has no such member (ADR 0023), and the webhook exports no spans.

use std::fmt;

use axum::http::HeaderMap;

/// The trace and the span to which a request claims to belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent(String);

impl TraceParent {
    /// The header of a request. `None` if there is none, more than one, or one that is not well-formed.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        let value = value.to_str().ok()?;
        let [version, trace, parent, flags] = value.split('-').collect::<Vec<_>>().try_into().ok()?;
        let is_hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_id = |part: &str, length: usize| is_hex(part, length) && part.bytes().any(|byte| byte != b'0');
        let is_well_formed = version == "00" && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2);
        is_well_formed.then(|| Self(value.to_owned()))
    }

    /// Whether the caller records the trace.
    pub(crate) fn is_sampled(&self) -> bool {
        let flags = self.0.rsplit('-').next().and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 1)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(values: &[&str]) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().expect("a value"));
        }
        TraceParent::of(&headers)
    }

    #[test]
    fn one_well_formed_header_is_taken_as_it_is() {
        let parent = of(&[VALID]).expect("well-formed");
        assert_eq!(parent.to_string(), VALID);
        assert!(parent.is_sampled());
        let unsampled = of(&[&VALID.replace("-01", "-00")]).expect("well-formed");
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn any_other_header_is_ignored() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[VALID, VALID]), None, "two headers");
        for (part, other) in [
            ("00-4", "01-4"),
            ("4bf9", "4BF9"),
            ("4bf9", "4bf"),
            ("4bf9", "4bg9"),
            ("4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000000"),
            ("00f067aa0ba902b7", "0000000000000000"),
            ("-01", "-1"),
            ("-01", "-01-00"),
            ("-01", ""),
        ] {
            assert_eq!(of(&[&VALID.replacen(part, other, 1)]), None, "{part} to {other}");
        }
    }
}

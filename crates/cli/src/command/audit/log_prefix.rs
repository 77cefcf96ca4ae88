//! The prefix or wrapper that a container runtime, Docker or `kubectl logs` adds to a line of the webhook's log.

use std::{borrow::Cow, collections::HashMap};

use serde::{Deserialize, de::IgnoredAny};

/// Streams with an unfinished line, at most. There are two, standard output and standard error.
const MAX_STREAMS: usize = 8;
/// Longest line that is joined from parts.
const MAX_LINE: usize = 1 << 20;

/// Removes the wrapper from each line, and joins lines that the runtime has split.
#[derive(Default)]
pub(crate) struct LogPrefix {
    /// The parts of unfinished lines, by stream.
    parts: HashMap<Vec<u8>, Vec<u8>>,
}

/// A line as Docker's `json-file` driver writes it.
#[derive(Deserialize)]
struct Docker<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    /// Members of a record or a link. A line with one of them is no wrapper, whatever else is in it.
    version: Option<IgnoredAny>,
    chain: Option<IgnoredAny>,
    signature: Option<IgnoredAny>,
}

impl Docker<'_> {
    fn is_wrapper(&self) -> bool {
        self.version.is_none() && self.chain.is_none() && self.signature.is_none()
    }
}

impl LogPrefix {
    /// The JSON in `line`. None if there is none, or if the line continues in a later one.
    pub(crate) fn remove<'a>(&mut self, line: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        // A line with a record in a string has a backslash, in whatever order and spelling the members are.
        if line.trim_ascii_start().starts_with(b"{")
            && memchr::memchr(b'\\', line).is_some()
            && let Ok(docker) = serde_json::from_slice::<Docker<'_>>(line)
            && docker.is_wrapper()
        {
            let whole = docker.log.ends_with('\n');
            let joined = self.join(docker.stream.as_bytes(), docker.log.trim_end().as_bytes(), whole)?;
            return json(&joined).map(|json| Cow::Owned(json.to_vec()));
        }
        if let Some((stream, whole, content)) = container_line(line)
            && (!whole || !self.parts.is_empty())
        {
            let joined = self.join(stream, content, whole)?;
            return json(&joined).map(|json| Cow::Owned(json.to_vec()));
        }
        json(line).map(Cow::Borrowed)
    }

    /// The JSON in lines that were never completed.
    pub(crate) fn unfinished(&mut self) -> Vec<Vec<u8>> {
        self.parts.drain().filter_map(|(_, line)| json(&line).map(<[u8]>::to_vec)).collect()
    }

    fn join(&mut self, stream: &[u8], content: &[u8], whole: bool) -> Option<Vec<u8>> {
        if whole {
            let mut line = self.parts.remove(stream).unwrap_or_default();
            line.extend_from_slice(content);
            return Some(line);
        }
        if self.parts.len() < MAX_STREAMS || self.parts.contains_key(stream) {
            let part = self.parts.entry(stream.to_vec()).or_default();
            part.extend_from_slice(content);
            part.truncate(MAX_LINE); // a longer line does not parse and is reported as unreadable
            return None;
        }
        Some(content.to_vec())
    }
}

/// The line from its first brace. Timestamps, stream names and Pod names contain no brace.
fn json(line: &[u8]) -> Option<&[u8]> {
    line.get(memchr::memchr(b'{', line)?..)
}

/// Stream, whether the line is complete, and content of a line of the Kubernetes container runtime interface:
/// `2026-11-22T11:00:00.000000000Z stdout F {…}`.
fn container_line(line: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    if !line.first()?.is_ascii_digit() {
        return None;
    }
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (_time, stream, tags, content) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let tag = tags.split(|byte| *byte == b':').next()?;
    let known = matches!(stream, b"stdout" | b"stderr") && matches!(tag, b"F" | b"P");
    known.then_some((stream, tag == b"F", content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrapped(lines: &[&str]) -> Vec<String> {
        let mut prefix = LogPrefix::default();
        let lines = lines.iter().filter_map(|line| prefix.remove(line.as_bytes()));
        lines.map(|line| String::from_utf8(line.into_owned()).unwrap()).collect()
    }

    #[test]
    fn reads_a_line_whatever_its_wrapper() {
        for line in [
            r#"{"a":"b"}"#,
            r#"2026-11-22T11:00:00.123456789Z {"a":"b"}"#,
            r#"2026-11-22T11:00:00.123456789Z stdout F {"a":"b"}"#,
            r#"[pod/writgate-webhook-1/webhook] {"a":"b"}"#,
            r#"{"log":"{\"a\":\"b\"}\n","stream":"stdout","time":"2026-11-22T11:00:00Z"}"#,
            r#" { "str\u0065am":"stdout", "\u006cog" : "{\u0022a\":\"b\"}\n" }"#,
        ] {
            assert_eq!(unwrapped(&[line]), [r#"{"a":"b"}"#], "{line}");
        }
        assert_eq!(unwrapped(&["", "plain text", "2026-11-22T11:00:00Z stderr F panicked"]), [""; 0]);
    }

    #[test]
    fn a_record_is_no_wrapper() {
        for member in ["version", "chain", "signature"] {
            let line = format!(r#"{{"{member}":{{}},"log":"\n","stream":"stdout"}}"#);
            assert_eq!(unwrapped(&[&line]), [&*line]);
        }
    }

    #[test]
    fn an_unfinished_line_is_not_lost() {
        let mut prefix = LogPrefix::default();
        assert_eq!(prefix.remove(br#"2026-11-22T11:00:00Z stdout P {"a""#), None);
        assert_eq!(prefix.unfinished(), [br#"{"a""#.to_vec()]);
        assert_eq!(prefix.unfinished(), [b""; 0]);
        for stream in 0..MAX_STREAMS {
            let line = format!(r#"{{"log":"{{\"a\"","stream":"{stream}"}}"#);
            assert_eq!(prefix.remove(line.as_bytes()), None);
        }
        let further = prefix.remove(br#"{"log":"{\"b\"","stream":"further"}"#);
        assert_eq!(further.as_deref(), Some(&br#"{"b""#[..]));
    }

    #[test]
    fn joins_the_parts_of_a_line_by_stream() {
        let lines = [
            r#"2026-11-22T11:00:00Z stdout P {"a""#,
            "2026-11-22T11:00:00Z stderr F something else",
            r#"2026-11-22T11:00:00Z stdout F :"b"}"#,
        ];
        assert_eq!(unwrapped(&lines), [r#"{"a":"b"}"#]);
        let lines =
            [r#"{"log":"{\"a\"","stream":"stdout","time":""}"#, r#"{"log":":\"b\"}\n","stream":"stdout","time":""}"#];
        assert_eq!(unwrapped(&lines), [r#"{"a":"b"}"#]);
    }
}

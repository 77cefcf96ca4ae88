//! The two text formats of metrics, chosen by the request's `Accept`.
//!
//! `OpenMetrics` is what the library writes, and what Prometheus asks for. The older text format (version 0.0.4) is for everything
//! else: `promtool`, `curl` and agents that know nothing newer.

use axum::http::{HeaderMap, header};

const OPENMETRICS: &str = "application/openmetrics-text";

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// Version 0.0.4.
    Text,
}

impl Format {
    /// The format that a request with these headers accepts. Weights are ignored: a client that names `OpenMetrics` prefers it.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepts = |value: &str| value.split(',').any(|range| range.trim_start().starts_with(OPENMETRICS));
        let values = headers.get_all(header::ACCEPT);
        if values.iter().filter_map(|value| value.to_str().ok()).any(accepts) { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// The metrics in this format, from `OpenMetrics`.
    pub(super) fn render(self, openmetrics: String) -> String {
        match self {
            Self::OpenMetrics => openmetrics,
            Self::Text => text(&openmetrics),
        }
    }
}

/// The text format has no units, no infos and no end mark, and there a counter's family has the name of its samples.
fn text(openmetrics: &str) -> String {
    let type_of = |name: &str| {
        let prefix = format!("# TYPE {name} ");
        openmetrics.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
    };
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines() {
        let comment = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
        let line = match comment {
            Some(("UNIT", _)) => continue,
            Some((keyword, rest)) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let suffix = match type_of(name) {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let rest = if (keyword, rest) == ("TYPE", "info") { "gauge" } else { rest };
                format!("# {keyword} {name}{suffix} {rest}\n")
            }
            None if line == "# EOF" => continue,
            None => format!("{line}\n"),
        };
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn a_client_gets_openmetrics_only_if_it_accepts_it() {
        let format = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().expect("a value"));
            Format::accepted(&headers)
        };
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.2";
        assert_eq!(format(prometheus), Format::OpenMetrics);
        assert_eq!(format("text/plain;version=0.0.4"), Format::Text);
        assert_eq!(format("*/*"), Format::Text);
        assert_eq!(Format::accepted(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn the_text_format_has_the_same_samples_under_names_of_its_own() {
        let mut openmetrics = String::new();
        encode(&mut openmetrics, &Metrics::default().registry()).expect("encoded");
        let text = text(&openmetrics);
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(&openmetrics), samples(&text));
        let families: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for sample in samples(&text) {
            let name = sample.split([' ', '{']).next().unwrap_or_default();
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(families.contains(&name) || of_histogram.is_some_and(|name| families.contains(&name)), "{sample}");
        }
        assert!(text.contains("# TYPE writgate_events_written_total counter\n"), "{text}");
        assert!(text.contains("# TYPE writgate_build_info gauge\n"), "{text}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
    }
}

//! The metrics of the webhook's Pods, through the API server's proxy.

use jiff::Timestamp;

use super::{
    reader::{Reader, request},
    replicas,
};

/// The metrics of one Pod, in Prometheus' text format.
#[derive(Debug)]
pub(super) struct PodMetrics {
    pod: String,
    text: String,
}

impl PodMetrics {
    /// The first sample of a metric.
    fn value(&self, metric: &str) -> Option<f64> {
        let is_sample = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '{']));
        self.text.lines().find(is_sample)?.rsplit(' ').next()?.parse().ok()
    }
}

/// The metrics of each ready Pod, and of the Pods that run and are not ready, if they answer. Otherwise why a ready Pod's metrics
/// cannot be read.
pub(super) fn read(reader: &Reader<'_>) -> Result<Vec<PodMetrics>, String> {
    let mut found = Vec::new();
    for replicas::MetricsPort { pod, port, is_ready } in
        replicas::metrics_ports(reader).map_err(|failure| failure.to_string())?
    {
        let path = format!("/api/v1/namespaces/{}/pods/http:{pod}:{port}/proxy/metrics", reader.system());
        let asked = reader.cluster.client.request_text(request("GET", &path, None));
        match reader.cluster.ask(&format!("read the metrics of Pod {pod}"), asked) {
            Ok(text) => found.push(PodMetrics { pod, text }),
            Err(failure) if is_ready => return Err(failure.to_string()),
            // The check of Pods says that it is not ready.
            Err(_) => {}
        }
    }
    if found.is_empty() { Err("no Pod of the webhook is ready".to_owned()) } else { Ok(found) }
}

/// The value of a metric on each Pod that has it.
pub(super) fn values<'a>(pods: &'a [PodMetrics], metric: &str) -> Vec<(&'a str, f64)> {
    pods.iter().filter_map(|pod| Some((pod.pod.as_str(), pod.value(metric)?))).collect()
}

/// A metric on each Pod that is a time, in seconds since 1970. A Pod whose value is 0 has no time yet.
pub(super) fn times<'a>(pods: &'a [PodMetrics], metric: &str) -> Vec<(&'a str, Timestamp)> {
    let known = values(pods, metric).into_iter().filter(|(_, value)| *value > 0.0);
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 are exact in a f64")]
    let time = |value: f64| Timestamp::from_second(value as i64).ok();
    known.filter_map(|(pod, value)| Some((pod, time(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_metric_and_none_with_a_longer_name() {
        let text = "# TYPE a gauge\nab 7\na_created 8\na{x=\"y z\"} 0\na 1\n".to_owned();
        let pods = [PodMetrics { pod: "one".to_owned(), text }];
        assert_eq!(values(&pods, "a"), [("one", 0.0)]);
        assert_eq!(values(&pods, "b"), []);
        assert_eq!(times(&pods, "ab"), [("one", Timestamp::constant(7, 0))]);
        assert_eq!(times(&pods, "a"), []);
    }
}

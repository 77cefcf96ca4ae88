//! A repeated denial: the existing Event counts it in its `series`.
//!
//! A GitOps controller can repeat a denied request for hours. The Event's series exists for that; the log has each record.

use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Error;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_cluster::event::CONTROLLER;

use crate::trail::events::ANSWER;

/// Attempts, because another replica may count at the same time.
const ATTEMPTS: usize = 3;

/// Counts `again`, a decision whose Event exists. A failure is only logged, because records do not depend on the count.
pub(super) async fn add(events: &Api<Event>, again: &Event) {
    for _ in 0..ATTEMPTS {
        match bounded_request::send(ANSWER, raise(events, again)).await {
            Err(RequestError::Failed(Error::Api(status))) if status.is_conflict() => {}
            Ok(()) => return,
            Err(why) => return tracing::debug!(event = again.metadata.name, %why, "series not counted"),
        }
    }
}

async fn raise(events: &Api<Event>, again: &Event) -> Result<(), Error> {
    let name = again.metadata.name.as_deref().unwrap_or_default();
    let Some(found) = events.get_opt(name).await? else { return Ok(()) };
    // Another controller's Event, which only has the same name.
    if found.reporting_controller.as_deref() != Some(CONTROLLER) {
        return Ok(());
    }
    let Some(series) = next(found.series.as_ref(), again) else { return Ok(()) };
    // With the resource version, so that of two replicas that count at once, one counts again.
    let version = found.metadata.resource_version;
    let patch = json!({"metadata": {"resourceVersion": version}, "series": series});
    events.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

/// The series with one more decision. The first decision is the Event itself. `None` without a time.
fn next(series: Option<&EventSeries>, again: &Event) -> Option<EventSeries> {
    let MicroTime(time) = again.event_time.as_ref()?;
    let last = series.map_or(*time, |series| series.last_observed_time.0.max(*time));
    let count = series.map_or(1, |series| series.count).max(1).saturating_add(1);
    Some(EventSeries { count, last_observed_time: MicroTime(last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> MicroTime {
        MicroTime(time.parse().expect("a time"))
    }

    #[test]
    fn a_series_counts_its_first_event_and_never_goes_back() {
        let again = |time| Event { event_time: Some(at(time)), ..Event::default() };
        let second = next(None, &again("2026-11-22T11:00:00Z")).expect("a series");
        assert_eq!((second.count, &second.last_observed_time), (2, &at("2026-11-22T11:00:00Z")));
        let third = next(Some(&second), &again("2026-11-22T10:59:00Z")).expect("a series");
        assert_eq!((third.count, third.last_observed_time), (3, at("2026-11-22T11:00:00Z")));
    }
}

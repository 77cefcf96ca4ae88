//! The result of the checks, as text and as JSON.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    command::doctor::Check,
    failure::{Answer, Failure},
    terminal::{
        output::{shown, table},
        style,
    },
};

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Ok,
    /// Nothing is open, but somebody should look at it.
    Warning,
    /// What the check looks at could not be read.
    Unknown,
    /// A request can avoid the webhook, or the webhook cannot answer.
    Failed,
}

impl Status {
    pub(super) const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Unknown, Self::Failed];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }

    fn in_style(self) -> String {
        match self {
            Self::Ok => style::good(self.as_str()),
            Self::Warning | Self::Unknown => style::careful(self.as_str()),
            Self::Failed => style::bad(self.as_str()),
        }
    }
}

/// Something that is not as expected, or that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) status: Status,
    /// What was found and what was expected.
    pub(super) found: String,
    /// What to do next.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Failed, found: found.into(), remedy: remedy.into() }
    }

    pub(super) fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warning, ..Self::failed(found, remedy) }
    }

    pub(super) fn unknown(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Unknown, ..Self::failed(found, remedy) }
    }
}

/// A failure's text says what to do next.
impl From<Failure> for Finding {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match text.rsplit_once("; ") {
            Some((found, remedy)) => Self::unknown(found, remedy),
            None => Self::unknown(text, "run the check again when the API server answers"),
        }
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(super) struct Examination {
    /// What is well, in one line.
    pub(super) summary: String,
    pub(super) findings: Vec<Finding>,
}

impl Examination {
    pub(super) fn new(summary: impl Into<String>, findings: Vec<Finding>) -> Self {
        Self { summary: summary.into(), findings }
    }
}

/// The result of one check. Stable: other programs read it (docs/operations/doctor.md).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckReport {
    check: Check,
    status: Status,
    looked_at: &'static str,
    summary: String,
    findings: Vec<Finding>,
}

/// The results of all checks. Stable, as [`CheckReport`] is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DoctorReport {
    time: Timestamp,
    plugin_version: &'static str,
    system_namespace: String,
    checks: Vec<CheckReport>,
    summary: Summary,
}

/// The number of checks with each status.
#[derive(Debug, Serialize)]
struct Summary {
    ok: usize,
    warning: usize,
    unknown: usize,
    failed: usize,
}

impl CheckReport {
    pub(super) fn new(check: Check, examined: Result<Examination, Failure>) -> Self {
        let Examination { summary, findings } =
            examined.unwrap_or_else(|failure| Examination::new("", vec![failure.into()]));
        let status = findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok);
        Self { check, status, looked_at: check.looks_at(), summary, findings }
    }
}

impl DoctorReport {
    pub(super) fn new(time: Timestamp, system_namespace: &str, checks: Vec<CheckReport>) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        let [ok, warning, unknown, failed] = Status::ALL.map(count);
        Self {
            time,
            plugin_version: env!("CARGO_PKG_VERSION"),
            system_namespace: system_namespace.to_owned(),
            checks,
            summary: Summary { ok, warning, unknown, failed },
        }
    }

    /// A check that failed decides before one that is unknown.
    pub(super) fn answer(&self) -> Result<Answer, Failure> {
        match &self.summary {
            Summary { failed, .. } if *failed > 0 => Ok(Answer::No),
            Summary { unknown: 0, .. } => Ok(Answer::Yes),
            Summary { unknown, .. } => {
                let checks = if *unknown == 1 { "1 check is" } else { &format!("{unknown} checks are") };
                Err(Failure::Undetermined(format!("{checks} unknown")))
            }
        }
    }

    pub(super) fn text(&self) -> String {
        let mut rows = Vec::new();
        for CheckReport { check, status, summary, findings, .. } in &self.checks {
            let mut head = [status.in_style(), check.name()];
            if findings.is_empty() {
                let [status, name] = head.clone();
                rows.push([status, name, shown(summary)]);
            }
            for finding in findings {
                let [status, name] = std::mem::take(&mut head);
                rows.push([status, name, shown(&finding.found)]);
                rows.push([String::new(), String::new(), format!("next: {}", shown(&finding.remedy))]);
            }
        }
        let Summary { ok, warning, unknown, failed } = &self.summary;
        let counts = format!("{ok} ok, {warning} warning, {unknown} unknown, {failed} failed\n");
        table(["STATUS", "CHECK", "FOUND"], &rows) + &counts
    }
}

//! Filters that select the decisions to show. `--verify` checks all records: a filter hides a row, never a finding.

use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;

use crate::{
    command::audit::row::{ObjectName, Row},
    failure::Failure,
};

/// Each flag narrows the selection. A repeated flag matches any of its values.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct FilterFlags {
    /// Include only decisions of this environment
    #[arg(long, value_name = "NAME", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    environment: Vec<String>,
    /// Include only decisions of this project
    #[arg(long, value_name = "NAME", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    project: Vec<String>,
    /// Include only decisions that this person initiated, requested or approved
    #[arg(long, value_name = "NAME", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    who: Vec<String>,
    /// Include only decisions about this object, such as deployment/orders, or this kind
    #[arg(long, value_name = "KIND[/NAME]", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    object: Vec<String>,
    /// Include only this action: deploy, replay-execute, replay-dry-run, exec, govern …
    #[arg(long, value_name = "ACTION", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    action: Vec<String>,
    /// Include only this decision: admitted, denied, not-an-action, break-glass, rollback [default: all but
    /// not-an-action]
    #[arg(long, value_name = "DECISION", help_heading = "Filters", value_parser = DECISIONS)]
    decision: Vec<String>,
    /// Include only decisions with this reason code, such as Expired
    #[arg(long, value_name = "CODE", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    reason: Vec<String>,
    /// Include only decisions for which this approval was given
    #[arg(long, value_name = "ID", help_heading = "Filters", value_parser = NonEmptyStringValueParser::new())]
    approval: Vec<String>,
    /// Include only decisions since this time: a duration such as 90m or 30d, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", help_heading = "Filters")]
    since: Option<String>,
    /// Include only decisions before this time: a duration such as 90m or 30d, or an RFC 3339 time
    #[arg(long, value_name = "WHEN", help_heading = "Filters")]
    until: Option<String>,
}

pub(crate) const DECISIONS: [&str; 5] = ["admitted", "denied", NOT_AN_ACTION, "break-glass", "rollback"];

impl FilterFlags {
    /// The flags that the fields of a form name, such as `who` and `alice`. An empty value and a field of another name select
    /// nothing.
    pub(crate) fn from_fields<'f>(fields: impl IntoIterator<Item = (&'f str, &'f str)>) -> Result<Self, Failure> {
        let mut flags = Self::default();
        for (name, value) in fields {
            let value = value.trim();
            if value.is_empty() {
                continue;
            }
            let values = match name {
                "environment" => &mut flags.environment,
                "project" => &mut flags.project,
                "who" => &mut flags.who,
                "object" => &mut flags.object,
                "action" => &mut flags.action,
                "decision" if DECISIONS.contains(&value) => &mut flags.decision,
                "decision" => {
                    return Err(Failure::Misuse(format!(
                        "{value:?} is not a decision; expected one of {}",
                        DECISIONS.join(", ")
                    )));
                }
                "reason" => &mut flags.reason,
                "approval" => &mut flags.approval,
                "since" => {
                    flags.since = Some(value.to_owned());
                    continue;
                }
                "until" => {
                    flags.until = Some(value.to_owned());
                    continue;
                }
                _ => continue,
            };
            values.push(value.to_owned());
        }
        Ok(flags)
    }

    /// Whether every decision that these flags select is selected without flags as well.
    pub(crate) fn is_narrowing(&self) -> bool {
        !self.decision.iter().any(|decision| decision == NOT_AN_ACTION)
    }
}

/// The outcome that is selected only by its name.
const NOT_AN_ACTION: &str = "not-an-action";

/// The flags, with durations resolved to times.
pub(crate) struct Filter<'a> {
    flags: &'a FilterFlags,
    namespace: Option<&'a str>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<'a> Filter<'a> {
    /// With `namespace`, only decisions about objects there.
    pub(super) fn new(flags: &'a FilterFlags, namespace: Option<&'a str>, now: Timestamp) -> Result<Self, Failure> {
        Self::named(flags, namespace, now, ["--since", "--until"])
    }

    /// The filter of [`FilterFlags::from_fields`].
    pub(crate) fn of_fields(flags: &'a FilterFlags, now: Timestamp) -> Result<Self, Failure> {
        Self::named(flags, None, now, ["Since", "Until"])
    }

    /// `names` are those of the two times, for messages.
    fn named(
        flags: &'a FilterFlags,
        namespace: Option<&'a str>,
        now: Timestamp,
        names: [&str; 2],
    ) -> Result<Self, Failure> {
        let moment =
            |name: &str, text: &Option<String>| text.as_deref().map(|text| moment(name, text, now)).transpose();
        let since = moment(names[0], &flags.since)?;
        let until = moment(names[1], &flags.until)?;
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(Failure::Misuse(format!("{} is not before {}, so no decision can match", names[0], names[1])));
        }
        Ok(Self { flags, namespace, since, until })
    }

    /// Whether `row` is to be shown.
    pub(crate) fn takes(&self, row: &Row) -> bool {
        let Self { flags, namespace, since, until } = self;
        since.is_none_or(|since| row.time >= since)
            && until.is_none_or(|until| row.time < until)
            && namespace.is_none_or(|namespace| row.object.namespace == namespace)
            && is_decided(&flags.decision, row)
            && any(&flags.environment, |name| row.environment == name)
            && any(&flags.project, |name| row.project == name)
            && any(&flags.who, |name| is_about(row, name))
            && any(&flags.object, |wanted| is_object(&row.object, wanted))
            && any(&flags.action, |action| row.action == action)
            && any(&flags.reason, |code| row.reasons.iter().any(|reason| reason == code))
            && any(&flags.approval, |id| row.approvals.iter().any(|approval| approval == id))
    }
}

/// Whether one of the wanted values matches, or none is given.
fn any(wanted: &[String], fits: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| fits(wanted))
}

fn is_decided(wanted: &[String], row: &Row) -> bool {
    if wanted.is_empty() {
        return row.decision != NOT_AN_ACTION;
    }
    any(wanted, |wanted| row.decision == wanted || row.basis == wanted)
}

/// Names of people are compared as in postures: ASCII case does not matter.
fn is_about(row: &Row, name: &str) -> bool {
    let people = [&row.initiator, &row.impersonator, &row.requested_by];
    people.into_iter().chain(&row.reviewers).any(|person| person.eq_ignore_ascii_case(name))
}

fn is_object(object: &ObjectName, wanted: &str) -> bool {
    let (kind, name) = wanted.split_once('/').map_or((wanted, None), |(kind, name)| (kind, Some(name)));
    singular(kind) == singular(&object.kind) && name.is_none_or(|name| name == object.name)
}

/// One word for `Deployment`, `deployments`, `deployments.apps` and `deploy`, the names that kubectl and the two logs
/// use.
fn singular(kind: &str) -> String {
    let word = kind.split('.').next().unwrap_or_default().to_ascii_lowercase();
    match &*word {
        "deploy" => "deployment",
        "sts" => "statefulset",
        "ds" => "daemonset",
        "rs" => "replicaset",
        "rc" => "replicationcontroller",
        "cj" => "cronjob",
        "po" => "pod",
        "cm" => "configmap",
        "ns" => "namespace",
        word => word.strip_suffix('s').unwrap_or(word),
    }
    .to_owned()
}

fn moment(flag: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let ago = writgate_core::encoding::parse_duration(text).ok().and_then(|duration| now.checked_sub(duration).ok());
    ago.or_else(|| text.parse().ok()).ok_or_else(|| {
        Failure::Misuse(format!(
            "{flag} {text:?} is neither a duration such as 90m or 30d nor a time such as 2026-11-22T10:00:00Z"
        ))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        filters: FilterFlags,
    }

    fn row() -> Row {
        Row {
            time: "2026-11-22T11:00:00Z".parse().unwrap(),
            decision: "denied".into(),
            initiator: "alice".into(),
            requested_by: "Alice@acme.example".into(),
            reviewers: vec!["bob@acme.example".into()],
            environment: "production".into(),
            project: "payments".into(),
            action: "deploy".into(),
            object: ObjectName {
                kind: "Deployment".into(),
                namespace: "payments".into(),
                name: "orders".into(),
                ..ObjectName::default()
            },
            reasons: vec!["SpecHashMismatch".into(), "Expired".into()],
            approvals: vec!["a-1".into()],
            ..Row::default()
        }
    }

    fn takes(row: &Row, flags: &str) -> bool {
        let flags = Flags::try_parse_from(std::iter::once("audit").chain(flags.split(' ').filter(|f| !f.is_empty())));
        let flags = flags.unwrap().filters;
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        Filter::new(&flags, None, now).unwrap().takes(row)
    }

    #[test]
    fn each_filter_takes_what_it_names_and_nothing_else() {
        for (flag, wanted, other) in [
            ("--environment", "production", "staging"),
            ("--project", "payments", "shop"),
            ("--who", "alice", "ali"),
            ("--who", "alice@acme.example", "carol"),
            ("--who", "BOB@acme.example", "bob"),
            ("--object", "deployment/orders", "deployment/order"),
            ("--object", "deployments.apps/orders", "job/orders"),
            ("--object", "deploy", "sts"),
            ("--action", "deploy", "replay-execute"),
            ("--decision", "denied", "admitted"),
            ("--reason", "Expired", "ApprovalRequired"),
            ("--approval", "a-1", "a-2"),
            ("--since", "61m", "59m"),
            ("--until", "59m", "1h"),
            ("--since", "2026-11-22T11:00:00Z", "2026-11-22T11:00:01Z"),
        ] {
            assert!(takes(&row(), &format!("{flag} {wanted}")), "{flag} {wanted}");
            assert!(!takes(&row(), &format!("{flag} {other}")), "{flag} {other}");
        }
        assert!(takes(&row(), "--reason ApprovalRequired --reason Expired"));
        assert!(!takes(&row(), "--reason Expired --project shop"), "each flag narrows");
    }

    #[test]
    fn shows_what_is_not_an_action_only_on_request() {
        let row = Row { decision: "not-an-action".into(), ..row() };
        assert!(!takes(&row, ""));
        assert!(takes(&row, "--decision not-an-action"));
    }

    #[test]
    fn selects_break_glass_and_rollbacks() {
        let row = Row { decision: "admitted".into(), basis: "break-glass".into(), ..row() };
        assert!(takes(&row, "--decision break-glass") && takes(&row, "--decision admitted"));
        assert!(!takes(&row, "--decision rollback"));
    }
}

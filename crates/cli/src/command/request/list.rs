//! `request list` and `request show`: posted requests, and what became of them.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use writgate_cluster::clock;
use writgate_core::approval::RequestFile;

use crate::{
    approval::request_state::{RequestState, RequestVerdict, StateReader},
    cluster::{
        Cluster,
        event_reader::NamespaceScopeFlags,
        posted::{self, ListedRequests, Posted, RequestStore},
    },
    command::Format,
    failure::{Answer, Failure},
    manifest::{input, namespace::RequestNamespaceFlag},
    postures::PostureSourceFlags,
    terminal::{
        output::{self, columns, shown, table},
        progress::Progress,
        style,
    },
};

/// Requests whose state is computed, at most. Each requires several reads of the cluster.
pub(crate) const MAX_STATES: usize = 200;

/// List posted requests, and who must still sign
///
/// Computes the state of each request as the webhook would decide now. Exits with 1 if there is none.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate request list -n payments
  kubectl writgate request list -A -o json")]
pub(crate) struct ListArguments {
    #[command(flatten)]
    scope: NamespaceScopeFlags,
    #[command(flatten)]
    source: SourceFlags,
}

/// Show a posted request, who has signed it and who must still sign
///
/// Exits with 0 if the request is approved, and with 1 if it is not.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate request show request-4f0c1a3e9d8b7a6c5e4d -n payments")]
pub(crate) struct ShowArguments {
    /// Posted request, as `request list` prints it
    #[arg(value_name = "NAME")]
    request: String,
    #[command(flatten)]
    namespace: RequestNamespaceFlag,
    #[command(flatten)]
    source: SourceFlags,
}

/// How to read and print requests.
#[derive(clap::Args, Debug)]
struct SourceFlags {
    #[command(flatten)]
    kinds: input::WorkloadKindFlags,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: crate::cluster::ClusterFlags,
}

/// A request with its state. Stable as JSON: other programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportedRequest<'p> {
    namespace: &'p str,
    name: &'p str,
    created: Timestamp,
    /// The file's claims.
    request: &'p RequestFile,
    #[serde(flatten)]
    state: RequestState,
}

impl SourceFlags {
    fn states<'c>(&self, cluster: &'c Cluster) -> StateReader<'c> {
        let flags = PostureSourceFlags { posture_dir: None, cluster: self.cluster.clone() };
        StateReader::new(cluster, &flags, self.kinds.clone().into())
    }
}

pub(super) fn list(arguments: &ListArguments) -> Result<Answer, Failure> {
    let cluster = arguments.source.cluster.connect()?;
    let scope = arguments.scope.of(&cluster)?;
    let listed = RequestStore { cluster: &cluster }.list(&scope)?;
    note_unreadable(&listed);
    let reader = arguments.source.states(&cluster);
    let states = states(&reader, &listed.posted);
    let reported: Vec<ReportedRequest<'_>> = listed.posted.iter().zip(states).map(ReportedRequest::of).collect();
    match arguments.source.output {
        Format::Json => output::print_json(&reported)?,
        Format::Text if reported.is_empty() => output::note("no request is posted"),
        Format::Text => {
            let rows: Vec<[String; 6]> = reported.iter().map(ReportedRequest::row).collect();
            let headers = ["NAMESPACE", "NAME", "REQUESTED BY", "ACTION", "AGE", "STATE"];
            output::print(&table(headers, &rows))?;
        }
    }
    Ok(Answer::of(!reported.is_empty()))
}

pub(super) fn show(arguments: &ShowArguments) -> Result<Answer, Failure> {
    let cluster = arguments.source.cluster.connect()?;
    let namespace = arguments.namespace.namespace.as_ref().unwrap_or(&cluster.namespace);
    let posted = RequestStore { cluster: &cluster }.get(namespace, &posted::request_name(&arguments.request)?)?;
    let reader = arguments.source.states(&cluster);
    let reported = ReportedRequest::of((&posted, reader.state(&posted)));
    match arguments.source.output {
        Format::Json => output::print_json(&reported)?,
        Format::Text => output::print(&reported.text())?,
    }
    Ok(Answer::of(matches!(reported.state.state, RequestVerdict::Approved | RequestVerdict::Live)))
}

/// Says what has the label of a request and is none, and whether the list is complete.
pub(in crate::command) fn note_unreadable(listed: &ListedRequests) {
    for one in &listed.unreadable {
        let location = posted::location(&one.namespace, &one.name);
        output::note(&format!("{} is not a request that this version reads: {}", shown(&location), shown(&one.why)));
    }
    if listed.cut {
        let read = listed.posted.len() + listed.unreadable.len();
        output::note(&format!(
            "note: there are more requests than the {read} that were read; select a namespace with -n"
        ));
    }
    let skipped = not_looked_at(listed);
    if skipped > 0 {
        output::note(&format!(
            "note: the states of the {MAX_STATES} newest requests are computed; the {skipped} oldest were not looked at, select a \
             namespace with -n"
        ));
    }
}

/// How many requests are too many for their states to be computed.
pub(in crate::command) fn not_looked_at(listed: &ListedRequests) -> usize {
    listed.posted.len().saturating_sub(MAX_STATES)
}

/// The states of the newest requests. The others are unknown.
pub(in crate::command) fn states(reader: &StateReader<'_>, posted: &[Posted]) -> Vec<RequestState> {
    let mut progress = Progress::of("checking", Some(posted.len()));
    let first = posted.len().saturating_sub(MAX_STATES);
    let state = |(index, one): (usize, &Posted)| {
        progress.step();
        if index < first {
            RequestState::unknown("not computed, because there are too many requests")
        } else {
            reader.state(one)
        }
    };
    posted.iter().enumerate().map(state).collect()
}

/// `5m`, `3h`, `2d`
pub(crate) fn age(created: Timestamp) -> String {
    let age = clock::now().duration_since(created).max(SignedDuration::ZERO);
    match age.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

impl<'p> ReportedRequest<'p> {
    fn of((posted, state): (&'p Posted, RequestState)) -> Self {
        Self {
            namespace: &posted.namespace,
            name: &posted.name,
            created: posted.created,
            request: &posted.request.file,
            state,
        }
    }

    fn row(&self) -> [String; 6] {
        [
            self.namespace.to_owned(),
            self.name.to_owned(),
            shown(&self.request.requested_by),
            self.request.action.to_string(),
            age(self.created),
            self.state.text(),
        ]
    }

    fn text(&self) -> String {
        let file = self.request;
        let because = file.capabilities.iter().map(|one| one.capability.clone()).collect::<Vec<_>>().join(", ");
        let action = if file.break_glass { format!("{} (break-glass)", file.action) } else { file.action.to_string() };
        let rejections = self.state.rejections.iter();
        let rejections: Vec<String> =
            rejections.map(|one| format!("by {} at {}: {}", shown(&one.by), one.at, shown(&one.reason))).collect();
        let facts = columns([
            ("namespace", self.namespace.to_owned()),
            ("requested by", shown(&file.requested_by)),
            ("reason", file.reason.as_deref().map(shown).unwrap_or_default()),
            ("created", format!("{} ({} ago)", self.created, age(self.created))),
            ("action", action),
            ("environment", shown(&file.environment)),
            ("clusters", shown(&file.clusters.join(", "))),
            ("project", shown(&file.project)),
            ("capabilities", shown(&because)),
            ("state", self.state.text()),
            ("rejected", rejections.join("; ")),
            ("not verified", shown(&self.state.unverified_rejections.join(", "))),
            ("approval", self.state.approval.as_ref().map(|one| shown(&one.id)).unwrap_or_default()),
        ]);
        let rows: Vec<[String; 2]> =
            file.workloads.iter().map(|workload| [shown(&workload.subject), workload.spec_hash.to_string()]).collect();
        let next = match self.state.state {
            RequestVerdict::Waiting => format!(
                "\nnext: a reviewer runs: kubectl writgate approve {} -n {} --key KEY\n",
                self.name, self.namespace
            ),
            RequestVerdict::Approved => "\nnext: apply the manifests: kubectl apply -f FILE\n".to_owned(),
            _ => String::new(),
        };
        let workloads = table(["WORKLOAD", "SPEC HASH"], &rows);
        format!("{}\n{facts}{workloads}{next}", style::heading(&format!("Request {}", self.name)))
    }
}

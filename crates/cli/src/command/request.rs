//! `request`: requests one approval for all workloads of a release that require it, in the cluster or in a file.
//!
//! [`collect`] finds the workloads, and [`denied`] starts from a denial instead. [`server`] asks the API server what it
//! would make of the manifests. [`kept`] finds what `kubectl apply` would keep of a live object, and [`renders`] where two
//! renders of one workload differ. [`post`] puts the request into the cluster, [`wait`] waits for its approval, and [`list`] and [`cancel`] are verbs about posted requests.

mod cancel;
mod clusters;
mod collect;
mod denied;
mod kept;
pub(crate) mod list;
mod post;
mod renders;
mod server;
mod wait;

use std::{path::PathBuf, time::Duration};

use clap::{Subcommand, builder::NonEmptyStringValueParser};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use writgate_cluster::clock;
use writgate_core::approval::{Action, RequestFile};

use crate::{
    approval::decider::DecisionFlags,
    cluster::{self, Cluster, OtherClusterFlags},
    command::request::collect::{Split, from_manifests},
    failure::{Answer, Failure},
    manifest::{input, namespace::NamespaceFlag},
    terminal::{
        output::{self, Access, columns, shown, table},
        style,
    },
};

/// Length of a shortened spec hash, enough for people to tell it from another.
const SHORT_HASH: usize = "sha256:".len() + 12;

/// Request an approval for the workloads in manifests
///
/// Checks every workload as the webhook would, against the live object, and requests one approval of the whole release for
/// those that require one. Says why the others require none. Fails if no approval could admit a workload. Posts the
/// request as a ConfigMap in the workloads' namespace and prints its name; with -o, writes it to a file; with --posture-dir
/// alone, prints it. A request contains only workloads, never Secrets.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  kubectl writgate request -f app.yaml --reason CHG-1234
  kubectl writgate request -f app.yaml --wait=30m --apply
  kubectl writgate request -f app.yaml --context prod-eu-1 --other-context prod-us-1
  kubectl writgate request list -n payments
  helm template orders ./chart | kubectl writgate request -f - -n payments -o request.json
  kubectl writgate request --denial -f app.yaml
  kubectl writgate request --recreate -f job.yaml
  kubectl writgate request -f app.yaml --posture-dir postures --environment production \\
      --project payments --requested-by alice@acme.example

Then a reviewer runs:
  kubectl writgate approve NAME --key KEY"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Manifest, YAML or JSON, or folder of manifests, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required_unless_present = "denial")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    namespace: NamespaceFlag,
    #[command(flatten)]
    decider: DecisionFlags,
    /// Request approval for your most recent denial, or for KIND/NAME's; with -f, take what was denied from the
    /// manifests
    #[arg(long, value_name = "KIND/NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    #[arg(conflicts_with_all = ["posture_dir", "environment"])]
    denial: Option<String>,
    #[command(flatten)]
    server: server::ServerFlags,
    /// Person who requests the approval; for a posted request only your own user name; required with --posture-dir
    /// [default: your user name in the cluster]
    #[arg(long, value_name = "PERSON", value_parser = NonEmptyStringValueParser::new())]
    requested_by: Option<String>,
    /// Reason for the request, such as a ticket
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Include only workloads whose change is this action: `deploy`, `replay-execute` or `replay-dry-run`
    #[arg(long, value_parser = crate::approval::statement::action)]
    action: Option<Action>,
    /// Request approval even for a workload that exists with this spec, because it will be deleted and created again, as
    /// `kubectl replace --force` does
    #[arg(long, conflicts_with_all = ["denial", "apply"])]
    recreate: bool,
    /// Cluster of an approval for several, as its posture names it; may be repeated [default: the posture's]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    cluster: Vec<String>,
    #[command(flatten)]
    others: OtherClusterFlags,
    /// Request a break-glass approval, if the posture permits it
    #[arg(long)]
    break_glass: bool,
    /// Write the request to FILE, `-` for standard output [default: post it in the cluster]
    #[arg(short, long, value_name = "FILE", value_parser = super::approve::output_file)]
    output: Option<PathBuf>,
    /// Wait until the request is approved or rejected, at most DURATION, such as 30m
    #[arg(long, value_name = "DURATION", require_equals = true, value_parser = cluster::timeout)]
    #[arg(conflicts_with_all = ["posture_dir", "output"])]
    #[expect(clippy::option_option, reason = "clap: absent, without a value, or with one")]
    wait: Option<Option<Duration>>,
    /// Apply the manifests with `kubectl apply` once they are approved; waits as --wait does
    #[arg(long, requires = "filename", conflicts_with_all = ["posture_dir", "output"])]
    apply: bool,
}

/// A verb about posted requests.
#[derive(Subcommand, Debug)]
enum Verb {
    List(list::ListArguments),
    Show(list::ShowArguments),
    Cancel(cancel::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match &arguments.verb {
        Some(Verb::List(arguments)) => return list::list(arguments),
        Some(Verb::Show(arguments)) => return list::show(arguments),
        Some(Verb::Cancel(arguments)) => return cancel::run(arguments),
        None => {}
    }
    if arguments.apply && arguments.filename.iter().any(|path| input::is_stdin(path)) {
        return Err(Failure::Misuse(
            "--apply applies the files again after the approval, but standard input can be read only once; pass files"
                .to_owned(),
        ));
    }
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    let manifests = input::manifests(&arguments.filename, &arguments.decider.reading)?;
    let decider = arguments.decider.load(&manifests, clock::now())?;
    let requester = arguments.requester(decider.postures.cluster.as_ref())?;
    let cluster = decider.postures.cluster.as_ref().filter(|_| arguments.output.is_none());
    let split = if cluster.is_some() { Split::ByNamespace } else { Split::No };
    let files = match (&arguments.denial, decider.postures.cluster.as_ref()) {
        (Some(object), Some(cluster)) => denied::request(arguments, object, cluster, &decider, &requester)?,
        _ => from_manifests(arguments, &decider, &requester, split)?,
    };
    let Some(file) = files.first() else {
        output::note_styled(&format!("{}: no workload requires an approval", style::good("no request")));
        return if arguments.apply { wait::apply(arguments) } else { Ok(Answer::Yes) };
    };
    if let Some(cluster) = cluster {
        let posted = post::post(arguments, cluster, &requester, &files)?;
        return if arguments.wait.is_some() || arguments.apply {
            wait::run(arguments, cluster, &posted)
        } else {
            Ok(Answer::Yes)
        };
    }
    let folder = arguments.decider.postures.posture_dir.iter();
    output::check_target(arguments.output.as_deref(), arguments.filename.iter().chain(folder).map(PathBuf::as_path))?;
    output::write(arguments.output.as_deref(), &file.to_json(), Access::Public)?;
    let path = arguments.output.as_ref().filter(|path| path.as_os_str() != "-");
    let request = path.map_or("REQUEST".to_owned(), |path| shown(&path.display().to_string()));
    report(file, arguments, &format!("kubectl writgate approve -f {request} --key KEY -o approval.json"));
    Ok(Answer::Yes)
}

/// The requester: the name in the approval, and the user that the webhook will see.
struct Requester {
    person: String,
    user: String,
}

impl Arguments {
    fn requester(&self, cluster: Option<&Cluster>) -> Result<Requester, Failure> {
        let user = cluster.map(who_am_i).transpose()?;
        match (&self.requested_by, user) {
            (Some(person), user) => {
                Ok(Requester { user: user.unwrap_or_else(|| person.clone()), person: person.clone() })
            }
            (None, Some(user)) => Ok(Requester { person: user.clone(), user }),
            (None, None) => Err(Failure::Misuse(
                "the requester is not known without a cluster; pass --requested-by PERSON".to_owned(),
            )),
        }
    }
}

/// The user name by which the API server knows the caller (KEP-3325).
fn who_am_i(cluster: &Cluster) -> Result<String, Failure> {
    let reviews: Api<SelfSubjectReview> = Api::all(cluster.client.clone());
    let review = cluster.ask(
        "ask for your user name (selfsubjectreviews.authentication.k8s.io)",
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()),
    )?;
    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
    user.ok_or_else(|| {
        Failure::Undetermined("the cluster does not say who you are; pass --requested-by PERSON".to_owned())
    })
}

/// Prints the request in short, and the reviewer's command.
fn report(file: &RequestFile, arguments: &Arguments, next: &str) {
    let rows: Vec<[String; 3]> = file
        .workloads
        .iter()
        .map(|workload| {
            let hash = workload.spec_hash.to_string();
            let runs = match (&workload.object, &workload.runs) {
                (None, _) => "not in the file: the reviewer adds the manifest",
                (_, Some(_)) if workload.recreate => "created again",
                (_, Some(_)) => "update",
                (_, None) if arguments.decider.postures.posture_dir.is_some() => "not known: no cluster was contacted",
                (_, None) => "new",
            };
            [shown(&workload.subject), hash.get(..SHORT_HASH).unwrap_or(&hash).to_owned(), runs.to_owned()]
        })
        .collect();
    let cluster = match (&file.cluster, &*file.clusters) {
        (Some(cluster), _) => format!(" (cluster {})", shown(cluster)),
        (None, []) => String::new(),
        (None, clusters) => format!(" (clusters {})", shown(&clusters.join(", "))),
    };
    let needed = file.capabilities.iter().map(|one| format!("{} ({})", one.capability, one.because.join("; ")));
    let facts = columns([
        ("requested by", shown(&file.requested_by)),
        ("reason", file.reason.as_deref().map(shown).unwrap_or_default()),
        ("action", if file.break_glass { format!("{} (break-glass)", file.action) } else { file.action.to_string() }),
        ("environment", format!("{}{cluster}", shown(&file.environment))),
        ("project", shown(&file.project)),
        ("capabilities", shown(&needed.collect::<Vec<_>>().join(", "))),
    ]);
    output::note_styled(&format!(
        "{}\n{facts}{}\nnext: a reviewer runs: {next}",
        style::heading("Request for one approval"),
        table(["WORKLOAD", "SPEC HASH", "CHANGE"], &rows)
    ));
}

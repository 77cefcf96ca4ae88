//! `verify`: what the gate would decide, decided here by the same function.
//!
//! A manifest becomes the review that the API server would send, and a review takes the webhook's own way.

use std::path::PathBuf;

use clap::{ArgGroup, builder::NonEmptyStringValueParser};
use jiff::Timestamp;
use writgate_core::{
    ConfigMapContent, Decision, ExemptController, ExemptControllers, Facts, Governance, History, Known, MAX_ROUNDS,
    Outcome, PostureSet, Request, Review, UseRecord, Want, WorkloadKinds, decide, decide_malformed,
};

use super::{
    Format,
    failure::{Answer, Failure},
    hash, input,
    output::{self, columns, shown},
};
use crate::{
    clock,
    manifest::{Manifest, UNKNOWN_USER},
    posture_dir,
    store::{ENVIRONMENT_LABEL, PROJECT_LABEL},
    text::visible,
};

/// What the webhook reads of a review at most.
const MAX_REVIEW: u64 = 8 * 1024 * 1024;

/// Decide as the gate would, without a cluster, and print the decision record
///
/// Judges an AdmissionReview, or each object of a manifest as if it were created now. Exits with 0 if it is admitted or
/// no action, with 1 if it is denied (of several: if one is), with 3 if it could not be told.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate verify -f approved.yaml --posture-dir postures \\
      --environment production --project payments --as alice
  kubectl writgate verify --review review.json --posture-dir postures \\
      --now 2026-11-22T11:00:00Z -o json")]
#[command(group(ArgGroup::new("what").required(true).args(["review", "filename"])))]
pub(super) struct Arguments {
    /// AdmissionReview, JSON, as the API server sends it; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["as_user", "namespace"])]
    review: Option<PathBuf>,
    /// Manifest, YAML or JSON; `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    filename: Vec<PathBuf>,
    /// Folder of posture documents, bare or inside ConfigMaps
    #[arg(long, value_name = "DIR")]
    posture_dir: PathBuf,
    /// The namespace's environment [default: what a v1 Namespace in the folder says]
    #[arg(long)]
    environment: Option<String>,
    /// The namespace's project [default: what a v1 Namespace in the folder says]
    #[arg(long, requires = "environment")]
    project: Option<String>,
    /// The moment to judge at, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<Timestamp>,
    /// Who would apply the manifest; matters for separation of duties
    #[arg(long = "as", value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    as_user: Option<String>,
    /// The namespace of objects that name none
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    #[command(flatten)]
    kinds: input::Kinds,
    /// A controller whose children are not judged again, as the webhook has it; may be repeated, replaces the default
    #[arg(long, value_name = "USER=RESOURCE")]
    exempt_controller: Vec<ExemptController>,
    /// How to print the decision
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let documents =
        posture_dir::read(&arguments.posture_dir).map_err(|error| Failure::CouldNotTell(error.to_string()))?;
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    let manifests = input::manifests(&arguments.filename, &arguments.kinds)?;
    let judge = Judge {
        postures: PostureSet::assemble(documents),
        exempt: match &*arguments.exempt_controller {
            [] => ExemptControllers::default(),
            listed => listed.iter().cloned().collect(),
        },
        kinds: arguments.kinds.known(),
        now: arguments.now.unwrap_or_else(clock::now),
        config_maps: manifests.iter().filter(|manifest| manifest.is_config_map()).collect(),
        arguments,
    };
    let decisions = match &arguments.review {
        Some(path) => vec![judge.review(&input::bytes(path, MAX_REVIEW)?)?],
        None => judge.manifests(&manifests)?,
    };
    print(&decisions, arguments.output)?;
    Ok(Answer::of(decisions.iter().all(Decision::allowed)))
}

struct Judge<'a> {
    postures: PostureSet,
    exempt: ExemptControllers,
    kinds: WorkloadKinds,
    now: Timestamp,
    /// The ConfigMaps among the manifests: what is applied together is there together.
    config_maps: Vec<&'a Manifest>,
    arguments: &'a Arguments,
}

impl Judge<'_> {
    fn review(&self, body: &[u8]) -> Result<Decision, Failure> {
        let decision_id = clock::decision_id(self.now);
        let request = match Review::parse_with(body, &self.kinds) {
            Ok(request) => request,
            Err(malformed) => return Ok(decide_malformed(&malformed, decision_id, self.now)),
        };
        let governance = self.governance(&request)?;
        let mut known = Known::default();
        let decide = |known: &Known| {
            decide(&request, &governance, &Facts { decision_id, exempt: &self.exempt, known }, self.now)
        };
        let mut decision = decide(&known);
        for _ in 0..MAX_ROUNDS {
            if decision.wants.is_empty() {
                break;
            }
            decision.wants.iter().for_each(|want| self.assume(want, &request.namespace, &mut known));
            decision = decide(&known);
        }
        Ok(decision)
    }

    /// What only the cluster knows: that an approval was not used yet, and that nothing was admitted before. ConfigMaps
    /// are those among the files.
    fn assume(&self, want: &Want, namespace: &str, known: &mut Known) {
        match want {
            Want::Use(wanted) => known.learn_use(wanted, Ok(Some(UseRecord::new(wanted.clone(), self.now)))),
            Want::History(_) => known.learn_history(Ok(History::default())),
            Want::ConfigMap(name) => known.learn_config_map(name, self.config_map(namespace, name).map(Some)),
            // Guards ask these; a workload's decision does not.
            Want::Govern(_) | Want::Documents => {}
        }
    }

    fn config_map(&self, namespace: &str, name: &str) -> Result<ConfigMapContent, String> {
        let is_it = |manifest: &&&Manifest| {
            manifest.name() == Some(name) && manifest.namespace().is_none_or(|own| own == namespace)
        };
        if let Some(manifest) = self.config_maps.iter().find(is_it) {
            return manifest.config_map();
        }
        let absent = "it is neither in the posture folder nor among the manifests; give it with -f";
        self.postures.config_map(namespace, name).unwrap_or(Err(absent)).cloned().map_err(str::to_owned)
    }

    /// The rules of the request's namespace, by the flags or by the Namespace in the folder.
    fn governance<'a>(&'a self, request: &Request<'_>) -> Result<Governance<'a>, Failure> {
        let namespace = &*request.namespace;
        let labels = self.postures.namespaces().get(namespace);
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).map(String::as_str);
        let environment = self.arguments.environment.as_deref().or_else(|| label(ENVIRONMENT_LABEL));
        match environment {
            Some(environment) => Ok(Governance::Governed {
                environment,
                project: self.arguments.project.as_deref().or_else(|| label(PROJECT_LABEL)),
                posture: self.postures.environment(environment),
            }),
            None if labels.is_some() => Ok(Governance::Ungoverned),
            None => Err(Failure::CouldNotTell(format!(
                "cannot tell which environment namespace {} belongs to: give --environment and --project, or put the \
                 Namespace into {}",
                shown(namespace),
                self.arguments.posture_dir.display()
            ))),
        }
    }

    fn manifests(&self, manifests: &[Manifest]) -> Result<Vec<Decision>, Failure> {
        let mut decisions = Vec::new();
        for manifest in manifests {
            hash::warn_of_outdated(manifest);
            if manifest.is_judged() {
                decisions.push(self.manifest(manifest)?);
            }
        }
        if decisions.is_empty() {
            return Err(Failure::CouldNotTell("there is no workload in it to judge".to_owned()));
        }
        Ok(decisions)
    }

    fn manifest(&self, manifest: &Manifest) -> Result<Decision, Failure> {
        let namespace = manifest
            .namespace()
            .or(self.arguments.namespace.as_deref())
            .ok_or_else(|| Failure::Misuse(format!("{manifest}: it names no namespace; say which with -n")))?;
        let user = self.arguments.as_user.as_deref().unwrap_or(UNKNOWN_USER);
        let uid = clock::decision_id(self.now).to_string();
        self.review(&manifest.to_review(&uid, namespace, user)?)
    }
}

/// One decision is an object, several are an array.
fn print(decisions: &[Decision], format: Format) -> Result<(), Failure> {
    match (format, decisions) {
        (Format::Json, [decision]) => output::print_json(&decision.record),
        (Format::Json, _) => output::print_json(&decisions.iter().map(|decision| &decision.record).collect::<Vec<_>>()),
        (Format::Text, _) => output::print(&decisions.iter().map(text).collect::<Vec<_>>().join("\n")),
    }
}

fn text(decision: &Decision) -> String {
    let record = &decision.record;
    let message = decision.message();
    let mut text = visible(if message.is_empty() { decision.summary() } else { message }.trim_end()) + "\n";
    if record.decision == Outcome::NotAnAction {
        return text;
    }
    let mut rows = Vec::new();
    if decision.denials.is_empty() {
        rows.push(("spec hash", record.spec_hash.map(|hash| hash.to_string()).unwrap_or_default()));
    }
    for approval in &record.approvals {
        let people = shown(&approval.reviewers.join(", "));
        rows.push(("signed by", format!("{people} (approval {}, until {})", shown(&approval.id), approval.expires_at)));
    }
    rows.push(("posture", record.posture_version.clone().unwrap_or_default()));
    text.push_str(&columns(rows));
    text
}

//! `doctor`: whether an installation is as the chart renders it, and whether it works.
//!
//! `expected` has the rendered objects. `configuration`, `policies`, `permissions` and `replicas` compare the live objects with
//! them. `probe` sends dry runs that the webhook must deny, `certificates` reads what they say about TLS, and `server` asks the
//! API server about itself. `static_manifests` is about API servers that have the objects of admission in files. `holder` reads
//! what the Pods report in their metrics. `reader` reads each object once.

mod cel;
mod certificates;
mod configuration;
mod expected;
mod holder;
mod metrics;
mod permissions;
mod policies;
mod postures;
mod probe;
mod reader;
mod replicas;
mod report;
mod scope;
mod selector;
mod server;
mod static_manifests;

use clap::ValueEnum;
use serde::Serialize;
use writgate_cluster::{clock, names};

use crate::{
    cluster::ClusterFlags,
    command::{
        Format,
        doctor::{
            reader::Reader,
            report::{CheckReport, DoctorReport, Examination},
        },
    },
    failure::{Answer, Failure},
    terminal::{
        output::{self, shown},
        progress::Progress,
    },
};

/// Check an installation of Writgate
///
/// Compares the webhook configuration, the policies and the rights with those that this version's chart renders, reads
/// certificates, Pods and postures, and sends dry runs that the webhook must deny. A dry run creates nothing. For each check
/// it prints what was found and what to do next.
///
/// What you may not read is unknown, never ok. Warnings do not change the exit code. Exits with 1 if a check failed, and
/// otherwise with 3 if one is unknown.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate doctor
  kubectl writgate doctor -n payments
  kubectl writgate doctor --only webhook-configuration,policies
  kubectl writgate doctor --context prod -o json")]
pub(crate) struct Arguments {
    /// Run only these checks, separated by commas [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECK")]
    only: Vec<Check>,
    /// Governed namespace for the dry run of a Deployment [default: the first that enforces]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// A check, in the order of the report. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Check {
    /// The version of the API server
    KubernetesVersion,
    /// The difference between your clock and the API server's
    Clock,
    /// The namespace of the webhook and of the postures
    SystemNamespace,
    /// The entries that send requests to the webhook
    WebhookConfiguration,
    /// The CA bundles with which the API server verifies the webhook
    CaBundle,
    /// When the serving certificate expires
    Certificate,
    /// The admission policies and their bindings
    Policies,
    /// The rights of the webhook's service account
    Permissions,
    /// The webhook's Service and its endpoints
    Service,
    /// The webhook's Deployment and its Pods
    Pods,
    /// The versions of plugin, chart and image
    Versions,
    /// How current the webhook's postures and namespaces are
    Watches,
    /// The Lease, and the canary and the re-audit of its holder
    Holder,
    /// The posture documents, and the namespaces that they govern
    Postures,
    /// Requests that the webhook must deny
    DryRun,
}

impl Check {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// What the check looks at, for the report.
    fn looks_at(self) -> &'static str {
        match self {
            Self::KubernetesVersion => "the version that the API server reports",
            Self::Clock => "the Date header of the API server's response, compared with this machine's clock",
            Self::SystemNamespace => "the system namespace",
            Self::WebhookConfiguration => {
                "ValidatingWebhookConfiguration writgate, compared with the one that this version's chart renders"
            }
            Self::CaBundle => {
                "caBundle of each entry, compared with what the API server and the webhook say about the served certificate"
            }
            Self::Certificate => {
                "the expiry of the serving certificate, from the metrics of each Pod or from the entry's URL"
            }
            Self::Policies => {
                "the ValidatingAdmissionPolicies and their bindings, compared with those that this version's chart renders"
            }
            Self::Permissions => {
                "a SubjectAccessReview of the webhook's service account for each right that the chart grants"
            }
            Self::Service => "Service writgate-webhook and its EndpointSlices",
            Self::Pods => "Deployment writgate-webhook and its Pods",
            Self::Versions => "the versions of the plugin, of the webhook configuration and of the Deployment",
            Self::Watches => "the age of the postures and namespaces of each Pod, from its metrics",
            Self::Holder => "the Lease, the last canary and the last re-audit, from the metrics of each Pod",
            Self::Postures => "the posture documents in the system namespace, and the governed namespaces",
            Self::DryRun => "server-side dry runs that the webhook must deny",
        }
    }

    fn examine(self, reader: &Reader<'_>) -> Result<Examination, Failure> {
        match self {
            Self::KubernetesVersion => server::version(reader),
            Self::Clock => server::clock(reader),
            Self::SystemNamespace => server::system_namespace(reader),
            Self::WebhookConfiguration => reader.configuration_compared(),
            Self::CaBundle => certificates::bundle(reader),
            Self::Certificate => certificates::expiry(reader),
            Self::Policies => Ok(reader.policies_compared()),
            Self::Permissions => permissions::examine(reader),
            Self::Service => replicas::service(reader),
            Self::Pods => replicas::pods(reader),
            Self::Versions => replicas::versions(reader),
            Self::Watches => Ok(holder::watches(reader)),
            Self::Holder => Ok(holder::holder(reader)),
            Self::Postures => postures::examine(reader),
            Self::DryRun => Ok(probe::examine(reader)),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let flags = [
        (arguments.namespace.as_deref(), "--namespace"),
        (Some(arguments.cluster.connection.system_namespace.as_str()), "--system-namespace"),
    ];
    for (name, flag) in flags {
        if let Some(name) = name.filter(|name| !names::is_label(name)) {
            return Err(Failure::Misuse(format!("{flag}: {} is not a valid namespace name", shown(name))));
        }
    }
    let cluster = arguments.cluster.connect()?;
    let now = clock::now();
    let reader = Reader::new(&cluster, now, arguments.namespace.as_deref());
    let is_chosen = |check: &&Check| arguments.only.is_empty() || arguments.only.contains(check);
    let chosen: Vec<Check> = Check::value_variants().iter().filter(is_chosen).copied().collect();
    let mut progress = Progress::of("checking", Some(chosen.len()));
    let mut checks = Vec::new();
    for check in chosen {
        checks.push(CheckReport::new(check, check.examine(&reader)));
        progress.step();
    }
    drop(progress);
    let report = DoctorReport::new(now, &cluster.system_namespace, checks);
    match arguments.output {
        Format::Json => output::print_json(&report)?,
        Format::Text => output::print(&report.text())?,
    }
    report.answer()
}

//! The webhook's decision, made by the same function in core, with the facts that the command line can find.
//!
//! A manifest becomes the AdmissionReview that the API server would send.

use clap::builder::NonEmptyStringValueParser;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams};
use serde_json::Value;
use writgate_cluster::{clock, config_map, names, namespace::NamespaceLabels};
use writgate_core::{
    approval::{DetachedApproval, DetachedQuery},
    decide::{Answers, ConfigMapAnswer, EmptyCluster, Facts, Governance, HolderAnswer, Use, decide, decide_malformed},
    kube::{ConfigMapContent, WorkloadKinds},
    record::{Decision, History, ObjectRecord},
    request::{ExemptController, ExemptControllers, Request},
    vocabulary::APPROVAL_KEY,
};

use crate::{
    cluster::Cluster,
    failure::Failure,
    manifest::{Manifest, UNKNOWN_USER, input, namespace::NamespaceFlag},
    postures::{LoadedPostures, PostureSourceFlags},
    terminal::output::shown,
};

/// What a decision depends on, apart from the objects.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct DecisionFlags {
    #[command(flatten)]
    pub(crate) postures: PostureSourceFlags,
    /// Environment of the namespace [default: its label]
    #[arg(long, help_heading = "Posture")]
    pub(crate) environment: Option<String>,
    /// Project of the namespace [default: its label]
    #[arg(long, requires = "environment", help_heading = "Posture")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) reading: input::ManifestFlags,
    /// Controller whose child objects are exempt, as configured for the webhook; may be repeated; replaces the default
    #[arg(long, value_name = "USER=RESOURCE", help_heading = "Posture")]
    pub(crate) exempt_controller: Vec<ExemptController>,
}

/// When, where and by whom a manifest would be applied.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct AttemptFlags {
    /// Time of the decision, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    now: Option<Timestamp>,
    /// User who would apply the manifest, for separation of duties
    #[arg(long = "as", value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) as_user: Option<String>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceFlag,
}

impl AttemptFlags {
    /// The time of the decision.
    pub(crate) fn time(&self) -> Timestamp {
        self.now.unwrap_or_else(clock::now)
    }
}

/// Decides with postures that were loaded once.
pub(crate) struct Decider<'a> {
    /// The postures.
    pub(crate) postures: LoadedPostures,
    /// The time of the decision.
    pub(crate) now: Timestamp,
    /// ConfigMaps and approvals among these count, since they are applied together.
    pub(crate) manifests: &'a [Manifest],
    /// Approvals that count as detached approvals in every namespace.
    pub(crate) supplied: Vec<DetachedApproval>,
    /// Whether only those count, and no other detached approval.
    pub(crate) supplied_alone: bool,
    exempt: ExemptControllers,
    kinds: WorkloadKinds,
    stated_labels: Option<NamespaceLabels>,
}

impl DecisionFlags {
    /// Loads the postures for decisions about `manifests`.
    pub(crate) fn load<'a>(&self, manifests: &'a [Manifest], now: Timestamp) -> Result<Decider<'a>, Failure> {
        let stated_labels = self.environment.as_deref().map(|environment| NamespaceLabels {
            environment: Some(environment.into()),
            project: self.project.as_deref().map(Into::into),
        });
        Ok(Decider {
            postures: self.postures.load()?,
            now,
            manifests,
            supplied: Vec::new(),
            supplied_alone: false,
            exempt: match &*self.exempt_controller {
                [] => ExemptControllers::default(),
                listed => listed.iter().cloned().collect(),
            },
            kinds: self.reading.kinds.known(),
            stated_labels,
        })
    }
}

impl Decider<'_> {
    /// Decides an AdmissionReview as the webhook would.
    pub(crate) fn decide_review(&self, body: &[u8]) -> Result<Decision, Failure> {
        self.decide(body, true, self.now)
    }

    /// Decides about a manifest without its approvals. No approval cures a denial other than `ApprovalRequired`.
    pub(crate) fn decide_unapproved(
        &self,
        manifest: &Manifest,
        namespace: &str,
        runs: Option<&Value>,
        user: &str,
    ) -> Result<Decision, Failure> {
        let uid = clock::decision_id(self.now).to_string();
        self.decide(&manifest.without_approvals().to_review(&uid, namespace, user, runs)?, false, self.now)
    }

    /// Decides about the creation of a live object at another time, by nobody in particular.
    pub(crate) fn decide_again(
        &self,
        manifest: &Manifest,
        namespace: &str,
        at: Timestamp,
    ) -> Result<Decision, Failure> {
        let uid = clock::decision_id(at).to_string();
        self.decide(&manifest.to_review(&uid, namespace, UNKNOWN_USER, None)?, true, at)
    }

    fn decide(&self, body: &[u8], reads_detached: bool, now: Timestamp) -> Result<Decision, Failure> {
        let decision_id = clock::decision_id(now);
        let request = match Request::parse_with(body, &self.kinds) {
            Ok(request) => request,
            Err(malformed) => return Ok(decide_malformed(&malformed, decision_id, now)),
        };
        let labels = self.labels(&request.namespace)?;
        let governance = self.governance(&labels);
        let facts = Facts { decision_id, exempt: &self.exempt, clock_leeway: jiff::SignedDuration::ZERO };
        let mut answers = LocalAnswers { decider: self, namespace: &request.namespace, reads_detached, now };
        Ok(decide(&request, &governance, &facts, now, &mut answers))
    }

    /// Decides about `user` applying a manifest: its creation, or an update of `runs`.
    pub(crate) fn decide_manifest(
        &self,
        manifest: &Manifest,
        namespace: &str,
        runs: Option<&Value>,
        user: Option<&str>,
    ) -> Result<Decision, Failure> {
        let uid = clock::decision_id(self.now).to_string();
        self.decide_review(&manifest.to_review(&uid, namespace, user.unwrap_or(UNKNOWN_USER), runs)?)
    }

    /// Assumes `labels` for every namespace.
    pub(crate) fn assume(&mut self, labels: NamespaceLabels) {
        self.stated_labels = Some(labels);
    }

    /// The labels of a namespace. Flags have precedence over labels.
    pub(crate) fn labels(&self, namespace: &str) -> Result<NamespaceLabels, Failure> {
        match &self.stated_labels {
            Some(stated_labels) if stated_labels.project.is_some() => return Ok(stated_labels.clone()),
            Some(stated_labels) => {
                let found = self.postures.labels(namespace)?.unwrap_or_default();
                return Ok(NamespaceLabels { environment: stated_labels.environment.clone(), ..found });
            }
            None => {}
        }
        self.postures.labels(namespace)?.ok_or_else(|| {
            let place = if self.postures.cluster.is_some() { "the cluster" } else { self.postures.source() };
            Failure::Undetermined(format!(
                "cannot determine the environment of namespace {}: {place} does not contain the Namespace; add it there, \
                 or pass --environment and --project",
                shown(namespace)
            ))
        })
    }

    fn governance<'a>(&'a self, labels: &'a NamespaceLabels) -> Governance<'a> {
        match &labels.environment {
            None => Governance::Ungoverned,
            Some(environment) => Governance::Governed {
                environment,
                project: labels.project.as_deref(),
                posture: self.postures.set.environment(environment),
            },
        }
    }

    fn config_map(&self, namespace: &str, name: &str) -> Result<ConfigMapContent, String> {
        let is_it = |manifest: &&Manifest| {
            manifest.is_config_map()
                && manifest.name() == Some(name)
                && manifest.namespace().is_none_or(|own| own == namespace)
        };
        if let Some(manifest) = self.manifests.iter().find(is_it) {
            return manifest.config_map();
        }
        if let Some(found) = self.postures.set.config_map(namespace, name) {
            return found.cloned().map_err(str::to_owned);
        }
        let absent = "it is not among the manifests; pass it with -f";
        let Some(cluster) = &self.postures.cluster else { return Err(absent.to_owned()) };
        read_config_map(cluster, namespace, name)?.ok_or_else(|| "it does not exist".to_owned())
    }

    /// Detached approvals that were supplied, or are among the manifests or in the posture folder.
    pub(crate) fn detached(&self, namespace: &str) -> Vec<DetachedApproval> {
        if self.supplied_alone {
            return self.supplied.clone();
        }
        let here = self.manifests.iter().filter(|manifest| manifest.namespace().is_none_or(|own| own == namespace));
        let in_folder = self.postures.set.detached_approvals(namespace);
        let supplied = self.supplied.iter().cloned();
        supplied.chain(here.filter_map(Manifest::detached_approval)).chain(in_folder).collect()
    }

    fn live_detached(&self, namespace: &str) -> Result<Vec<DetachedApproval>, String> {
        let mut found = self.detached(namespace);
        if let Some(cluster) = &self.postures.cluster
            && !self.supplied_alone
        {
            found.extend(detached_approvals(cluster, namespace).map_err(|failure| failure.to_string())?);
        }
        Ok(found)
    }
}

/// The answers to one review, from manifests, the posture folder and the cluster.
struct LocalAnswers<'j> {
    decider: &'j Decider<'j>,
    namespace: &'j str,
    /// Whether detached approvals count.
    reads_detached: bool,
    now: Timestamp,
}

impl LocalAnswers<'_> {
    /// The command line does not read the ledger: it assumes that no approval was used and that nothing was admitted
    /// before.
    fn ledger(&self) -> EmptyCluster {
        EmptyCluster { now: self.now }
    }
}

impl Answers for LocalAnswers<'_> {
    fn cached_approvals(&mut self, _: &DetachedQuery) -> Vec<DetachedApproval> {
        if self.reads_detached { self.decider.detached(self.namespace) } else { Vec::new() }
    }

    fn live_approvals(&mut self, _: &DetachedQuery) -> Result<Vec<DetachedApproval>, String> {
        if self.reads_detached { self.decider.live_detached(self.namespace) } else { Ok(Vec::new()) }
    }

    fn config_map(&mut self, name: &str) -> ConfigMapAnswer {
        self.decider.config_map(self.namespace, name).map(Some)
    }

    fn holder(&mut self, wanted: &Use) -> HolderAnswer {
        self.ledger().holder(wanted)
    }

    fn history(&mut self, object: &ObjectRecord) -> Result<History, String> {
        self.ledger().history(object)
    }
}

/// The content of a ConfigMap of the cluster, for the check of a config bundle.
fn read_config_map(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<ConfigMapContent>, String> {
    if !names::is_label(namespace) || !names::is_subdomain(name) {
        return Ok(None);
    }
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let what = format!("read ConfigMap {name} in {namespace}");
    let found = cluster.ask(&what, config_maps.get_opt(name)).map_err(|failure| failure.to_string())?;
    found.as_ref().map(config_map::content).transpose()
}

/// The detached approvals of a namespace.
pub(crate) fn detached_approvals(cluster: &Cluster, namespace: &str) -> Result<Vec<DetachedApproval>, Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
    let labelled = ListParams::default().labels(config_map::APPROVAL_SELECTOR).limit(config_map::MAX_APPROVALS);
    let list = cluster.ask(&format!("list approvals (ConfigMaps in {namespace})"), config_maps.list(&labelled))?;
    let held = |mut found: ConfigMap| {
        let text = found.data.as_mut()?.remove(APPROVAL_KEY)?;
        Some(DetachedApproval { name: found.metadata.name?, text })
    };
    Ok(list.items.into_iter().filter_map(held).collect())
}

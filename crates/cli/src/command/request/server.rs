//! `--server`: what the API server would make of the manifests, with its defaults and all mutating webhooks.
//!
//! The webhook decides about a server-side dry run as about any request, so the dry run of an unapproved workload is
//! denied and returns no object. But the denial contains the hash of what reached the webhook. If it equals the
//! manifest's own hash, nothing changed the object on the way. If not, a dry run in a namespace that is not governed
//! shows the changed object.
//!
//! A live object is replaced, not merged, in the dry run. Fields of the live object that the manifest does not have are
//! not requested: a merge under a field manager of our own would keep them, and nobody would apply such an object.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::Value;
use writgate_cluster::client::why;
use writgate_core::kube::WorkloadKind;

use crate::{
    approval::decider::Decider,
    cluster::{Cluster, resource},
    failure::Failure,
    manifest::{Manifest, namespace::NamespaceFlag, workloads},
    terminal::{
        output::{self, shown},
        progress::Progress,
    },
};

/// Field manager of the dry run. Flux removes fields of managers whose name begins with `kubectl`.
const FIELD_MANAGER: &str = "writgate";
/// Prefix of the line with the hash in a denial.
const HASH_LINE: &str = "spec hash: ";

/// Whether to ask the API server, and where.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct ServerFlags {
    /// Request approval for what the API server would make of the manifests, by a server-side dry run
    #[arg(long, conflicts_with = "posture_dir")]
    server: bool,
    /// Namespace that is not governed, in which a dry run shows what mutating webhooks change
    #[arg(long, value_name = "NAMESPACE", requires = "server")]
    scratch_namespace: Option<String>,
}

impl ServerFlags {
    /// The manifests as the API server would store them; `None` without `--server`.
    pub(super) fn ask(
        &self,
        manifests: &[&Manifest],
        namespace: &NamespaceFlag,
        decider: &Decider<'_>,
    ) -> Result<Option<Vec<Manifest>>, Failure> {
        let Some(cluster) = &decider.postures.cluster else { return Ok(None) };
        if !self.server {
            return Ok(None);
        }
        let mut progress = Progress::of("asking the API server", Some(manifests.len()));
        let mut made = Vec::new();
        for manifest in manifests {
            made.push(self.made(manifest, &namespace.of(manifest, Some(cluster))?, cluster)?);
            progress.step();
        }
        Ok(Some(made))
    }

    fn made(&self, manifest: &Manifest, namespace: &str, cluster: &Cluster) -> Result<Manifest, Failure> {
        let own = manifest.spec_hash().transpose()?.map(|hash| hash.to_string());
        let live = cluster.live(manifest, namespace)?;
        let at_webhook = match dry_run(manifest, namespace, live.as_ref(), cluster)? {
            DryRun::Made(object) => return Ok(manifest.with_object(object)),
            DryRun::Denied(hash) => hash,
        };
        if own.as_ref() == Some(&at_webhook) {
            return Ok(manifest.clone());
        }
        if let Some(dropped) = workloads::dropped_to(manifest, &at_webhook, cluster) {
            return Err(Failure::No(format!(
                "{manifest}: the API server{} drops {}; remove what is dropped from the manifest, since its spec hash differs \
                 from the one that the webhook computes",
                cluster.version().map(|version| format!(" ({})", shown(&version.name))).unwrap_or_default(),
                shown(&dropped.join(", "))
            )));
        }
        let Some(scratch) = &self.scratch_namespace else {
            return Err(Failure::No(format!(
                "{manifest}: something in the cluster changes it on its way, a mutating webhook or a default\n  the \
                 manifest's spec hash  {}\n  hash at the webhook       {}\npass --scratch-namespace with a namespace that is \
                 not governed and in which you may create it, to see the changed object",
                own.unwrap_or_default(),
                shown(&at_webhook)
            )));
        };
        let DryRun::Made(object) = dry_run(&manifest.in_namespace(scratch), scratch, None, cluster)? else {
            return Err(Failure::No(format!(
                "{manifest}: namespace {} is governed as well; pass another --scratch-namespace",
                shown(scratch)
            )));
        };
        let made = manifest.with_object(object).in_namespace(namespace);
        let hash = made.spec_hash().transpose()?.map(|hash| hash.to_string());
        if hash.as_ref() != Some(&at_webhook) {
            return Err(Failure::No(format!(
                "{manifest}: the cluster makes another object of it in namespace {} than in {}, where its hash is {}",
                shown(scratch),
                shown(namespace),
                shown(&at_webhook)
            )));
        }
        output::note(&format!(
            "note: {manifest}: the cluster changes it; the request is for the changed object, whose spec hash differs from the \
             manifest's; attach its approval with: kubectl writgate attach --detached"
        ));
        Ok(made)
    }
}

/// The result of a dry run.
enum DryRun {
    /// The object that would be stored.
    Made(Value),
    /// The webhook denied it; the hash that it computed.
    Denied(String),
}

fn dry_run(manifest: &Manifest, namespace: &str, live: Option<&Value>, cluster: &Cluster) -> Result<DryRun, Failure> {
    let what = format!("dry-run {manifest} in {}", shown(namespace));
    let resource = resource(manifest)
        .ok_or_else(|| Failure::Misuse(format!("{manifest}: the webhook does not check objects of this kind")))?;
    let mut object = manifest.without_approvals().object().clone();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("namespace".to_owned(), namespace.into());
        // A custom resource cannot be replaced without it.
        if let Some(version) = live.and_then(|live| live.pointer("/metadata/resourceVersion")) {
            metadata.insert("resourceVersion".to_owned(), version.clone());
        }
    }
    // A Job cannot be replaced, since the API server has set its selector. Its Pod template never changes either.
    let replaces = live.is_some() && manifest.workload() != Some(WorkloadKind::Job);
    let post = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource);
    let asked = cluster.ask(&what, async {
        let answer = if let (Some(name), true) = (manifest.name(), replaces) {
            let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
            api.replace(name, &post, &object).await
        } else if let Some(name) = manifest.name() {
            let apply = PatchParams::apply(FIELD_MANAGER).force().dry_run();
            api.patch(name, &apply, &Patch::Apply(&object)).await
        } else {
            let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
            api.create(&post, &object).await
        };
        Ok(match answer {
            Err(kube::Error::Api(status)) if denied_hash(&status.message).is_some() => Err(status.message),
            answer => Ok(answer?),
        })
    })?;
    match asked {
        Err(message) => Ok(DryRun::Denied(denied_hash(&message).unwrap_or_default())),
        Ok(object) => {
            let object = serde_json::to_value(object).map_err(|error| {
                Failure::Undetermined(format!("cannot {what}: {}", why(&kube::Error::SerdeError(error))))
            })?;
            Ok(DryRun::Made(without_traces(object)))
        }
    }
}

fn denied_hash(message: &str) -> Option<String> {
    if !message.contains("admission webhook") {
        return None;
    }
    message.lines().find_map(|line| line.strip_prefix(HASH_LINE)).map(|hash| hash.trim().to_owned())
}

/// Removes what a server sets and nobody applies.
fn without_traces(mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.remove("status");
    }
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        for trace in ["managedFields", "uid", "resourceVersion", "creationTimestamp", "generation"] {
            metadata.remove(trace);
        }
    }
    object
}

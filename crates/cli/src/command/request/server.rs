//! `--server`: what the API server would make of the manifests, with its defaults and every mutating webhook.
//!
//! A server-side dry run gets the gate's true verdict, so that of a workload nobody has approved is denied, and no object
//! comes back. But the denial tells the hash of what reached the gate: where it is the manifest's own, nothing changed it
//! on the way. Where it is another, a namespace that is not governed can show what it became.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::Value;
use writgate_cluster::client::why;

use crate::{
    approval::judge::Judge,
    cluster::{Cluster, resource},
    failure::Failure,
    manifest::{Manifest, namespace::NamespaceFlag},
    terminal::{
        output::{self, shown},
        progress::Progress,
    },
};

/// Who owns the fields, were it not a dry run. Flux strips those of managers whose name begins with `kubectl`.
const FIELD_MANAGER: &str = "writgate";
/// Where a denial tells the hash of what it judged.
const HASH_LINE: &str = "spec hash: ";

/// What to ask the API server for.
#[derive(clap::Args, Clone, Debug, Default)]
pub(super) struct ServerFlags {
    /// Ask for what the API server would make of the manifests, by a server-side dry run
    #[arg(long, conflicts_with = "posture_dir")]
    server: bool,
    /// A namespace that is not governed, to see in it what mutating webhooks make of a manifest
    #[arg(long, value_name = "NAMESPACE", requires = "server")]
    scratch_namespace: Option<String>,
}

impl ServerFlags {
    /// The manifests as the API server makes them; `None` where it was not to be asked.
    pub(super) fn ask(
        &self,
        manifests: &[&Manifest],
        namespace: &NamespaceFlag,
        judge: &Judge<'_>,
    ) -> Result<Option<Vec<Manifest>>, Failure> {
        let Some(cluster) = judge.rules.cluster.as_ref().filter(|_| self.server) else { return Ok(None) };
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
        let judged = match dry_run(manifest, namespace, cluster)? {
            DryRun::Made(object) => return Ok(manifest.with_object(object)),
            DryRun::Denied(hash) => hash,
        };
        if own.as_ref() == Some(&judged) {
            return Ok(manifest.clone());
        }
        let Some(scratch) = &self.scratch_namespace else {
            return Err(Failure::No(format!(
                "{manifest}: something in the cluster changes it on its way, a mutating webhook or a default of its own\n  \
                 the manifest's spec hash  {}\n  what reaches the gate     {}\ngive --scratch-namespace, a namespace that is \
                 not governed and where you may create it, to see what it becomes",
                own.unwrap_or_default(),
                shown(&judged)
            )));
        };
        let DryRun::Made(object) = dry_run(&manifest.in_namespace(scratch), scratch, cluster)? else {
            return Err(Failure::No(format!("{manifest}: namespace {} is governed too", shown(scratch))));
        };
        let made = manifest.with_object(object).in_namespace(namespace);
        let hash = made.spec_hash().transpose()?.map(|hash| hash.to_string());
        if hash.as_ref() != Some(&judged) {
            return Err(Failure::No(format!(
                "{manifest}: in namespace {} it becomes something else than in {}, whose hash is {}",
                shown(scratch),
                shown(namespace),
                shown(&judged)
            )));
        }
        output::note(&format!("note: {manifest}: the cluster changes it; what it becomes is asked for"));
        Ok(made)
    }
}

/// What a dry run came to.
enum DryRun {
    /// The object as it would be stored.
    Made(Value),
    /// The gate denied it; the hash of what it judged.
    Denied(String),
}

fn dry_run(manifest: &Manifest, namespace: &str, cluster: &Cluster) -> Result<DryRun, Failure> {
    let what = format!("dry-run {manifest} in {}", shown(namespace));
    let resource = resource(manifest)
        .ok_or_else(|| Failure::Misuse(format!("{manifest}: it is nothing that the gate is asked about")))?;
    let mut object = manifest.without_approvals().object().clone();
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &resource);
    let asked = cluster.ask(&what, async {
        let answer = if let Some(name) = manifest.name() {
            let apply = PatchParams::apply(FIELD_MANAGER).force().dry_run();
            api.patch(name, &apply, &Patch::Apply(&object)).await
        } else {
            let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
            api.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
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
                Failure::CouldNotTell(format!("cannot {what}: {}", why(&kube::Error::SerdeError(error))))
            })?;
            Ok(DryRun::Made(without_traces(object)))
        }
    }
}

fn denied_hash(message: &str) -> Option<String> {
    let line = message.lines().find_map(|line| line.strip_prefix(HASH_LINE));
    line.filter(|_| message.contains("admission webhook")).map(|hash| hash.trim().to_owned())
}

/// What a server writes and nobody applies.
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

//! `attach --live`: annotates objects of the cluster that have the approved spec already.
//!
//! This is for live objects whose approval has expired or was lost: the webhook finds the new one at the next change. A
//! denied change is not in the cluster, so its approval cannot be attached this way.

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use writgate_cluster::{
    client::api_resource,
    names::{is_label, is_subdomain},
};
use writgate_core::{
    approval::{Subject, spec_hash},
    kube::WorkloadKind,
};

use crate::{
    cluster::Cluster,
    command::attach::{Arguments, Attachment, difference, names_of},
    failure::{Answer, Failure},
    terminal::output::{self, shown},
};

/// How often the object may change while Writgate is removed from its field managers.
const ATTEMPTS: usize = 5;

/// Field manager of the annotation. Flux removes fields of managers whose name begins with `kubectl`.
const FIELD_MANAGER: &str = "writgate";

/// The object that a subject names.
struct WorkloadRef<'a> {
    kind: WorkloadKind,
    namespace: &'a str,
    name: &'a str,
}

pub(super) fn run(arguments: &Arguments, attachments: &[Attachment]) -> Result<Answer, Failure> {
    let cluster = arguments.cluster.connect()?;
    let mut patches = Vec::new();
    for attachment in attachments {
        let before = patches.len();
        for subject in &attachment.approval.subjects {
            let workload = workload_ref(arguments, subject)?;
            if arguments.namespace.as_deref().is_none_or(|only| only == workload.namespace) {
                patches.push(patch(&cluster, workload, subject, attachment)?);
            }
        }
        if patches.len() == before {
            let namespace = arguments.namespace.as_deref().unwrap_or_default();
            let subjects = names_of(&attachment.approval);
            let why = format!("the approval is for {subjects}; none of them is in namespace {}", shown(namespace));
            return Err(Failure::No(why));
        }
    }
    // All objects are checked before any is changed.
    for (workload, patch) in patches {
        let what = format!("annotate {} {} in {}", workload.kind.kind(), workload.name, workload.namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let objects = workload.objects(&cluster);
        let changed = cluster.ask(&what, objects.patch(workload.name, &params, &Patch::Merge(patch)))?;
        disown(&cluster, &what, &objects, changed)?;
        output::note(&format!("attached: {} {}/{}", workload.kind.kind(), workload.namespace, workload.name));
    }
    Ok(Answer::Yes)
}

/// `apps/v1/Deployment/payments/orders`
fn workload_ref<'a>(arguments: &Arguments, subject: &'a Subject) -> Result<WorkloadRef<'a>, Failure> {
    let parts = || {
        let [api_version, kind, namespace, name] = Subject::parts(&subject.name)?;
        let kind = arguments.kinds.known().find(api_version, kind)?;
        (is_label(namespace) && is_subdomain(name)).then_some(WorkloadRef { kind, namespace, name })
    };
    parts().ok_or_else(|| {
        Failure::No(format!(
            "{} is not the name of one live object; attach the approval to its manifest with -f, or use --detached",
            shown(&subject.name)
        ))
    })
}

/// The patch for the live object, if it has the approved spec.
fn patch<'a>(
    cluster: &Cluster,
    workload: WorkloadRef<'a>,
    subject: &Subject,
    attachment: &Attachment,
) -> Result<(WorkloadRef<'a>, Value), Failure> {
    let object = format!("{} {}/{}", workload.kind.kind(), workload.namespace, workload.name);
    let instead = "attach the approval to its manifest (-f) or use --detached, and apply that";
    let what = format!("read {} {} in {}", workload.kind.kind(), workload.name, workload.namespace);
    let Some(found) = cluster.ask(&what, workload.objects(cluster).get_opt(workload.name))? else {
        return Err(Failure::No(format!("{object} does not exist, so there is nothing to annotate; {instead}")));
    };
    let spec = found.data.get("spec").cloned().unwrap_or_default().to_string();
    let hash = spec_hash(workload.kind, &spec)
        .map_err(|error| Failure::Undetermined(format!("{object} has no spec hash: {error}")))?;
    if hash != subject.hash {
        return Err(Failure::No(format!(
            "{object}: the live spec is not the approved one\n{}\na denied change leaves the live object as it was; \
             {instead}",
            difference(hash, &[subject.hash])
        )));
    }
    // The uid selects this object, and no later one of its name. Without a resource version, a concurrent change of the
    // status is not a conflict.
    let patch = json!({"metadata": {
        "uid": found.metadata.uid,
        "annotations": {&attachment.annotation: attachment.envelope.to_json()},
    }});
    Ok((workload, patch))
}

/// Removes Writgate from the field managers of the object. A server-side apply with another approval, such as that of
/// `helm upgrade`, would conflict with the owner of the annotation, and nobody owns it then.
fn disown(
    cluster: &Cluster,
    what: &str,
    objects: &Api<DynamicObject>,
    mut object: DynamicObject,
) -> Result<(), Failure> {
    let name = object.metadata.name.clone().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let managers = object.metadata.managed_fields.unwrap_or_default();
        let others: Vec<_> =
            managers.iter().filter(|entry| entry.manager.as_deref() != Some(FIELD_MANAGER)).cloned().collect();
        // An empty list would make the API server forget every owner.
        if others.len() == managers.len() || others.is_empty() {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "managedFields": others,
        }});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patched = cluster.ask(what, async {
            match objects.patch(&name, &params, &Patch::Merge(patch)).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                patched => patched.map(Some),
            }
        })?;
        if patched.is_some() {
            return Ok(());
        }
        object = cluster.ask(what, objects.get(&name))?;
    }
    output::note(&format!(
        "note: the field manager {FIELD_MANAGER} owns the annotation, since the object changes too often; a server-side apply \
         of another approval must force conflicts"
    ));
    Ok(())
}

impl WorkloadRef<'_> {
    fn objects(&self, cluster: &Cluster) -> Api<DynamicObject> {
        let resource = api_resource(self.kind.api_version(), self.kind.kind(), self.kind.resource());
        Api::namespaced_with(cluster.client.clone(), self.namespace, &resource)
    }
}

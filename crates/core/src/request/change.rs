//! What a request changes: nothing that requires a decision, a workload, or something that no approval can permit.
//!
//! This does not depend on a posture. Which action a change of a workload is depends on the posture, and is decided in
//! `decide`.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    approval::projection::Projection,
    approval::spec_hash::{SpecHash, spec_hash},
    encoding::canonical::CanonicalError,
    kube::workload::WorkloadKind,
    record::connection::Connection,
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    request::adoption::{self, is_same_adoption},
    request::connection::connection,
    request::equal_json::{is_same_content, same_text},
    request::exempt::ExemptControllers,
    request::replicas::wakes_up,
    text::on_one_line,
    vocabulary::{BOUND_ANNOTATIONS, REPLAY_LABEL},
};

/// The hashes of a workload's spec after and before a request. `None`: there is no spec, or it is not a workload.
pub(crate) struct Hashes {
    pub(crate) new: Option<Result<SpecHash, CanonicalError>>,
    pub(crate) old: Option<Result<SpecHash, CanonicalError>>,
}

impl Hashes {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let Some(kind) = request.workload else { return Self { new: None, old: None } };
        let new = request.object.as_ref().and_then(|object| object.spec).map(RawValue::get);
        let old = request.old_object.as_ref().and_then(|object| object.spec).map(RawValue::get);
        let hash = new.map(|spec| spec_hash(kind, spec));
        // Most updates do not change the text of the spec. Then it is hashed once.
        let unchanged = new.is_some() && new == old;
        Self { old: if unchanged { hash.clone() } else { old.map(|spec| spec_hash(kind, spec)) }, new: hash }
    }
}

/// What a request changes.
#[derive(Debug)]
pub(crate) enum Change<'r> {
    /// Nothing that requires an approval.
    Nothing,
    /// Something that is denied whatever was approved.
    Refused(Denial),
    /// A Pod without a controller, or a change to a Pod's containers. An approval cannot name it, because it has no
    /// hash.
    Pod { object: &'r Object<'r>, what: &'static str },
    /// A connection into a running Pod.
    Connection(Connection),
    /// A workload would run another spec, or the same spec under other claims, or would begin to run.
    Workload(Workload<'r>),
    /// A workload of this kind, which the request does not contain, would begin to run.
    ScaledFromZero(WorkloadKind),
}

/// A workload after the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload<'r> {
    pub(crate) kind: WorkloadKind,
    pub(crate) object: &'r Object<'r>,
    pub(crate) spec: &'r str,
    pub(crate) hash: SpecHash,
    pub(crate) previous: Option<Previous<'r>>,
    /// Whether the initiator is an exempt controller. Its replays are still actions.
    pub(crate) by_exempt_controller: bool,
    /// Whether the update only gives replicas to a workload that has none. That is an action if the posture says so.
    pub(crate) wakes_up: bool,
}

/// A workload before the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Previous<'r> {
    pub(crate) spec: &'r str,
    /// `None`: the old spec has no hash. Then the new spec counts as changed.
    pub(crate) hash: Option<SpecHash>,
}

impl<'r> Change<'r> {
    pub(crate) fn of(request: &'r Request<'r>, hashes: &Hashes, exempt: &ExemptControllers) -> Self {
        match request.operation {
            Operation::Delete => Self::Nothing,
            Operation::Connect => connection(request).map_or_else(|| Self::unsupported(request), Self::Connection),
            Operation::Create | Operation::Update => {
                let exempt = exempt.covers(&request.user.username, &request.resource);
                let change = match &*request.sub_resource {
                    "" => Self::of_object(request, hashes, exempt),
                    "status" => Ok(Self::Nothing),
                    "scale" => Self::of_scale(request, exempt),
                    "ephemeralcontainers" => Self::of_ephemeral_containers(request),
                    _ => Ok(Self::unsupported(request)),
                };
                change.unwrap_or_else(|why| Self::Refused(Denial::MalformedReview { why }))
            }
        }
    }

    fn of_object(request: &'r Request<'r>, hashes: &Hashes, exempt: bool) -> Result<Self, String> {
        let (object, old) = objects(request)?;
        match request.workload {
            Some(kind) => Self::of_workload(kind, object, old, hashes, exempt),
            None => match (&*request.kind.api_version(), &*request.kind.kind) {
                ("v1", "Pod") => Ok(Self::of_pod(&request.resource, object, old, exempt)),
                ("apps/v1", "ControllerRevision") => Ok(Self::of_revision(object, old, exempt)),
                _ => Ok(Self::unsupported(request)),
            },
        }
    }

    fn of_workload(
        kind: WorkloadKind,
        object: &'r Object<'r>,
        old: Option<&'r Object<'r>>,
        hashes: &Hashes,
        exempt: bool,
    ) -> Result<Self, String> {
        if exempt && kind != WorkloadKind::Job {
            return Ok(Self::Nothing);
        }
        let spec = spec_of(object, "object")?;
        let same_adoption = old.is_some_and(|old| exempt || is_same_adoption(kind.resource(), object, old));
        if let Some(old) = old
            && old.spec.is_some_and(|old| is_same_content(spec, old.get()))
            && same_claims(object, old)
            && same_adoption
        {
            return Ok(Self::Nothing);
        }
        let hash = match &hashes.new {
            Some(Ok(hash)) => *hash,
            Some(Err(error)) => return Err(format!("object.spec: {error}")),
            None => return Err("object.spec is missing".to_owned()),
        };
        let previous = match old {
            None => None,
            Some(old) => {
                let hash = hashes.old.as_ref().and_then(|hash| hash.as_ref().ok().copied());
                Some(Previous { spec: spec_of(old, "oldObject")?, hash })
            }
        };
        let mut workload =
            Workload { kind, object, spec, hash, previous, by_exempt_controller: exempt, wakes_up: false };
        if let (Some(previous), Some(old)) = (&previous, old)
            && same_claims(object, old)
            && same_adoption
            && is_same_run(kind, object, old, (hash, spec), previous)
        {
            if !wakes_up(spec, previous.spec) {
                return Ok(Self::Nothing);
            }
            workload.wakes_up = true;
        }
        Ok(Self::Workload(workload))
    }

    fn of_pod(resource: &str, object: &'r Object<'r>, old: Option<&'r Object<'r>>, exempt: bool) -> Self {
        if exempt {
            return Self::Nothing;
        }
        let Some(old) = old else { return Self::Pod { object, what: "a Pod that no controller created" } };
        let same_adoption = is_same_adoption(resource, object, old);
        if !same_adoption && adoption::is_owned_by_a_job(old) {
            // The Job would not count the Pod, and would start another one, on the approval of the first.
            let why = "only the Job controller may change the labels, the owner references and the tracking finalizer of \
                       a Job's Pod, because the Job would run again";
            return Self::Refused(Denial::WorkloadNotAllowed { why: why.to_owned() });
        }
        if !same_text(object.spec, old.spec, Projection::Whole) {
            return Self::Pod { object, what: "a change to a running Pod's spec" };
        }
        if !same_adoption {
            return Self::Pod { object, what: "a change to the labels or owner references by which a Pod is adopted" };
        }
        Self::Nothing
    }

    fn of_ephemeral_containers(request: &'r Request<'r>) -> Result<Self, String> {
        let (object, _) = objects(request)?;
        Ok(Self::Pod { object, what: "an ephemeral container" })
    }

    /// A `StatefulSet` or `DaemonSet` rolls back to a revision, which it finds by labels, owner and number. So these
    /// and the content must not change. Finalizers and annotations have no effect.
    fn of_revision(object: &Object<'_>, old: Option<&Object<'_>>, exempt: bool) -> Self {
        let unchanged = old.is_some_and(|old| {
            same_text(object.data, old.data, Projection::Whole)
                && same_text(object.revision, old.revision, Projection::Whole)
                && is_same_adoption("controllerrevisions", object, old)
        });
        if exempt || unchanged {
            return Self::Nothing;
        }
        let why = "only the controllers of StatefulSets and DaemonSets may write ControllerRevisions, because a rollback \
                   to one requires no approval";
        Self::Refused(Denial::WorkloadNotAllowed { why: why.to_owned() })
    }

    /// Scaling is not an action, with two exceptions: raising an orphaned `ReplicaSet` from zero runs an unapproved
    /// spec, and so may raising another workload from zero.
    fn of_scale(request: &Request<'_>, exempt: bool) -> Result<Self, String> {
        let runs_by_itself = matches!(&*request.resource, "replicasets" | "replicationcontrollers");
        if exempt || (!runs_by_itself && request.scaled.is_none()) {
            return Ok(Self::Nothing);
        }
        let (object, old) = objects(request)?;
        let wanted = replicas(spec_of(object, "object")?)?;
        let current = old.map_or(Ok(0), |old| replicas(spec_of(old, "oldObject")?))?;
        if wanted <= current {
            return Ok(Self::Nothing);
        }
        if !runs_by_itself {
            return Ok(request.scaled.filter(|_| current <= 0).map_or(Self::Nothing, Self::ScaledFromZero));
        }
        let why = format!(
            "scaling {} from {current} to {wanted} through the scale subresource would run what was not approved; \
             scale its Deployment instead",
            request.resource
        );
        Ok(Self::Refused(Denial::WorkloadNotAllowed { why }))
    }

    fn unsupported(request: &Request<'_>) -> Self {
        Self::Refused(unsupported_kind(request))
    }
}

/// The denial of a request about an object or a subresource that no rule covers.
pub(crate) fn unsupported_kind(request: &Request<'_>) -> Denial {
    let subresource = if request.sub_resource.is_empty() { "" } else { "/" };
    let what = format!(
        "{} of {} {} ({}{subresource}{})",
        request.operation.as_str(),
        request.kind.api_version(),
        request.kind.kind,
        request.resource,
        request.sub_resource
    );
    Denial::UnsupportedKind { what: on_one_line(&what) }
}

fn objects<'r>(request: &'r Request<'r>) -> Result<(&'r Object<'r>, Option<&'r Object<'r>>), String> {
    let object = request.object.as_ref().ok_or("object is missing")?;
    Ok((object, request.old_object.as_ref()))
}

fn spec_of<'r>(object: &'r Object<'r>, place: &str) -> Result<&'r str, String> {
    object.spec.map(RawValue::get).ok_or_else(|| format!("{place}.spec is missing"))
}

/// Whether the bound annotations and the replay label are the same.
fn same_claims(object: &Object<'_>, old: &Object<'_>) -> bool {
    let same = |key| object.metadata.annotations.get(key) == old.metadata.annotations.get(key);
    BOUND_ANNOTATIONS.into_iter().all(same)
        && object.metadata.labels.get(REPLAY_LABEL) == old.metadata.labels.get(REPLAY_LABEL)
}

/// Whether the update changes nothing that runs. The claims are the same.
fn is_same_run(
    kind: WorkloadKind,
    object: &Object<'_>,
    old: &Object<'_>,
    (hash, spec): (SpecHash, &str),
    previous: &Previous<'_>,
) -> bool {
    match kind {
        WorkloadKind::ReplicaSet | WorkloadKind::ReplicationController => {
            let not_raised = replicas(spec).and_then(|wanted| Ok(wanted <= replicas(previous.spec)?)).unwrap_or(false);
            not_raised && same_text(object.spec, old.spec, Projection::WithoutReplicas)
        }
        _ => previous.hash == Some(hash) && !is_released(spec, previous.spec),
    }
}

fn replicas(spec: &str) -> Result<i64, String> {
    #[derive(Deserialize)]
    struct Spec {
        replicas: Option<i64>,
    }
    let Spec { replicas } = serde_json::from_str(spec).map_err(|error| format!("spec.replicas: {error}"))?;
    // Go omits the zero of a Scale. The API server has filled in the replicas of a ReplicaSet before admission.
    Ok(replicas.unwrap_or(0))
}

/// Whether a workload that was paused or suspended would start. This is an action: otherwise an approval could be used
/// to create a suspended workload, which could then be started after the approval has expired.
pub(crate) fn is_released(spec: &str, old: &str) -> bool {
    match (held(spec), held(old)) {
        (Some(new), Some(old)) => old.into_iter().zip(new).any(|(held, still)| held && !still),
        _ => true,
    }
}

/// Whether a workload would be paused or suspended.
pub(crate) fn is_held(spec: &str) -> bool {
    held(spec).is_some_and(|flags| flags.contains(&true))
}

/// The flags that hold a workload: its `paused`, its `suspend`, and the `suspend` of its Jobs. `None`: the spec cannot
/// be read.
fn held(spec: &str) -> Option<[bool; 3]> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Held {
        paused: Option<bool>,
        suspend: Option<bool>,
        job_template: JobTemplate,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct JobTemplate {
        spec: Job,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Job {
        suspend: Option<bool>,
    }
    let held: Held = serde_json::from_str(spec).ok()?;
    Some([held.paused, held.suspend, held.job_template.spec.suspend].map(|flag| flag == Some(true)))
}

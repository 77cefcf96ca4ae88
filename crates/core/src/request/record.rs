//! The part of a decision record that the request alone determines.

use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    record::decision::{DecisionRecord, Initiator, ObjectRecord},
    request::{admission_review::Request, claimed_initiator::claimed_initiators, connection::connection},
};

/// The record of a request before any check: who asks for what, on which object.
pub(crate) fn opening_record(request: &Request<'_>, id: Uuid, time: Timestamp) -> DecisionRecord {
    let user = &request.user;
    DecisionRecord {
        request_uid: Some(request.uid.to_string()),
        dry_run: request.dry_run,
        initiator: Some(Initiator {
            username: user.username.to_string(),
            uid: user.uid.to_string(),
            groups: user.groups.iter().map(|group| group.0.to_string()).collect(),
        }),
        initiated_by: claimed_initiators(request),
        operation: Some(request.operation.as_str().to_owned()),
        object: Some(object_record(request)),
        connection: connection(request),
        ..DecisionRecord::empty(id, time)
    }
}

/// The object of a request. The name ends in `*` while the API server has still to generate it.
pub(crate) fn object_record(request: &Request<'_>) -> ObjectRecord {
    let uid = request.object.as_ref().or(request.old_object.as_ref()).map(|object| &*object.metadata.uid);
    // A CONNECT carries its options, such as `PodExecOptions`, in place of the Pod.
    let is_pod = connection(request).is_some();
    ObjectRecord {
        api_version: if is_pod { "v1".to_owned() } else { request.kind.api_version().into_owned() },
        kind: if is_pod { "Pod".to_owned() } else { request.kind.kind.to_string() },
        namespace: request.namespace.to_string(),
        name: object_name(request),
        uid: uid.filter(|uid| !uid.is_empty()).map(str::to_owned),
    }
}

fn object_name(request: &Request<'_>) -> String {
    let generate_name = request.object.as_ref().map_or("", |object| &*object.metadata.generate_name);
    match request.object_name() {
        "" if !generate_name.is_empty() => format!("{generate_name}*"),
        name => name.to_owned(),
    }
}

//! Posts requests: one ConfigMap in each namespace.

use writgate_cluster::clock;
use writgate_core::approval::{REQUEST_LIFETIME, RequestFile};

use crate::{
    cluster::{
        Cluster,
        event_reader::NamespaceScope,
        posted::{Posted, RequestStore},
    },
    command::request::{Arguments, Requester, renders, report},
    failure::Failure,
    terminal::output::{self, shown},
};

/// Posts each of `files`, and prints the names. A request that was posted before is not posted again.
pub(super) fn post(
    arguments: &Arguments,
    cluster: &Cluster,
    requester: &Requester,
    files: &[RequestFile],
) -> Result<Vec<Posted>, Failure> {
    if requester.person != requester.user {
        return Err(Failure::Misuse(format!(
            "--requested-by says {}, but a posted request names the user who posts it, {}; omit the flag, or write the \
             request to a file with -o FILE",
            shown(&requester.person),
            shown(&requester.user)
        )));
    }
    let store = RequestStore { cluster };
    let mut posted = Vec::new();
    for file in files {
        let one = post_one(arguments, &store, file)?;
        let next = format!("kubectl writgate approve {} -n {} --key KEY", one.name, one.namespace);
        report(file, arguments, &next);
        posted.push(one);
    }
    for one in &posted {
        output::print(&format!("{}\n", one.name))?;
    }
    Ok(posted)
}

fn post_one(arguments: &Arguments, store: &RequestStore<'_>, file: &RequestFile) -> Result<Posted, Failure> {
    if file.workloads.iter().any(|workload| workload.object.is_none()) {
        return Err(Failure::Misuse(
            "a posted request contains its workloads, but a denial does not; pass the manifests with -f, or write the \
             request to a file with -o FILE"
                .to_owned(),
        ));
    }
    let namespace = file.workloads.first().map(|workload| workload.namespace.clone()).unwrap_or_default();
    // The reviewer's command reads the live objects itself. Their versions would make each request another one.
    let mut file = RequestFile { not_needed: Vec::new(), ..file.clone() };
    file.workloads.iter_mut().for_each(|workload| workload.runs = None);
    let mut before = posted_before(store, &namespace)?;
    if let Some(same) = before.iter().position(|posted| posted.request.file.requests_the_same(&file)) {
        let same = before.swap_remove(same);
        output::note(&format!("request {} in namespace {namespace} requests the same already", same.name));
        return Ok(same);
    }
    renders::note_differences(arguments, &before, &file)?;
    store.post(&namespace, &file.to_compact_json())
}

/// The posted requests of a namespace that have not expired.
fn posted_before(store: &RequestStore<'_>, namespace: &str) -> Result<Vec<Posted>, Failure> {
    let listed = store.list(&NamespaceScope::Namespace(namespace.to_owned()));
    let listed = match listed {
        Ok(listed) => listed,
        // Whoever may create a ConfigMap need not be allowed to list them. Then the same request is posted twice.
        Err(Failure::Undetermined(_)) => return Ok(Vec::new()),
        Err(failure) => return Err(failure),
    };
    let now = clock::now();
    let is_fresh = |posted: &Posted| now.duration_since(posted.created) < REQUEST_LIFETIME;
    Ok(listed.posted.into_iter().filter(is_fresh).collect())
}

//! `request cancel`: deletes a posted request. An approval that exists already stays valid.

use writgate_cluster::clock;
use writgate_core::approval::{Approval, Envelope};

use crate::{
    cluster::{
        ClusterFlags,
        posted::{self, RequestStore},
    },
    failure::{Answer, Failure},
    manifest::namespace::RequestNamespaceFlag,
    terminal::output::{self, shown},
};

/// Cancel a posted request
///
/// Deletes the request. An approval of the request that exists already stays valid until it expires or is revoked.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate request cancel request-4f0c1a3e9d8b7a6c5e4d -n payments")]
pub(crate) struct Arguments {
    /// Posted request, as `request list` prints it
    #[arg(value_name = "NAME")]
    request: String,
    #[command(flatten)]
    namespace: RequestNamespaceFlag,
    #[command(flatten)]
    cluster: ClusterFlags,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let cluster = arguments.cluster.connect()?;
    let store = RequestStore { cluster: &cluster };
    let namespace = arguments.namespace.namespace.as_ref().unwrap_or(&cluster.namespace);
    let posted = store.get(namespace, &posted::request_name(&arguments.request)?)?;
    store.delete(&posted)?;
    output::note(&format!("cancelled: request {} in namespace {}", posted.name, posted.namespace));
    let Some(stored) = store.approval(&posted)? else { return Ok(Answer::Yes) };
    let claims = Envelope::parse(&stored.text).ok().and_then(|envelope| Approval::parse(envelope.payload()).ok());
    if let Some(approval) = claims.filter(|approval| approval.expires_at > clock::now()) {
        output::note(&format!(
            "its approval in {} remains valid until {}; to take it back, run: kubectl writgate revoke approval {} --why REASON",
            stored.location(),
            approval.expires_at,
            shown(&approval.id)
        ));
    }
    Ok(Answer::Yes)
}

//! Ways into a running Pod (CONNECT): exec, attach, port-forward and proxy, and what a posture's `connect` says of them.
//!
//! Nothing new runs by them that could have a hash, so no approval helps: they are nobody's business, on the record, or
//! refused. Called by `decide`.

use serde::{Deserialize, Serialize};

use crate::{
    posture::ConnectRule,
    record::decision::{Basis, Verdict},
    record::denial::Denial,
    request::review::{Operation, Request},
};

/// A way into a Pod, as records name it. Never what goes through it: a command line or a path may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The Pod's subresource: `exec`, `attach`, `portforward` or `proxy`.
    pub subresource: String,
    /// The container, where the request names one.
    pub container: Option<String>,
}

impl Connection {
    /// The way that `request` opens; nothing where it opens none that is known.
    pub(crate) fn of(request: &Request<'_>) -> Option<Self> {
        let is_known = matches!(&*request.sub_resource, "exec" | "attach" | "portforward" | "proxy");
        let is_connection = request.operation == Operation::Connect && request.resource == "pods" && is_known;
        let container = || {
            let options = request.object.as_ref()?;
            serde_json::from_str::<String>(options.container?.get()).ok().filter(|name| !name.is_empty())
        };
        is_connection.then(|| Self { subresource: request.sub_resource.to_string(), container: container() })
    }

    /// What `rule` makes of it; `None` where it is no action.
    pub(crate) fn judge(&self, rule: ConnectRule) -> Result<Option<Verdict>, Denial> {
        match rule {
            ConnectRule::Allow => Ok(None),
            ConnectRule::Audit => Ok(Some(Verdict::admitted(Basis::NotRequired))),
            ConnectRule::Deny => Err(Denial::ConnectionNotAllowed { subresource: self.subresource.clone() }),
        }
    }
}

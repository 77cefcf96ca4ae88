//! Ways into a running Pod (CONNECT): exec, attach, port-forward and proxy.
//!
//! They start nothing that has a spec hash, so no approval can permit them. A posture's `connect` allows them, records
//! them or denies them.

use crate::{
    record::connection::Connection,
    request::admission_review::{Operation, Request},
};

/// The way into a Pod that `request` would open. `None` if the request is another one.
pub(crate) fn connection(request: &Request<'_>) -> Option<Connection> {
    let is_known = matches!(&*request.sub_resource, "exec" | "attach" | "portforward" | "proxy");
    let is_connection = request.operation == Operation::Connect && request.resource == "pods" && is_known;
    let container = || {
        let options = request.object.as_ref()?;
        serde_json::from_str::<String>(options.container?.get()).ok().filter(|name| !name.is_empty())
    };
    is_connection.then(|| Connection { subresource: request.sub_resource.to_string(), container: container() })
}

//! A way into a running Pod, as a record names it.

use serde::{Deserialize, Serialize};

/// A way into a running Pod. What goes through it is not recorded: a command line or a path may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The Pod's subresource: `exec`, `attach`, `portforward` or `proxy`.
    pub subresource: String,
    /// The container, where the request names one.
    pub container: Option<String>,
}

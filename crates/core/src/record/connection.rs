//! A connection into a running Pod, as a record contains it.

use serde::{Deserialize, Serialize};

/// A connection into a running Pod. Its content is not recorded, because a command line or a path may contain a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// The container, if the request names one.
    pub container: Option<String>,
    /// The Pod's subresource: `exec`, `attach`, `portforward` or `proxy`.
    pub subresource: String,
}

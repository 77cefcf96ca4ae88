//! `-n`: the namespace of objects that set none, by kubectl's rules.

use clap::builder::NonEmptyStringValueParser;

use crate::{cluster::Cluster, failure::Failure, manifest::Manifest, terminal::output::shown};

/// `-n`.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct NamespaceFlag {
    /// Namespace of objects that set none [default: the context's, if a cluster is used]
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) namespace: Option<String>,
}

/// `-n` of a posted request.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RequestNamespaceFlag {
    /// Namespace of the request [default: the context's]
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) namespace: Option<String>,
}

impl NamespaceFlag {
    /// The namespace of `manifest`, of the flag, or of the cluster's context, in this order.
    pub(crate) fn of(&self, manifest: &Manifest, cluster: Option<&Cluster>) -> Result<String, Failure> {
        self.stated(manifest)?
            .or_else(|| cluster.map(|cluster| cluster.namespace.clone()))
            .ok_or_else(|| Failure::Misuse(format!("{manifest} has no namespace; set metadata.namespace or pass -n")))
    }

    /// The namespace of `manifest` or of the flag. As in kubectl, two different ones are an error.
    pub(crate) fn stated(&self, manifest: &Manifest) -> Result<Option<String>, Failure> {
        match (manifest.namespace(), self.namespace.as_deref()) {
            (Some(own), Some(flag)) if own != flag => Err(Failure::Misuse(format!(
                "{manifest} is in namespace {}, but -n says {}; omit -n, or correct one of them",
                shown(own),
                shown(flag)
            ))),
            (own, flag) => Ok(own.or(flag).map(str::to_owned)),
        }
    }
}

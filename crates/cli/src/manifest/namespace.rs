//! `-n`: the namespace of objects that name none, by kubectl's own rules.

use clap::builder::NonEmptyStringValueParser;

use crate::{cluster::Cluster, failure::Failure, manifest::Manifest, terminal::output::shown};

/// The flag.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct NamespaceFlag {
    /// The namespace of objects that name none [default: the context's, where a cluster is asked]
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) namespace: Option<String>,
}

impl NamespaceFlag {
    /// The namespace of `manifest`; where neither it nor the flag tells one, that of the cluster's context.
    pub(crate) fn of(&self, manifest: &Manifest, cluster: Option<&Cluster>) -> Result<String, Failure> {
        self.told(manifest)?
            .or_else(|| cluster.map(|cluster| cluster.namespace.clone()))
            .ok_or_else(|| Failure::Misuse(format!("{manifest}: it names no namespace; say which with -n")))
    }

    /// The namespace that `manifest` or the flag tells. Where they tell two it is refused, as by kubectl.
    pub(crate) fn told(&self, manifest: &Manifest) -> Result<Option<String>, Failure> {
        match (manifest.namespace(), self.namespace.as_deref()) {
            (Some(own), Some(flag)) if own != flag => Err(Failure::Misuse(format!(
                "{manifest}: it is in namespace {}, but -n says {}; leave out -n, or change one of them",
                shown(own),
                shown(flag)
            ))),
            (own, flag) => Ok(own.or(flag).map(str::to_owned)),
        }
    }
}

//! The postures that decisions use, from a folder or from the cluster, and the labels of namespaces.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams};
use writgate_cluster::{
    config_map::{self, POSTURE_SELECTOR},
    names,
    namespace::NamespaceLabels,
    posture_dir,
};
use writgate_core::posture::{Document, PostureSet};

use crate::{
    cluster::{Cluster, ClusterFlags},
    failure::Failure,
    terminal::output::shown,
};

/// Where the postures are.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct PostureSourceFlags {
    /// Read posture documents from DIR, bare or inside ConfigMaps [default: the cluster's]
    #[arg(long, value_name = "DIR")]
    pub(crate) posture_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
}

/// The postures, and the cluster that they come from, if any.
pub(crate) struct LoadedPostures {
    pub(crate) set: PostureSet,
    /// None if the postures come from a folder. Then no cluster is contacted.
    pub(crate) cluster: Option<Cluster>,
    source: String,
    /// Namespaces of the cluster that were read already.
    namespaces: RefCell<BTreeMap<String, Option<NamespaceLabels>>>,
}

impl PostureSourceFlags {
    /// The same flags, but with `folder` if it is given.
    pub(crate) fn or_folder(&self, folder: Option<&Path>) -> Self {
        let posture_dir = folder.map(Path::to_owned).or_else(|| self.posture_dir.clone());
        Self { posture_dir, ..self.clone() }
    }

    /// Reads all documents.
    pub(crate) fn load(&self) -> Result<LoadedPostures, Failure> {
        if let Some(folder) = &self.posture_dir {
            let documents = posture_dir::read(folder).map_err(|error| Failure::Undetermined(error.to_string()))?;
            return Ok(LoadedPostures::new(documents, None, folder.display().to_string()));
        }
        let cluster = self.cluster.connect()?;
        let documents = documents(&cluster)?;
        let source = format!("namespace {} of the cluster", cluster.system_namespace);
        Ok(LoadedPostures::new(documents, Some(cluster), source))
    }
}

/// All posture documents of the cluster.
pub(crate) fn documents(cluster: &Cluster) -> Result<Vec<Document>, Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.system_namespace);
    let what = format!(
        "list the postures (ConfigMaps in {}; Role writgate-posture-reader permits it)",
        cluster.system_namespace
    );
    let list = cluster.ask(&what, config_maps.list(&ListParams::default().labels(POSTURE_SELECTOR)))?;
    Ok(list.items.iter().map(config_map::document).collect())
}

impl LoadedPostures {
    fn new(documents: Vec<Document>, cluster: Option<Cluster>, source: String) -> Self {
        Self { set: PostureSet::assemble(documents), cluster, source, namespaces: RefCell::default() }
    }

    /// A namespace's labels; none if the namespace does not exist. Reads each namespace of the cluster once.
    pub(crate) fn labels(&self, namespace: &str) -> Result<Option<NamespaceLabels>, Failure> {
        if let Some(labels) = self.set.namespaces().get(namespace) {
            return Ok(Some(NamespaceLabels::of(labels)));
        }
        let Some(cluster) = &self.cluster else { return Ok(None) };
        if let Some(known) = self.namespaces.borrow().get(namespace) {
            return Ok(known.clone());
        }
        let labels = read_labels(cluster, namespace)?;
        self.namespaces.borrow_mut().insert(namespace.to_owned(), labels.clone());
        Ok(labels)
    }

    /// Where the postures come from, for messages.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

fn read_labels(cluster: &Cluster, namespace: &str) -> Result<Option<NamespaceLabels>, Failure> {
    if !names::is_label(namespace) {
        return Err(Failure::Misuse(format!("{} is not a valid namespace name", shown(namespace))));
    }
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = cluster.ask(
        &format!("read namespace {namespace} (ClusterRole writgate-namespace-reader permits it)"),
        namespaces.get_metadata_opt(namespace),
    )?;
    Ok(found.map(|found| NamespaceLabels::of(&found.metadata.labels.unwrap_or_default())))
}

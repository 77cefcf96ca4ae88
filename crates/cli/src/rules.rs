//! The rules to judge by: a folder of posture documents, or those of the cluster, and what namespaces are called in them.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams};
use writgate_cluster::{
    config_map,
    names::{self, ENVIRONMENT_LABEL, POSTURE_SELECTOR, PROJECT_LABEL},
    posture_dir,
};
use writgate_core::posture::{Document, PostureSet};

use crate::{
    cluster::{Cluster, ClusterFlags},
    failure::Failure,
    terminal::output::shown,
};

/// Where the rules are.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RulesFlags {
    /// Folder of posture documents, bare or inside ConfigMaps, in place of the cluster's
    #[arg(long, value_name = "DIR")]
    pub(crate) posture_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterFlags,
}

/// The rules, and the cluster that they are from if they are from one.
pub(crate) struct Rules {
    pub(crate) set: PostureSet,
    /// None where they are from a folder: then no cluster is asked for anything.
    pub(crate) cluster: Option<Cluster>,
    source: String,
    /// Namespaces of the cluster that were asked for.
    places: RefCell<BTreeMap<String, Option<Place>>>,
}

/// What a namespace's labels say, wherever they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) environment: Option<String>,
    pub(crate) project: Option<String>,
}

impl RulesFlags {
    /// These, but of `folder` where one is given.
    pub(crate) fn or_folder(&self, folder: Option<&Path>) -> Self {
        let posture_dir = folder.map(Path::to_owned).or_else(|| self.posture_dir.clone());
        Self { posture_dir, ..self.clone() }
    }

    /// Reads all documents.
    pub(crate) fn load(&self) -> Result<Rules, Failure> {
        if let Some(folder) = &self.posture_dir {
            let documents = posture_dir::read(folder).map_err(|error| Failure::CouldNotTell(error.to_string()))?;
            return Ok(Rules::new(documents, None, folder.display().to_string()));
        }
        let cluster = self.cluster.connect()?;
        let documents = documents(&cluster)?;
        let source = format!("namespace {} of the cluster", cluster.system_namespace);
        Ok(Rules::new(documents, Some(cluster), source))
    }
}

/// All documents of the cluster's postures.
pub(crate) fn documents(cluster: &Cluster) -> Result<Vec<Document>, Failure> {
    let config_maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.system_namespace);
    let what =
        format!("list the postures (ConfigMaps in {}, as Role writgate-posture-reader may)", cluster.system_namespace);
    let list = cluster.ask(&what, config_maps.list(&ListParams::default().labels(POSTURE_SELECTOR)))?;
    Ok(list.items.iter().map(config_map::document).collect())
}

impl Rules {
    fn new(documents: Vec<Document>, cluster: Option<Cluster>, source: String) -> Self {
        Self { set: PostureSet::assemble(documents), cluster, source, places: RefCell::default() }
    }

    /// What a namespace's labels say; none where there is no such namespace. Asked of the cluster once for each.
    pub(crate) fn place(&self, namespace: &str) -> Result<Option<Place>, Failure> {
        if let Some(labels) = self.set.namespaces().get(namespace) {
            return Ok(Some(Place::of(labels)));
        }
        let Some(cluster) = &self.cluster else { return Ok(None) };
        if let Some(known) = self.places.borrow().get(namespace) {
            return Ok(known.clone());
        }
        let place = read_place(cluster, namespace)?;
        self.places.borrow_mut().insert(namespace.to_owned(), place.clone());
        Ok(place)
    }

    /// Where the rules are from, for messages.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }
}

impl Place {
    fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).cloned();
        Self { environment: label(ENVIRONMENT_LABEL), project: label(PROJECT_LABEL) }
    }
}

fn read_place(cluster: &Cluster, namespace: &str) -> Result<Option<Place>, Failure> {
    if !names::is_label(namespace) {
        return Err(Failure::Misuse(format!("{} is not the name of a namespace", shown(namespace))));
    }
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = cluster.ask(
        &format!("read namespace {namespace} (as ClusterRole writgate-namespace-reader may)"),
        namespaces.get_metadata_opt(namespace),
    )?;
    Ok(found.map(|found| Place::of(&found.metadata.labels.unwrap_or_default())))
}

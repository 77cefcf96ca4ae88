//! What a Pod's spec names: images, ConfigMaps and Secrets. Wherever a container can get one from is listed here.
//!
//! What may be named is not this file's business: replay images are `decide`'s, the rest is `provenance`'s.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::Error as _};
use serde_json::value::RawValue;

use crate::{encoding::borrowed::BorrowedText, kube::workload::WorkloadKind};

/// Where in a spec the Pod's spec is.
#[derive(Clone, Copy)]
pub(crate) enum PodPath {
    /// It is the spec.
    Itself,
    /// In its template.
    Template,
    /// In the template of the Jobs that it makes.
    JobTemplate,
    /// Where the configuration says, below the spec.
    At(&'static [&'static str]),
}

impl From<WorkloadKind> for PodPath {
    fn from(kind: WorkloadKind) -> Self {
        match kind {
            WorkloadKind::CronJob => Self::JobTemplate,
            WorkloadKind::Further(further) => Self::At(further.pod_below_spec()),
            _ => Self::Template,
        }
    }
}

/// An image, and what of the Pod it is for.
pub(crate) struct Image<'a> {
    /// `container`, `init container`, `ephemeral container` or `volume`.
    pub(crate) of: &'static str,
    pub(crate) name: &'a str,
    /// As it is written; empty where there is none.
    pub(crate) reference: &'a str,
}

/// The parts of a Pod's spec that name something.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec<'a> {
    #[serde(borrow)]
    containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    init_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    ephemeral_containers: Option<Vec<Container<'a>>>,
    #[serde(borrow)]
    volumes: Option<Vec<Volume<'a>>>,
    #[serde(borrow)]
    image_pull_secrets: Option<Vec<Named<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container<'a> {
    #[serde(borrow)]
    name: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    image: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    env: Option<Vec<Variable<'a>>>,
    #[serde(borrow)]
    env_from: Option<Vec<Source<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Variable<'a> {
    #[serde(borrow)]
    value_from: Option<Source<'a>>,
}

/// Where the value of a variable, or many of them, comes from.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(borrow, alias = "configMapRef")]
    config_map_key_ref: Option<Named<'a>>,
    #[serde(borrow, alias = "secretRef")]
    secret_key_ref: Option<Named<'a>>,
}

/// A reference by name: a Secret's volume calls it `secretName`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named<'a> {
    #[serde(borrow)]
    name: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    secret_name: Option<BorrowedText<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume<'a> {
    #[serde(borrow)]
    name: Option<BorrowedText<'a>>,
    #[serde(borrow)]
    image: Option<ImageVolume<'a>>,
    #[serde(borrow)]
    config_map: Option<Named<'a>>,
    #[serde(borrow)]
    secret: Option<Named<'a>>,
    #[serde(borrow)]
    azure_file: Option<Named<'a>>,
    #[serde(borrow)]
    projected: Option<Projected<'a>>,
    #[serde(borrow)]
    csi: Option<Driver<'a>>,
    #[serde(borrow)]
    cephfs: Option<Driver<'a>>,
    #[serde(borrow)]
    cinder: Option<Driver<'a>>,
    #[serde(borrow, rename = "flexVolume")]
    flex: Option<Driver<'a>>,
    #[serde(borrow)]
    iscsi: Option<Driver<'a>>,
    #[serde(borrow)]
    rbd: Option<Driver<'a>>,
    #[serde(borrow, rename = "scaleIO")]
    scale_io: Option<Driver<'a>>,
    #[serde(borrow)]
    storageos: Option<Driver<'a>>,
}

#[derive(Deserialize)]
struct ImageVolume<'a> {
    #[serde(borrow)]
    reference: Option<BorrowedText<'a>>,
}

#[derive(Deserialize)]
struct Projected<'a> {
    #[serde(borrow)]
    sources: Option<Vec<ProjectedSource<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProjectedSource<'a> {
    #[serde(borrow)]
    config_map: Option<Named<'a>>,
    #[serde(borrow)]
    secret: Option<Named<'a>>,
}

/// A volume that is mounted with a Secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    #[serde(borrow, alias = "nodePublishSecretRef")]
    secret_ref: Option<Named<'a>>,
}

impl<'a> PodSpec<'a> {
    /// Reads the Pod's spec out of a spec.
    pub(crate) fn read(spec: &'a str, path: PodPath) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Job<'a> {
            #[serde(borrow)]
            job_template: Templated<'a>,
        }
        #[derive(Deserialize)]
        struct Templated<'a> {
            #[serde(borrow)]
            spec: Template<'a>,
        }
        #[derive(Deserialize)]
        struct Template<'a> {
            #[serde(borrow)]
            template: Pod<'a>,
        }
        #[derive(Deserialize)]
        struct Pod<'a> {
            #[serde(borrow)]
            spec: PodSpec<'a>,
        }
        match path {
            PodPath::Itself => serde_json::from_str(spec),
            PodPath::Template => serde_json::from_str(spec).map(|spec: Template<'a>| spec.template.spec),
            PodPath::JobTemplate => {
                serde_json::from_str(spec).map(|spec: Job<'a>| spec.job_template.spec.template.spec)
            }
            PodPath::At(members) => below(spec, members).and_then(serde_json::from_str),
        }
    }

    /// Every image that it runs or mounts.
    pub(crate) fn images(&self) -> impl Iterator<Item = Image<'_>> {
        let kinds = [
            ("container", &self.containers),
            ("init container", &self.init_containers),
            ("ephemeral container", &self.ephemeral_containers),
        ];
        let containers = kinds.into_iter().flat_map(|(of, containers)| {
            containers.iter().flatten().map(move |container| Image {
                of,
                name: text(container.name.as_ref()),
                reference: text(container.image.as_ref()),
            })
        });
        let volumes = self.volumes.iter().flatten().filter_map(|volume| {
            let reference = text(volume.image.as_ref()?.reference.as_ref());
            Some(Image { of: "volume", name: text(volume.name.as_ref()), reference })
        });
        containers.chain(volumes)
    }

    /// The names of every ConfigMap that it reads, also of those that may be missing.
    ///
    /// The places are those of `VisitPodConfigmapNames` (k8s.io/kubernetes, pkg/api/v1/pod/util.go).
    pub(crate) fn config_maps(&self) -> BTreeSet<&str> {
        let volumes = self.volumes.iter().flatten();
        let mounted = volumes.filter_map(|volume| volume.config_map.as_ref());
        let projected = self.projected().filter_map(|source| source.config_map.as_ref());
        let read = self.sources().filter_map(|source| source.config_map_key_ref.as_ref());
        mounted.chain(projected).chain(read).map(Named::get).collect()
    }

    /// The names of every Secret that it reads, mounts a volume with or pulls its images with.
    ///
    /// The places are those of `VisitPodSecretNames`, as above.
    pub(crate) fn secrets(&self) -> BTreeSet<&str> {
        let volumes = self.volumes.iter().flatten();
        let mounted = volumes.flat_map(|volume| {
            let drivers = [
                &volume.csi,
                &volume.cephfs,
                &volume.cinder,
                &volume.flex,
                &volume.iscsi,
                &volume.rbd,
                &volume.scale_io,
                &volume.storageos,
            ];
            let drivers = drivers.into_iter().flatten().filter_map(|driver| driver.secret_ref.as_ref());
            [&volume.secret, &volume.azure_file].into_iter().flatten().chain(drivers)
        });
        let projected = self.projected().filter_map(|source| source.secret.as_ref());
        let read = self.sources().filter_map(|source| source.secret_key_ref.as_ref());
        let pulled_with = self.image_pull_secrets.iter().flatten();
        mounted.chain(projected).chain(read).chain(pulled_with).map(Named::get).collect()
    }

    fn projected(&self) -> impl Iterator<Item = &ProjectedSource<'a>> {
        let projected = self.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
        projected.flat_map(|projected| projected.sources.iter().flatten())
    }

    fn sources(&self) -> impl Iterator<Item = &Source<'a>> {
        let all = [&self.containers, &self.init_containers, &self.ephemeral_containers];
        all.into_iter().flatten().flatten().flat_map(|container| {
            let variables = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
            variables.chain(container.env_from.iter().flatten())
        })
    }
}

/// The text of what `members` lead to.
fn below<'a>(text: &'a str, members: &[&str]) -> serde_json::Result<&'a str> {
    members.iter().try_fold(text, |text, member| {
        let object: BTreeMap<BorrowedText<'a>, &'a RawValue> = serde_json::from_str(text)?;
        let found = object.into_iter().find(|(BorrowedText(name), _)| name == *member);
        found
            .map(|(_, value)| value.get())
            .ok_or_else(|| serde_json::Error::custom(format_args!("{member} is missing")))
    })
}

impl Named<'_> {
    fn get(&self) -> &str {
        text(self.secret_name.as_ref().or(self.name.as_ref()))
    }
}

fn text<'t>(text: Option<&'t BorrowedText<'_>>) -> &'t str {
    text.map_or("", |text| &text.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn named(pod: &Value) -> [Vec<String>; 3] {
        let text = pod.to_string();
        let pod = PodSpec::read(&text, PodPath::Itself).expect("a Pod");
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        let image = |image: Image<'_>| format!("{} {}: {}", image.of, image.name, image.reference);
        [pod.images().map(image).collect(), owned(pod.config_maps()), owned(pod.secrets())]
    }

    #[test]
    fn every_container_and_image_volume_names_an_image() {
        let [images, ..] = named(&json!({
            "containers": [{"name": "a", "image": "one"}, {"name": "b"}],
            "initContainers": [{"name": "c", "image": "two"}],
            "ephemeralContainers": [{"name": "d", "image": "three"}],
            "volumes": [{"name": "e", "image": {"reference": "four"}}, {"name": "f", "emptyDir": {}}]}));
        let expected = [
            "container a: one",
            "container b: ",
            "init container c: two",
            "ephemeral container d: three",
            "volume e: four",
        ];
        assert_eq!(images, expected);
    }

    #[test]
    fn a_config_map_is_found_wherever_it_is_referred_to() {
        let places = [
            json!({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]}]}),
            json!({"containers": [{"envFrom": [{"configMapRef": {"name": "x", "optional": true}}]}]}),
            json!({"initContainers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}),
            json!({"ephemeralContainers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}),
            json!({"volumes": [{"configMap": {"name": "x", "defaultMode": 420}}]}),
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}, {"configMap": {"name": "x"}}]}}]}),
        ];
        for place in places {
            let [_, config_maps, secrets] = named(&place);
            assert_eq!((config_maps, secrets), (vec!["x".to_owned()], vec![]), "{place}");
        }
    }

    #[test]
    fn a_secret_is_found_wherever_it_is_referred_to() {
        let volume = |volume: Value| json!({"volumes": [volume]});
        let mut places = vec![
            json!({"imagePullSecrets": [{"name": "x"}]}),
            json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]}]}),
            json!({"containers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]}),
            volume(json!({"secret": {"secretName": "x"}})),
            volume(json!({"azureFile": {"secretName": "x", "shareName": "s"}})),
            volume(json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": "x"}}})),
            volume(json!({"projected": {"sources": [{"secret": {"name": "x"}}]}})),
        ];
        for driver in ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            places.push(volume(json!({driver: {"secretRef": {"name": "x"}}})));
        }
        for place in places {
            let [_, config_maps, secrets] = named(&place);
            assert_eq!((config_maps, secrets), (vec![], vec!["x".to_owned()]), "{place}");
        }
    }

    #[test]
    fn a_reference_without_a_name_is_a_reference() {
        let [_, config_maps, _] = named(&json!({"containers": [{"envFrom": [{"configMapRef": {}}]}]}));
        assert_eq!(config_maps, [""]);
    }
}

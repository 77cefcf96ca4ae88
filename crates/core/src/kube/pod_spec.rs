//! The images, ConfigMaps and Secrets that a Pod's spec refers to, from every field that can refer to one.
//!
//! Which of them are permitted is decided in `decide` and `decide::provenance`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{encoding::borrowed::BorrowedText, encoding::strict::ByFieldName, kube::workload::WorkloadKind};

/// The position of the Pod's spec in an object's spec.
#[derive(Clone, Copy)]
pub(crate) enum PodPath {
    /// The object's spec is the Pod's spec.
    Itself,
    /// `template.spec`
    Template,
    /// `jobTemplate.spec.template.spec`, in a CronJob.
    JobTemplate,
    /// These members of the object's spec, which the configuration names for a further kind.
    At(&'static [&'static str]),
}

impl PodPath {
    /// The members that lead from the object's spec to the Pod's spec.
    pub(crate) fn members(self) -> &'static [&'static str] {
        match self {
            Self::Itself => &[],
            Self::Template => &["template", "spec"],
            Self::JobTemplate => &["jobTemplate", "spec", "template", "spec"],
            Self::At(members) => members,
        }
    }
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

/// An image of a Pod.
pub(crate) struct Image<'a> {
    /// What has the image: `container`, `init container`, `ephemeral container` or `volume`.
    pub(crate) of: &'static str,
    /// The name of the container or the volume.
    pub(crate) name: &'a str,
    /// The reference as the spec writes it; empty if there is none.
    pub(crate) reference: &'a str,
}

/// The fields of a Pod's spec that can refer to an image, a ConfigMap or a Secret. Other fields are skipped.
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

/// The source of one variable (`valueFrom`) or of many (`envFrom`). Both have the same meaning here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(borrow, alias = "configMapRef")]
    config_map_key_ref: Option<Named<'a>>,
    #[serde(borrow, alias = "secretRef")]
    secret_key_ref: Option<Named<'a>>,
}

/// A reference by name. Volumes of Secrets call the field `secretName`.
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

/// A volume whose driver uses a Secret to mount it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Driver<'a> {
    #[serde(borrow, alias = "nodePublishSecretRef")]
    secret_ref: Option<Named<'a>>,
}

impl<'a> PodSpec<'a> {
    /// Reads the Pod's spec at `path` of the spec of an object. Fails if there is none, or a field has another type
    /// than the API server accepts. An object of a further kind without a Pod refers to nothing.
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
        #[cfg(test)]
        crate::work::count(crate::work::Work::PodSpec);
        match path {
            PodPath::Itself => serde_json::from_str(spec),
            PodPath::Template => serde_json::from_str(spec).map(|spec: Template<'a>| spec.template.spec),
            PodPath::JobTemplate => {
                serde_json::from_str(spec).map(|spec: Job<'a>| spec.job_template.spec.template.spec)
            }
            PodPath::At(members) => match below(spec, members)? {
                Some(pod) => serde_json::from_str(pod).map(|ByFieldName(pod)| pod),
                // A Rollout with `workloadRef` has its Pod in another object. Its own spec is hashed as a whole.
                None => Ok(Self::default()),
            },
        }
    }

    /// Every image that the Pod runs or mounts.
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

    /// The names of all ConfigMaps that the Pod reads, including optional ones.
    ///
    /// The fields are those of `VisitPodConfigmapNames` (k8s.io/kubernetes, pkg/api/v1/pod/util.go).
    pub(crate) fn config_maps(&self) -> BTreeSet<&str> {
        let volumes = self.volumes.iter().flatten();
        let mounted = volumes.filter_map(|volume| volume.config_map.as_ref());
        let projected = self.projected().filter_map(|source| source.config_map.as_ref());
        let read = self.sources().filter_map(|source| source.config_map_key_ref.as_ref());
        mounted.chain(projected).chain(read).map(Named::get).collect()
    }

    /// The names of all Secrets that the Pod reads, mounts volumes with, or pulls its images with.
    ///
    /// The fields are those of `VisitPodSecretNames` in the same file.
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

/// The text of the value that `members` lead to. `None`: one of them is absent or null.
fn below<'a>(text: &'a str, members: &[&str]) -> serde_json::Result<Option<&'a str>> {
    let mut text = text;
    for member in members {
        let object: BTreeMap<BorrowedText<'a>, &'a RawValue> = serde_json::from_str(text)?;
        match object.into_iter().find(|(BorrowedText(name), _)| name == *member) {
            Some((_, value)) if value.get() != "null" => text = value.get(),
            _ => return Ok(None),
        }
    }
    Ok(Some(text))
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
    fn finds_the_image_of_every_container_and_image_volume() {
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
    fn finds_a_config_map_in_every_field_that_can_refer_to_one() {
        let pods = [
            json!({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]}]}),
            json!({"containers": [{"envFrom": [{"configMapRef": {"name": "x", "optional": true}}]}]}),
            json!({"initContainers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}),
            json!({"ephemeralContainers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}),
            json!({"volumes": [{"configMap": {"name": "x", "defaultMode": 420}}]}),
            json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}, {"configMap": {"name": "x"}}]}}]}),
        ];
        for pod in pods {
            let [_, config_maps, secrets] = named(&pod);
            assert_eq!((config_maps, secrets), (vec!["x".to_owned()], vec![]), "{pod}");
        }
    }

    #[test]
    fn finds_a_secret_in_every_field_that_can_refer_to_one() {
        let volume = |volume: Value| json!({"volumes": [volume]});
        let mut pods = vec![
            json!({"imagePullSecrets": [{"name": "x"}]}),
            json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]}]}),
            json!({"containers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]}),
            volume(json!({"secret": {"secretName": "x"}})),
            volume(json!({"azureFile": {"secretName": "x", "shareName": "s"}})),
            volume(json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": "x"}}})),
            volume(json!({"projected": {"sources": [{"secret": {"name": "x"}}]}})),
        ];
        for driver in ["cephfs", "cinder", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            pods.push(volume(json!({driver: {"secretRef": {"name": "x"}}})));
        }
        for pod in pods {
            let [_, config_maps, secrets] = named(&pod);
            assert_eq!((config_maps, secrets), (vec![], vec!["x".to_owned()]), "{pod}");
        }
    }

    #[test]
    fn a_reference_without_a_name_counts_as_a_reference() {
        let [_, config_maps, _] = named(&json!({"containers": [{"envFrom": [{"configMapRef": {}}]}]}));
        assert_eq!(config_maps, [""]);
    }
}

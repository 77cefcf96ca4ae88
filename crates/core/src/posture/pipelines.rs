//! Pipelines: the canonical builds of each pipeline version.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

use super::{
    document::{BuildDocument, PipelinesDocument},
    named_documents::NamedDocument,
    problems::{PostureProblem, Problems, read},
};
use crate::{approval::spec_hash::SpecHash, encoding::strict::ByFieldName, kube::image::pinned};

/// What one version of a pipeline was built into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The only spec that may be deployed with this version; `None`: any spec that runs the images.
    pub spec_hash: Option<SpecHash>,
    /// The images, in the form in which images are compared: registry, repository and digest, without a tag.
    pub images: BTreeSet<String>,
}

/// Builds by `<pipeline>@<version>`.
pub(super) type Builds = BTreeMap<String, Build>;

/// Reads a document of kind `Pipelines`.
pub(super) fn read_pipelines(source: &str, value: &Value) -> Result<Builds, Vec<PostureProblem>> {
    let mut problems = Problems::new(source);
    let document: Option<PipelinesDocument> = read(value, &mut problems);
    let builds = document.map(|PipelinesDocument { pipelines, .. }| {
        let mut builds = BTreeMap::new();
        for (pipeline, versions) in pipelines {
            check_part(&format!("pipelines.{pipeline}"), &pipeline, &mut problems);
            for (version, ByFieldName(document)) in versions {
                let path = format!("pipelines.{pipeline}.{version}");
                check_part(&path, &version, &mut problems);
                builds.insert(format!("{pipeline}@{version}"), build(&path, &document, &mut problems));
            }
        }
        builds
    });
    problems.into_result(builds)
}

/// Checks the name of a pipeline or of a version. A pipeline version is written as `<pipeline>@<version>`.
fn check_part(path: &str, text: &str, problems: &mut Problems<'_>) {
    problems.name(path, text);
    if text.contains('@') {
        problems.add(path, format_args!("{text:?} contains an @, which separates a pipeline from its version"));
    }
}

fn build(path: &str, document: &BuildDocument, problems: &mut Problems<'_>) -> Build {
    let BuildDocument { spec_hash, images } = document;
    let spec_hash = spec_hash.as_deref();
    let spec_hash = spec_hash.and_then(|hash| problems.keep(format_args!("{path}.specHash"), hash.parse()));
    if images.is_empty() {
        problems.add(format_args!("{path}.images"), "is empty; expected at least one image");
    }
    let mut pinned_images = BTreeSet::new();
    for (index, image) in images.iter().enumerate() {
        match pinned(image) {
            Some(image) => drop(pinned_images.insert(image)),
            None => problems.add(
                format_args!("{path}.images[{index}]"),
                format_args!("{image:?} has no digest; expected NAME@sha256: and 64 lower-case hexadecimal digits"),
            ),
        }
    }
    Build { spec_hash, images: pinned_images }
}

/// The builds of several sets. Two sets may not name different builds for one version. Those of a single set are shared.
pub(super) fn combined(sets: &[(String, &NamedDocument<Builds>)], problems: &mut Problems<'_>) -> Arc<Builds> {
    if let [(_, only)] = sets {
        return Arc::clone(&only.value);
    }
    let mut all = Builds::new();
    for (index, (_, set)) in sets.iter().enumerate() {
        for (version, build) in &*set.value {
            match all.get(version) {
                Some(other) if other != build => problems.add(
                    format_args!("pipelineSets[{index}]"),
                    format_args!("{} has a different build of {version} than an earlier set; remove one", set.source()),
                ),
                _ => drop(all.insert(version.clone(), build.clone())),
            }
        }
    }
    Arc::new(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::posture::{Document, Posture, PostureError, PostureSet};

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const OTHER: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

    fn posture() -> Value {
        json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": "production",
            "pipelineSets": ["a", "b"], "pipelineVersion": "required"})
    }

    fn set(name: &str) -> Value {
        json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines", "name": name, "pipelines": {
            "orders": {"1.4.2": {"specHash": DIGEST, "images": [format!("acme/orders:1.4.2@{DIGEST}")]}}}})
    }

    fn assembled(documents: &[Value]) -> PostureSet {
        let document = |(index, value): (usize, &Value)| Document {
            source: format!("{index}.yaml"),
            name: None,
            text: value.to_string(),
        };
        PostureSet::assemble(documents.iter().enumerate().map(document).collect())
    }

    fn production(documents: &[Value]) -> Posture {
        assembled(documents).environment("production").expect("a valid posture").clone()
    }

    /// The problems after a change of the second of two equal sets.
    fn problems(change: impl FnOnce(&mut Value)) -> String {
        let mut second = set("b");
        change(&mut second["pipelines"]);
        let assembled = assembled(&[posture(), set("a"), second]);
        assert!(matches!(assembled.environment("production"), Err(PostureError::Invalid { .. })));
        assembled.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_builds_of_all_named_sets_are_combined() {
        let more = json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines", "name": "b", "pipelines": {
            "orders": {"1.4.2": {"specHash": DIGEST, "images": [format!("docker.io/acme/orders@{DIGEST}")]},
                "1.4.3": {"images": [format!("acme/orders@{OTHER}")]}}}});
        let builds = production(&[posture(), set("a"), more]).builds.expect("sets are named");
        assert_eq!(builds.keys().collect::<Vec<_>>(), ["orders@1.4.2", "orders@1.4.3"]);
        assert_eq!(builds["orders@1.4.2"].spec_hash.map(|hash| hash.to_string()).as_deref(), Some(DIGEST));
        assert_eq!(
            builds["orders@1.4.3"].images.iter().collect::<Vec<_>>(),
            [&format!("docker.io/acme/orders@{OTHER}")]
        );
    }

    #[test]
    fn a_set_is_part_of_the_version_of_the_posture() {
        let version = |change: fn(&mut Value)| {
            let mut second = set("b");
            change(&mut second);
            production(&[posture(), set("a"), second]).version
        };
        assert_eq!(version(|_| ()), version(|_| ()));
        assert_ne!(version(|_| ()), version(|set| set["pipelines"]["ledger"] = json!({})));
    }

    #[test]
    fn refuses_two_builds_of_one_version() {
        let build =
            |field: &'static str, value: Value| problems(move |pipelines| pipelines["orders"]["1.4.2"][field] = value);
        let expected = "pipelineSets[1]: 2.yaml has a different build of orders@1.4.2 than an earlier set";
        assert!(build("specHash", json!(OTHER)).contains(expected));
        assert!(build("images", json!([format!("acme/orders@{OTHER}")])).contains(expected));
        assert!(build("images", json!([format!("ghcr.io/acme/orders@{DIGEST}")])).contains(expected));
    }

    #[test]
    fn refuses_an_image_without_a_digest() {
        for image in ["acme/orders:1.4.2", "acme/orders@sha256:00", "acme/orders", "", "@sha256"] {
            let found = problems(|pipelines| pipelines["orders"]["1.4.2"]["images"] = json!([image]));
            assert!(found.contains("pipelines.orders.1.4.2.images[0]: "), "{image}: {found}");
            assert!(found.contains("has no digest"), "{image}: {found}");
        }
        assert!(problems(|pipelines| pipelines["orders"]["1.4.2"]["images"] = json!([])).contains("is empty"));
    }

    #[test]
    fn refuses_an_invalid_name_hash_or_field() {
        let build = json!({"images": [format!("acme/orders@{DIGEST}")]});
        for (pipeline, version) in [("orders@1", "2"), ("orders", "1@2"), ("orders ", "2"), ("", "2"), ("orders", "")] {
            let found = problems(|pipelines| pipelines[pipeline] = json!({version: build}));
            assert!(
                found.contains("contains an @") || found.contains("space") || found.contains("is empty"),
                "{found}"
            );
        }
        let found = problems(|pipelines| pipelines["orders"]["1.4.2"]["specHash"] = json!(OTHER.to_uppercase()));
        assert!(found.contains("is not a spec hash"), "{found}");
        let found = problems(|pipelines| pipelines["orders"]["1.4.2"]["image"] = json!("x"));
        assert!(found.contains("unknown field `image`"), "{found}");
    }

    #[test]
    fn refuses_a_posture_whose_set_is_missing_or_unreadable() {
        let missing = assembled(&[posture(), set("a")]);
        let problem = &missing.problems()[0];
        assert_eq!(problem.path, "pipelineSets[1]");
        assert!(problem.message.contains("\"b\" does not exist"), "{}", problem.message);
        let mut broken = set("b").to_string();
        broken.truncate(broken.len() - 2);
        let documents = [posture().to_string(), set("a").to_string(), broken];
        let documents = documents.map(|text| Document { source: String::new(), name: None, text });
        let assembled = PostureSet::assemble(documents.into());
        let Err(PostureError::Invalid { problems }) = assembled.environment("production") else {
            panic!("an unreadable set is no set")
        };
        assert!(problems[0].message.contains("\"b\" is invalid"), "{}", problems[0].message);
    }

    #[test]
    fn refuses_a_rule_that_cannot_be_met_or_has_no_effect() {
        let problems = |change: fn(&mut Value)| {
            let mut posture = posture();
            change(&mut posture);
            let assembled = assembled(&[posture, set("a"), set("b")]);
            assembled.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert!(
            problems(|posture| posture["pipelineSets"] = json!([]))
                .contains("pipelineVersion: is required, but the posture names no pipelineSets")
        );
        assert!(
            problems(|posture| posture["secrets"] = json!(["db"]))
                .contains("secrets: has an effect only with configBundle")
        );
        let both = |posture: &mut Value| {
            posture["configBundle"] = "required".into();
            posture["secrets"] = json!(["db"]);
        };
        assert_eq!(problems(both), "");
    }
}

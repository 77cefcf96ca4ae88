//! Rows 14 and 15, for the object alone: whether it is the canonical build, its images are pinned, and its configuration
//! is the bundle that it names. Row 11, for a revoked spec.
//!
//! These checks hold whatever was approved. What an approval claims is checked in `candidate`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    approval::action::Action,
    approval::spec_hash::SpecHash,
    decide::driver::ConfigMapAnswer,
    encoding::hex,
    kube::config_map::{check_bundle, names_a_digest},
    kube::image::pinned,
    kube::pod_spec::PodSpec,
    posture::{Build, ConfigRule, ImageRule, Posture},
    record::denial::Denial,
    request::change::Workload,
    text::quoted,
    vocabulary::{CONFIG_BUNDLE, INCIDENT_SPEC_HASH, PIPELINE_VERSION, SOURCE_ENVIRONMENT},
};

/// The most ConfigMaps that are read for one workload.
const MAX_CONFIG_MAPS: usize = 32;

/// Whether every image is named by digest, if the posture requires that. For a bare Pod there is no other check.
pub(crate) fn unpinned(pod: &PodSpec<'_>, posture: &Posture) -> Option<Denial> {
    if posture.images == ImageRule::Any {
        return None;
    }
    let images = pod.images().filter(|image| pinned(image.reference).is_none());
    let images: Vec<_> =
        images.map(|image| format!("{} ({} {})", quoted(image.reference), image.of, quoted(image.name))).collect();
    (!images.is_empty()).then_some(Denial::ImageNotPinned { images })
}

/// The checks that fail for an object whatever was approved. They also hold if no approval is required, for a rollback
/// and under break-glass.
pub(crate) struct ObjectDenials {
    pub(crate) denials: Vec<Denial>,
    /// The ConfigMaps that must be read and checked before the object is admitted. Nobody reads them for an object that
    /// is denied anyway, so that nobody can keep the API server busy without an approval.
    pub(crate) missing: Option<UnreadBundle>,
}

/// The ConfigMaps that a workload refers to, which must be config bundles.
pub(crate) struct UnreadBundle {
    pub(crate) names: Vec<String>,
    /// The digest that one of the bundles must have.
    digest: String,
    environment: String,
}

/// A workload, and what it is said to be.
pub(crate) struct Provenance<'r> {
    pub(crate) workload: &'r Workload<'r>,
    pub(crate) pod: &'r PodSpec<'r>,
    pub(crate) action: Action,
    pub(crate) environment: &'r str,
    pub(crate) posture: &'r Posture,
    pub(crate) now: Timestamp,
}

impl Provenance<'_> {
    /// Every check that needs no lookup.
    pub(crate) fn check(&self) -> ObjectDenials {
        let mut denials = Vec::new();
        denials.extend(self.revocation());
        self.build(&mut denials);
        denials.extend(unpinned(self.pod, self.posture));
        if self.action != Action::Deploy {
            denials.extend(self.source());
        }
        let bundle = self.config_rule().map(|rule| self.bundle(rule)).transpose();
        let missing = bundle.unwrap_or_else(|wrong| {
            denials.extend(wrong);
            None
        });
        ObjectDenials { denials, missing }
    }

    /// Row 11, for the spec.
    fn revocation(&self) -> Option<Denial> {
        let hash = self.workload.hash;
        let revocation = self.posture.revocations.specs.get(&hash)?;
        let revoked = || Denial::Revoked { what: format!("spec {hash}"), why: revocation.why.clone() };
        revocation.in_force(self.now).then(revoked)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.workload.object.metadata.annotations.get(name)
    }

    fn config_rule(&self) -> Option<&ConfigRule> {
        if self.posture.bundle_required(self.action) { self.posture.config_bundle.as_ref() } else { None }
    }

    /// Whether the workload is the build that it names.
    fn build(&self, denials: &mut Vec<Denial>) {
        let Some(version) = self.annotation(PIPELINE_VERSION) else {
            denials.extend(self.posture.pipeline_version_required.then_some(Denial::NoPipelineVersion));
            return;
        };
        let Some(builds) = &self.posture.builds else { return };
        let not_canonical = |why| Denial::NotCanonicalBuild { version: version.to_owned(), why };
        let Some(build) = builds.get(version) else {
            denials.push(not_canonical("no pipeline set of the posture lists it".to_owned()));
            return;
        };
        let foreign = self.pod.images().find(|image| {
            let pinned = pinned(image.reference);
            pinned.is_none_or(|image| !build.images.contains(&image))
        });
        if let Some(image) = foreign {
            let why = format!(
                "image {} of {} {} is not one of its images",
                quoted(image.reference),
                image.of,
                quoted(image.name)
            );
            denials.push(not_canonical(why));
        }
        if let Some(canonical) = build.spec_hash.filter(|canonical| *canonical != self.workload.hash)
            && self.action == Action::Deploy
        {
            denials.push(not_canonical(format!("its spec is {canonical}, but this spec is {}", self.workload.hash)));
        }
        if self.action != Action::Deploy {
            denials.extend(self.incident(version, build));
        }
    }

    /// Whether the incident ran the spec of the pipeline version.
    fn incident(&self, version: &str, build: &Build) -> Option<Denial> {
        let incident = self.annotation(INCIDENT_SPEC_HASH)?;
        let canonical = build.spec_hash?;
        let differs = incident.parse::<SpecHash>().ok() != Some(canonical);
        let (incident, version) = (incident.to_owned(), version.to_owned());
        differs.then_some(Denial::IncidentNotOfBuild { incident, version, canonical })
    }

    /// Whether replays may read from the environment that the replay names.
    fn source(&self) -> Option<Denial> {
        let permitted = self.posture.replay.source_environments.as_ref()?;
        let source = self.annotation(SOURCE_ENVIRONMENT)?;
        let is_permitted = permitted.iter().any(|environment| environment == source);
        let (found, permitted) = (source.to_owned(), permitted.clone());
        (!is_permitted).then_some(Denial::SourceNotPermitted { found, permitted })
    }

    /// The ConfigMaps that the pod template refers to, if it refers to nothing else than bundles and listed Secrets.
    fn bundle(&self, rule: &ConfigRule) -> Result<UnreadBundle, Vec<Denial>> {
        let mut wrong = Vec::new();
        let digest = self.annotation(CONFIG_BUNDLE).unwrap_or_default();
        if digest.is_empty() {
            wrong.push(format!("the object has no annotation {CONFIG_BUNDLE}"));
        } else if !hex::is_sha256(digest) {
            let digest = quoted(digest);
            wrong.push(format!("{CONFIG_BUNDLE} is {digest}, expected sha256: and 64 lower-case hexadecimal digits"));
        }
        let config_maps = self.pod.config_maps();
        if config_maps.len() > MAX_CONFIG_MAPS {
            wrong.push(format!(
                "the object refers to {} ConfigMaps, expected at most {MAX_CONFIG_MAPS}",
                config_maps.len()
            ));
        }
        let nameless = config_maps.iter().filter(|name| !names_a_digest(name));
        wrong.extend(nameless.map(|name| {
            format!("ConfigMap {} is not a config bundle: its name does not end in a digest", quoted(name))
        }));
        let secrets = self.pod.secrets().into_iter().filter(|name| !rule.secrets.contains(*name));
        wrong.extend(secrets.map(|name| format!("the posture does not list Secret {}", quoted(name))));
        if wrong.is_empty() && config_maps.is_empty() {
            wrong.push(no_such_bundle(digest));
        }
        if !wrong.is_empty() {
            return Err(wrong.into_iter().map(not_bundled).collect());
        }
        let names = config_maps.into_iter().map(str::to_owned).collect();
        Ok(UnreadBundle { names, digest: digest.to_owned(), environment: self.environment.to_owned() })
    }
}

impl UnreadBundle {
    /// Whether every ConfigMap is a bundle of the environment, and one of them has the digest that the object names.
    pub(crate) fn failures(&self, read: &BTreeMap<String, ConfigMapAnswer>) -> Vec<Denial> {
        let (mut wrong, mut found) = (Vec::new(), false);
        for name in &self.names {
            let what = format!("ConfigMap {}", quoted(name));
            let unknown = |why: &str| {
                let what = format!("the content of {what}");
                Denial::LookupFailed { what, why: why.to_owned() }
            };
            match read.get(name) {
                None => wrong.push(unknown("it was not looked up")),
                Some(Err(why)) => wrong.push(unknown(why)),
                Some(Ok(None)) => wrong.push(not_bundled(format!("{what} does not exist"))),
                Some(Ok(Some(content))) => match check_bundle(name, content, Some(&self.environment)) {
                    Err(why) => {
                        wrong.push(not_bundled(format!("{what} is not a config bundle of this environment: {why}")));
                    }
                    Ok(digest) => found |= digest == self.digest,
                },
            }
        }
        if wrong.is_empty() && !found {
            wrong.push(not_bundled(no_such_bundle(&self.digest)));
        }
        wrong
    }
}

fn no_such_bundle(digest: &str) -> String {
    format!("no ConfigMap that the object refers to has digest {digest}")
}

fn not_bundled(why: String) -> Denial {
    Denial::ConfigNotBundled { why }
}

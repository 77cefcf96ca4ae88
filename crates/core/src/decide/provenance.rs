//! Row 14, and what of row 15 an object says by itself: whether it is the canonical build, its images cannot be moved,
//! and its configuration is the bundle that it names.
//!
//! This speaks against an object whatever was approved: also where no approval is needed, for a rollback and in an
//! emergency. What an approval claims beside is `candidate`'s. Called by `decide` alone.

use crate::{
    approval::action::Action,
    approval::spec_hash::SpecHash,
    decide::facts::{Known, Want},
    encoding::hex,
    kube::config_map::{check_bundle, content_digest, names_a_digest},
    kube::image::pinned,
    kube::pod_spec::PodSpec,
    posture::{Build, ConfigRule, ImageRule, Posture},
    record::denial::Denial,
    request::change::Workload,
    text::quoted,
    vocabulary::{CONFIG_BUNDLE, INCIDENT_SPEC_HASH, PIPELINE_VERSION, SOURCE_ENVIRONMENT},
};

/// So many ConfigMaps are read for one workload at most.
const MAX_CONFIG_MAPS: usize = 32;

/// Whether every image is named by digest, where the posture asks for it; also of Pods, which have nothing else.
pub(crate) fn unpinned(pod: &PodSpec<'_>, posture: &Posture) -> Option<Denial> {
    if posture.images == ImageRule::Any {
        return None;
    }
    let images = pod.images().filter(|image| pinned(image.reference).is_none());
    let images: Vec<_> =
        images.map(|image| format!("{} ({} {})", quoted(image.reference), image.of, quoted(image.name))).collect();
    (!images.is_empty()).then_some(Denial::ImageNotPinned { images })
}

/// A workload, and what it is said to be.
pub(crate) struct Provenance<'r> {
    pub(crate) workload: &'r Workload<'r>,
    pub(crate) pod: &'r PodSpec<'r>,
    pub(crate) action: Action,
    pub(crate) environment: &'r str,
    pub(crate) posture: &'r Posture,
}

impl Provenance<'_> {
    /// What speaks against the workload; of its ConfigMaps as far as they are known.
    pub(crate) fn failures(&self, known: &Known) -> Vec<Denial> {
        let mut denials = Vec::new();
        self.build(&mut denials);
        denials.extend(unpinned(self.pod, self.posture));
        if self.action != Action::Deploy {
            denials.extend(self.source());
        }
        if let Some(rule) = self.config_rule() {
            let why = self.references(rule).and_then(|digest| self.contents(digest, known)).err();
            denials.extend(why.into_iter().flatten());
        }
        denials
    }

    /// The ConfigMaps that must be read before the workload is admitted.
    pub(crate) fn unread(&self, known: &Known) -> Vec<Want> {
        if self.config_rule().is_none() {
            return Vec::new();
        }
        let names = self.pod.config_maps().into_iter().filter(|name| known.config_map(name).is_none());
        names.map(|name| Want::ConfigMap(name.to_owned())).collect()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.workload.object.metadata.annotations.get(name)
    }

    fn config_rule(&self) -> Option<&ConfigRule> {
        self.posture.config_bundle.as_ref().filter(|_| self.posture.bundle_required(self.action))
    }

    /// Whether it is the build that it says it is.
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

    /// Whether the incident ran what the pipeline version is.
    fn incident(&self, version: &str, build: &Build) -> Option<Denial> {
        let incident = self.annotation(INCIDENT_SPEC_HASH)?;
        let canonical = build.spec_hash?;
        let differs = incident.parse::<SpecHash>().ok() != Some(canonical);
        let (incident, version) = (incident.to_owned(), version.to_owned());
        differs.then_some(Denial::IncidentNotOfBuild { incident, version, canonical })
    }

    /// Whether a replay reads from where replays may.
    fn source(&self) -> Option<Denial> {
        let permitted = self.posture.replay.source_environments.as_ref()?;
        let source = self.annotation(SOURCE_ENVIRONMENT)?;
        let is_permitted = permitted.iter().any(|environment| environment == source);
        let (found, permitted) = (source.to_owned(), permitted.clone());
        (!is_permitted).then_some(Denial::SourceNotPermitted { found, permitted })
    }

    /// The digest of the bundle that the object names, once everything that its template refers to may be referred to.
    fn references(&self, rule: &ConfigRule) -> Result<&str, Vec<Denial>> {
        let mut wrong = Vec::new();
        let digest = self.annotation(CONFIG_BUNDLE).unwrap_or_default();
        if !hex::is_sha256(digest) {
            wrong.push(match digest {
                "" => format!("the object has no annotation {CONFIG_BUNDLE}"),
                _ => {
                    format!(
                        "{CONFIG_BUNDLE} is {}, expected sha256: and 64 lower-case hexadecimal digits",
                        quoted(digest)
                    )
                }
            });
        }
        let config_maps = self.pod.config_maps();
        if config_maps.len() > MAX_CONFIG_MAPS {
            wrong.push(format!(
                "the object refers to {} ConfigMaps, expected at most {MAX_CONFIG_MAPS}",
                config_maps.len()
            ));
        }
        let nameless = config_maps.into_iter().filter(|name| !names_a_digest(name));
        wrong.extend(nameless.map(|name| {
            format!("ConfigMap {} is not a config bundle: its name does not end in a digest", quoted(name))
        }));
        let secrets = self.pod.secrets().into_iter().filter(|name| !rule.secrets.contains(*name));
        wrong.extend(secrets.map(|name| format!("the posture does not list Secret {}", quoted(name))));
        if wrong.is_empty() { Ok(digest) } else { Err(wrong.into_iter().map(not_bundled).collect()) }
    }

    /// Whether the ConfigMaps that are known are bundles, and one of all is `digest`.
    fn contents(&self, digest: &str, known: &Known) -> Result<(), Vec<Denial>> {
        let (mut wrong, mut found) = (Vec::new(), false);
        for name in self.pod.config_maps() {
            let what = format!("ConfigMap {}", quoted(name));
            match known.config_map(name) {
                None => found = true,
                Some(Err(why)) => {
                    wrong.push(Denial::LookupFailed { what: format!("the content of {what}"), why: why.clone() })
                }
                Some(Ok(None)) => wrong.push(not_bundled(format!("{what} does not exist"))),
                Some(Ok(Some(content))) => match check_bundle(name, content, Some(self.environment)) {
                    Err(why) => {
                        wrong.push(not_bundled(format!("{what} is not a config bundle of this environment: {why}")));
                    }
                    Ok(()) => found |= content_digest(content) == digest,
                },
            }
        }
        if wrong.is_empty() && !found {
            wrong.push(not_bundled(format!("no ConfigMap that the object refers to has digest {digest}")));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn not_bundled(why: String) -> Denial {
    Denial::ConfigNotBundled { why }
}

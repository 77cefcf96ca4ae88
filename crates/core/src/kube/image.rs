//! Which images a posture's patterns name, whatever the spelling of the image.
//!
//! A registry has several names (`docker.io`, `index.docker.io`, none at all), a host no case and a default port.
//! Pattern and image are brought to one spelling before they are compared, so that another spelling of a replay's
//! image is still a replay. Where an image is in a Pod spec is `classify`'s business, not this file's.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::encoding::hex;

/// The patterns of one posture, compiled.
///
/// A `*` stays within one path segment. A pattern without tag and digest names every tag and digest of the
/// repository; one with a tag does not name what is given by digest alone.
#[derive(Clone, Debug, Default)]
pub struct ImagePatterns {
    set: GlobSet,
    written: Vec<String>,
}

/// A pattern that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an image pattern: {0}")]
pub(crate) struct ImagePatternError(String);

impl From<globset::Error> for ImagePatternError {
    fn from(error: globset::Error) -> Self {
        Self(error.kind().to_string())
    }
}

impl ImagePatterns {
    /// Whether `image`, as a Pod spec writes it, is named by one of the patterns.
    #[must_use]
    pub fn matches(&self, image: &str) -> bool {
        if self.is_empty() {
            return false;
        }
        let Reference { name, tag, digest } = Reference::parse(image);
        let whole = match (tag, digest) {
            (None, None) => format!("{name}:latest"),
            (Some(tag), None) => format!("{name}:{tag}"),
            (None, Some(digest)) => format!("{name}@{digest}"),
            (Some(tag), Some(digest)) => {
                // With a digest the tag is decoration, so each of the two stands for the image.
                if self.set.is_match(format!("{name}:{tag}")) || self.set.is_match(format!("{name}@{digest}")) {
                    return true;
                }
                format!("{name}:{tag}@{digest}")
            }
        };
        self.set.is_match(whole) || self.set.is_match(name)
    }

    /// Whether there are no patterns, so that nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The patterns as they are written.
    #[must_use]
    pub fn written(&self) -> &[String] {
        &self.written
    }

    /// Whether `pattern` could be one of the patterns.
    pub(crate) fn check(pattern: &str) -> Result<(), ImagePatternError> {
        Self::compile([pattern]).map(|_| ())
    }

    /// Compiles patterns.
    pub(crate) fn compile<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, ImagePatternError> {
        let mut builder = GlobSetBuilder::new();
        let mut written = Vec::new();
        for pattern in patterns {
            for spelling in spellings(pattern) {
                builder.add(GlobBuilder::new(&spelling).literal_separator(true).build()?);
            }
            written.push(pattern.to_owned());
        }
        Ok(Self { set: builder.build()?, written })
    }
}

/// An image named by digest, in the one spelling that is compared: registry, repository and digest. Nothing where there
/// is no digest, so that whoever holds the tag says what runs. A tag beside a digest is decoration.
pub(crate) fn pinned(image: &str) -> Option<String> {
    let Reference { name, digest, .. } = Reference::parse(image);
    let digest = digest?;
    (hex::is_sha256(digest) && !image.starts_with(['@', ':'])).then(|| format!("{name}@{digest}"))
}

/// An image reference with its name in full: registry, repository.
struct Reference<'a> {
    name: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Never fails: what is no reference is no image that a kubelet would run.
    fn parse(image: &'a str) -> Self {
        let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
        // A colon before the last slash belongs to the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Self { name: full_name(name), tag, digest }
    }
}

/// Every canonical spelling that a pattern may stand for.
fn spellings(pattern: &str) -> Vec<String> {
    match pattern.split_once('/') {
        // `*/replay` can mean any registry, or any namespace of the default one.
        Some((first, rest)) if first.contains(['*', '?', '[', '{', '\\']) => {
            vec![format!("{}/{rest}", first.to_ascii_lowercase()), format!("docker.io/{pattern}")]
        }
        _ => vec![full_name(pattern)],
    }
}

/// Registry and repository in the one spelling that is compared; a tag or digest at the end stays as it is.
fn full_name(name: &str) -> String {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (one_registry(first), rest),
        _ => ("docker.io".to_owned(), name),
    };
    if registry == "docker.io" && !repository.contains('/') {
        return format!("{registry}/library/{repository}");
    }
    format!("{registry}/{repository}")
}

/// How container runtimes tell a registry from the first part of a repository (distribution/reference).
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.contains(|c: char| c.is_ascii_uppercase())
}

fn one_registry(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix(":443").unwrap_or(&host);
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn matches(pattern: &str, image: &str) -> bool {
        ImagePatterns::compile([pattern]).unwrap().matches(&image.replace("DIGEST", DIGEST))
    }

    #[test]
    fn a_star_stays_within_one_path_segment() {
        assert!(matches("ghcr.io/acme/replay*", "ghcr.io/acme/replay"));
        assert!(matches("ghcr.io/acme/replay*", "ghcr.io/acme/replay:2.0.1"));
        assert!(matches("ghcr.io/acme/replay*", "ghcr.io/acme/replay@DIGEST"));
        assert!(matches("ghcr.io/acme/replay*", "ghcr.io/acme/replay-worker:2.0.1@DIGEST"));
        assert!(!matches("ghcr.io/acme/replay*", "ghcr.io/acme/replay/worker:1"));
        assert!(!matches("ghcr.io/acme/replay*", "ghcr.io/acme/team/replay:1"));
        assert!(!matches("ghcr.io/acme/replay*", "ghcr.io/acme/orders:1"));
        assert!(!matches("ghcr.io/acme/replay*", "docker.io/acme/replay:1"));
        assert!(!matches("ghcr.io/*", "ghcr.io/acme/replay"));
        assert!(matches("ghcr.io/**", "ghcr.io/acme/team/replay:1"));
    }

    #[test]
    fn a_pattern_without_a_tag_names_every_tag() {
        assert!(matches("ghcr.io/acme/replay", "ghcr.io/acme/replay:2"));
        assert!(matches("ghcr.io/acme/replay", "ghcr.io/acme/replay@DIGEST"));
        assert!(!matches("ghcr.io/acme/replay", "ghcr.io/acme/replayer:2"));
    }

    #[test]
    fn a_tag_in_a_pattern_counts_beside_a_digest_and_stands_for_none_without_one() {
        assert!(matches("ghcr.io/acme/replay:2.*", "ghcr.io/acme/replay:2.1"));
        assert!(matches("ghcr.io/acme/replay:2.1", "ghcr.io/acme/replay:2.1@DIGEST"));
        assert!(!matches("ghcr.io/acme/replay:2.*", "ghcr.io/acme/replay:3.0"));
        assert!(!matches("ghcr.io/acme/replay:2.*", "ghcr.io/acme/replay@DIGEST"));
        assert!(matches("ghcr.io/acme/replay:latest", "ghcr.io/acme/replay"));
        assert!(matches(&format!("ghcr.io/acme/replay@{DIGEST}"), "ghcr.io/acme/replay:9@DIGEST"));
    }

    #[test]
    fn a_spelling_does_not_evade() {
        for image in [
            "acme/replay:1",
            "docker.io/acme/replay:1",
            "index.docker.io/acme/replay:1",
            "registry-1.docker.io/acme/replay:1",
            "Docker.IO/acme/replay:1",
            "docker.io:443/acme/replay:1",
        ] {
            for pattern in ["acme/replay*", "docker.io/acme/replay*", "index.docker.io/acme/replay*"] {
                assert!(matches(pattern, image), "{pattern} {image}");
            }
        }
        for image in ["replay", "library/replay:1", "docker.io/replay:1", "docker.io/library/replay@DIGEST"] {
            for pattern in ["replay", "library/replay", "docker.io/replay*", "docker.io/library/repl*"] {
                assert!(matches(pattern, image), "{pattern} {image}");
            }
        }
        assert!(matches("ghcr.io/acme/replay*", "GHCR.io/acme/replay:1"));
        assert!(matches("ghcr.io/acme/replay*", "ghcr.io:443/acme/replay:1"));
        assert!(matches("GHCR.IO/acme/replay*", "ghcr.io/acme/replay:1"));
        assert!(matches("localhost:5000/replay", "localhost:5000/replay:1"));
        assert!(!matches("localhost:5000/replay", "localhost:5001/replay:1"));
        assert!(!matches("localhost/replay", "replay"));
    }

    #[test]
    fn a_star_in_the_first_part_means_registries_and_namespaces() {
        for image in ["ghcr.io/replay:1", "acme/replay:1", "docker.io/acme/replay:1"] {
            assert!(matches("*/replay", image), "{image}");
        }
        assert!(matches("*.io/acme/replay*", "GHCR.io/acme/replay:1"));
        assert!(matches("acme-*/replay", "acme-x/replay"));
        assert!(!matches("*/replay", "ghcr.io/acme/replay:1"));
    }

    #[test]
    fn what_does_not_compile_is_told() {
        for pattern in ["ghcr.io/acme/[", "ghcr.io/acme/{a", "ghcr.io/[z-a]", "a\\"] {
            assert!(ImagePatterns::compile([pattern]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn no_patterns_match_nothing() {
        assert!(ImagePatterns::default().is_empty());
        assert!(!ImagePatterns::default().matches("ghcr.io/acme/replay"));
    }

    proptest! {
        #[test]
        fn whatever_the_texts_matching_does_not_panic(pattern in "[a-z*?{}\\[\\]\\\\/:@.,!A-Z]{0,40}", image in "\\PC{0,60}") {
            if let Ok(patterns) = ImagePatterns::compile([pattern.as_str()]) {
                let _ = patterns.matches(&image);
            }
        }

        #[test]
        fn an_image_is_named_by_itself(image in "([a-z]{1,8}(\\.[a-z]{2,3})?/)?[a-z]{1,9}(/[a-z]{1,9})?(:[a-z0-9]{1,5})?") {
            prop_assert!(matches(&image, &image));
        }
    }
}

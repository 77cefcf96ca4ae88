//! Image references: whether an image matches a posture's patterns, and whether it is pinned to a digest.
//!
//! One image has many spellings: a registry has several names (`docker.io`, `index.docker.io`, or none), a host ignores
//! case, an IP address has several forms, and a port has a default and may have zeros in front. Patterns and images are
//! converted to one spelling before they are compared. Otherwise another spelling of a replay image would not be a
//! replay.
//!
//! The fields of a Pod's spec that contain images are in [`pod_spec`](super::pod_spec).

use std::net::Ipv6Addr;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::encoding::hex;

/// The image patterns of one posture, compiled.
///
/// A `*` matches within one path segment. A pattern without a tag and a digest matches every tag and digest of the
/// repository. A pattern with a tag does not match an image that has only a digest.
#[derive(Clone, Debug, Default)]
pub struct ImagePatterns {
    set: GlobSet,
    written: Vec<String>,
}

/// The pattern cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an image pattern: {0}")]
pub(crate) struct ImagePatternError(String);

impl From<globset::Error> for ImagePatternError {
    fn from(error: globset::Error) -> Self {
        Self(error.kind().to_string())
    }
}

impl ImagePatterns {
    /// Whether one of the patterns matches `image`, written as in a Pod's spec.
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
                // The runtime ignores the tag of an image with a digest, so a pattern may match by either.
                if self.set.is_match(format!("{name}:{tag}")) || self.set.is_match(format!("{name}@{digest}")) {
                    return true;
                }
                format!("{name}:{tag}@{digest}")
            }
        };
        self.set.is_match(whole) || self.set.is_match(name)
    }

    /// Whether there are no patterns. Then nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The patterns as the posture writes them.
    #[must_use]
    pub fn written(&self) -> &[String] {
        &self.written
    }

    /// Fails if `pattern` cannot be compiled.
    pub(crate) fn check(pattern: &str) -> Result<(), ImagePatternError> {
        Self::compile([pattern]).map(|_| ())
    }

    /// Compiles patterns. Fails if one of them is not a glob.
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

/// An image with a digest, in the spelling that is compared: registry, repository and digest. A tag is dropped, because
/// runtimes ignore the tag of an image with a digest. `None`: the image has no digest, so the owner of the tag can
/// change what runs.
pub(crate) fn pinned(image: &str) -> Option<String> {
    let Reference { name, digest, .. } = Reference::parse(image);
    let digest = digest?;
    (hex::is_sha256(digest) && !image.starts_with(['@', ':'])).then(|| format!("{name}@{digest}"))
}

/// The registry of an image, in the spelling that is compared.
pub(crate) fn registry(image: &str) -> String {
    let name = Reference::parse(image).name;
    name.split_once('/').map_or(name.clone(), |(registry, _)| registry.to_owned())
}

/// The tag and the digest of an image.
pub(crate) fn tag_and_digest(image: &str) -> (Option<&str>, Option<&str>) {
    let Reference { tag, digest, .. } = Reference::parse(image);
    (tag, digest)
}

/// An image reference whose name has a registry and a repository.
struct Reference<'a> {
    name: String,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Reference<'a> {
    /// Never fails: a kubelet does not run a text that is not a reference.
    fn parse(image: &'a str) -> Self {
        let (rest, digest) = image.split_once('@').map_or((image, None), |(rest, digest)| (rest, Some(digest)));
        // A colon before the last slash begins the registry's port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        Self { name: full_name(name), tag, digest }
    }
}

/// The canonical spellings that a pattern stands for.
fn spellings(pattern: &str) -> Vec<String> {
    match pattern.split_once('/') {
        // The brackets of an IPv6 address are not a set of characters.
        Some((first, rest)) if ip_address(host_and_port(first).0).is_some() => {
            let registry = canonical_registry(first).replace('[', "\\[").replace(']', "\\]");
            vec![format!("{registry}/{rest}")]
        }
        // `*/replay` can mean any registry, or any namespace of the default registry.
        Some((first, rest)) if first.contains(GLOB) => {
            let mut spellings = vec![format!("{}/{rest}", canonical_registry(first)), format!("docker.io/{pattern}")];
            let (host, port) = host_and_port(first);
            if matches_a_default_port(port) {
                spellings.push(format!("{}/{rest}", canonical_registry(host)));
            }
            spellings
        }
        _ => vec![full_name(pattern)],
    }
}

/// The characters that make a text a glob.
const GLOB: [char; 5] = ['*', '?', '[', '{', '\\'];

/// Whether the port of a pattern is a glob that matches a port which the compared spelling leaves out.
fn matches_a_default_port(port: &str) -> bool {
    port.contains(GLOB)
        && GlobBuilder::new(port).build().is_ok_and(|glob| {
            let glob = glob.compile_matcher();
            DEFAULT_PORTS.iter().any(|port| glob.is_match(port))
        })
}

/// Registry and repository in the spelling that is compared. A tag or a digest at the end stays unchanged.
fn full_name(name: &str) -> String {
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_registry(first) => (canonical_registry(first), rest),
        _ => ("docker.io".to_owned(), name),
    };
    if registry == "docker.io" && !repository.contains('/') {
        return format!("{registry}/library/{repository}");
    }
    format!("{registry}/{repository}")
}

/// Whether the first part of a name is a registry and not a part of the repository, as distribution/reference decides.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.contains(|c: char| c.is_ascii_uppercase())
}

/// The host and the port of a registry in one spelling.
fn canonical_registry(registry: &str) -> String {
    let registry = registry.to_ascii_lowercase();
    let (host, port) = host_and_port(&registry);
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io".to_owned(),
        host => ip_address(host).unwrap_or_else(|| host.to_owned()),
    };
    match canonical_port(port) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// A registry's host and the text of its port, which is empty if there is none. An IPv6 address is in brackets, and has
/// colons itself.
fn host_and_port(registry: &str) -> (&str, &str) {
    // A pattern may have brackets of its own.
    let bracket = if registry.starts_with('[') { registry.rfind(']').map_or(0, |at| at + 1) } else { 0 };
    match registry.split_at_checked(bracket) {
        Some((address, rest)) => match rest.rsplit_once(':') {
            Some((name, port)) => (registry.get(..address.len() + name.len()).unwrap_or(registry), port),
            None => (registry, ""),
        },
        None => (registry, ""),
    }
}

/// The default port of a registry, and its default port if a runtime is permitted to use HTTP.
const DEFAULT_PORTS: [&str; 2] = ["443", "80"];

/// The port as a number, as Go's dialler reads it: `0443` is 443. `None`: a default port. A text that is not a port
/// cannot be dialled, and stays as it is.
fn canonical_port(port: &str) -> Option<&str> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(port);
    }
    let port = port.trim_start_matches('0');
    let is_default = port.is_empty() || DEFAULT_PORTS.contains(&port);
    (!is_default).then_some(port)
}

/// The one spelling of an IPv6 address in brackets. An IPv4 address that is written as IPv6 is the same host.
fn ip_address(host: &str) -> Option<String> {
    let address: Ipv6Addr = host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?;
    Some(address.to_ipv4_mapped().map_or_else(|| format!("[{address}]"), |address| address.to_string()))
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
    fn a_star_matches_within_one_path_segment() {
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
    fn a_pattern_without_a_tag_matches_every_tag() {
        assert!(matches("ghcr.io/acme/replay", "ghcr.io/acme/replay:2"));
        assert!(matches("ghcr.io/acme/replay", "ghcr.io/acme/replay@DIGEST"));
        assert!(!matches("ghcr.io/acme/replay", "ghcr.io/acme/replayer:2"));
    }

    #[test]
    fn a_pattern_with_a_tag_matches_that_tag_with_or_without_a_digest_but_no_digest_alone() {
        assert!(matches("ghcr.io/acme/replay:2.*", "ghcr.io/acme/replay:2.1"));
        assert!(matches("ghcr.io/acme/replay:2.1", "ghcr.io/acme/replay:2.1@DIGEST"));
        assert!(!matches("ghcr.io/acme/replay:2.*", "ghcr.io/acme/replay:3.0"));
        assert!(!matches("ghcr.io/acme/replay:2.*", "ghcr.io/acme/replay@DIGEST"));
        assert!(matches("ghcr.io/acme/replay:latest", "ghcr.io/acme/replay"));
        assert!(matches(&format!("ghcr.io/acme/replay@{DIGEST}"), "ghcr.io/acme/replay:9@DIGEST"));
    }

    #[test]
    fn matches_every_spelling_of_an_image() {
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
        assert!(matches("localhost:5000/replay", "localhost:05000/replay:1"));
        assert!(!matches("localhost:5000/replay", "localhost:5001/replay:1"));
        assert!(!matches("localhost/replay", "replay"));
    }

    #[test]
    fn compares_the_ports_of_registries_as_numbers() {
        for image in [
            "ghcr.io/acme/replay:1",
            "ghcr.io:443/acme/replay:1",
            "ghcr.io:0443/acme/replay:1",
            "GHCR.IO:000000443/acme/replay@DIGEST",
            "ghcr.io:80/acme/replay:1",
            "ghcr.io:080/acme/replay:1",
            "ghcr.io:/acme/replay:1",
            "ghcr.io:0/acme/replay:1",
        ] {
            for pattern in
                ["ghcr.io/acme/replay*", "ghcr.io:443/acme/replay*", "ghcr.io:0443/acme/replay", "ghcr.io:80/acme/*"]
            {
                assert!(matches(pattern, image), "{pattern} {image}");
            }
        }
        for other in ["ghcr.io:4430", "ghcr.io:65979", "ghcr.io:4_43", "ghcr.io:+443", "ghcr.io:443:1", "ghcr.io.:443"]
        {
            assert!(!matches("ghcr.io/acme/replay*", &format!("{other}/acme/replay:1")), "{other}");
        }
        for image in ["docker.io:0443/acme/replay:1", "Index.docker.io:00443/acme/replay:1"] {
            assert!(matches("acme/replay*", image), "{image}");
        }
        for pattern in ["ghcr.io:*/acme/replay", "ghcr.io:{443,5000}/acme/replay", "gh*.io:0443/acme/replay"] {
            assert!(matches(pattern, "ghcr.io:443/acme/replay:1"), "{pattern}");
        }
        assert!(matches("ghcr.io:*/acme/replay", "ghcr.io:5000/acme/replay"));
        assert!(!matches("ghcr.io:50*/acme/replay", "ghcr.io/acme/replay"));
        let pinned = |image: &str| super::pinned(&image.replace("DIGEST", DIGEST));
        assert_eq!(pinned("ghcr.io:0443/acme/orders@DIGEST"), pinned("ghcr.io/acme/orders:1@DIGEST"));
        assert_ne!(pinned("ghcr.io:8443/acme/orders@DIGEST"), pinned("ghcr.io/acme/orders@DIGEST"));
    }

    #[test]
    fn compares_ip_addresses_by_value() {
        for image in ["[::1]:5000/replay:1", "[0:0:0:0:0:0:0:1]:05000/replay:1", "[0::0001]:5000/replay"] {
            assert!(matches("[::1]:5000/replay", image), "{image}");
        }
        for image in ["[2001:DB8::A]/replay:1", "[2001:db8:0::a]:443/replay", "[2001:db8::a]:0443/replay"] {
            assert_eq!(full_name(image.trim_end_matches(":1")), "[2001:db8::a]/replay", "{image}");
        }
        assert_eq!(full_name("[::ffff:a00:1]:5000/replay"), "10.0.0.1:5000/replay");
        assert_eq!(full_name("[::1]/replay"), "[::1]/replay");
        assert_ne!(full_name("[::2]/replay"), full_name("[::1]/replay"));
        for odd in ["[::1", "::1]", "[]", "[:::1]", "[::1]x", "[::1]]:1"] {
            assert!(!matches("[::1]/replay", &format!("{odd}/replay")), "{odd}");
        }
    }

    #[test]
    fn a_star_in_the_first_part_matches_registries_and_namespaces() {
        for image in ["ghcr.io/replay:1", "acme/replay:1", "docker.io/acme/replay:1"] {
            assert!(matches("*/replay", image), "{image}");
        }
        assert!(matches("*.io/acme/replay*", "GHCR.io/acme/replay:1"));
        assert!(matches("acme-*/replay", "acme-x/replay"));
        assert!(!matches("*/replay", "ghcr.io/acme/replay:1"));
    }

    #[test]
    fn refuses_a_pattern_that_is_not_a_glob() {
        for pattern in ["ghcr.io/acme/[", "ghcr.io/acme/{a", "ghcr.io/[z-a]", "a\\"] {
            assert!(ImagePatterns::compile([pattern]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn an_empty_set_of_patterns_matches_nothing() {
        assert!(ImagePatterns::default().is_empty());
        assert!(!ImagePatterns::default().matches("ghcr.io/acme/replay"));
    }

    proptest! {
        #[test]
        fn never_panics_for_any_pattern_and_image(pattern in "[a-z*?{}\\[\\]\\\\/:@.,!A-Z]{0,40}", image in "\\PC{0,60}") {
            if let Ok(patterns) = ImagePatterns::compile([pattern.as_str()]) {
                let _ = patterns.matches(&image);
            }
        }

        #[test]
        fn an_image_matches_itself_as_a_pattern(image in "([a-z]{1,8}(\\.[a-z]{2,3})?/)?[a-z]{1,9}(/[a-z]{1,9})?(:[a-z0-9]{1,5})?") {
            prop_assert!(matches(&image, &image));
        }
    }
}

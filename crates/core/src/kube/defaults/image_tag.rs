//! The default pull policy of an image, which depends on its tag.
//!
//! The API server parses the name with `github.com/distribution/reference` and ignores the error: a name that does not
//! parse has no tag, so it is not `latest`. Therefore the complete grammar is here.

/// `Always` if the tag is `latest`, explicitly or by default; otherwise `IfNotPresent`.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if is_latest(image) { "Always" } else { "IfNotPresent" }
}

fn is_latest(image: &str) -> bool {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if image.len() == 64 && image.bytes().all(is_hex) {
        return false; // An image id. The grammar refuses it as a name.
    }
    let (name_and_tag, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (domain, remainder) = split_domain(name_and_tag);
    // A colon before the last slash begins a port.
    let last = remainder.rfind('/').map_or(0, |slash| slash + 1);
    let colon = remainder.get(last..).and_then(|component| component.find(':')).map(|colon| last + colon);
    let (path, tag) = match colon.and_then(|colon| remainder.split_at_checked(colon)) {
        Some((path, tag)) => (path, tag.get(1..)),
        None => (remainder, None),
    };
    is_name(domain, path)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && tag.map_or(digest.is_none(), |tag| tag == "latest")
}

/// The registry and the rest. A first component without a dot, a colon or upper case is not a registry.
fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

/// Whether the path is valid and has at most 255 bytes. If the grammar does not accept `domain` as a registry, it is
/// part of the path.
fn is_name(domain: Option<&str>, path: &str) -> bool {
    const MAX_PATH: usize = 255;
    const OFFICIAL: usize = "library/".len();
    if !path.split('/').all(is_path_component) {
        return false;
    }
    let implied = if path.contains('/') { 0 } else { OFFICIAL };
    match domain {
        None | Some("docker.io" | "index.docker.io") => path.len() + implied <= MAX_PATH,
        Some(domain) if is_domain(domain) => path.len() <= MAX_PATH,
        Some(domain) => is_path_component(domain) && domain.len() + 1 + path.len() <= MAX_PATH,
    }
}

/// Whether the component is `[a-z0-9]+`, joined by one dot, one or two underscores, or dashes.
fn is_path_component(component: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let separators = component.split(is_letter).filter(|separator| !separator.is_empty());
    component.starts_with(is_letter)
        && component.ends_with(is_letter)
        && separators
            .clone()
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.rfind(']') {
        Some(end) => domain.split_at_checked(end + 1).unwrap_or((domain, "")),
        None => domain.find(':').and_then(|colon| domain.split_at_checked(colon)).unwrap_or((domain, "")),
    };
    let is_port = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => host.split('.').all(is_domain_component),
    };
    is_port && is_host
}

fn is_domain_component(component: &str) -> bool {
    let is_alphanumeric = |letter: char| letter.is_ascii_alphanumeric();
    component.starts_with(is_alphanumeric)
        && component.ends_with(is_alphanumeric)
        && component.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_is_explicit_or_the_default() {
        for image in ["app", "app:latest", "acme/app", "ghcr.io/acme/app", "localhost:5000/app", "[::1]:5000/app"] {
            assert_eq!(pull_policy(image), "Always", "{image}");
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        for image in ["app:1", "localhost:5000/app:1", "reg.io:80/a/b:latest2"] {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
        assert_eq!(pull_policy(&format!("app@{digest}")), "IfNotPresent");
        assert_eq!(pull_policy(&format!("app:latest@{digest}")), "Always");
    }

    #[test]
    fn a_name_that_does_not_parse_is_not_latest() {
        let id = "a".repeat(64);
        let digest = format!("app:latest@sha256:{}", "A".repeat(64));
        for image in ["", "App", "acme/App:latest", "app:latest:latest", "/app", "a..b", "app@latest", &id, &digest] {
            assert_eq!(pull_policy(image), "IfNotPresent", "{image}");
        }
    }
}

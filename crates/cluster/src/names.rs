//! The names of a namespace and of a user that both programs know, and checks whether a text from an unauthenticated caller is a Kubernetes name.
//!
//! Request paths contain these names, and the client library does not escape them.

/// The namespace of the webhook's canary. It is governed by an environment that has no posture, so everything in it is denied.
pub const CANARY_NAMESPACE: &str = "writgate-canary";

/// The API user of the webhook: the service account of the chart.
#[must_use]
pub fn webhook_user(system_namespace: &str) -> String {
    format!("system:serviceaccount:{system_namespace}:writgate-webhook")
}

/// The longest name of an object, by RFC 1123 as the API server applies it.
pub const MAX_SUBDOMAIN: usize = 253;
/// The longest name of a namespace.
const MAX_LABEL: usize = 63;

/// Whether `name` can be the name of a namespace.
#[must_use]
pub fn is_label(name: &str) -> bool {
    name.len() <= MAX_LABEL && is_part(name)
}

/// Whether `name` can be the name of an object.
#[must_use]
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= MAX_SUBDOMAIN && name.split('.').all(is_part)
}

/// Whether `prefix` can be a `generateName`: the API server completes it to a name.
#[must_use]
pub fn is_subdomain_prefix(prefix: &str) -> bool {
    prefix.len() <= MAX_SUBDOMAIN && is_subdomain(prefix.trim_end_matches('-'))
}

fn is_part(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends_well = |byte: Option<u8>| byte.is_some_and(inner);
    ends_well(part.bytes().next())
        && ends_well(part.bytes().last())
        && part.bytes().all(|byte| inner(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_would_change_the_path_of_a_request_is_not_a_name() {
        for name in ["", ".", "..", "a/b", "a/../b", "a%2fb", "a?b", "a#b", "-a", "a-", "A", "a\n", "ä", "a..b"] {
            assert!(!is_subdomain(name), "{name:?}");
            assert!(!is_label(name), "{name:?}");
        }
    }

    #[test]
    fn a_prefix_of_a_name_may_end_with_hyphens_and_contains_nothing_else_than_a_name() {
        for prefix in ["orders-", "orders", "orders--", "orders.v2-"] {
            assert!(is_subdomain_prefix(prefix), "{prefix:?}");
        }
        for prefix in ["", "-", "-orders-", "Orders-", "a/b-", "orders.", "orders-\n", "`orders`-"] {
            assert!(!is_subdomain_prefix(prefix), "{prefix:?}");
        }
        let longest = format!("{}-", "a".repeat(MAX_SUBDOMAIN - 1));
        assert!(is_subdomain_prefix(&longest) && !is_subdomain_prefix(&format!("{longest}-")));
    }

    #[test]
    fn names_of_objects_may_have_dots_and_be_long() {
        assert!(is_subdomain("orders-7d9f.v2"));
        assert!(!is_label("orders.v2"));
        assert!(is_subdomain(&"a".repeat(MAX_SUBDOMAIN)) && !is_subdomain(&"a".repeat(MAX_SUBDOMAIN + 1)));
        assert!(is_label(&"a".repeat(MAX_LABEL)) && !is_label(&"a".repeat(MAX_LABEL + 1)));
    }
}

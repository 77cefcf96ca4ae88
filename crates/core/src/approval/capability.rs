//! Capabilities, which actions require, and grants, which say what a reviewer may grant.

use std::{fmt, str::FromStr};

use crate::approval::action::Action;

/// A dotted name that an action requires and a reviewer may grant: `deploy`, `deploy.privileged`.
///
/// A segment consists of ASCII letters, digits, `-` and `_`. Only a [`Grant`] has wildcards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(String);

impl Capability {
    /// Parses a dotted name. Fails for anything else, wildcards included.
    pub fn parse(text: &str) -> Result<Self, CapabilityError> {
        if is_dotted_name(text) { Ok(Self(text.to_owned())) } else { Err(CapabilityError(text.to_owned())) }
    }

    /// The capability that an action requires by default.
    pub(crate) fn of(action: Action) -> Self {
        let name = match action {
            Action::Deploy => "deploy",
            Action::ReplayExecute => "replay.execute",
            Action::ReplayDryRun => "replay.dry-run",
        };
        Self(name.to_owned())
    }

    /// The dotted name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Capability {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// What a reviewer may grant: one capability, or all capabilities below a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grant {
    /// Exactly this capability.
    Exact(Capability),
    /// Every capability below this one, at any depth, and not this one itself: `deploy.*`.
    Below(Capability),
}

impl Grant {
    /// Parses a dotted name, which may end in `.*`. Fails for anything else.
    pub fn parse(text: &str) -> Result<Self, CapabilityError> {
        match text.strip_suffix(".*") {
            Some(above) => Capability::parse(above).map(Self::Below),
            None => Capability::parse(text).map(Self::Exact),
        }
        .map_err(|_| CapabilityError(text.to_owned()))
    }

    /// Whether a reviewer with this grant may grant `capability`.
    #[must_use]
    pub fn covers(&self, capability: &Capability) -> bool {
        match self {
            Self::Exact(granted) => granted == capability,
            Self::Below(above) => capability.0.strip_prefix(above.as_str()).is_some_and(|below| below.starts_with('.')),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(capability) => write!(f, "{capability}"),
            Self::Below(above) => write!(f, "{above}.*"),
        }
    }
}

impl FromStr for Grant {
    type Err = CapabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The text is not a capability, or not a grant if a grant is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a capability: expected a dotted name such as deploy.privileged (only a reviewer's grant may end in .*)"
)]
pub struct CapabilityError(String);

fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|segment| {
        !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(grant: &str, capability: &str) -> bool {
        Grant::parse(grant).unwrap().covers(&Capability::parse(capability).unwrap())
    }

    #[test]
    fn a_wildcard_covers_every_capability_below_a_name_and_not_the_name_itself() {
        assert!(covers("deploy.*", "deploy.a"));
        assert!(covers("deploy.*", "deploy.a.b"));
        assert!(!covers("deploy.*", "deploy"));
        assert!(!covers("deploy.*", "deployment.a"));
        assert!(!covers("deploy.a.*", "deploy.ab"));
    }

    #[test]
    fn an_exact_grant_covers_only_its_own_name() {
        assert!(covers("deploy", "deploy"));
        assert!(!covers("deploy", "deploy.a"));
        assert!(!covers("deploy", "Deploy"));
    }

    #[test]
    fn only_a_grant_has_a_wildcard_and_only_at_its_end() {
        assert!(Capability::parse("deploy.*").is_err());
        for text in ["*", ".*", "deploy*", "*.deploy", "deploy.*.a", "deploy..*", "deploy.*.*"] {
            assert!(Grant::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_capability_consists_of_dotted_segments() {
        for text in ["deploy", "replay.execute", "break-glass", "a.b_c.D9"] {
            assert_eq!(Capability::parse(text).unwrap().to_string(), text);
        }
        for text in ["", ".", "a.", ".a", "a..b", "a b", " a", "a ", "ä", "a\n"] {
            assert!(Capability::parse(text).is_err(), "{text:?}");
        }
    }
}

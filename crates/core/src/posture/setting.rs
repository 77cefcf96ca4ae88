//! Settings with a few values: how much each value permits, and how the document writes it.

use super::{
    ApprovalRule, ConnectRule, Durability, Enforcement, ImageRule, PodRule, SeparationOfDuties, UngovernedRule,
    WorkloadRule,
};

/// A setting whose values can be ordered by how much they permit.
pub(super) trait Setting: Copy {
    /// How much the value permits compared with the others, and the value as the document writes it.
    fn describe(self) -> (u8, &'static str);
}

impl Setting for ApprovalRule {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Required => (0, "required"),
            Self::None => (1, "none"),
        }
    }
}

impl Setting for Enforcement {
    fn describe(self) -> (u8, &'static str) {
        let laxity = match self {
            Self::Enforce => 0,
            Self::Warn => 1,
            Self::Audit => 2,
        };
        (laxity, self.as_str())
    }
}

impl Setting for SeparationOfDuties {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Proven => (0, "proven"),
            Self::Claimed => (1, "claimed"),
            Self::Off => (2, "off"),
        }
    }
}

impl Setting for WorkloadRule {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Deny => (0, "deny"),
            Self::Approve => (1, "approve"),
            Self::Allow => (2, "allow"),
        }
    }
}

impl Setting for PodRule {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Deny => (0, "deny"),
            Self::Allow => (1, "allow"),
        }
    }
}

impl Setting for UngovernedRule {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Deny => (0, "deny"),
            Self::Allow => (1, "allow"),
        }
    }
}

impl Setting for ConnectRule {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Deny => (0, "deny"),
            Self::Audit => (1, "audit"),
            Self::Allow => (2, "allow"),
        }
    }
}

impl Setting for Durability {
    fn describe(self) -> (u8, &'static str) {
        (u8::from(self == Self::BestEffort), self.as_str())
    }
}

impl Setting for ImageRule {
    fn describe(self) -> (u8, &'static str) {
        match self {
            Self::Digest => (0, "digest"),
            Self::Any => (1, "any"),
        }
    }
}

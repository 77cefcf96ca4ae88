//! Capability rules: conditions in CEL (the Common Expression Language) that require further capabilities.
//!
//! A rule is compiled when its posture is read, and evaluated for each request. The administrator writes the condition,
//! but a tenant writes the object that it is evaluated on. So every step is counted and limited, and a condition that
//! has no result denies the request. `docs/capability-rules.md` describes the language.

mod compile;
mod evaluate;
mod expression;
mod fuel;
mod input;
mod json;
mod operators;
mod value;
mod variables;

#[cfg(test)]
mod tests;

pub(crate) use input::{RuleInput, RuleObject, RuleUser};

use self::{
    evaluate::Evaluation,
    expression::Node,
    fuel::{Fault, Fuel},
    variables::{Specs, Variables},
};
use crate::approval::capability::Capability;

/// The most rules in a posture.
pub(crate) const MAX_RULES: usize = 64;

/// A condition that requires further capabilities.
#[derive(Clone, Debug)]
pub struct CapabilityRule {
    /// The rule's name, unique in its posture.
    pub name: String,
    /// The condition as the document has it, at most 2,048 bytes.
    pub when: String,
    /// The capabilities that are required if the condition is true; at least one.
    pub require: Vec<Capability>,
    /// Why the capabilities are required, for people.
    pub message: Option<String>,
    condition: Node,
}

/// A rule that has no result for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("capability rule {rule}: {fault}")]
pub(crate) struct RuleError {
    rule: String,
    fault: Fault,
}

impl CapabilityRule {
    /// Compiles a rule. Fails if `when` is not a valid condition; the error says why, with line and column.
    pub fn compile(
        name: String,
        when: String,
        require: Vec<Capability>,
        message: Option<String>,
    ) -> Result<Self, String> {
        let condition = compile::compile(&when)?;
        Ok(Self { name, when, require, message, condition })
    }

    /// Everything that the document says: name, condition, capabilities and message.
    pub(super) fn as_written(&self) -> (&str, &str, &[Capability], Option<&str>) {
        // The compiled condition follows from `when`.
        let Self { name, when, require, message, condition: _ } = self;
        (name, when, require, message.as_deref())
    }

    /// Why the capabilities are required: the message, or else the rule's name.
    pub(crate) fn reason(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.name)
    }
}

/// The rules whose conditions are true, in the posture's order. All rules of a request share one limit of steps.
pub(crate) fn matching<'p>(
    rules: &'p [CapabilityRule],
    input: &RuleInput<'_>,
) -> Result<Vec<&'p CapabilityRule>, RuleError> {
    #[cfg(test)]
    crate::work::count(crate::work::Work::CapabilityRules);
    let fuel = Fuel::full();
    let specs = Specs::default();
    let variables = Variables::new(input, &specs, &fuel);
    let mut matching = Vec::new();
    for rule in rules {
        match Evaluation::new(&variables, &fuel).bool(&rule.condition) {
            Ok(true) => matching.push(rule),
            Ok(false) => {}
            Err(fault) => return Err(RuleError { rule: rule.name.clone(), fault }),
        }
    }
    Ok(matching)
}

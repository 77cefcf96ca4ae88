//! Capability rules: which further capabilities a request needs, by conditions in CEL (the Common Expression Language)
//! over the request and its objects.
//!
//! A rule is compiled when its posture is read, and evaluated by `decide`. An expression is the administrator's, the
//! object that it goes through a tenant's: so every step is paid for, and a condition without an answer is an error, for
//! which the request is denied. The language is told in `docs/capability-rules.md`.

mod compile;
mod evaluate;
mod expression;
mod fuel;
mod json;
mod operators;
mod value;
mod variables;

#[cfg(test)]
mod tests;

use self::{
    evaluate::Evaluation,
    expression::Node,
    fuel::{Fault, Fuel},
    variables::{Specs, Variables},
};
use crate::{approval::capability::Capability, request::admission_review::Request};

/// The most rules in a posture.
pub(crate) const MAX_RULES: usize = 64;

/// Where its condition holds, a request needs further capabilities.
#[derive(Clone, Debug)]
pub struct CapabilityRule {
    /// What the rule is called; no other in the posture is.
    pub name: String,
    /// The condition, as it is written.
    pub when: String,
    /// What is needed where it holds; at least one.
    pub require: Vec<Capability>,
    /// What people are told.
    pub message: Option<String>,
    condition: Node,
}

/// A rule that has no answer for a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("capability rule {rule}: {fault}")]
pub(crate) struct RuleError {
    rule: String,
    fault: Fault,
}

impl CapabilityRule {
    /// Compiles a rule. The error says where in `when` something is wrong, and what.
    pub fn compile(
        name: String,
        when: String,
        require: Vec<Capability>,
        message: Option<String>,
    ) -> Result<Self, String> {
        let condition = compile::compile(&when)?;
        Ok(Self { name, when, require, message, condition })
    }

    /// Why it needs what it needs, for people.
    pub(crate) fn told(&self) -> &str {
        self.message.as_deref().unwrap_or(&self.name)
    }
}

/// The rules whose conditions hold, in the posture's order.
pub(crate) fn matching<'p>(
    rules: &'p [CapabilityRule],
    request: &Request<'_>,
) -> Result<Vec<&'p CapabilityRule>, RuleError> {
    let fuel = Fuel::full();
    let specs = Specs::default();
    let variables = Variables::of(request, &specs, &fuel);
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

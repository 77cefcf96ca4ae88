//! The condition of a capability rule: an administrator's expression, over an object that a tenant wrote.

use crate::world::{World, outcome};

/// The decision on an approved Deployment under the rule, or what is wrong with the rule.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    let world = World::shared();
    let postures = world.with_rule(text);
    if let Some(problem) = postures.problems().first() {
        return format!("{}: {}", problem.path, problem.message);
    }
    let approved = world.approved_by(&world.signed(world.payload()).to_json());
    let decision = world.judge_by(&postures, &approved, "production");
    assert_eq!(decision, world.judge_by(&postures, &approved, "production"), "the same twice is not the same");
    outcome(&decision)
}

//! The condition of a capability rule: an administrator's expression about a tenant's object.

use crate::world::{World, outcome};

/// The decision on an approved Deployment under the rule, or the problem of the rule.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    let world = World::shared();
    let postures = world.with_rule(text);
    if let Some(problem) = postures.problems().first() {
        return format!("{}: {}", problem.path, problem.message);
    }
    let approved = world.approved_by(&world.signed(world.payload()).to_json());
    let decision = world.decide_under(&postures, &approved, "production");
    assert_eq!(
        decision,
        world.decide_under(&postures, &approved, "production"),
        "two decisions about the same request differ"
    );
    outcome(&decision)
}

//! The capabilities that a request requires, and why: those of the action, and those of the capability rules that match.

use writgate_core::{
    approval::{Action, RequiredCapability},
    posture::Posture,
    record::DecisionRecord,
};

/// The capabilities that `records` require, each with its reason: the action, or the rules that match.
pub(crate) fn required_capabilities<'r>(
    posture: &Posture,
    action: Option<Action>,
    emergency: bool,
    records: impl IntoIterator<Item = &'r DecisionRecord>,
) -> Vec<RequiredCapability> {
    let mut needed: Vec<RequiredCapability> = Vec::new();
    let mut need =
        |capability: &str, because: String| match needed.iter_mut().find(|known| known.capability == capability) {
            Some(known) if known.because.contains(&because) => {}
            Some(known) => known.because.push(because),
            None => needed.push(RequiredCapability { capability: capability.to_owned(), because: vec![because] }),
        };
    let own = match (&posture.break_glass, action) {
        (Some(rule), _) if emergency => Some((&rule.capabilities, "required by every break-glass approval".to_owned())),
        (_, Some(action)) => Some((&posture.rule(action).capabilities, format!("required by every {action}"))),
        (_, None) => None,
    };
    for (capability, because) in own.iter().flat_map(|(own, why)| own.iter().map(move |one| (one, why))) {
        need(capability.as_str(), because.clone());
    }
    for rule in records.into_iter().flat_map(|record| &record.capability_rules) {
        let why = rule.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        for capability in &rule.require {
            need(capability, format!("rule {}{why}", rule.name));
        }
    }
    needed
}

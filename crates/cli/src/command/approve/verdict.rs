//! Whether a signature is worth making: the gate's own decision about it, and who else could make one.
//!
//! Called by `approve` twice: with what is known before somebody is asked, and with the envelope as it would be written.

use writgate_core::{
    approval::{Envelope, KeyId},
    record::Denial,
};

use crate::{approval::case::Case, failure::Failure, terminal::output::shown};

/// What is refused whoever signs, and what is known of the key before it signs.
pub(super) fn before(case: &Case<'_>, key: Option<KeyId>) -> Result<(), Failure> {
    if !case.wrong.is_empty() {
        return Err(refusal(
            "what is asked for is not what it says",
            case.wrong.iter().map(|wrong| shown(wrong)),
            None,
        ));
    }
    if let Some(key) = key.filter(|key| case.envelope.keyids().any(|signed| signed == key.to_string())) {
        return Err(signed_already(key));
    }
    let Some((_, standing)) = &case.rules else { return Ok(()) };
    let refused: Vec<String> = standing
        .refused(&case.matter)
        .map(|(asked, denial)| format!("{} ({})", told(denial), shown(&asked.workload.subject.name)))
        .collect();
    if !refused.is_empty() {
        return Err(refusal("the posture would refuse it whoever signed", refused, None));
    }
    if !standing.needs_approval() {
        return Err(Failure::No("not signed: the posture asks for no approval of this; apply it as it is".to_owned()));
    }
    if standing.seen.iter().all(|seen| seen.unchanged) {
        return Err(Failure::No("not signed: it runs already as it is, and needs no approval".to_owned()));
    }
    let unknown = key.filter(|key| case.posture().is_some_and(|posture| posture.key(key).is_none()));
    match unknown {
        Some(key) => Err(refusal("the environment knows no such key", [format!("key {key}")], Some(case))),
        None => Ok(()),
    }
}

/// Whether the gate would take `alone`, which this key alone has signed; then what `all` of the signatures still lack,
/// in words.
pub(super) fn after(case: &mut Case<'_>, key: KeyId, alone: &Envelope, all: &Envelope) -> Result<Vec<String>, Failure> {
    let lacks_people = |denial: &Denial| matches!(denial, Denial::QuorumNotMet { .. });
    let Some(denials) = case.judge(alone)? else { return Ok(Vec::new()) };
    let against: Vec<String> = denials.iter().filter(|denial| !lacks_people(denial)).map(told).collect();
    if !against.is_empty() {
        return Err(refusal("the posture would refuse your signature", against, Some(case)));
    }
    let missing: Vec<Denial> = case.judge(all)?.unwrap_or_default();
    let Some(missing) = missing.iter().find(|denial| lacks_people(denial)) else { return Ok(Vec::new()) };
    let signed: Vec<String> = all.keyids().map(str::to_owned).chain([key.to_string()]).collect();
    Ok(vec![
        format!("not enough yet: {}", told(missing)),
        format!("{}; with: kubectl writgate approve -f FILE --key KEY --add-signature APPROVAL", others(case, &signed)),
    ])
}

pub(super) fn signed_already(key: KeyId) -> Failure {
    Failure::No(format!("key {key} has signed this already; a second signature counts for nothing"))
}

/// `SelfApproval: alice@acme.example signed, but …`
fn told(denial: &Denial) -> String {
    shown(&format!("{}: {denial}", denial.code()))
}

/// Several lines: what, why, and who could instead where that would help.
fn refusal(what: &str, why: impl IntoIterator<Item = String>, instead: Option<&Case<'_>>) -> Failure {
    let mut lines = vec![format!("not signed: {what}")];
    lines.extend(why.into_iter().map(|line| format!("  {line}")));
    lines.extend(instead.map(|case| others(case, &[])));
    Failure::No(lines.join("\n"))
}

/// Who could sign, but those who have.
fn others(case: &Case<'_>, signed: &[String]) -> String {
    let has_signed = |key: String| signed.contains(&key);
    let could = case.could_sign();
    let could = could.iter().filter(|reviewer| !reviewer.keys.iter().any(|key| has_signed(key.id.to_string())));
    let names: Vec<String> = could
        .map(|reviewer| match &*reviewer.groups {
            [] => shown(&reviewer.name),
            groups => shown(&format!("{} ({})", reviewer.name, groups.join(", "))),
        })
        .collect();
    match &*names {
        [] => "nobody else in the posture could sign it".to_owned(),
        names => format!("who could sign it: {}", names.join(", ")),
    }
}

//! Whether a signature is useful: the webhook's own decision about it, and who else could sign.

use writgate_core::{
    approval::{Envelope, KeyId},
    record::Denial,
};

use crate::{approval::draft::ApprovalDraft, failure::Failure, terminal::output::shown};

/// Fails for what is denied whoever signs, and for what is known of the key before it signs.
pub(super) fn before(draft: &ApprovalDraft<'_>, key: Option<KeyId>) -> Result<(), Failure> {
    if !draft.contradictions.is_empty() {
        return Err(refusal(
            "claims differ from what was computed",
            draft.contradictions.iter().map(|wrong| shown(wrong)),
            None,
        ));
    }
    if let Some(key) = key.filter(|key| draft.envelope.keyids().any(|signed| signed == key.to_string())) {
        return Err(signed_already(key));
    }
    let Some((_, assessment)) = &draft.decided else { return Ok(()) };
    let refused: Vec<String> = assessment
        .refused(&draft.proposal)
        .map(|(asked, denial)| format!("{} ({})", describe(denial), shown(&asked.workload.subject.name)))
        .collect();
    if !refused.is_empty() {
        return Err(refusal("the posture denies it whoever signs", refused, None));
    }
    if !assessment.needs_approval() {
        return Err(Failure::No("not signed: the posture requires no approval for this; apply it as it is".to_owned()));
    }
    if assessment.seen.iter().all(|seen| seen.unchanged) {
        return Err(Failure::No(
            "not signed: the live objects have these specs already, and require no approval".to_owned(),
        ));
    }
    let unknown = key.filter(|key| draft.posture().is_some_and(|posture| posture.key(key).is_none()));
    match unknown {
        Some(key) => Err(refusal("the posture does not contain this key", [format!("key {key}")], Some(draft))),
        None => Ok(()),
    }
}

/// Fails if the webhook would deny `alone`, which only this key has signed. Returns lines that say what `all` of the
/// signatures still lack.
pub(super) fn after(
    draft: &mut ApprovalDraft<'_>,
    key: KeyId,
    alone: &Envelope,
    all: &Envelope,
) -> Result<Vec<String>, Failure> {
    let lacks_people = |denial: &Denial| matches!(denial, Denial::QuorumNotMet { .. });
    let Some(denials) = draft.decide(alone)? else { return Ok(Vec::new()) };
    let against: Vec<String> = denials.iter().filter(|denial| !lacks_people(denial)).map(describe).collect();
    if !against.is_empty() {
        return Err(refusal("the posture does not accept your signature", against, Some(draft)));
    }
    let missing: Vec<Denial> = draft.decide(all)?.unwrap_or_default();
    let Some(missing) = missing.iter().find(|denial| lacks_people(denial)) else { return Ok(Vec::new()) };
    let signed: Vec<String> = all.keyids().map(str::to_owned).chain([key.to_string()]).collect();
    Ok(vec![
        format!("more signatures are required: {}", describe(missing)),
        format!(
            "{}; add a signature with: kubectl writgate approve -f FILE --key KEY --add-signature APPROVAL",
            others(draft, &signed)
        ),
    ])
}

pub(super) fn signed_already(key: KeyId) -> Failure {
    Failure::No(format!("key {key} has already signed this; a second signature does not count"))
}

/// `SelfApproval: alice@acme.example signed, but …`
fn describe(denial: &Denial) -> String {
    shown(&format!("{}: {denial}", denial.code()))
}

/// An error of several lines: what was found, why, and who could sign instead.
fn refusal(what: &str, why: impl IntoIterator<Item = String>, instead: Option<&ApprovalDraft<'_>>) -> Failure {
    let mut lines = vec![format!("not signed: {what}")];
    lines.extend(why.into_iter().map(|line| format!("  {line}")));
    lines.extend(instead.map(|draft| others(draft, &[])));
    Failure::No(lines.join("\n"))
}

/// Who could sign, except for those who have.
fn others(draft: &ApprovalDraft<'_>, signed: &[String]) -> String {
    let has_signed = |key: String| signed.contains(&key);
    let could = draft.could_sign();
    let could = could.iter().filter(|reviewer| !reviewer.keys.iter().any(|key| has_signed(key.id.to_string())));
    let names: Vec<String> = could
        .map(|reviewer| match &*reviewer.groups {
            [] => shown(&reviewer.name),
            groups => shown(&format!("{} ({})", reviewer.name, groups.join(", "))),
        })
        .collect();
    match &*names {
        [] => "no other reviewer of the posture could sign it".to_owned(),
        names => format!("reviewers who could sign it: {}", names.join(", ")),
    }
}

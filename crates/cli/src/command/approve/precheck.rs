//! Whether a signature is useful: the webhook's own decision about it, and who else could sign.

use writgate_core::{
    approval::{Envelope, KeyId, PublicKey},
    record::Denial,
};

use crate::{approval::draft::ApprovalDraft, command::review::ReviewReport, failure::Failure, terminal::output::shown};

/// Fails for what is denied whoever signs, and for what is known of the key before it signs.
pub(crate) fn before(draft: &ApprovalDraft<'_>, key: Option<&PublicKey>) -> Result<(), Failure> {
    if !draft.contradictions.is_empty() {
        return Err(refusal(
            "claims differ from what was computed",
            draft.contradictions.iter().map(|wrong| shown(wrong)),
            None,
        ));
    }
    if let Some(key) = key {
        not_signed_yet(&draft.envelope, key)?;
    }
    let key = key.map(PublicKey::id);
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
            "not signed: the live objects have these specs already, and require no approval; if they will be deleted and \
             created again, request that with `kubectl writgate request --recreate`"
                .to_owned(),
        ));
    }
    let unknown = key.filter(|key| draft.posture().is_some_and(|posture| posture.key(key).is_none()));
    match unknown {
        Some(key) => Err(refusal("the posture does not contain this key", [format!("key {key}")], Some(draft))),
        None => Ok(()),
    }
}

/// Fails if another cluster of the approval would deny it whoever signs.
pub(super) fn other_clusters(review: &ReviewReport) -> Result<(), Failure> {
    let against: Vec<String> = review.denied_elsewhere().collect();
    if against.is_empty() {
        return Ok(());
    }
    Err(refusal("another cluster of the approval would deny it whoever signs", against, None))
}

/// Fails if the webhook would deny `alone`, which only this key has signed. Returns lines that say what `all` of the
/// signatures still lack. `next` is the command of the next reviewer.
pub(super) fn after(
    draft: &mut ApprovalDraft<'_>,
    key: KeyId,
    alone: &Envelope,
    all: &Envelope,
    next: &str,
) -> Result<Vec<String>, Failure> {
    let lacks_people = |denial: &Denial| matches!(denial, Denial::QuorumNotMet { .. });
    let Some(denials) = draft.decide(alone)? else { return Ok(Vec::new()) };
    let against: Vec<String> = denials.iter().filter(|denial| !lacks_people(denial)).map(describe).collect();
    if !against.is_empty() {
        return Err(refusal("the posture does not accept your signature", against, Some(draft)));
    }
    let missing: Vec<Denial> = draft.decide(all)?.unwrap_or_default();
    let Some(missing) = missing.iter().find(|denial| lacks_people(denial)) else { return Ok(Vec::new()) };
    let verified = draft.signatures.iter().filter(|signature| signature.is_verified());
    let signed: Vec<String> = verified.map(|signature| signature.keyid.clone()).chain([key.to_string()]).collect();
    Ok(vec![
        format!("more signatures are required: {}", describe(missing)),
        format!("{}; add a signature with: {next}", others(draft, &signed)),
    ])
}

/// Fails if `key` has signed the envelope: a signature that verifies, whatever key id it claims.
pub(super) fn not_signed_yet(envelope: &Envelope, key: &PublicKey) -> Result<(), Failure> {
    if !envelope.is_signed_by(key) {
        return Ok(());
    }
    Err(Failure::No(format!("key {} has already signed this; a second signature does not count", key.id())))
}

/// Fails if the review that was shown leaves out or shortens a field.
pub(crate) fn shown_whole(review: &ReviewReport, full: bool) -> Result<(), Failure> {
    if full || review.not_shown_whole().is_empty() {
        return Ok(());
    }
    let fields = review.not_shown_whole().iter().cloned();
    Err(refusal("the review does not show these fields whole; read them with --full", fields, None))
}

/// Fails if a second look at the postures and the live objects makes another review.
pub(super) fn unchanged(shown: &ReviewReport, now: &ReviewReport) -> Result<(), Failure> {
    if shown.code() == now.code() {
        return Ok(());
    }
    let what = "what was reviewed has changed since; read the review again";
    Err(refusal(what, shown.changes_to(now)?, None))
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

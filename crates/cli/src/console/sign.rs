//! Signing and rejecting. The server reads everything again, signs only what the page has shown, and signs one thing at a time.

use std::sync::PoisonError;

use axum::{
    Extension, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use maud::{Markup, html};
use zeroize::Zeroizing;

use crate::{
    cluster::posted::{StoredApproval, location},
    command::{
        approve::{precheck, signing},
        reject,
        review::{code::differences, view::Block},
    },
    console::{
        Console, PageError, Shared,
        desk::{Outcome, ReviewDigest, Reviewed},
        foreign, layout,
        look::{self, Look},
        page, requests, review,
        security::Form,
    },
    failure::Failure,
    signer::{Signer, SignerFlags},
    terminal::passphrase::TypedPassphrase,
};

/// The field of a form that keeps the passphrase.
const KEEP: &str = "keep";

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/requests/{namespace}/{name}/sign", post(sign))
        .route("/requests/{namespace}/{name}/reject", post(reject))
        .route("/results/{digest}", get(result))
        .route("/results/{digest}/approval.json", get(download))
        .route("/forget-passphrase", post(forget))
}

/// The form that signs what the page shows. `blocks` has the checklist.
pub(super) fn form(console: &Console, address: &str, digest: ReviewDigest, blocks: &[Block], full: bool) -> Markup {
    let Some(signer) = &console.settings.signer else {
        return html! {
            section .panel {
                h2 { "Sign" }
                p { "The console was started without a signer. Start it with --key, --ssh-agent or --signer to sign here." }
            }
        };
    };
    let items = blocks.iter().filter_map(|block| match block {
        Block::Checklist { items, .. } => Some(items),
        _ => None,
    });
    let fields = html! {
        @if full { input type="hidden" name="full" value="1"; }
        fieldset {
            legend { "Tick what you have checked" }
            @for item in items.flatten() {
                label { input type="checkbox" name="checked" value=(item.line) required; " " (review::item(item)) }
            }
        }
        fieldset {
            legend { "Where the approval goes" }
            label { input type="radio" name="where" value="cluster" checked; " Into a ConfigMap in the namespace, where the webhook finds it" }
            label { input type="radio" name="where" value="file"; " Into a file that this page offers" }
        }
        (passphrase(console, signer))
        p { "You sign the statement and the review with the digest " span .digest { (digest) } "." }
        button .primary { "Sign this digest" }
    };
    panel(console, "Sign", &format!("{address}/sign"), digest, &fields)
}

/// The form that rejects the request.
pub(super) fn rejection_form(console: &Console, address: &str, digest: ReviewDigest) -> Markup {
    let Some(signer) = &console.settings.signer else { return html! {} };
    let fields = html! {
        label { "Reason, for the requester " input type="text" name="reason" required maxlength="1000"; }
        (passphrase(console, signer))
        p { "You reject what the review with the digest " span .digest { (digest) } " shows. A rejection changes no decision of the webhook." }
        button { "Reject this request" }
    };
    panel(console, "Reject", &format!("{address}/reject"), digest, &fields)
}

/// A form that acts on the review with this digest.
fn panel(console: &Console, title: &str, action: &str, digest: ReviewDigest, fields: &Markup) -> Markup {
    html! {
        section .panel {
            h2 { (title) }
            form method="post" action=(action) {
                (layout::csrf(console))
                input type="hidden" name="digest" value=(digest);
                (fields)
            }
        }
    }
}

/// The field for the passphrase, if the signer requires one.
fn passphrase(console: &Console, signer: &SignerFlags) -> Markup {
    if console.session.passphrase().is_some() {
        return html! {
            p { "The passphrase is kept until the session ends. " button formaction=(console.at("/forget-passphrase")) formnovalidate { "Forget it now" } }
        };
    }
    // A signer that cannot be found now is reported when it is to sign.
    let is_required = signer.find().is_ok_and(|signer| signer.asks_for_passphrase());
    html! {
        @if is_required {
            label { "Passphrase of " (foreign(signer.key.as_deref().map(|key| key.display().to_string()).unwrap_or_default())) " "
                input type="password" name="passphrase" required autocomplete="off"; }
            label { input type="checkbox" name=(KEEP) value="1"; " Keep the passphrase until the session ends" }
        }
    }
}

async fn forget(State(console): State<Shared>) -> Redirect {
    console.session.forget_passphrase();
    Redirect::to(&console.at("/"))
}

async fn sign(
    State(console): State<Shared>,
    Path(place): Path<(String, String)>,
    Extension(form): Extension<Form>,
) -> Result<Response, PageError> {
    console.act(form, place, approve).await
}

async fn reject(
    State(console): State<Shared>,
    Path(place): Path<(String, String)>,
    Extension(form): Extension<Form>,
) -> Result<Response, PageError> {
    console.act(form, place, refuse).await
}

/// What a form does after its review was found.
type Act = fn(&Console, &Form, &Reviewed) -> Result<Acted, Failure>;

/// The result of a form.
enum Acted {
    Done(Outcome),
    /// What was reviewed has changed.
    Changed(Vec<String>),
}

impl Console {
    /// Finds the review that the form names, and acts on it. One form at a time: of two tabs, the second one finds what the first
    /// one did.
    async fn act(
        self: &Shared,
        form: Form,
        (namespace, name): (String, String),
        act: Act,
    ) -> Result<Response, PageError> {
        let digest: ReviewDigest = form.field("digest").parse()?;
        let address = requests::address(self, &namespace, &name);
        let acted = self
            .blocking(move |console| {
                let _one = console.signing.lock().unwrap_or_else(PoisonError::into_inner);
                if console.session.desk(|desk| desk.outcome(digest)).is_some() {
                    return Ok(None);
                }
                let reviewed = console.session.desk(|desk| desk.review(digest));
                let reviewed = reviewed
                    .filter(|reviewed| (&*reviewed.namespace, &*reviewed.name) == (&*namespace, &*name))
                    .ok_or_else(|| {
                        Failure::No(
                            "nothing was signed: this session did not show this review, or shows it no longer; read the review \
                             again"
                                .to_owned(),
                        )
                    })?;
                let acted = act(console, &form, &reviewed)?;
                if let Acted::Done(outcome) = &acted {
                    console.session.desk(|desk| desk.finish(outcome.clone()));
                    console.snapshots.wake();
                }
                Ok(Some(acted))
            })
            .await
            .map_err(|failure| PageError::from(failure).back_to(&address))?;
        if let Some(Acted::Changed(changes)) = acted {
            return Ok((StatusCode::CONFLICT, changed(self, &address, &changes)).into_response());
        }
        Ok(Redirect::to(&self.at(&format!("/results/{digest}"))).into_response())
    }

    /// The signer of the flags, with the passphrase of the form or the one that is kept.
    fn signer_for(&self, form: &Form) -> Result<SignerFlags, Failure> {
        let mut flags = self.settings.signer.clone().ok_or_else(|| {
            Failure::Misuse("nothing was signed: the console was started without a signer".to_owned())
        })?;
        let typed = Zeroizing::new(form.field("passphrase").to_owned());
        let passphrase = if typed.is_empty() { self.session.passphrase() } else { Some(typed) };
        flags.passphrase.typed = passphrase.map(TypedPassphrase);
        Ok(flags)
    }

    /// Unlocks the signer, and keeps its passphrase if the form says so.
    fn unlock(&self, signer: &Signer<'_>, flags: &SignerFlags, form: &Form) -> Result<(), Failure> {
        if signer.asks_for_passphrase() {
            return Err(Failure::Misuse("nothing was signed: the passphrase of the key is required".to_owned()));
        }
        let key = signer.unlock()?.clone();
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        if let Some(typed) = flags.passphrase.typed.as_ref().filter(|_| form.has(KEEP, "1")) {
            self.session.keep_passphrase(typed.0.clone());
        }
        Ok(())
    }
}

/// Looks at the request again, and does `work` only if the review is the one that the page has shown.
fn unless_changed(
    console: &Console,
    reviewed: &Reviewed,
    work: impl FnOnce(Look<'_, '_>, Option<StoredApproval>) -> Result<Acted, Failure>,
) -> Result<Acted, Failure> {
    let place = (&*reviewed.namespace, &*reviewed.name);
    look::at(console, place, reviewed.statement.as_ref(), |look, read| {
        let now = Reviewed::of(place.0, place.1, None, &look.draft.envelope, &look.report)?;
        match compared(reviewed, &now) {
            Some(changes) => Ok(Acted::Changed(changes)),
            None => work(look, read),
        }
    })
}

/// Where what is now differs from what was reviewed.
fn compared(reviewed: &Reviewed, now: &Reviewed) -> Option<Vec<String>> {
    if reviewed.digest == now.digest {
        return None;
    }
    let mut changes = differences(&reviewed.report, &now.report);
    if reviewed.message != now.message {
        changes.insert(0, "the statement: the cluster has another approval of this request now".to_owned());
    }
    Some(changes)
}

fn approve(console: &Console, form: &Form, reviewed: &Reviewed) -> Result<Acted, Failure> {
    unless_changed(console, reviewed, |mut look, read| {
        let unticked = look.report.checklist_lines().find(|line| !form.has("checked", line));
        if let Some(line) = unticked {
            return Err(Failure::Misuse(format!("nothing was signed: tick \"{line}\" after you have checked it")));
        }
        precheck::shown_whole(&look.report, form.has("full", "1"))?;
        let is_file = form.has("where", "file");
        if !is_file {
            signing::can_be_written(read.as_ref())?;
        }
        let flags = console.signer_for(form)?;
        let signer = flags.find()?;
        console.unlock(&signer, &flags, form)?;
        if let Some(own) = signer.public() {
            look.set_own_key(own);
        }
        precheck::before(&look.draft, signer.public())?;
        let next = signing::next(look.posted);
        let completed = signing::complete(&mut look.draft, &signer, &next)?;
        // The request may have been cancelled meanwhile.
        look.store.get(&reviewed.namespace, &reviewed.name)?;
        let mut facts = vec![("Digest", reviewed.digest.to_string()), ("Key", completed.key.to_string())];
        let envelope = completed.envelope.to_json() + "\n";
        let missing = completed.missing.clone();
        let mut file = None;
        if is_file {
            facts.extend(missing.into_iter().map(|line| ("Note", line)));
            file = Some((format!("{}.json", look.posted.request.digest.approval_name()), envelope));
        } else {
            let Some(_) = signing::write(&look.store, look.posted, completed, read)? else {
                return Ok(Acted::Changed(vec![
                    "another reviewer has signed another statement for this request meanwhile; your signature was not written"
                        .to_owned(),
                ]));
            };
            facts.push(("Written", location(&reviewed.namespace, &look.posted.request.digest.approval_name())));
            facts.push(("State", look::state(console, look.store.cluster, look.posted).text()));
        }
        Ok(Acted::Done(Outcome { digest: reviewed.digest, title: "Signed", facts, file }))
    })
}

fn refuse(console: &Console, form: &Form, reviewed: &Reviewed) -> Result<Acted, Failure> {
    let reason = form.field("reason").trim();
    if reason.is_empty() {
        return Err(Failure::Misuse("nothing was signed: a rejection requires a reason, for the requester".to_owned()));
    }
    unless_changed(console, reviewed, |look, _| {
        let flags = console.signer_for(form)?;
        let signer = flags.find()?;
        console.unlock(&signer, &flags, form)?;
        let rejection = reject::prepare(&look.store, look.posted, &look.draft, signer.unlock()?, reason)?;
        let (key, envelope) = reject::sign(&rejection, &signer)?;
        let written = look.store.write_rejection(look.posted, &envelope)?;
        let facts = vec![
            ("Digest", reviewed.digest.to_string()),
            ("Key", key.to_string()),
            ("Reason", reason.to_owned()),
            ("Written", location(&reviewed.namespace, &written)),
            ("State", look::state(console, look.store.cluster, look.posted).text()),
        ];
        Ok(Acted::Done(Outcome { digest: reviewed.digest, title: "Rejected", facts, file: None }))
    })
}

fn changed(console: &Console, address: &str, changes: &[String]) -> Html<String> {
    let body = html! {
        div .message role="alert" {
            p { strong { "Nothing was signed." } " What you reviewed has changed since:" }
            ul { @for change in changes { li { (foreign(change)) } } }
        }
        p { a href=(address) { "Read the review again" } }
    };
    page(console, "The review has changed", body)
}

async fn result(State(console): State<Shared>, Path(digest): Path<ReviewDigest>) -> Result<Html<String>, PageError> {
    let Some(outcome) = console.session.desk(|desk| desk.outcome(digest)) else {
        return Err(layout::not_found().await);
    };
    let body = html! {
        div .message .done role="status" {
            dl { @for (name, value) in &outcome.facts { dt { (name) } dd { (foreign(value)) } } }
        }
        @if outcome.file.is_some() {
            p { a href=(console.at(&format!("/results/{digest}/approval.json"))) { "Save the approval" } " This page offers it until the session ends." }
        }
        p { a href=(console.at("/")) { "All requests" } }
    };
    Ok(page(&console, outcome.title, body))
}

async fn download(State(console): State<Shared>, Path(digest): Path<ReviewDigest>) -> Result<Response, PageError> {
    let outcome = console.session.desk(|desk| desk.outcome(digest));
    let Some((name, text)) = outcome.and_then(|outcome| outcome.file) else {
        return Err(layout::not_found().await);
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, text).into_response())
}

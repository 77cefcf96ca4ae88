//! Posted requests and rejections, checked when they are written.
//!
//! No decision rests on either: the command line computes again what a request claims, and verifies who signed a
//! rejection. The guard makes the author of a request certain, keeps both unchangeable, and bounds how many a namespace
//! has. What makes a ConfigMap one of the two is defined in `approval`. Anybody whom RBAC permits may delete them.

use super::{GuardContext, content, verdict_of};
use crate::{
    approval::{posted_request::PostedRequest, rejection::Rejection},
    decide::{driver::Step, facts::Governance, verdict::DecisionDraft},
    kube::config_map::ConfigMapContent,
    posture::PostureError,
    record::denial::Denial,
    request::admission_review::{Object, Operation, Request},
    text::{on_one_line, quoted},
    vocabulary::{KIND_LABEL, REJECTION_KEY, REJECTION_KIND, REQUEST_KIND},
};

/// The most posted requests in one namespace, and the most rejections.
pub const MAX_POSTED: usize = 200;

/// How many requests and rejections a namespace has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostedCounts {
    /// The number of posted requests.
    pub requests: usize,
    /// The number of rejections.
    pub rejections: usize,
}

/// What is known of the requests and rejections in the request's namespace. It may be some milliseconds old.
#[derive(Clone, Copy, Debug)]
pub enum PostedRequests<'a> {
    /// They were counted.
    Counted(PostedCounts),
    /// Their number is not known, for this reason.
    Unknown(&'a str),
    /// The installation accepts none.
    NotAccepted,
}

/// What the label of a ConfigMap says that it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PostedKind {
    Request,
    Rejection,
}

impl PostedKind {
    fn of(object: &Object<'_>) -> Option<Self> {
        match object.metadata.labels.get(KIND_LABEL) {
            Some(REQUEST_KIND) => Some(Self::Request),
            Some(REJECTION_KIND) => Some(Self::Rejection),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Request => "posted request",
            Self::Rejection => "rejection",
        }
    }
}

/// Whether the request would leave a ConfigMap with the label of a posted request or of a rejection.
pub(super) fn concerns(request: &Request<'_>) -> bool {
    request.operation != Operation::Delete && request.object.as_ref().and_then(PostedKind::of).is_some()
}

pub(super) fn check<'a>(request: &Request<'_>, context: &GuardContext<'_>, mut draft: DecisionDraft) -> Step<'a> {
    let Governance::Governed { environment, project, posture } = context.governance else {
        return draft.not_an_action();
    };
    let Some(object) = &request.object else { return draft.not_an_action() };
    let Some(kind) = PostedKind::of(object) else { return draft.not_an_action() };
    let old = request.old_object.as_ref();
    if old.is_some_and(|old| PostedKind::of(old) == Some(kind) && is_same(object, old)) {
        return draft.not_an_action();
    }
    draft.record.project = project.map(str::to_owned);
    let written = if old.is_none() { "added" } else { "changed" };
    draft.record.change = Some(format!("{} {written}", kind.as_str()));
    if let ("", Err(PostureError::Unknown { why })) = (environment, posture) {
        let what = "the namespace's environment".to_owned();
        return draft.decided(verdict_of(vec![Denial::LookupFailed { what, why: why.clone() }]));
    }
    draft.record.environment = Some(environment.to_owned());
    let denial = denial(request, object, kind, context.posted);
    draft.decided(verdict_of(denial.into_iter().collect()))
}

/// Why the request is denied. The number is last: a ConfigMap that is not what its label says is denied as such.
fn denial(request: &Request<'_>, object: &Object<'_>, kind: PostedKind, posted: PostedRequests<'_>) -> Option<Denial> {
    let name = object.metadata.name.as_ref();
    let invalid = |why: String| {
        let name = if name.is_empty() { "without a name".to_owned() } else { quoted(name) };
        Some(Denial::RequestInvalid { name, kind: kind.as_str(), why })
    };
    if request.old_object.is_some() {
        return invalid(
            "the label or the content of a ConfigMap that exists cannot change; create another one".to_owned(),
        );
    }
    let counted = match posted {
        PostedRequests::Counted(counts) => Ok(counts),
        PostedRequests::Unknown(why) => Err(why),
        PostedRequests::NotAccepted => {
            let why = "this installation accepts none (requests.enabled: false); send the file to a reviewer instead: kubectl \
                       writgate request -o FILE";
            return invalid(why.to_owned());
        }
    };
    let checked = content(object).and_then(|content| match kind {
        PostedKind::Request => {
            let posted = PostedRequest::of(&request.namespace, name, &content)?;
            requested_by(&posted, &request.user.username)
        }
        PostedKind::Rejection => is_rejection(name, &content),
    });
    if let Err(why) = checked {
        // The text may repeat the names of members.
        return invalid(on_one_line(&why));
    }
    let found = match (counted, kind) {
        (Ok(counts), PostedKind::Request) => counts.requests,
        (Ok(counts), PostedKind::Rejection) => counts.rejections,
        (Err(why), _) => {
            let what = format!("how many {}s the namespace has", kind.as_str());
            return Some(Denial::LookupFailed { what, why: why.to_owned() });
        }
    };
    (found >= MAX_POSTED).then(|| Denial::TooManyRequests { kind: kind.as_str(), found, most: MAX_POSTED })
}

/// Whether the user who posts the request is the requester.
fn requested_by(posted: &PostedRequest, user: &str) -> Result<(), String> {
    let claimed = &posted.file.requested_by;
    if claimed == user {
        return Ok(());
    }
    Err(format!("its requestedBy is {}, expected the user who posts it, {}", quoted(claimed), quoted(user)))
}

/// Whether the ConfigMap `name` has the form of a rejection. No signature is verified: a rejection changes no decision, and a
/// reader verifies it.
fn is_rejection(name: &str, content: &ConfigMapContent) -> Result<(), String> {
    let unreadable = |why| format!("its {REJECTION_KEY} is not a rejection: {why}");
    let text = content.only_text(REJECTION_KEY)?;
    let (_, rejection) = Rejection::read(text).map_err(unreadable)?;
    let expected = rejection.request.rejection_name(text);
    if name == expected {
        return Ok(());
    }
    Err(format!("its name does not contain the digests of its request and of its {REJECTION_KEY}; expected {expected}"))
}

/// Whether the parts that the guard keeps unchangeable are the same.
fn is_same(object: &Object<'_>, old: &Object<'_>) -> bool {
    let texts = |object: &Object<'_>| {
        [object.immutable, object.data, object.binary_data].map(|text| text.map(|text| text.get().to_owned()))
    };
    texts(object) == texts(old)
}

//! What a decision rests on beside request, posture and time, and what it asks to be looked up.
//!
//! `decide` looks nothing up. What it lacks it names in [`Decision::wants`](crate::record::decision::Decision::wants) and denies as long
//! as it is not known; whoever called it finds it out, adds it to [`Known`] and decides again. So a request that needs
//! nothing costs nothing, and a lookup that fails is a denial without further code. Answered by the webhook's ledger
//! and cluster, by the command line from files, and by tests.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{
    approval::detached::{DetachedApproval, DetachedQuery},
    decide::single_use::{Use, UseRecord},
    kube::config_map::ConfigMapContent,
    posture::Document,
    record::decision::ObjectRecord,
    record::history::History,
    request::exempt::ExemptControllers,
};

/// After so many rounds of answers nothing is wanted any more: config maps, approvals beside the object as they are kept
/// and as they are now, the history, and for approvals from each of three places a use and its start.
pub const MAX_ROUNDS: usize = 10;

/// What was known before deciding.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The id that the decision gets, a `UUIDv7`.
    pub decision_id: Uuid,
    /// The controllers whose writes are not judged.
    pub exempt: &'a ExemptControllers,
    /// What was looked up for this request.
    pub known: &'a Known,
}

/// Something that must be found out, or done, before a decision is the last word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// Reserve this use of a single-use approval by an atomic create, or find who has it; in a dry run only look.
    Use(Use),
    /// The earlier admissions of this object.
    History(ObjectRecord),
    /// A ConfigMap of the request's namespace, by name.
    ConfigMap(String),
    /// Whether the request's user has the verb `govern` on the namespace of this name (`namespaces.writgate.dev`).
    Govern(String),
    /// Approvals beside the object, by what is kept of them: this costs nothing, and may be some milliseconds old.
    KeptApprovals(DetachedQuery),
    /// The same as they are now: Git applies an approval and what it is for in the same second.
    LiveApprovals(DetachedQuery),
    /// The documents of all postures as they are now: what is kept of them may be some milliseconds old.
    Documents,
}

/// The answers to [`Want`]s; an `Err` says why there is none, which denies.
#[derive(Clone, Debug, Default)]
pub struct Known {
    uses: BTreeMap<String, Result<Option<UseRecord>, String>>,
    history: Option<Result<History, String>>,
    config_maps: BTreeMap<String, Result<Option<ConfigMapContent>, String>>,
    kept_approvals: Option<Vec<DetachedApproval>>,
    live_approvals: Option<Result<Vec<DetachedApproval>, String>>,
    may_govern: Option<Result<bool, String>>,
    documents: Option<Result<Vec<Document>, String>>,
}

impl Known {
    /// Who holds a use: the asking request's own where it was reserved just now; `None`, in a dry run, where nobody
    /// does.
    pub fn learn_use(&mut self, wanted: &Use, holder: Result<Option<UseRecord>, String>) {
        self.uses.insert(wanted.entry.clone(), holder);
    }

    /// The earlier admissions of the request's object.
    pub fn learn_history(&mut self, history: Result<History, String>) {
        self.history = Some(history);
    }

    /// A ConfigMap of the request's namespace; `None` where there is none of that name.
    pub fn learn_config_map(&mut self, name: &str, content: Result<Option<ConfigMapContent>, String>) {
        self.config_maps.insert(name.to_owned(), content);
    }

    /// Approvals beside the request's object, as far as they are kept. Whoever keeps none gives none.
    pub fn learn_kept_approvals(&mut self, found: Vec<DetachedApproval>) {
        self.kept_approvals = Some(found);
    }

    /// Approvals beside the request's object, as they are now.
    pub fn learn_live_approvals(&mut self, found: Result<Vec<DetachedApproval>, String>) {
        self.live_approvals = Some(found);
    }

    /// Whether the request's user may govern the request's namespace.
    pub fn learn_may_govern(&mut self, may: Result<bool, String>) {
        self.may_govern = Some(may);
    }

    /// All documents, as they are now.
    pub fn learn_documents(&mut self, documents: Result<Vec<Document>, String>) {
        self.documents = Some(documents);
    }

    pub(crate) fn kept_approvals(&self) -> Option<&[DetachedApproval]> {
        self.kept_approvals.as_deref()
    }

    pub(crate) fn live_approvals(&self) -> Option<&Result<Vec<DetachedApproval>, String>> {
        self.live_approvals.as_ref()
    }

    pub(crate) fn may_govern(&self) -> Option<&Result<bool, String>> {
        self.may_govern.as_ref()
    }

    pub(crate) fn documents(&self) -> Option<&Result<Vec<Document>, String>> {
        self.documents.as_ref()
    }

    pub(crate) fn holder(&self, wanted: &Use) -> Option<&Result<Option<UseRecord>, String>> {
        self.uses.get(&wanted.entry)
    }

    pub(crate) fn history(&self) -> Option<&Result<History, String>> {
        self.history.as_ref()
    }

    pub(crate) fn config_map(&self, name: &str) -> Option<&Result<Option<ConfigMapContent>, String>> {
        self.config_maps.get(name)
    }
}

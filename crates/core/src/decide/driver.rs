//! How a decision asks for facts.
//!
//! [`decide::start`](crate::decide::start) and [`guard::start`](crate::guard::start) look nothing up. A decision that depends on a further
//! fact stops at [`Step::Ask`]. The caller looks the fact up, answers, and the decision goes on where it stopped. So a
//! request that depends on nothing costs nothing, and no step is taken twice.
//!
//! Each question takes only its own kind of answer, and a decision exists only once every question has been answered.
//! A lookup that fails is an answer as well, and denies.
//!
//! A caller that does not wait implements [`Answers`]. The webhook waits between the question and the answer, so it has
//! a loop of its own.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;

use crate::{
    approval::detached::{DetachedApproval, DetachedQuery},
    decide::single_use::{Use, UseRecord},
    kube::config_map::ConfigMapContent,
    posture::Document,
    record::{
        decision::{Decision, ObjectRecord},
        history::History,
    },
};

/// How far a decision has come.
#[must_use = "a request is undecided until it is `Done`"]
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a step is moved twice for each lookup, and a box would be allocated")]
pub enum Step<'a> {
    /// The request is decided.
    Done(Box<Decision>),
    /// The decision depends on a fact that must be looked up.
    Ask(Pending<'a>),
}

/// A lookup that a decision waits for.
///
/// The `Err` of an answer says why the lookup failed.
#[derive(Debug)]
pub enum Pending<'a> {
    /// The detached approvals in the request's namespace, as far as they are cached. A caller without a cache answers
    /// with none. This costs nothing, and may be some milliseconds old.
    CachedApprovals(Question<'a, DetachedQuery, Vec<DetachedApproval>>),
    /// The same as they are now: Git applies an approval and its workload in the same second.
    LiveApprovals(Question<'a, DetachedQuery, Result<Vec<DetachedApproval>, String>>),
    /// The ConfigMaps of these names in the request's namespace, by name. A name that the answer lacks was not read,
    /// and denies.
    ConfigMaps(Question<'a, Vec<String>, BTreeMap<String, ConfigMapAnswer>>),
    /// Reserve this use of a single-use approval with an atomic create, or find its holder. In a dry run, only find the
    /// holder.
    Use(Question<'a, Use, HolderAnswer>),
    /// The earlier admissions of this object.
    History(Question<'a, ObjectRecord, Result<History, String>>),
    /// Whether the request's user has the verb `govern` on the namespace of this name (`namespaces.writgate.dev`).
    MayGovern(Question<'a, String, Result<bool, String>>),
    /// The documents of all postures as they are now.
    Documents(Question<'a, (), Result<Vec<Arc<Document>>, String>>),
}

/// A ConfigMap; `None` if there is none of that name.
pub type ConfigMapAnswer = Result<Option<ConfigMapContent>, String>;

/// The holder of a use: the request itself, if the use was reserved just now. `None`, in a dry run, if there is none.
pub type HolderAnswer = Result<Option<UseRecord>, String>;

/// What is asked, and how the decision goes on with the answer.
///
/// A question takes only its own kind of answer. This compiles:
///
/// ```
/// use writgate_core::decide::{Pending, Step};
///
/// fn answer(pending: Pending<'_>) -> Step<'_> {
///     match pending {
///         Pending::MayGovern(question) => question.answer(Ok(false)),
///         other => Step::Ask(other),
///     }
/// }
/// ```
///
/// This does not:
///
/// ```compile_fail
/// use writgate_core::decide::{Pending, Step};
///
/// fn answer(pending: Pending<'_>) -> Step<'_> {
///     match pending {
///         Pending::LiveApprovals(question) => question.answer(Ok(false)),
///         other => Step::Ask(other),
///     }
/// }
/// ```
pub struct Question<'a, Q, A> {
    asked: Q,
    go_on: Box<dyn FnOnce(A) -> Step<'a> + Send + 'a>,
}

impl<'a, Q, A> Question<'a, Q, A> {
    /// What is asked.
    pub fn asked(&self) -> &Q {
        &self.asked
    }

    /// Goes on with the decision.
    pub fn answer(self, answer: A) -> Step<'a> {
        (self.go_on)(answer)
    }
}

impl<Q: fmt::Debug, A> fmt::Debug for Question<'_, Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// The answers of a caller that does not wait for them.
///
/// Each method answers the variant of [`Pending`] of the same name.
pub trait Answers {
    /// Answers [`Pending::CachedApprovals`].
    fn cached_approvals(&mut self, query: &DetachedQuery) -> Vec<DetachedApproval>;

    /// Answers [`Pending::LiveApprovals`].
    fn live_approvals(&mut self, query: &DetachedQuery) -> Result<Vec<DetachedApproval>, String>;

    /// Answers [`Pending::ConfigMaps`] for one name.
    fn config_map(&mut self, name: &str) -> ConfigMapAnswer;

    /// Answers [`Pending::Use`].
    fn holder(&mut self, wanted: &Use) -> HolderAnswer;

    /// Answers [`Pending::History`].
    fn history(&mut self, object: &ObjectRecord) -> Result<History, String>;

    /// Answers [`Pending::MayGovern`], which only a guard asks.
    fn may_govern(&mut self, namespace: &str) -> Result<bool, String> {
        Err(format!("nobody can be asked who may govern namespace {namespace}"))
    }

    /// Answers [`Pending::Documents`], which only a guard asks.
    fn documents(&mut self) -> Result<Vec<Arc<Document>>, String> {
        Err("the documents cannot be listed".to_owned())
    }
}

impl<'a> Step<'a> {
    /// Asks for the answer to `lookup` about `asked`, with which `go_on` goes on.
    pub(crate) fn ask<Q, A>(
        lookup: impl FnOnce(Question<'a, Q, A>) -> Pending<'a>,
        asked: Q,
        go_on: impl FnOnce(A) -> Self + Send + 'a,
    ) -> Self {
        Self::Ask(lookup(Question { asked, go_on: Box::new(go_on) }))
    }

    /// Goes on with `answers` until the request is decided.
    #[must_use]
    pub fn finish(self, answers: &mut impl Answers) -> Decision {
        let mut step = self;
        loop {
            step = match step {
                Self::Done(decision) => return *decision,
                Self::Ask(pending) => pending.answer_from(answers),
            }
        }
    }
}

impl<'a> Pending<'a> {
    fn answer_from(self, answers: &mut impl Answers) -> Step<'a> {
        match self {
            Self::CachedApprovals(question) => {
                let found = answers.cached_approvals(question.asked());
                question.answer(found)
            }
            Self::LiveApprovals(question) => {
                let found = answers.live_approvals(question.asked());
                question.answer(found)
            }
            Self::ConfigMaps(question) => {
                let found = question.asked().iter().map(|name| (name.clone(), answers.config_map(name))).collect();
                question.answer(found)
            }
            Self::Use(question) => {
                let holder = answers.holder(question.asked());
                question.answer(holder)
            }
            Self::History(question) => {
                let history = answers.history(question.asked());
                question.answer(history)
            }
            Self::MayGovern(question) => {
                let may_govern = answers.may_govern(question.asked());
                question.answer(may_govern)
            }
            Self::Documents(question) => question.answer(answers.documents()),
        }
    }
}

/// The answers in a cluster that holds nothing but the request: no detached approval, no ConfigMap, and no earlier
/// admission or use.
#[derive(Clone, Copy, Debug)]
pub struct EmptyCluster {
    /// When a use would be reserved.
    pub now: Timestamp,
}

impl Answers for EmptyCluster {
    fn cached_approvals(&mut self, _: &DetachedQuery) -> Vec<DetachedApproval> {
        Vec::new()
    }

    fn live_approvals(&mut self, _: &DetachedQuery) -> Result<Vec<DetachedApproval>, String> {
        Ok(Vec::new())
    }

    fn config_map(&mut self, _: &str) -> ConfigMapAnswer {
        Ok(None)
    }

    fn holder(&mut self, wanted: &Use) -> HolderAnswer {
        Ok(Some(UseRecord::new(wanted.clone(), self.now)))
    }

    fn history(&mut self, _: &ObjectRecord) -> Result<History, String> {
        Ok(History::default())
    }
}

//! A posted request as it is now: read from the cluster, decided about, and reviewed, by the code of `review` and `approve`.

use writgate_core::approval::{Approval, PublicKey};

use crate::{
    approval::{
        assessment::PostureFlags,
        draft::{ApprovalDraft, DraftInputs},
        proposal::{ProposalFiles, ProposalFlags},
        request_state::{self, RequestState, StateReader},
        statement::StatementFlags,
    },
    cluster::{
        Cluster, OtherClusterFlags,
        posted::{Posted, RequestStore, StoredApproval, request_name},
    },
    command::review::ReviewReport,
    console::Console,
    failure::Failure,
    manifest::namespace::NamespaceFlag,
};

/// A request, its draft and its review.
pub(super) struct Look<'d, 'f> {
    pub(super) store: RequestStore<'d>,
    pub(super) posted: &'d Posted,
    pub(super) draft: ApprovalDraft<'f>,
    pub(super) report: ReviewReport,
    statement: &'d StatementFlags,
}

impl Look<'_, '_> {
    /// Takes note of the key that will sign.
    pub(super) fn set_own_key(&mut self, key: &PublicKey) {
        self.draft.set_own_key(key, self.statement);
    }
}

/// Reads the request and reviews it. `reviewed` is a statement that a page has shown; without it, a new statement is made if the
/// cluster has none that is worth a signature. `work` also gets the approval that was read.
pub(super) fn at<T>(
    console: &Console,
    (namespace, name): (&str, &str),
    reviewed: Option<&Approval>,
    work: impl FnOnce(Look<'_, '_>, Option<StoredApproval>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let cluster = console.connect()?;
    let store = RequestStore { cluster: &cluster };
    let posted = store.get(namespace, &request_name(name)?)?;
    let read = store.approval(&posted)?;
    let given = read.as_ref().and_then(request_state::given);
    let files = ProposalFiles::of_posted(&posted);
    let proposal = ProposalFlags {
        namespace: NamespaceFlag { namespace: Some(namespace.to_owned()) },
        reading: console.settings.kinds.clone().into(),
        ..ProposalFlags::default()
    };
    let posture = PostureFlags { postures: console.postures(), no_posture: false };
    let statement = StatementFlags::of_reviewed(reviewed.cloned());
    let others = OtherClusterFlags::default();
    let mut inputs = DraftInputs {
        files: &files,
        proposal: &proposal,
        posture: &posture,
        others: &others,
        statement: &statement,
        envelope: given.as_ref(),
    };
    let draft = request_state::open(&mut inputs)?;
    let report = ReviewReport::of(&draft)?;
    work(Look { store, posted: &posted, draft, report, statement: &statement }, read)
}

/// The state of a request.
pub(super) fn state(console: &Console, cluster: &Cluster, posted: &Posted) -> RequestState {
    StateReader::new(cluster, &console.postures(), console.settings.kinds.clone().into()).state(posted)
}

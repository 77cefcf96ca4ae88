//! The measured rows and their comparisons: one row for each review, server and number of connections.

use std::{collections::BTreeSet, sync::Arc};

use jiff::SignedDuration;
use writgate_core::{approval::spec_hash, kube::WorkloadKind};

use crate::{
    approval::{Claims, key},
    floor,
    folder::Size,
    load::Verdict,
    review::Workload,
};

/// The size of an average Deployment's spec. Its AdmissionReview has about 9 KB.
pub(crate) const USUAL_SPEC: usize = 3 << 10;
const MANY_CONNECTIONS: usize = 64;
/// Connections for reviews so large that 64 at a time would measure memory.
const FEW_CONNECTIONS: usize = 8;
const SPEC_SIZES: [usize; 4] = [3 << 10, 30 << 10, 300 << 10, 1 << 20];

/// The server of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Floor,
    /// The webhook on the folder with this index in [`FOLDERS`].
    Webhook(usize),
}

/// The posture folders. Each has its own webhook process.
pub(crate) const FOLDERS: [(&str, Size); 7] = [
    ("one of each", Size::SMALLEST),
    ("100 namespaces", Size { namespaces: 100, ..Size::SMALLEST }),
    ("1000 namespaces", Size { namespaces: 1000, ..Size::SMALLEST }),
    ("100 postures", Size { postures: 100, ..Size::SMALLEST }),
    ("1000 postures", Size { postures: 1000, ..Size::SMALLEST }),
    ("100 reviewers", Size { reviewers: 100, ..Size::SMALLEST }),
    ("1000 reviewers", Size { reviewers: 1000, ..Size::SMALLEST }),
];

/// A measurement that each round makes once.
pub(crate) struct Row {
    pub(crate) server: Server,
    pub(crate) connections: usize,
    pub(crate) review: Arc<str>,
    pub(crate) verdict: Verdict,
}

/// The index of a row in [`Plan::rows`].
pub(crate) type RowId = usize;

pub(crate) struct Plan {
    pub(crate) rows: Vec<Row>,
    pub(crate) cases: Vec<Case>,
    pub(crate) sizes: Vec<SizeStep>,
    /// In the order of [`FOLDERS`]. The others are compared with the first.
    pub(crate) folders: Vec<RowId>,
    /// A review that both servers admit, for their starts.
    pub(crate) floor_create: RowId,
    pub(crate) create: RowId,
}

/// A case of the webhook, and the rows of the floor with which it is compared.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) webhook: RowId,
    /// The floor on the creation that it approves, with as many connections.
    pub(crate) floor: RowId,
    /// The floor on the same review, if it differs from the creation.
    pub(crate) floor_on_same: Option<RowId>,
    /// The goal for CPU per review.
    pub(crate) goal: Option<f64>,
    /// The goal for p50 and p99.
    pub(crate) latency_goal: Option<f64>,
}

/// A creation whose spec has this many bytes.
pub(crate) struct SizeStep {
    pub(crate) review_length: usize,
    pub(crate) webhook: RowId,
    pub(crate) floor: RowId,
}

impl Plan {
    /// Signs the approvals, which are valid for half an hour.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let usual = Workload::with_spec_of(USUAL_SPEC)?;
        let tree: serde_json::Value = serde_json::from_str(usual.spec()?)?;
        anyhow::ensure!(
            floor::canonical(usual.spec()?) == serde_json::to_vec(&tree)?,
            "the floor hashes something else"
        );
        let bob = key(0);
        let claims = claims_for(&usual)?;
        let approved = approve(&usual)?;

        let mut rows = Rows::default();
        let floor_create = rows.floor(MANY_CONNECTIONS, &approve_for_floor(&usual)?.create());
        let create = rows.webhook(MANY_CONNECTIONS, &approved.create(), Verdict::Admitted);
        let floor_create_alone = rows.floor(1, &approve_for_floor(&usual)?.create());
        let create_alone = rows.webhook(1, &approved.create(), Verdict::Admitted);
        let floor_again = rows.floor(MANY_CONNECTIONS, &approve_for_floor(&usual)?.create());
        let mut cases = vec![
            Case {
                name: "(the floor again: the noise of this run)".to_owned(),
                webhook: floor_again,
                floor: floor_create,
                floor_on_same: None,
                goal: None,
                latency_goal: None,
            },
            Case {
                name: "CREATE, approved".to_owned(),
                webhook: create,
                floor: floor_create,
                floor_on_same: None,
                goal: Some(1.15),
                latency_goal: Some(1.2),
            },
            Case {
                name: "one connection: CREATE, approved".to_owned(),
                webhook: create_alone,
                floor: floor_create_alone,
                floor_on_same: None,
                goal: Some(1.15),
                latency_goal: Some(1.2),
            },
        ];

        let before = usual.with_image("ghcr.io/acme/orders:1.4.1")?;
        let floor_update =
            rows.floor(MANY_CONNECTIONS, &approve_for_floor(&usual)?.update_from(&approve_for_floor(&before)?));
        let scaled = approved.replaced(r#""replicas":1"#, r#""replicas":3"#)?;
        let relabelled = approved.with_label("acme.example/synced", "true")?;
        for (name, review, verdict, goal) in [
            ("UPDATE, spec changed, approved", approved.update_from(&approve(&before)?), Verdict::Admitted, 1.5),
            ("UPDATE, scaled", scaled.update_from(&approved), Verdict::NotAnAction, 1.1),
            ("UPDATE, spec unchanged", relabelled.update_from(&approved), Verdict::NotAnAction, 1.1),
        ] {
            cases.push(Case {
                name: name.to_owned(),
                webhook: rows.webhook(MANY_CONNECTIONS, &review, verdict),
                floor: floor_create,
                floor_on_same: Some(floor_update),
                goal: Some(goal),
                latency_goal: None,
            });
        }

        let mut deny = |reason: &'static str, goal: f64, workload: &Workload| {
            cases.push(Case {
                name: format!("CREATE, {reason}"),
                webhook: rows.webhook(MANY_CONNECTIONS, &workload.create(), Verdict::Denied(reason)),
                floor: floor_create,
                floor_on_same: None,
                goal: Some(goal),
                latency_goal: None,
            });
        };
        let attached = |envelope: anyhow::Result<String>| usual.with_approval(&envelope?);
        deny("ApprovalRequired", 1.0, &usual);
        deny("UnknownKey", 1.0, &attached(claims.signed_by(&key(u32::MAX)))?);
        deny("InvalidSignature", 1.15, &attached(claims.forged(&bob))?);
        deny("SpecHashMismatch", 1.3, &attached(claims_for(&before)?.signed_by(&bob))?);
        deny("WrongEnvironment", 1.3, &attached(Claims { environment: "staging", ..claims.clone() }.signed_by(&bob))?);
        deny(
            "Expired",
            1.3,
            &attached(Claims { age: SignedDuration::from_hours(2), ..claims.clone() }.signed_by(&bob))?,
        );
        let incapable = Claims { capability: "replay.execute", ..claims.clone() };
        deny("InsufficientCapabilities", 1.3, &attached(incapable.signed_by(&bob))?);

        let mut sizes = Vec::new();
        for spec_length in SPEC_SIZES {
            let workload = Workload::with_spec_of(spec_length)?;
            let review = approve(&workload)?.create();
            sizes.push(SizeStep {
                review_length: review.len(),
                floor: rows.floor(FEW_CONNECTIONS, &approve_for_floor(&workload)?.create()),
                webhook: rows.webhook(FEW_CONNECTIONS, &review, Verdict::Admitted),
            });
        }

        let folders = (0..FOLDERS.len())
            .map(|folder| rows.push(Server::Webhook(folder), MANY_CONNECTIONS, &approved.create(), Verdict::Admitted))
            .collect();

        Ok(Self { rows: rows.0, cases, sizes, folders, floor_create, create })
    }

    /// Keeps only the creations that are approved, lack an approval or have a wrong signature, and the folders.
    pub(crate) fn keep_short(&mut self) {
        const CASES: [&str; 4] =
            ["CREATE, approved", "CREATE, ApprovalRequired", "CREATE, UnknownKey", "CREATE, InvalidSignature"];
        self.cases.retain(|case| case.name.starts_with('(') || CASES.contains(&&*case.name));
        self.sizes.clear();
    }

    /// A review for each case at the usual size, with its verdict.
    pub(crate) fn reviews(&self) -> Vec<(&str, Verdict)> {
        let rows = self.cases.iter().map(|case| &self.rows[case.webhook]);
        let webhook = rows.filter(|row| matches!(row.server, Server::Webhook(_)));
        webhook.map(|row| (&*row.review, row.verdict)).collect()
    }

    /// Keeps only the cases whose names contain `name`, and the rows with which they are compared.
    pub(crate) fn keep_only(&mut self, name: &str) {
        self.cases.retain(|case| case.name.contains(name));
        self.sizes.clear();
        self.folders.clear();
    }

    /// The rows that a case uses.
    pub(crate) fn wanted(&self) -> BTreeSet<RowId> {
        let cases = self.cases.iter().flat_map(|case| [Some(case.webhook), Some(case.floor), case.floor_on_same]);
        let sizes = self.sizes.iter().flat_map(|size| [size.webhook, size.floor]);
        cases.flatten().chain(sizes).chain(self.folders.iter().copied()).chain([self.floor_create]).collect()
    }
}

/// The claims that approve `workload`.
pub(crate) fn claims_for(workload: &Workload) -> anyhow::Result<Claims> {
    Ok(Claims::of(spec_hash(WorkloadKind::Deployment, workload.spec()?)?.hex()))
}

/// The workload with an approval that the webhook accepts.
pub(crate) fn approve(workload: &Workload) -> anyhow::Result<Workload> {
    workload.with_approval(&claims_for(workload)?.signed_by(&key(0))?)
}

/// The workload with an approval that the floor accepts.
pub(crate) fn approve_for_floor(workload: &Workload) -> anyhow::Result<Workload> {
    workload.with_approval(&Claims::of(floor::spec_hash(workload.spec()?)).signed_by(&key(0))?)
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn floor(&mut self, connections: usize, review: &str) -> RowId {
        self.push(Server::Floor, connections, review, Verdict::Admitted)
    }

    fn webhook(&mut self, connections: usize, review: &str, verdict: Verdict) -> RowId {
        self.push(Server::Webhook(0), connections, review, verdict)
    }

    fn push(&mut self, server: Server, connections: usize, review: &str, verdict: Verdict) -> RowId {
        self.0.push(Row { server, connections, review: review.into(), verdict });
        self.0.len() - 1
    }
}

//! The clusters of an approval for several clusters: which they are, what runs in the others, and what their postures decide.
//!
//! The cluster of `--context` is not among them: an approval is requested and reviewed there, as an approval for one cluster
//! is.

use writgate_core::approval::RequestFile;

use crate::{
    approval::{
        assessment::{Applicant, Assessment, PostureFlags},
        draft::{DraftInputs, StatementBasis},
        proposal::Proposal,
        statement::{SAID, agreed},
    },
    failure::Failure,
    postures::PostureSourceFlags,
    terminal::output::shown,
};

/// Another cluster of the approval, read with a context of the kubeconfig.
pub(crate) struct OtherCluster {
    pub(crate) context: String,
    /// What was read, or why nothing was.
    pub(crate) read: Result<ReadCluster, String>,
}

/// What the posture of a cluster decides about the workloads.
pub(crate) struct ReadCluster {
    pub(crate) assessment: Assessment,
    /// What the posture says of a statement, the cluster's name among it.
    pub(crate) basis: StatementBasis,
}

/// Reads each cluster of `--other-context`. A cluster that cannot be read does not fail the others.
pub(crate) fn read(inputs: &DraftInputs<'_>, proposal: &Proposal, claimed: &Applicant) -> Vec<OtherCluster> {
    let contexts = inputs.others.other_context.iter();
    contexts
        .map(|context| OtherCluster {
            context: context.clone(),
            read: read_one(inputs, context, proposal, claimed).map_err(|failure| failure.to_string()),
        })
        .collect()
}

fn read_one(
    inputs: &DraftInputs<'_>,
    context: &str,
    proposal: &Proposal,
    claimed: &Applicant,
) -> Result<ReadCluster, Failure> {
    let cluster = inputs.posture.postures.cluster.in_context(context);
    let flags = PostureFlags { postures: PostureSourceFlags { posture_dir: None, cluster }, no_posture: false };
    let decider = flags.load(&inputs.files.manifests, &inputs.proposal.reading.kinds)?;
    let Some(mut decider) = decider else { return Err(Failure::Misuse("no posture is used".to_owned())) };
    let assessment = Assessment::of(&mut decider, proposal, claimed)?;
    let basis = StatementBasis::of_posture(&assessment, assessment.posture(&decider), claimed.emergency);
    Ok(ReadCluster { assessment, basis })
}

/// The cluster of a statement, or the clusters of a statement for several. `named` are those of the flags, and `whose`
/// introduces the value of `basis` in messages.
pub(crate) fn clusters(
    named: &[String],
    request: Option<&RequestFile>,
    basis: &StatementBasis,
    whose: &str,
) -> Result<(Option<String>, Vec<String>), Failure> {
    let said = request.map(|request| sorted(&request.clusters)).unwrap_or_default();
    let mut asked = sorted(named);
    asked.dedup();
    if asked.len() < named.len() {
        return Err(Failure::Misuse("--cluster names a cluster twice; name each cluster once".to_owned()));
    }
    let joined = |clusters: &[String]| shown(&clusters.join(", "));
    if !asked.is_empty() && !said.is_empty() && asked != said {
        return Err(Failure::No(format!(
            "--cluster says {}, but {SAID} {}; omit the flag, or correct the wrong value",
            joined(&asked),
            joined(&said)
        )));
    }
    if asked.len() <= 1 && said.is_empty() {
        if let ([asked], None, true) = (&*asked, &basis.cluster, basis.by_posture) {
            return Err(no_cluster(&shown(asked)));
        }
        let one = agreed("cluster", asked.first().map(String::as_str), basis.cluster.as_deref(), whose)?;
        return Ok((one, Vec::new()));
    }
    match &basis.cluster {
        // That a request names clusters without the posture's is a contradiction, which the review shows.
        _ if asked.is_empty() => Ok((None, said)),
        Some(own) if !asked.contains(own) => Err(Failure::No(format!(
            "--cluster says {}, but {whose} {}; name that cluster as well",
            joined(&asked),
            shown(own)
        ))),
        None if basis.by_posture => Err(no_cluster(&joined(&asked))),
        _ => Ok((None, asked)),
    }
}

fn no_cluster(asked: &str) -> Failure {
    Failure::No(format!("--cluster says {asked}, but the posture names no cluster; omit the flag"))
}

/// The names in one order, for comparisons.
pub(super) fn sorted(names: &[String]) -> Vec<String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

//! `approve [NAME]`: lists the posted requests that a reviewer may sign, and writes the approval of one into its ConfigMap.
//!
//! If another reviewer has signed another statement for the same request meanwhile, it is reviewed again and signed as well.

use std::io::{self, IsTerminal as _};

use inquire::{InquireError, Select};
use writgate_core::approval::KeyId;

use crate::{
    approval::{
        draft::DraftInputs,
        proposal::ProposalFiles,
        request_state::{self, RequestState, RequestVerdict, StateReader},
        statement::StatementFlags,
    },
    cluster::{
        Cluster,
        event_reader::NamespaceScopeFlags,
        posted::{Posted, RequestStore, StoredApproval, location},
    },
    command::{
        approve::{
            Arguments, sign,
            signing::{self, ATTEMPTS, SignedEnvelope},
        },
        request::list,
    },
    failure::{Answer, Failure},
    signer::Signer,
    terminal::{
        confirm,
        output::{self, Access, shown, table},
    },
};

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let cluster = arguments.posture.cluster_of_requests()?;
    if let Some(name) = &arguments.proposal.request {
        confirm::can_be_asked(arguments.yes)?;
        let posted = arguments.proposal.posted(&cluster, name)?;
        return approve(arguments, &cluster, &posted, &arguments.signer.find()?);
    }
    let signer = arguments.signer.find()?;
    let own = signer.unlock()?.id();
    let (waiting, is_complete) = waiting_for(arguments, &cluster, own)?;
    if waiting.is_empty() {
        let none = format!("no posted request waits for a signature with key {own}");
        if !is_complete {
            return Err(Failure::Undetermined(format!(
                "{none} among those that were looked at; select a namespace with -n"
            )));
        }
        output::note(&none);
        return Ok(Answer::No);
    }
    let can_choose = io::stdin().is_terminal() && io::stderr().is_terminal() && !arguments.yes;
    match choose(&waiting, can_choose)? {
        Some(posted) => approve(arguments, &cluster, posted, &signer),
        None => Ok(Answer::Yes),
    }
}

/// The posted requests that the owner of `key` may sign, and whether all requests were looked at.
fn waiting_for(
    arguments: &Arguments,
    cluster: &Cluster,
    key: KeyId,
) -> Result<(Vec<(Posted, RequestState)>, bool), Failure> {
    let flags = NamespaceScopeFlags {
        namespace: arguments.proposal.namespace.namespace.clone(),
        all_namespaces: arguments.all_namespaces,
    };
    let scope = flags.of(cluster)?;
    let listed = RequestStore { cluster }.list(&scope)?;
    list::note_unreadable(&listed);
    let reader = StateReader::new(cluster, &arguments.posture.postures, arguments.proposal.reading.clone());
    let states = list::states(&reader, &listed.posted);
    let is_complete = !listed.cut && list::not_looked_at(&listed) == 0;
    let waiting = listed.posted.into_iter().zip(states).filter(|(_, state)| state.waits_for(key));
    Ok((waiting.collect(), is_complete))
}

/// Prints the requests, or lets the reviewer choose one.
fn choose(waiting: &[(Posted, RequestState)], can_choose: bool) -> Result<Option<&Posted>, Failure> {
    let row = |(posted, state): &(Posted, RequestState)| {
        let file = &posted.request.file;
        let subjects: Vec<&str> = file.workloads.iter().map(|workload| &*workload.subject).collect();
        [
            posted.namespace.clone(),
            posted.name.clone(),
            shown(&file.requested_by),
            shown(&subjects.join(", ")),
            list::age(posted.created),
            state.text(),
        ]
    };
    let rows: Vec<[String; 6]> = waiting.iter().map(row).collect();
    let headers = ["NAMESPACE", "NAME", "REQUESTED BY", "WORKLOADS", "AGE", "STATE"];
    if !can_choose {
        output::print(&table(headers, &rows))?;
        output::note("review and sign one with: kubectl writgate approve NAME -n NAMESPACE --key KEY");
        return Ok(None);
    }
    let lines: Vec<String> = rows.iter().map(|row| row.join("  ")).collect();
    match Select::new("Which request do you want to review?", lines).raw_prompt() {
        Ok(chosen) => Ok(waiting.get(chosen.index).map(|(posted, _)| posted)),
        Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => {
            Err(Failure::No("no request was chosen; nothing was signed".to_owned()))
        }
        Err(error) => Err(Failure::Undetermined(format!("cannot ask for a request: {error}"))),
    }
}

fn approve(arguments: &Arguments, cluster: &Cluster, posted: &Posted, signer: &Signer<'_>) -> Result<Answer, Failure> {
    let store = RequestStore { cluster };
    let secrets = [&arguments.signer.passphrase.passphrase_file, &arguments.signer.key].into_iter().flatten();
    output::check_target(arguments.output.as_deref(), secrets.map(|path| &**path))?;
    let next = signing::next(posted);
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            output::note(&format!(
                "somebody else has signed request {} meanwhile; this is their approval",
                posted.name
            ));
        }
        let read = store.approval(posted)?;
        if arguments.output.is_none() {
            signing::can_be_written(read.as_ref())?;
        }
        let completed = reviewed(arguments, &store, posted, read.as_ref(), signer, &next)?;
        if let Some(path) = &arguments.output {
            output::write(Some(path), &(completed.envelope.to_json() + "\n"), Access::Private)?;
            completed.report();
            return Ok(Answer::Yes);
        }
        let Some(completed) = signing::write(&store, posted, completed, read)? else { continue };
        completed.report();
        output::note(&format!("written: {}", location(&posted.namespace, &posted.request.digest.approval_name())));
        report(arguments, cluster, posted, &next);
        return Ok(Answer::Yes);
    }
    Err(Failure::Undetermined(format!(
        "others wrote the approval of request {} {ATTEMPTS} times while it was signed; nothing was written, so run the command \
         again",
        posted.name
    )))
}

/// Says what the request still lacks.
fn report(arguments: &Arguments, cluster: &Cluster, posted: &Posted, next: &str) {
    let state =
        StateReader::new(cluster, &arguments.posture.postures, arguments.proposal.reading.clone()).state(posted);
    output::note(&format!("{}: {}", posted.name, state.text()));
    match state.state {
        RequestVerdict::Approved => {
            output::note(&format!(
                "next: {} or a GitOps tool applies the manifests",
                shown(&posted.request.file.requested_by)
            ));
        }
        RequestVerdict::Waiting => output::note(&format!("next: another reviewer runs: {next}")),
        _ => {}
    }
}

/// Reviews and signs the approval that was `read`, if it is worth a signature, or else a new one.
fn reviewed(
    arguments: &Arguments,
    store: &RequestStore<'_>,
    posted: &Posted,
    read: Option<&StoredApproval>,
    signer: &Signer<'_>,
    next: &str,
) -> Result<SignedEnvelope, Failure> {
    let files = ProposalFiles::of_posted(posted);
    let given = read.and_then(request_state::given);
    let mut inputs = DraftInputs {
        files: &files,
        proposal: &arguments.proposal,
        posture: &arguments.posture,
        others: &arguments.others,
        statement: &arguments.statement,
        envelope: given.as_ref(),
    };
    let draft = request_state::open(&mut inputs)?;
    if inputs.envelope.is_some() && arguments.statement != StatementFlags::default() {
        return Err(Failure::Misuse(
            "the request has an approval already, and the flags of a new statement would not change it; omit them to add your \
             signature"
                .to_owned(),
        ));
    }
    if let (Some(read), None) = (read, inputs.envelope) {
        output::note(&format!(
            "note: {} does not contain an approval of this request that counts; a new one replaces its content",
            read.location()
        ));
    }
    let completed = sign(arguments, &inputs, draft, signer, next)?;
    // The request may have been cancelled while the question was open.
    store.get(&posted.namespace, &posted.name)?;
    Ok(completed)
}

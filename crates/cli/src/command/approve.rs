//! `approve`: shows what an approval is for, asks, has it signed, and writes it if the webhook would accept it.
//!
//! The statement comes from `approval`, the text from `review`, and the signature from `signer`. `precheck` checks
//! whether this reviewer may sign.

mod precheck;

use std::path::PathBuf;

use writgate_core::approval::{Envelope, PAYLOAD_TYPE};

use crate::{
    approval::{
        assessment::PostureFlags,
        draft::{self, ApprovalDraft, DraftInputs},
        proposal::ProposalFlags,
        statement::StatementFlags,
    },
    command::review::ReviewReport,
    failure::{Answer, Failure},
    signer::SignerFlags,
    terminal::{confirm, output},
};

/// Review a request and sign an approval
///
/// Prints the review on standard error, asks for confirmation, and signs a DSSE envelope with an in-toto statement. The
/// statement binds the name and spec of each workload to one environment, project and action, for a limited time.
/// Nothing is signed that the posture would deny. A second reviewer adds a signature to the same envelope with
/// --add-signature.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate approve -f request.json --key bob.pem -o approval.json
  kubectl writgate approve -f request.json --ssh-agent --expires-in 30m -o approval.json
  kubectl writgate approve -f request.json --key carol.pem --add-signature approval.json \\
      -o approval.json
  kubectl writgate approve -f app.yaml --key bob.pem --requested-by alice@acme.example \\
      --reason CHG-1234 -o approval.json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    proposal: ProposalFlags,
    #[command(flatten)]
    signer: SignerFlags,
    /// Write the approval to FILE [default: standard output]
    #[arg(short, long, value_name = "FILE", value_parser = output_file)]
    output: Option<PathBuf>,
    /// Sign without asking, for use without a terminal
    #[arg(short, long)]
    yes: bool,
    /// Add a signature to the approval in FILE, if it is for exactly these workloads, instead of making a new one
    #[arg(long, value_name = "FILE", conflicts_with = "Statement")]
    add_signature: Option<PathBuf>,
    #[command(flatten)]
    posture: PostureFlags,
    #[command(flatten)]
    statement: StatementFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let Arguments { signer, add_signature, .. } = arguments;
    let others = [&signer.passphrase.passphrase_file, add_signature, &signer.key];
    confirm::can_be_asked(arguments.yes)?;
    let files = draft::read(&arguments.proposal, others.into_iter().flatten().map(PathBuf::as_path))?;
    let signer = signer.find()?;
    let mut draft = ApprovalDraft::open(&DraftInputs {
        files: &files,
        proposal: &arguments.proposal,
        posture: &arguments.posture,
        statement: &arguments.statement,
        envelope: add_signature.as_deref(),
    })?;
    output::note_styled(&ReviewReport::of(&draft)?.text());
    precheck::before(&draft, signer.id())?;
    confirm::ask(&draft.approval, arguments.yes)?;

    let signature = signer.sign(PAYLOAD_TYPE, &draft.envelope.signed_bytes())?;
    if draft.envelope.keyids().any(|signed| signed == signature.key.to_string()) {
        return Err(precheck::signed_already(signature.key));
    }
    let mut alone = Envelope::new(draft.envelope.payload().to_vec());
    alone.add_signature(signature.key, signature.bytes);
    let mut envelope = draft.envelope.clone();
    envelope.add_signature(signature.key, signature.bytes);
    let missing = precheck::after(&mut draft, signature.key, &alone, &envelope)?;
    let json = envelope.to_json();
    Envelope::parse(&json).map_err(|why| Failure::Misuse(format!("this is not a valid approval: {why}")))?;
    output::write(arguments.output.as_deref(), &(json + "\n"))?;
    output::note(&format!("signed with key {}", signature.key));
    for line in &missing {
        output::note(line);
    }
    Ok(Answer::Yes)
}

/// Elsewhere `-o` selects a format, so a file named after a format is a mistake.
pub(crate) fn output_file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" | "json" | "text" | "yaml" => {
            Err("here -o names a file, and the output is always JSON; pass a file name".to_owned())
        }
        path => Ok(path.into()),
    }
}

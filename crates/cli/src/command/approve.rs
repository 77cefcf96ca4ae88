//! `approve`: shows what an approval is for, asks, has it signed, and writes it if the gate would take it.
//!
//! What is to be signed is `case`'s and `statement`'s, how it is shown is `review`'s, with which key is `signer`'s; whether
//! this reviewer may sign is `verdict`'s.

mod verdict;

use std::path::PathBuf;

use writgate_core::approval::{Envelope, PAYLOAD_TYPE};

use crate::{
    approval::{
        case::{self, Case, Opening},
        matter::MatterFlags,
        standing::PostureFlags,
        statement::StatementFlags,
    },
    command::review::Review,
    failure::{Answer, Failure},
    signer::SignerFlags,
    terminal::{asking, output},
};

/// Review what is asked for, and sign it
///
/// Shows what `review` shows, on standard error, asks, and signs a DSSE envelope around an in-toto statement that binds
/// each workload's name and spec to one environment, project and action, for a short time. What the posture would refuse
/// is not signed. A second reviewer adds a signature to the same envelope.
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
    matter: MatterFlags,
    #[command(flatten)]
    signer: SignerFlags,
    /// File to write the envelope to; without it standard output
    #[arg(short, long, value_name = "FILE", value_parser = output_file)]
    output: Option<PathBuf>,
    /// Sign without being asked, as where there is no terminal
    #[arg(short, long)]
    yes: bool,
    /// Sign what is in this envelope too, instead of a new statement, if it is for these workloads and no others
    #[arg(long, value_name = "ENVELOPE", conflicts_with = "Statement")]
    add_signature: Option<PathBuf>,
    #[command(flatten)]
    posture: PostureFlags,
    #[command(flatten)]
    statement: StatementFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let Arguments { signer, add_signature, .. } = arguments;
    let others = [&signer.passphrase.passphrase_file, add_signature, &signer.key];
    asking::can_be_asked(arguments.yes)?;
    let files = case::read(&arguments.matter, others.into_iter().flatten().map(PathBuf::as_path))?;
    let signer = signer.find()?;
    let mut case = Case::open(&Opening {
        files: &files,
        matter: &arguments.matter,
        posture: &arguments.posture,
        statement: &arguments.statement,
        envelope: add_signature.as_deref(),
    })?;
    output::tell(&Review::of(&case)?.text());
    verdict::before(&case, signer.id())?;
    asking::ask(&case.approval, arguments.yes)?;

    let signature = signer.sign(PAYLOAD_TYPE, &case.envelope.signed_bytes())?;
    if case.envelope.keyids().any(|signed| signed == signature.key.to_string()) {
        return Err(verdict::signed_already(signature.key));
    }
    let mut alone = Envelope::new(case.envelope.payload().to_vec());
    alone.add_signature(signature.key, signature.bytes);
    let mut envelope = case.envelope.clone();
    envelope.add_signature(signature.key, signature.bytes);
    let missing = verdict::after(&mut case, signature.key, &alone, &envelope)?;
    let json = envelope.to_json();
    Envelope::parse(&json).map_err(|why| Failure::Misuse(format!("this cannot be an approval: {why}")))?;
    output::write(arguments.output.as_deref(), &(json + "\n"))?;
    output::note(&format!("signed with key {}", signature.key));
    for line in &missing {
        output::note(line);
    }
    Ok(Answer::Yes)
}

/// Elsewhere `-o` names a format; a file of that name is nobody's wish.
pub(crate) fn output_file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" | "json" | "text" | "yaml" => Err("here -o names a file; what is written is always JSON".to_owned()),
        path => Ok(path.into()),
    }
}

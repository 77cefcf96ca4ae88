//! `approve`: shows what an approval is for, asks, has it signed, and writes it if the webhook would accept it.
//!
//! The statement comes from `approval`, the text from `review`, and the signature from `signing`. `precheck` checks whether this
//! reviewer may sign. `posted` lists posted requests and puts the approval of one into the cluster.

mod posted;
pub(crate) mod precheck;
pub(crate) mod signing;

use std::path::PathBuf;

use crate::{
    approval::{
        assessment::PostureFlags,
        draft::{self, ApprovalDraft, DraftInputs},
        proposal::ProposalFlags,
        signatures::ExistingSignature,
        statement::{GivenEnvelope, StatementFlags},
    },
    cluster::OtherClusterFlags,
    command::{
        approve::signing::SignedEnvelope,
        review::{ReviewReport, code::ReviewCode},
    },
    failure::{Answer, Failure},
    signer::{Signer, SignerFlags},
    terminal::{
        confirm,
        output::{self, Access},
        pager,
    },
};

/// Review a request and sign an approval
///
/// Prints the review on standard error, asks for confirmation, and signs a DSSE envelope with an in-toto statement. The
/// statement binds the name and spec of each workload to one environment, project and action, for a limited time.
/// Refuses to sign what the posture would deny, what the review does not show whole, and what changes before you confirm.
///
/// With NAME, reviews a posted request, and adds the signature to its approval, a ConfigMap in the same namespace. Without
/// NAME and -f, lists the posted requests that you may sign. A second reviewer of a file adds a signature with
/// --add-signature.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate approve --key bob.pem -n payments
  kubectl writgate approve request-4f0c1a3e9d8b7a6c5e4d -n payments --key bob.pem
  kubectl writgate approve -f request.json --key bob.pem -o approval.json
  kubectl writgate approve -f request.json --key bob.pem --expect 7K3QX-9M2DP-04RTV-WXYZ1-5ABCD \\
      -o approval.json
  kubectl writgate approve -f request.json --ssh-agent --expires-in 30m -o approval.json
  kubectl writgate approve -f request.json --key carol.pem --add-signature approval.json \\
      -o approval.json
  kubectl writgate approve -f app.yaml --key bob.pem --requested-by alice@acme.example \\
      --reason CHG-1234 -o approval.json")]
pub(crate) struct Arguments {
    #[command(flatten)]
    proposal: ProposalFlags,
    /// List the posted requests of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "filename", "request"])]
    all_namespaces: bool,
    #[command(flatten)]
    signer: SignerFlags,
    /// Write the approval to FILE [default: standard output; with NAME, a ConfigMap in the request's namespace]
    #[arg(short, long, value_name = "FILE", value_parser = output_file)]
    output: Option<PathBuf>,
    /// Sign without asking, for use without a terminal
    #[arg(short, long)]
    yes: bool,
    /// Sign only if the review has this code, as `review` prints it
    #[arg(long, value_name = "CODE")]
    expect: Option<ReviewCode>,
    /// Show every field of new objects, and long values whole
    #[arg(long)]
    full: bool,
    /// Add a signature to the approval in FILE, if it is for exactly these workloads, instead of making a new one
    #[arg(long, value_name = "FILE", requires = "filename", conflicts_with = "Statement")]
    add_signature: Option<PathBuf>,
    #[command(flatten)]
    posture: PostureFlags,
    #[command(flatten)]
    others: OtherClusterFlags,
    #[command(flatten)]
    statement: StatementFlags,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    arguments.signer.is_given()?;
    if arguments.proposal.filename.is_empty() { posted::run(arguments) } else { of_files(arguments) }
}

fn of_files(arguments: &Arguments) -> Result<Answer, Failure> {
    let Arguments { signer, add_signature, .. } = arguments;
    let others = [&signer.passphrase.passphrase_file, add_signature, &signer.key];
    confirm::can_be_asked(arguments.yes)?;
    let files = draft::read(&arguments.proposal, others.into_iter().flatten().map(PathBuf::as_path))?;
    check_output(arguments)?;
    let signer = signer.find()?;
    let given = add_signature.as_deref().map(GivenEnvelope::read).transpose()?;
    let inputs = DraftInputs {
        files: &files,
        proposal: &arguments.proposal,
        posture: &arguments.posture,
        others: &arguments.others,
        statement: &arguments.statement,
        envelope: given.as_ref(),
    };
    let draft = ApprovalDraft::open(&inputs)?;
    let next = "kubectl writgate approve -f FILE --key KEY --add-signature APPROVAL";
    let completed = sign(arguments, &inputs, draft, &signer, next)?;
    output::write(arguments.output.as_deref(), &(completed.envelope.to_json() + "\n"), Access::Private)?;
    completed.report();
    for line in &completed.missing {
        output::note(line);
    }
    Ok(Answer::Yes)
}

/// Shows the review, asks, and has the draft signed. `next` is the command of the next reviewer.
fn sign<'f>(
    arguments: &Arguments,
    inputs: &DraftInputs<'f>,
    mut draft: ApprovalDraft<'f>,
    signer: &Signer<'_>,
    next: &str,
) -> Result<SignedEnvelope, Failure> {
    if !draft.signatures.iter().all(ExistingSignature::is_verified) {
        // Whether an invalid signature is the signer's own decides what becomes of it.
        signer.unlock()?;
    }
    if let Some(own) = signer.public() {
        draft.set_own_key(own, &arguments.statement);
    }
    let review = ReviewReport::of(&draft)?;
    show(&review, arguments)?;
    check_code(&review, arguments.expect)?;
    precheck::before(&draft, signer.public())?;
    precheck::other_clusters(&review)?;
    precheck::shown_whole(&review, arguments.full)?;
    confirm::ask(&draft.approval, arguments.yes)?;
    draft.look_again(inputs)?;
    precheck::unchanged(&review, &ReviewReport::of(&draft)?)?;

    signing::complete(&mut draft, signer, next)
}

impl SignedEnvelope {
    fn report(&self) {
        let key = self.key;
        if self.is_replaced {
            output::note(&format!("replaced an invalid signature that named key {key}"));
        }
        output::note(&format!("signed with key {key}"));
    }
}

/// The output may replace the approval to which a signature is added, and no other input.
fn check_output(arguments: &Arguments) -> Result<(), Failure> {
    let secrets = [&arguments.signer.passphrase.passphrase_file, &arguments.signer.key];
    let secrets = secrets.into_iter().flatten();
    let inputs = arguments.proposal.filename.iter().chain(&arguments.posture.postures.posture_dir).chain(secrets);
    output::check_target(arguments.output.as_deref(), inputs.map(PathBuf::as_path))
}

/// Prints the review, on a terminal page by page.
fn show(review: &ReviewReport, arguments: &Arguments) -> Result<(), Failure> {
    let text = if arguments.full { review.full_text() } else { review.text() };
    if arguments.yes {
        output::note_styled(&text);
        return Ok(());
    }
    pager::show(&text)
}

fn check_code(review: &ReviewReport, expected: Option<ReviewCode>) -> Result<(), Failure> {
    match expected {
        Some(expected) if expected != review.code() => Err(Failure::No(format!(
            "not signed: this review has code {}, but --expect says {expected}; the request, the posture or what runs \
             differs from what was reviewed",
            review.code()
        ))),
        _ => Ok(()),
    }
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

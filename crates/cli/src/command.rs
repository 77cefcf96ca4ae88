//! The command line: `kubectl writgate VERB`.
//!
//! Each verb has a file that reads its input, asks core, and prints. Exit codes are part of the interface: 0 yes, 1 no,
//! 2 misuse, 3 undetermined. The answer goes to standard output, everything else to standard error.

pub(crate) mod approve;
mod attach;
pub(crate) mod audit;
mod bundle;
mod completion;
mod console;
pub(crate) mod coverage;
mod doctor;
pub(crate) mod explain;
mod hash;
mod keygen;
mod keyid;
mod man;
pub(crate) mod pending;
pub(crate) mod posture;
pub(crate) mod reject;
pub(crate) mod request;
pub(crate) mod review;
mod revoke;
mod select;
mod verify;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{
    failure::{Answer, Failure},
    terminal::output,
};

const AFTER_HELP: &str = "\
Exit codes: 0 yes, 1 no, 2 misuse, 3 undetermined.

From a denial to an admission:
  kubectl writgate request -f app.yaml --wait --apply
  kubectl writgate approve NAME --key KEY     (a reviewer)

With files instead:
  kubectl writgate request -f app.yaml -o request.json
  kubectl writgate approve -f request.json --key KEY -o approval.json     (a reviewer)
  kubectl writgate attach -f app.yaml --approval approval.json -i
  kubectl apply -f app.yaml";

/// Request, review and sign approvals for Kubernetes deployments and replays
#[derive(Parser)]
#[command(name = "kubectl-writgate", bin_name = "kubectl writgate", version, after_help = AFTER_HELP)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Request(Box<request::Arguments>),
    Review(Box<review::Arguments>),
    Approve(Box<approve::Arguments>),
    Reject(Box<reject::Arguments>),
    Select(select::Arguments),
    Attach(attach::Arguments),
    Verify(verify::Arguments),
    Hash(hash::Arguments),
    Bundle(bundle::Arguments),
    Console(Box<console::Arguments>),
    Pending(pending::Arguments),
    Coverage(Box<coverage::Arguments>),
    Audit(Box<audit::Arguments>),
    Doctor(Box<doctor::Arguments>),
    /// Create, check, explain and compare postures
    #[command(subcommand)]
    Posture(posture::Verb),
    Revoke(revoke::Arguments),
    Keygen(keygen::Arguments),
    Keyid(keyid::Arguments),
    Explain(explain::Arguments),
    Completion(completion::Arguments),
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompletionWords),
    #[command(hide = true)]
    Man(man::Arguments),
}

/// Output format of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change between versions
    #[default]
    Text,
    /// For programs; stable
    Json,
}

/// Runs one verb and returns its exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command_line = match CommandLine::try_parse_from(arguments) {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version arrive as errors. If printing them fails, nobody can read a message about it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let answer = match command_line.verb {
        Verb::Keygen(arguments) => keygen::run(&arguments),
        Verb::Keyid(arguments) => keyid::run(&arguments),
        Verb::Hash(arguments) => hash::run(&arguments),
        Verb::Review(arguments) => review::run(&arguments),
        Verb::Approve(arguments) => approve::run(&arguments),
        Verb::Reject(arguments) => reject::run(&arguments),
        Verb::Attach(arguments) => attach::run(&arguments),
        Verb::Select(arguments) => select::run(&arguments),
        Verb::Request(arguments) => request::run(&arguments),
        Verb::Bundle(arguments) => bundle::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Audit(arguments) => audit::run(&arguments),
        Verb::Console(arguments) => console::run(*arguments),
        Verb::Pending(arguments) => pending::run(&arguments),
        Verb::Coverage(arguments) => coverage::run(&arguments),
        Verb::Doctor(arguments) => doctor::run(&arguments),
        Verb::Posture(verb) => posture::run(&verb),
        Verb::Revoke(arguments) => revoke::run(&arguments),
        Verb::Explain(arguments) => explain::run(&arguments),
        Verb::Completion(arguments) => completion::run(&arguments),
        Verb::Complete(words) => completion::candidates(&words),
        Verb::Man(arguments) => man::run(&arguments),
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::from(0),
        Ok(Answer::No) => ExitCode::from(1),
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            match failure {
                Failure::No(_) => ExitCode::from(1),
                Failure::Misuse(_) => ExitCode::from(2),
                Failure::Undetermined(_) => ExitCode::from(3),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{CommandFactory as _, error::ErrorKind};

    use super::*;

    const PLUGIN: &str = "kubectl writgate ";

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    /// Every plugin command in a text, up to a pipe, a comment or the end of its code.
    fn commands(text: &str) -> Vec<String> {
        let joined = text.replace("\\\n", " ");
        let rest = joined.lines().flat_map(|line| line.match_indices(PLUGIN).map(|(at, _)| &line[at + PLUGIN.len()..]));
        let ends = ['`', '|', '#', ';', '>', '<', '{', '}'];
        rest.map(|rest| {
            let command = rest.split(ends).next().unwrap_or_default();
            let command = command.strip_suffix(" 2").unwrap_or(command); // the stream of a redirection
            command.trim_end_matches(['.', ',', ':', ')', ' ']).to_owned()
        })
        .filter(|command| !command.contains('…') && !command.starts_with(char::is_uppercase))
        .collect()
    }

    fn pages() -> Vec<(String, String)> {
        let root = writgate_testing::repository();
        let folder = |name: &str| {
            fs::read_dir(root.join(name))
                .expect("the folder exists")
                .map(|entry| entry.expect("a directory entry").path())
        };
        let pages = folder("docs")
            .chain(folder("docs/operations"))
            .chain(folder("docs/reasons"))
            .chain([root.join("README.md")]);
        pages
            .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
            .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("text")))
            .collect()
    }

    #[test]
    fn every_command_in_the_documentation_and_the_help_parses() {
        let mut texts = pages();
        for verb in CommandLine::command().get_subcommands_mut() {
            texts.push((verb.get_name().to_owned(), verb.render_long_help().to_string()));
        }
        let (mut found, mut wrong) = (0, Vec::new());
        for (source, text) in texts {
            for command in commands(&text) {
                let words = shlex::split(&command).unwrap_or_default();
                let line = std::iter::once("kubectl-writgate".to_owned()).chain(words);
                let Err(error) = CommandLine::try_parse_from(line) else {
                    found += 1;
                    continue;
                };
                // A sentence may name a verb alone, and a placeholder is not a value.
                let is_partial = [
                    ErrorKind::MissingRequiredArgument,
                    ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                    ErrorKind::DisplayHelp,
                    ErrorKind::DisplayVersion,
                    ErrorKind::InvalidValue,
                    ErrorKind::ValueValidation,
                ];
                if !is_partial.contains(&error.kind()) {
                    wrong.push(format!("{source}: {command}: {error}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(found > 40, "{found}");
    }
}

//! `completion`: completion scripts for shells, and the candidates that kubectl asks for after `kubectl writgate`.
//!
//! kubectl runs `kubectl_complete-writgate` with the words so far, and reads cobra's format: a candidate and its
//! description on each line, then a directive for the shell (k8s.io/kubectl, `pkg/cmd/plugin/plugin_completion.go`).
//! Both come from the command line's own definition.

use std::{env, ffi::OsString};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::{
    aot::{Shell, generate},
    engine::{CompletionCandidate, complete},
};

use crate::{
    command::CommandLine,
    failure::{Answer, Failure},
    terminal::output,
};

/// The program that kubectl finds on the PATH by its name. It passes the words on.
const FOR_KUBECTL: &str = "\
#!/bin/sh
# Completion of `kubectl writgate`: kubectl looks for this file by its name, kubectl_complete-writgate, on the PATH.
exec kubectl-writgate __complete \"$@\"
";

/// The binary that the shells' scripts complete.
const BINARY: &str = "kubectl-writgate";

/// cobra's `ShellCompDirectiveNoSpace` and `ShellCompDirectiveNoFileComp`.
const NO_SPACE: u8 = 2;
const NO_FILES: u8 = 4;

/// Print a script that completes the command line
///
/// For `kubectl writgate`, put the kubectl script on the PATH as kubectl_complete-writgate; kubectl's own completion
/// must be set up. The other scripts are for calling kubectl-writgate directly.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate completion kubectl > ~/.local/bin/kubectl_complete-writgate
  chmod +x ~/.local/bin/kubectl_complete-writgate
  source <(kubectl writgate completion bash)")]
pub(crate) struct Arguments {
    /// Shell, or kubectl
    #[arg(value_enum)]
    shell: CompletionTarget,
}

/// What the script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompletionTarget {
    /// kubectl, in all of its shells
    Kubectl,
    /// bash, without kubectl
    Bash,
    /// fish, without kubectl
    Fish,
    /// PowerShell, without kubectl
    Powershell,
    /// zsh, without kubectl
    Zsh,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let shell = match arguments.shell {
        CompletionTarget::Kubectl => return output::print(FOR_KUBECTL).map(|()| Answer::Yes),
        CompletionTarget::Bash => Shell::Bash,
        CompletionTarget::Fish => Shell::Fish,
        CompletionTarget::Powershell => Shell::PowerShell,
        CompletionTarget::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    generate(shell, &mut CommandLine::command(), BINARY, &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Answer::Yes)
}

/// The words after `kubectl writgate`. The last one is incomplete.
#[derive(clap::Args, Debug)]
#[command(disable_help_flag = true)]
pub(crate) struct CompletionWords {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn candidates(words: &CompletionWords) -> Result<Answer, Failure> {
    let mut line = vec![OsString::from(BINARY)];
    line.extend(words.words.iter().cloned());
    if words.words.is_empty() {
        line.push(OsString::new());
    }
    let typed = line.len() - 1;
    let folder = env::current_dir().ok();
    // A shell has no place for an error message, so an error means no candidates.
    let found = complete(&mut CommandLine::command(), line, typed, folder.as_deref()).unwrap_or_default();
    let lines: String = found.iter().filter(|candidate| !candidate.is_hide_set()).filter_map(as_line).collect();
    let is_folder = |candidate: &CompletionCandidate| candidate.get_value().as_encoded_bytes().ends_with(b"/");
    let directive = if found.iter().any(is_folder) { NO_FILES | NO_SPACE } else { NO_FILES };
    output::print(&format!("{lines}:{directive}\n"))?;
    Ok(Answer::Yes)
}

/// A candidate's line; none if it would be two lines, or is not text.
fn as_line(candidate: &CompletionCandidate) -> Option<String> {
    let value = candidate.get_value().to_str().filter(|value| !value.contains(['\n', '\t']))?;
    let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
    match help.lines().next() {
        Some(help) => Some(format!("{value}\t{help}\n")),
        None => Some(format!("{value}\n")),
    }
}

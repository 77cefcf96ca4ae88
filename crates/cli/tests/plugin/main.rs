//! The command line as people and programs use it: transcripts that are documentation too (`../cli/*.md`), and tests
//! for what a transcript cannot show, such as standard input, limits and permissions. Other modules check that the
//! command line works with OpenSSL, securesystemslib, OpenSSH, Helm and kustomize.

mod audit;
mod component;
mod coverage;
mod deceive;
mod doctor;
mod examples;
mod files;
mod fleets;
mod folder;
mod gitops_denials;
mod help;
mod interop;
mod keys;
mod manifests;
mod posted;
mod proxies;
mod renderers;
mod requests;
mod reviews;
mod signers;
mod stand_in;
mod vectors;
mod verify;

use std::{env, fs, path::Path};

/// Prefix of the commands that trycmd runs. It would ignore other commands silently.
const COMMAND: &str = "kubectl writgate ";

/// The folder of the transcripts and their files.
pub(crate) fn transcripts() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli"))
}

#[test]
fn transcripts_are_true() {
    let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-writgate")).parent().expect("a file has a folder");
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(plugin.to_owned()).chain(env::split_paths(&others))).expect("a path");
    trycmd::TestCases::new()
        .register_bin("kubectl", transcripts().join("kubectl"))
        .env("PATH", path.to_str().expect("UTF-8"))
        .case("tests/cli/*.md");
}

#[test]
fn every_command_of_a_transcript_is_run() {
    let mut commands = 0;
    for entry in fs::read_dir(transcripts()).expect("it exists") {
        let path = entry.expect("a readable file").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            for line in fs::read_to_string(&path).expect("text").lines() {
                if let Some(command) = line.strip_prefix("$ ") {
                    assert!(command.starts_with(COMMAND), "{}: {line}", path.display());
                    commands += 1;
                }
            }
        }
    }
    assert!(commands > 20);
}

//! What is built: the sources' folder, version, commit and time.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

/// The sources of a build. Everything in an artifact that is not compiled from files comes from here.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The root of the repository.
    pub(crate) root: PathBuf,
    pub(crate) version: &'static str,
    /// The commit, with `-dirty` if files differ from it. None outside a Git repository.
    pub(crate) revision: Option<String>,
    /// The time of every file: `SOURCE_DATE_EPOCH`, or else the time of the commit.
    /// See <https://reproducible-builds.org/specs/source-date-epoch>.
    pub(crate) time: Timestamp,
    /// The address of the repository, from `WRITGATE_SOURCE_URL`.
    pub(crate) url: Option<String>,
}

impl Source {
    /// Reads the sources in the current folder.
    pub(crate) fn read() -> Result<Self> {
        let root = env::current_dir().context("the current folder cannot be read")?;
        anyhow::ensure!(
            root.join("crates/xtask").is_dir(),
            "{} is not the root of the repository; run `make image` there",
            root.display()
        );
        let revision = variable("WRITGATE_REVISION").or_else(|| {
            let commit = git(&["rev-parse", "HEAD"])?;
            let is_clean = git(&["status", "--porcelain"])?.is_empty();
            Some(if is_clean { commit } else { commit + "-dirty" })
        });
        let seconds = match variable("SOURCE_DATE_EPOCH").or_else(|| git(&["log", "-1", "--format=%ct"])) {
            Some(seconds) => seconds.parse().with_context(|| {
                format!("SOURCE_DATE_EPOCH is {seconds:?}; expected seconds since 1970, such as 1764288000")
            })?,
            None => anyhow::bail!("this is not a Git repository; set SOURCE_DATE_EPOCH to the time of the sources"),
        };
        let time = Timestamp::from_second(seconds).context("SOURCE_DATE_EPOCH is not a time")?;
        Ok(Self { root, version: env!("CARGO_PKG_VERSION"), revision, time, url: variable("WRITGATE_SOURCE_URL") })
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The output of a Git command, or none if it fails.
pub(crate) fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

//! Builds what a release consists of. It requires no container engine and downloads nothing.

mod archive;
mod compile;
mod elf;
mod image;
mod release;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use source::Source;

/// Build what a release consists of
#[derive(Debug, Parser)]
#[command(name = "xtask", version)]
enum Task {
    /// Build the image of the webhook as an OCI image layout
    Image {
        /// Static Linux binary of the webhook. Give one for each architecture [default: compile it for this machine]
        #[arg(long = "binary", value_name = "FILE")]
        binaries: Vec<PathBuf>,
        /// Folder to write the layout to. It is replaced
        #[arg(long, value_name = "DIR", default_value = "target/image")]
        output: PathBuf,
    },
    /// Build the image a second time, from a copy of the sources in another folder, and compare every byte
    Reproduce {
        /// Folder of the first layout
        #[arg(long, value_name = "DIR", default_value = "target/image")]
        layout: PathBuf,
    },
    /// Write an archive of the plugin, PROGRAM and LICENSE
    Archive {
        /// The plugin's program
        program: PathBuf,
        /// Archive to write, such as kubectl-writgate-linux-amd64.tar.gz
        archive: PathBuf,
    },
    /// Check that the versions of the workspace, the chart and the changelog agree
    Check {
        /// Tag of the release, such as v1.2.3. With it, the changelog must have the release's date
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
    },
    /// Build the programs, SBOMs and archives of a release for this Linux machine
    Linux {
        /// Folder to write to
        #[arg(long, value_name = "DIR", default_value = "target/release-linux")]
        output: PathBuf,
    },
    /// Run each step of a release that requires no other machine, and print what the release workflow adds
    DryRun {
        /// Helm, which packages the chart
        #[arg(long, value_name = "FILE")]
        helm: PathBuf,
        /// Folder to write to. It is replaced
        #[arg(long, value_name = "DIR", default_value = "target/release-dry-run")]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Image { binaries, output } => image(binaries, &output),
        Task::Reproduce { layout } => release::reproduce(&layout),
        Task::Archive { program, archive } => release::archive(&program, &archive),
        Task::Check { tag } => release::check(tag.as_deref()),
        Task::Linux { output } => release::linux(&output),
        Task::DryRun { helm, output } => release::dry_run(&helm, &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn image(mut binaries: Vec<PathBuf>, output: &Path) -> anyhow::Result<()> {
    let source = Source::read()?;
    if binaries.is_empty() {
        binaries.push(compile::static_program(compile::WEBHOOK, &source.root)?);
    }
    let built = image::write(&binaries, &source, output)?;
    println!("{}", built.summary(output));
    Ok(())
}

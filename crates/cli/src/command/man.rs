//! `man`: manual pages, one for each verb, from the command line's own definition.

use std::{fs, path::PathBuf};

use clap::{Command, CommandFactory as _, builder::Resettable};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use crate::{
    command::CommandLine,
    failure::{Answer, Failure},
    terminal::output::{self, Access},
};

/// Write the manual pages into a folder
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Folder to write to; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let folder = &arguments.folder;
    let failed = |error| Failure::Undetermined(format!("cannot write {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    let mut commands = vec![&command];
    while let Some(next) = commands.pop() {
        commands.extend(next.get_subcommands().filter(|verb| !verb.is_hide_set()));
        let (name, page) = page(next).map_err(failed)?;
        output::write(Some(&folder.join(name)), &page, Access::Public)?;
    }
    Ok(Answer::Yes)
}

/// A page and the name of its file.
fn page(command: &Command) -> Result<(PathBuf, String), std::io::Error> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone().after_help(Resettable::Reset)).manual("kubectl writgate");
    let mut page = Vec::new();
    man.render(&mut page)?;
    if !after.is_empty() {
        // Not filled, so that the line breaks of examples stay.
        let (title, lines) =
            after.split_once(":\n").filter(|(title, _)| *title == "Examples").unwrap_or(("Notes", &after));
        let mut roff = Roff::new();
        roff.control("SH", [title.to_uppercase().as_str()]).control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []).to_writer(&mut page)?;
    }
    Ok((man.get_filename().into(), String::from_utf8_lossy(&page).into_owned()))
}

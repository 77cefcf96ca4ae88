//! A page of documentation as something that can be played: prose, files, and what people type and see.
//!
//! Markdown, with three conventions. A fenced block whose info string has a second word (```` ```yaml orders.yaml ````) is a
//! file. A `console` block is a session: `alice$ COMMAND` runs as that user, and what follows is what it prints, standard
//! output and error as they come; a command that ends with `# exits with N` does so. A comment `<!-- until: WORDS -->`
//! before a session, or several, have its first command repeated until it says so: what it shows comes behind an answer.

use std::fmt::Write as _;

/// One piece of a page, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Lines that are neither of the others.
    Prose(String),
    /// A file, with its name and the info string's first word.
    File { language: String, name: String, text: String },
    /// What is typed and seen.
    Session(Vec<Step>),
}

/// A command, and what it says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) user: String,
    /// As it stands on the page, continued lines and comment included.
    pub(crate) command: String,
    pub(crate) says: String,
    /// All that it must say before it counts.
    pub(crate) until: Vec<String>,
}

impl Step {
    /// The exit code that the page tells.
    pub(crate) fn exit_code(&self) -> i32 {
        let told = self.command.rsplit_once("# exits with ").map(|(_, code)| code.trim());
        told.map_or(0, |code| code.parse().expect("`# exits with` is followed by a number"))
    }
}

/// Takes a page apart.
pub(crate) fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut prose = String::new();
    let mut until = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let info = line.strip_prefix("```").unwrap_or_default();
        let (language, name) = info.split_once(' ').unwrap_or((info, ""));
        if language != "console" && name.is_empty() {
            let told = line.strip_prefix("<!-- until: ").and_then(|rest| rest.strip_suffix(" -->"));
            until.extend(told.map(str::to_owned));
            prose.push_str(line);
            prose.push('\n');
            continue;
        }
        parts.extend((!prose.is_empty()).then(|| Part::Prose(std::mem::take(&mut prose))));
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        parts.push(if language == "console" {
            Part::Session(steps(&block, std::mem::take(&mut until)))
        } else {
            let text = block.iter().flat_map(|line| [*line, "\n"]).collect();
            Part::File { language: language.to_owned(), name: name.to_owned(), text }
        });
    }
    parts.extend((!prose.is_empty()).then_some(Part::Prose(prose)));
    parts
}

fn steps(block: &[&str], mut until: Vec<String>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.iter();
    while let Some(line) = lines.next() {
        let prompt = line.split_once("$ ").filter(|(user, _)| user.bytes().all(|byte| byte.is_ascii_lowercase()));
        if let Some((user, command)) = prompt.filter(|(user, _)| !user.is_empty()) {
            let mut command = command.to_owned();
            while command.ends_with('\\') {
                let next = lines.next().expect("a line that ends in a backslash goes on");
                let _ = write!(command, "\n{next}");
            }
            steps.push(Step { user: user.to_owned(), command, says: String::new(), until: std::mem::take(&mut until) });
        } else {
            let step = steps.last_mut().unwrap_or_else(|| panic!("a session begins with a prompt, not with {line:?}"));
            step.says.push_str(line);
            step.says.push('\n');
        }
    }
    steps
}

/// Puts a page together again.
pub(crate) fn write(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        let _ = match part {
            Part::Prose(prose) => write!(text, "{prose}"),
            Part::File { language, name, text: contents } => write!(text, "```{language} {name}\n{contents}```\n"),
            Part::Session(steps) => {
                let step = |step: &Step| format!("{}$ {}\n{}", step.user, step.command, step.says);
                write!(text, "```console\n{}```\n", steps.iter().map(step).collect::<String>())
            }
        };
    }
    text
}

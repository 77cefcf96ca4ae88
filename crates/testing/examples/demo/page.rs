//! A page of documentation, parsed into prose, files and sessions.
//!
//! A page is Markdown with three conventions:
//! - A fenced block whose info string has a second word (```` ```yaml orders.yaml ````) is a file.
//! - A `console` block is a session. `alice$ COMMAND` runs as that user, and the lines after it are its output, standard
//!   output and error together. A command that ends with `# exits with N` has that exit code.
//! - Comments `<!-- until: WORDS -->` before a session repeat its first command until it prints the words, since some
//!   effects follow a response.

use std::fmt::Write as _;

/// One part of a page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Lines that belong to no file and no session.
    Prose(String),
    /// A file, with its name and the info string's first word.
    File { language: String, name: String, text: String },
    /// Commands and their output.
    Session(Vec<Step>),
}

/// A command and its output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) user: String,
    /// The command as the page has it, with continued lines and its comment.
    pub(crate) command: String,
    pub(crate) output: String,
    /// Texts that the output must contain; until it does, the command is repeated.
    pub(crate) until: Vec<String>,
}

impl Step {
    /// The exit code that the page says.
    pub(crate) fn exit_code(&self) -> i32 {
        let code = self.command.rsplit_once("# exits with ").map(|(_, code)| code.trim());
        code.map_or(0, |code| code.parse().expect("`# exits with` is followed by a number"))
    }
}

/// Parses a page.
pub(crate) fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut prose = String::new();
    let mut until = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let info = line.strip_prefix("```").unwrap_or_default();
        let (language, name) = info.split_once(' ').unwrap_or((info, ""));
        if language != "console" && name.is_empty() {
            let words = line.strip_prefix("<!-- until: ").and_then(|rest| rest.strip_suffix(" -->"));
            until.extend(words.map(str::to_owned));
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
                let next = lines.next().expect("a line follows a backslash");
                let _ = write!(command, "\n{next}");
            }
            steps.push(Step {
                user: user.to_owned(),
                command,
                output: String::new(),
                until: std::mem::take(&mut until),
            });
        } else {
            let step = steps.last_mut().unwrap_or_else(|| panic!("a session starts with {line:?}, expected a prompt"));
            step.output.push_str(line);
            step.output.push('\n');
        }
    }
    steps
}

/// Writes a page; the inverse of [`parse`].
pub(crate) fn write(parts: &[Part]) -> String {
    let mut text = String::new();
    for part in parts {
        let _ = match part {
            Part::Prose(prose) => write!(text, "{prose}"),
            Part::File { language, name, text: contents } => write!(text, "```{language} {name}\n{contents}```\n"),
            Part::Session(steps) => {
                let step = |step: &Step| format!("{}$ {}\n{}", step.user, step.command, step.output);
                write!(text, "```console\n{}```\n", steps.iter().map(step).collect::<String>())
            }
        };
    }
    text
}

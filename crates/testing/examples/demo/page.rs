//! A page of documentation, parsed into prose, files and sessions.
//!
//! A page is Markdown with these conventions:
//! - A fenced block whose info string has a second word (```` ```yaml orders.yaml ````) is a file.
//! - A `console` block is a session. `alice$ COMMAND` runs as that user, and the lines after it are its output, standard
//!   output and error together. A command that ends with `# exits with N` has that exit code.
//! - Comments before a session are directions for its first command, or say what the block is:
//!
//! | Comment | Meaning |
//! |---|---|
//! | `<!-- until: WORDS -->` | Repeat the command until it prints the words, since some effects follow a response |
//! | `<!-- type: KEYS at WORDS -->` | Run the command on a terminal, and type the keys when it has printed the words; may be repeated |
//! | `<!-- last: N -->` | The page has the first line, `...` and the last N lines of the output |
//! | `<!-- waits: WORDS -->` | The command goes on after it has printed the line with the words |
//! | `<!-- continues: USER -->` | The block is the further output of the user's command that waits |
//! | `<!-- story: NAME -->` | Count the commands that follow for this story, or for none if the name is `-` |
//! | `<!-- counts -->` | The block is the table of the counts |

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
    /// The further output of a command that waits; `waits` as in [`Directions`].
    Rest { user: String, output: String, waits: Option<String> },
    /// The story that begins.
    Story(String),
    /// The table of the counts.
    Counts(String),
}

/// A command and its output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) user: String,
    /// The command as the page has it, with continued lines and its comment.
    pub(crate) command: String,
    pub(crate) output: String,
    pub(crate) directions: Directions,
}

/// What comments say about a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Directions {
    /// Texts that the output must contain; until it does, the command is repeated.
    pub(crate) until: Vec<String>,
    /// Questions on a terminal, each with the keys that answer it.
    pub(crate) answers: Vec<Answer>,
    /// How many lines at the end of the output the page has.
    pub(crate) last: Option<usize>,
    /// The words after which the command goes on.
    pub(crate) waits: Option<String>,
}

/// The keys that are typed at a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) question: String,
    pub(crate) keys: String,
}

impl Step {
    /// The exit code that the page says.
    pub(crate) fn exit_code(&self) -> i32 {
        let code = self.command.rsplit_once("# exits with ").map(|(_, code)| code.trim());
        code.map_or(0, |code| code.parse().expect("`# exits with` is followed by a number"))
    }
}

impl Directions {
    /// The part of an output that the page has.
    pub(crate) fn selected(&self, output: String) -> String {
        let lines: Vec<&str> = output.lines().collect();
        match self.last {
            Some(last) if lines.len() > last + 1 => {
                let end = lines[lines.len() - last..].iter();
                [lines[0], "..."].iter().chain(end).flat_map(|line| [*line, "\n"]).collect()
            }
            _ => output,
        }
    }
}

/// What a `console` block is.
enum Block {
    Session,
    Rest(String),
    Counts,
}

/// Parses a page.
pub(crate) fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut prose = String::new();
    let mut directions = Directions::default();
    let mut next = Block::Session;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let info = line.strip_prefix("```").unwrap_or_default();
        let (language, name) = info.split_once(' ').unwrap_or((info, ""));
        if language != "console" && name.is_empty() {
            let comment = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")).unwrap_or_default();
            match comment.split_once(": ").unwrap_or((comment, "")) {
                ("until", words) => directions.until.push(words.to_owned()),
                ("last", lines) => directions.last = Some(lines.parse().expect("`last` is followed by a number")),
                ("waits", words) => directions.waits = Some(words.to_owned()),
                ("type", keys) => directions.answers.push(answer(keys)),
                ("continues", user) => next = Block::Rest(user.to_owned()),
                ("counts", _) => next = Block::Counts,
                ("story", name) => {
                    parts.push(Part::Prose(std::mem::take(&mut prose)));
                    parts.push(Part::Story(name.to_owned()));
                    continue;
                }
                _ => {}
            }
            prose.push_str(line);
            prose.push('\n');
            continue;
        }
        parts.push(Part::Prose(std::mem::take(&mut prose)));
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = || block.iter().flat_map(|line| [*line, "\n"]).collect();
        if language != "console" {
            parts.push(Part::File { language: language.to_owned(), name: name.to_owned(), text: text() });
            continue;
        }
        let directions = std::mem::take(&mut directions);
        parts.push(match std::mem::replace(&mut next, Block::Session) {
            Block::Session => Part::Session(steps(&block, directions)),
            Block::Rest(user) => Part::Rest { user, output: text(), waits: directions.waits },
            Block::Counts => Part::Counts(text()),
        });
    }
    parts.push(Part::Prose(prose));
    parts
}

/// `y, Enter at Sign this`
fn answer(text: &str) -> Answer {
    let (keys, question) = text.split_once(" at ").unwrap_or_else(|| panic!("`type: {text}` has no `at`"));
    let keys = keys.split(", ").map(|key| if key == "Enter" { "\r" } else { key });
    Answer { question: question.to_owned(), keys: keys.collect() }
}

fn steps(block: &[&str], mut directions: Directions) -> Vec<Step> {
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
                directions: std::mem::take(&mut directions),
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
            Part::Rest { output, .. } | Part::Counts(output) => write!(text, "```console\n{output}```\n"),
            Part::Story(name) => writeln!(text, "<!-- story: {name} -->"),
        };
    }
    text
}

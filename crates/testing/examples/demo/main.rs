//! `make demo`: runs the commands of the tutorial on a real API server.
//!
//! Each command runs as the user in its prompt, with that user's rights alone. The demo fails if a command prints something
//! other than the page says. `WRITGATE_WRITE_DOCS=1` writes what the commands printed into the page.

mod counts;
mod page;
mod repository;
mod terminal;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use counts::Counts;
use page::{Part, Step};
use regex::Regex;
use repository::Source;
use writgate_testing::{Plane, Ran, User, Webhook, repository, wait_until};

/// The pages whose commands run. Pages share no namespaces.
const PAGES: [&str; 1] = ["docs/tutorial.md"];
/// The users of the pages in addition to `admin`. Each has only the rights that a page grants.
const USERS: [&str; 5] = ["alice", "bob", "carol", "ada", "pipeline"];
/// Limit for effects that follow a response, such as an Event.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let started = Instant::now();
    println!(
        "Starting etcd, kube-apiserver, kube-controller-manager, Flux's kustomize-controller and the webhook on loopback …"
    );
    // A panic has printed its message already. Unwinding drops the stage, which stops every process.
    let played = std::panic::catch_unwind(|| {
        let stage = Stage::set();
        PAGES.iter().map(|page| stage.play(page)).sum::<usize>()
    });
    let Ok(mut differences) = played else { return ExitCode::FAILURE };
    differences += misquoted_lines();
    if differences > 0 {
        eprintln!("\n{differences} differences from the documentation, marked with !!! above.");
        eprintln!("If the new output is correct, run WRITGATE_WRITE_DOCS=1 make demo and review the changed page.");
        return ExitCode::FAILURE;
    }
    println!(
        "\nEvery command printed what the page says, in {} s. Everything is stopped again.",
        started.elapsed().as_secs()
    );
    println!("To read the page: {}. To install Writgate on a cluster: README.md.", PAGES.join(", "));
    ExitCode::SUCCESS
}

/// A control plane with the webhook installed, its users, and Flux.
struct Stage {
    // Declared, and so stopped, before the plane.
    _webhook: Webhook,
    source: Source,
    plane: Plane,
    users: BTreeMap<String, User>,
    path: String,
    colour: bool,
}

/// What is known while a page is played.
struct Play<'a> {
    stage: &'a Stage,
    folder: PathBuf,
    /// The commands that wait, by their user.
    waiting: BTreeMap<String, Waiting>,
    counts: Counts,
    differences: usize,
}

/// A command that goes on while others run.
struct Waiting {
    command: String,
    child: Child,
    started: Instant,
    output: PathBuf,
    /// How many bytes of the output were shown.
    shown: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // It has ended already, unless the demo has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Stage {
    fn set() -> Self {
        let plane = Plane::start();
        let source = Source::start(&plane);
        let webhook = Webhook::install(&plane);
        let bin = plane.folder.join(".bin");
        fs::create_dir_all(&bin).expect("the plane's folder can be written");
        link(writgate_testing::plugin(), &bin.join("kubectl-writgate"));
        link(plane.kubectl(), &bin.join("kubectl"));
        let inherited = std::env::var("PATH").unwrap_or_default();
        let mut users: BTreeMap<String, User> =
            USERS.iter().map(|name| ((*name).to_owned(), plane.user(name))).collect();
        users.insert("admin".to_owned(), plane.admin.clone());
        let colour = std::io::stdout().is_terminal();
        Self { _webhook: webhook, source, path: format!("{}:{inherited}", bin.display()), plane, users, colour }
    }

    /// Runs the commands of a page. Returns how many printed something other than the page says.
    fn play(&self, page: &str) -> usize {
        let path = repository().join(page);
        let text = fs::read_to_string(&path).expect("the page exists");
        let folder = self.plane.folder.join(path.file_stem().expect("a page is a file"));
        fs::create_dir_all(&folder).expect("the plane's folder can be written");
        self.source.create(&folder);
        let (waiting, counts) = (BTreeMap::new(), Counts::default());
        let mut play = Play { stage: self, folder, waiting, counts, differences: 0 };
        let mut parts = page::parse(&text);
        for part in &mut parts {
            play.part(part);
        }
        if std::env::var_os("WRITGATE_WRITE_DOCS").is_some() {
            fs::write(&path, page::write(&parts)).expect("the page can be written");
        }
        play.differences
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

impl Play<'_> {
    fn part(&mut self, part: &mut Part) {
        match part {
            Part::Prose(prose) => {
                for line in prose.lines().filter(|line| !line.starts_with("<!--")) {
                    println!("{}", if line.starts_with('#') { self.stage.bold(line) } else { line.to_owned() });
                }
            }
            Part::File { name, text, .. } => {
                println!("    (file {name}, {} lines: see the page)", text.lines().count());
                fs::write(self.folder.join(name), text).expect("the plane's folder can be written");
            }
            Part::Session(steps) => {
                for step in steps {
                    self.step(step);
                }
            }
            Part::Rest { user, output, waits } => {
                println!("{}", self.stage.bold(&format!("({user}'s command goes on)")));
                let (code, printed) = self.rest(user, waits.as_deref());
                self.compare(code, &printed, 0, output);
            }
            Part::Story(story) => self.counts.begin(story),
            Part::Counts(table) => {
                let printed = self.counts.table();
                self.compare(Some(0), &printed, 0, table);
            }
        }
    }

    /// Runs and prints a step, and stores what it printed in the step.
    fn step(&mut self, step: &mut Step) {
        println!("{}", self.stage.bold(&format!("{}$ {}", step.user, step.command)));
        let started = Instant::now();
        let (code, printed) = if let Some(words) = &step.directions.waits {
            self.start(step);
            self.rest(&step.user, Some(words))
        } else if step.directions.answers.is_empty() {
            let until = &step.directions.until;
            let ran = wait_until(&format!("`{}` prints {until:?}", step.command), PATIENCE, || {
                let mut shell = self.command("sh", &step.user);
                // Standard output and error are in one stream, as on a terminal.
                let ran = Ran::of(shell.args(["-c", &format!("{{ {}\n}} 2>&1", step.command)]), "");
                Some(ran).filter(|ran| until.iter().all(|words| ran.stdout.contains(words)))
            });
            (ran.code, ran.stdout)
        } else {
            terminal::run(self.command("python3", &step.user), &step.command, &step.directions.answers)
        };
        if step.directions.waits.is_none() {
            self.counts.add(&step.user, &step.command, started.elapsed());
        }
        let expected = step.exit_code();
        let printed = step.directions.selected(printed);
        self.compare(code, &printed, expected, &mut step.output);
        self.stage.source.publish(&self.stage.plane);
    }

    /// Starts a command that goes on while others run.
    fn start(&mut self, step: &Step) {
        let output = self.folder.join(format!(".{}.out", step.user));
        let mut shell = self.command("sh", &step.user);
        // With `exec`, killing the child kills the command.
        shell.args(["-c", &format!("exec {} 2>&1", step.command)]).stdin(Stdio::null());
        let child = shell.stdout(File::create(&output).expect("the folder can be written")).spawn().expect("sh starts");
        let (command, started) = (step.command.clone(), Instant::now());
        self.waiting.insert(step.user.clone(), Waiting { command, child, started, output, shown: 0 });
    }

    /// The further output of a command that waits: up to the line with the words, or to the end. The exit code is 0 until the end.
    fn rest(&mut self, user: &str, words: Option<&str>) -> (Option<i32>, String) {
        let waiting = self.waiting.get_mut(user).unwrap_or_else(|| panic!("no command of {user} waits"));
        let (code, end) = wait_until(&format!("`{}` prints {words:?} or ends", waiting.command), PATIENCE, || {
            let status = waiting.child.try_wait().expect("a child can be waited for");
            let text = fs::read_to_string(&waiting.output).expect("it exists");
            let found = words.and_then(|words| text[waiting.shown..].find(words)).map(|at| waiting.shown + at);
            let line = found.and_then(|at| text[at..].find('\n').map(|length| at + length + 1));
            line.map(|end| (Some(0), end)).or_else(|| status.map(|status| (status.code(), text.len())))
        });
        let text = fs::read_to_string(&waiting.output).expect("it exists");
        let printed = text[waiting.shown..end].to_owned();
        waiting.shown = end;
        if words.is_none() {
            let waiting = self.waiting.remove(user).expect("it was found");
            self.counts.add(user, &waiting.command, waiting.started.elapsed());
        }
        (code, printed)
    }

    /// A command with the rights of a user.
    fn command(&self, program: &str, user: &str) -> Command {
        let found = self.stage.users.get(user).unwrap_or_else(|| panic!("the page has an unknown user: {user}"));
        let mut command = found.command(Path::new(program));
        repository::without_configuration(&mut command);
        for person in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{person}_NAME"), user);
            command.env(format!("GIT_{person}_EMAIL"), format!("{user}@acme.example"));
        }
        command.env("PATH", &self.stage.path).env("NO_COLOR", "1").env("COLUMNS", "120").env("TZ", "UTC");
        command.current_dir(&self.folder);
        command
    }

    /// Prints the output, compares it with the page's, and stores it there.
    fn compare(&mut self, code: Option<i32>, printed: &str, expected: i32, output: &mut String) {
        let printed = printed.trim_end().to_owned() + if printed.trim().is_empty() { "" } else { "\n" };
        print!("{printed}");
        if code != Some(expected) {
            println!("!!! exit code {code:?}; the page says {expected}");
            self.differences += 1;
        } else if normal(&printed) != normal(output) {
            println!("!!! the page says:\n{output}");
            self.differences += 1;
        }
        *output = printed;
    }
}

/// The number of lines in the README's sessions that are in no page.
fn misquoted_lines() -> usize {
    let text = |page: &str| fs::read_to_string(repository().join(page)).expect("a page");
    let pages: Vec<String> = PAGES.iter().flat_map(|page| text(page).lines().map(normal).collect::<Vec<_>>()).collect();
    let is_prompt = |line: &str| USERS.iter().any(|name| line.starts_with(&format!("{name}$ ")));
    let mut wrong = 0;
    for block in text("README.md").split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|_| block.lines().next().is_some_and(is_prompt)) {
            let quoted = normal(line);
            if !pages.iter().any(|line| line.starts_with(&quoted)) {
                println!("!!! the README has a line that is in no page:\n{line}");
                wrong += 1;
            }
        }
    }
    wrong
}

/// The text without what differs from run to run: times, ids, codes, digests, addresses and the widths of columns.
fn normal(text: &str) -> String {
    // Compiled once: every line of the pages is normalized, and compiling takes milliseconds in a debug build.
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let rules = [
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
            (r"([0-9A-Z]{5}-){4}[0-9A-Z]{5}", "CODE"),
            (r"[0-9a-f]{8,64}", "HEX"),
            (r"[A-Za-z0-9+/]{40,}=*", "BASE64"),
            (r"\b(\d+h)?(\d+m)?\d+(\.\d+)?(ms|s|m|h)\b", "SPAN"),
            (r"127\.0\.0\.1:\d+", "ADDRESS"),
            (r"[ \t]+", " "),
            (r"(?m) $", ""),
        ];
        rules.map(|(pattern, instead)| (Regex::new(pattern).expect("the patterns are valid"), instead)).into()
    });
    RULES
        .iter()
        .fold(text.trim_end().to_owned(), |text, (pattern, instead)| pattern.replace_all(&text, *instead).into_owned())
}

fn link(target: &Path, link: &PathBuf) {
    std::os::unix::fs::symlink(target, link).expect("the plane's folder can be written");
}

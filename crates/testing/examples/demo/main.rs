//! `make demo`: runs the commands of the tutorial on a real API server.
//!
//! Each command runs as the user in its prompt, with that user's rights alone. The demo fails if a command prints something
//! other than the page says. `WRITGATE_WRITE_DOCS=1` writes what the commands printed into the page.

mod page;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use page::{Part, Step};
use regex::Regex;
use writgate_testing::{Plane, Ran, User, Webhook, repository, wait_until};

/// The pages whose commands run. Pages share no namespaces.
const PAGES: [&str; 1] = ["docs/tutorial.md"];
/// The users of the pages in addition to `admin`. Each has only the rights that a page grants.
const USERS: [&str; 4] = ["alice", "bob", "carol", "ada"];
/// Limit for effects that follow a response, such as an Event.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let started = Instant::now();
    println!("Starting etcd, kube-apiserver, kube-controller-manager and the webhook on loopback …");
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

/// A control plane with the webhook installed, and its users.
struct Stage {
    // Declared, and so stopped, before the plane.
    _webhook: Webhook,
    plane: Plane,
    users: BTreeMap<String, User>,
    path: String,
    colour: bool,
}

impl Stage {
    fn set() -> Self {
        let plane = Plane::start();
        let webhook = Webhook::install(&plane);
        let bin = plane.folder.join(".bin");
        std::fs::create_dir_all(&bin).expect("the plane's folder can be written");
        link(writgate_testing::plugin(), &bin.join("kubectl-writgate"));
        link(plane.kubectl(), &bin.join("kubectl"));
        let inherited = std::env::var("PATH").unwrap_or_default();
        let mut users: BTreeMap<String, User> =
            USERS.iter().map(|name| ((*name).to_owned(), plane.user(name))).collect();
        users.insert("admin".to_owned(), plane.admin.clone());
        let colour = std::io::stdout().is_terminal();
        Self { _webhook: webhook, path: format!("{}:{inherited}", bin.display()), plane, users, colour }
    }

    /// Runs the commands of a page. Returns how many printed something other than the page says.
    fn play(&self, page: &str) -> usize {
        let path = repository().join(page);
        let text = std::fs::read_to_string(&path).expect("the page exists");
        let folder = self.plane.folder.join(path.file_stem().expect("a page is a file"));
        std::fs::create_dir_all(&folder).expect("the plane's folder can be written");
        let mut parts = page::parse(&text);
        let mut differences = 0;
        for part in &mut parts {
            match part {
                Part::Prose(prose) => self.print(prose),
                Part::File { name, text, .. } => {
                    println!("    (file {name}, {} lines: see the page)", text.lines().count());
                    std::fs::write(folder.join(name), text).expect("the plane's folder can be written");
                }
                Part::Session(steps) => {
                    for step in steps {
                        differences += usize::from(!self.play_step(step, &folder));
                    }
                }
            }
        }
        if std::env::var_os("WRITGATE_WRITE_DOCS").is_some() {
            std::fs::write(&path, page::write(&parts)).expect("the page can be written");
        }
        differences
    }

    /// Runs and prints a step, and stores what it printed in the step. Returns whether that is what the page says.
    fn play_step(&self, step: &mut Step, folder: &Path) -> bool {
        println!("{}", self.bold(&format!("{}$ {}", step.user, step.command)));
        let ran = wait_until(&format!("`{}` prints {:?}", step.command, step.until), PATIENCE, || {
            Some(self.run(step, folder)).filter(|ran| step.until.iter().all(|words| ran.stdout.contains(words)))
        });
        let printed = ran.stdout.trim_end().to_owned() + if ran.stdout.trim().is_empty() { "" } else { "\n" };
        print!("{printed}");
        let is_as_written = ran.code == Some(step.exit_code()) && normal(&printed) == normal(&step.output);
        if ran.code != Some(step.exit_code()) {
            println!("!!! exit code {:?}; the page says {}", ran.code, step.exit_code());
        } else if !is_as_written {
            println!("!!! the page says:\n{}", step.output);
        }
        step.output = printed;
        is_as_written
    }

    /// Runs a command with standard output and error in one stream, as on a terminal.
    fn run(&self, step: &Step, folder: &Path) -> Ran {
        let user = self.users.get(&step.user).unwrap_or_else(|| panic!("the page has an unknown user: {}", step.user));
        let mut shell: Command = user.command(Path::new("sh"));
        shell.args(["-c", &format!("{{ {}\n}} 2>&1", step.command)]);
        shell.env("PATH", &self.path).env("NO_COLOR", "1").env("COLUMNS", "120").env("TZ", "UTC").current_dir(folder);
        Ran::of(&mut shell, "")
    }

    fn print(&self, prose: &str) {
        for line in prose.lines().filter(|line| !line.starts_with("<!--")) {
            println!("{}", if line.starts_with('#') { self.bold(line) } else { line.to_owned() });
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The number of lines in the README's sessions that are in no page.
fn misquoted_lines() -> usize {
    let text = |page: &str| std::fs::read_to_string(repository().join(page)).expect("a page");
    let pages: Vec<String> = PAGES.iter().flat_map(|page| text(page).lines().map(normal).collect::<Vec<_>>()).collect();
    let is_prompt = |line: &str| USERS.iter().any(|name| line.starts_with(&format!("{name}$ ")));
    let mut wrong = 0;
    for block in text("README.md").split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|_| block.lines().next().is_some_and(is_prompt)) {
            // Only a command without a terminal requires `--yes`, so the README may leave it out.
            let quoted = normal(line);
            let is_quoted =
                |line: &String| line.starts_with(&quoted) || line.replace(" --yes", "").starts_with(&quoted);
            if !pages.iter().any(is_quoted) {
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
            (r"\b(\d+h)?(\d+m)?\d+(ms|s|m|h)\b", "SPAN"),
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

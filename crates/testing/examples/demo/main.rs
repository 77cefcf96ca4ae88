//! `make demo`: the tutorial, played by the people in it on a real API server.
//!
//! What a page says is typed is run, by the user who types it and with that user's rights alone, and what the page says
//! comes out has to come out. So the page is true, and whoever runs this sees what a person would see. With
//! `WRITGATE_WRITE_DOCS=1` the page is written anew with what came out.

mod page;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use page::{Part, Step};
use regex::Regex;
use writgate_testing::{Plane, Ran, User, Webhook, repository, wait_until};

/// The pages, each played on its own, with namespaces that no other uses.
const PAGES: [&str; 1] = ["docs/tutorial.md"];
/// The people of the pages beside `admin`: an API user each, who may do nothing but what a page gives them.
const PEOPLE: [&str; 4] = ["alice", "bob", "carol", "ada"];
/// How long something that comes behind an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let started = Instant::now();
    println!("Starting etcd, kube-apiserver and kube-controller-manager on loopback, and the webhook …");
    // A panic has said what came out otherwise, and everything is stopped on the way out.
    let told = std::panic::catch_unwind(|| {
        let stage = Stage::set();
        PAGES.iter().map(|page| stage.play(page)).sum::<usize>()
    });
    let Ok(mut differences) = told else { return ExitCode::FAILURE };
    differences += misquoted();
    if differences > 0 {
        eprintln!("\n{differences} steps came out otherwise than their page says, see above.");
        eprintln!("If that is how it should be: WRITGATE_WRITE_DOCS=1 make demo, and look at the difference.");
        return ExitCode::FAILURE;
    }
    println!("\nAll as told, in {} s; everything is stopped again.", started.elapsed().as_secs());
    println!("The same to read: {}. To install it on a cluster: README.md.", PAGES.join(", "));
    ExitCode::SUCCESS
}

/// A control plane with the gate installed, and the people.
struct Stage {
    // Declared, and so stopped, before the plane.
    _webhook: Webhook,
    plane: Plane,
    people: BTreeMap<String, User>,
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
        let mut people: BTreeMap<String, User> =
            PEOPLE.iter().map(|name| ((*name).to_owned(), plane.user(name))).collect();
        people.insert("admin".to_owned(), plane.admin.clone());
        let colour = std::io::stdout().is_terminal();
        Self { _webhook: webhook, path: format!("{}:{inherited}", bin.display()), plane, people, colour }
    }

    /// Plays a page; returns how many steps came out otherwise.
    fn play(&self, page: &str) -> usize {
        let path = repository().join(page);
        let text = std::fs::read_to_string(&path).expect("the page is there");
        let folder = self.plane.folder.join(path.file_stem().expect("a page is a file"));
        std::fs::create_dir_all(&folder).expect("the plane's folder can be written");
        let mut parts = page::parse(&text);
        let mut differences = 0;
        for part in &mut parts {
            match part {
                Part::Prose(prose) => self.tell(prose),
                Part::File { name, text, .. } => {
                    println!("    ({name}: {} lines, on the page)", text.lines().count());
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

    /// Runs a step, shows it, and says whether it came out as the page has it. Keeps what came out in the step.
    fn play_step(&self, step: &mut Step, folder: &Path) -> bool {
        println!("{}", self.bold(&format!("{}$ {}", step.user, step.command)));
        let ran = wait_until(&format!("`{}` says {:?}", step.command, step.until), PATIENCE, || {
            Some(self.run(step, folder)).filter(|ran| step.until.iter().all(|words| ran.stdout.contains(words)))
        });
        let said = ran.stdout.trim_end().to_owned() + if ran.stdout.trim().is_empty() { "" } else { "\n" };
        print!("{said}");
        let as_told = ran.code == Some(step.exit_code()) && normal(&said) == normal(&step.says);
        if ran.code != Some(step.exit_code()) {
            println!("!!! it exits with {:?}, the page says {}", ran.code, step.exit_code());
        } else if !as_told {
            println!("!!! the page says:\n{}", step.says);
        }
        step.says = said;
        as_told
    }

    /// Everything that a command says comes in one stream, as on a terminal.
    fn run(&self, step: &Step, folder: &Path) -> Ran {
        let user = self.people.get(&step.user).unwrap_or_else(|| panic!("nobody is called {}", step.user));
        let mut shell: Command = user.command(Path::new("sh"));
        shell.args(["-c", &format!("{{ {}\n}} 2>&1", step.command)]);
        shell.env("PATH", &self.path).env("NO_COLOR", "1").env("COLUMNS", "120").env("TZ", "UTC").current_dir(folder);
        Ran::of(&mut shell, "")
    }

    fn tell(&self, prose: &str) {
        let told = |line: &&str| !line.starts_with("<!--");
        for line in prose.lines().filter(told) {
            println!("{}", if line.starts_with('#') { self.bold(line) } else { line.to_owned() });
        }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Sessions of the README are taken from the pages: how many of their lines are in none.
fn misquoted() -> usize {
    let text = |page: &str| std::fs::read_to_string(repository().join(page)).expect("a page");
    let pages: Vec<String> = PAGES.iter().flat_map(|page| text(page).lines().map(normal).collect::<Vec<_>>()).collect();
    let is_prompt = |line: &str| PEOPLE.iter().any(|name| line.starts_with(&format!("{name}$ ")));
    let mut wrong = 0;
    for block in text("README.md").split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|_| block.lines().next().is_some_and(is_prompt)) {
            // A command may leave out what only somebody without a terminal has to say.
            let is_there = |told: &String| {
                told.starts_with(&normal(line)) || told.replace(" --yes", "").starts_with(&normal(line))
            };
            if !pages.iter().any(is_there) {
                println!("!!! the README says what no page does:\n{line}");
                wrong += 1;
            }
        }
    }
    wrong
}

/// What is the same in every run: moments, ids, digests and how wide a column is are not.
fn normal(text: &str) -> String {
    let rules = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"[0-9a-f]{8,64}", "HEX"),
        (r"[A-Za-z0-9+/]{40,}=*", "BASE64"),
        (r"\b(\d+h)?(\d+m)?\d+(ms|s|m|h)\b", "SPAN"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"[ \t]+", " "),
        (r"(?m) $", ""),
    ];
    rules.iter().fold(text.trim_end().to_owned(), |text, (pattern, instead)| {
        let pattern = Regex::new(pattern).expect("a pattern of this list is valid");
        pattern.replace_all(&text, *instead).into_owned()
    })
}

fn link(target: &Path, link: &PathBuf) {
    std::os::unix::fs::symlink(target, link).expect("the plane's folder can be written");
}

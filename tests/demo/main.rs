//! `make demo`: the operator's flow on a real API server, in commands that a reader can repeat.
//!
//! What is printed is run, and what comes out is checked: the exit code is 0 only if every step came out as told. The
//! control plane, the users and the webhook are those of the end-to-end tests.

#[path = "../support/mod.rs"]
mod support;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use serde_json::json;
use support::{Gate, Ran, User, wait_until};

const NAMESPACE: &str = "payments";
const FILES: [(&str, &str); 4] = [
    ("posture.yaml", include_str!("posture.yaml")),
    ("orders.yaml", include_str!("orders.yaml")),
    ("replay-dry-run.yaml", include_str!("replay-dry-run.yaml")),
    ("replay-execute.yaml", include_str!("replay-execute.yaml")),
];
/// What the demo shows of a record: who, what, where, and by which approval.
const RECORD: [&str; 14] = [
    "id",
    "time",
    "initiator",
    "requestedBy",
    "operation",
    "action",
    "object",
    "environment",
    "project",
    "specHash",
    "approvalRequired",
    "requiredCapabilities",
    "approvals",
    "decision",
];

fn main() -> ExitCode {
    let started = Instant::now();
    println!("Starting etcd, kube-apiserver and kube-controller-manager v1.37.2 on loopback …");
    // A panic is a step that came out otherwise: it has said so, and everything is stopped on the way out.
    let told = std::panic::catch_unwind(|| {
        let demo = Demo::start();
        demo.denied_without_an_approval();
        demo.approved_and_admitted();
        demo.what_is_left_behind();
        demo.tampering_is_denied();
        demo.operating_needs_no_approval();
        demo.replays();
    });
    if told.is_err() {
        eprintln!("\nThe demo did not go as told, see above.");
        return ExitCode::FAILURE;
    }
    println!("\nAll as told, in {} s; everything is stopped again.", started.elapsed().as_secs());
    println!("Next: README.md to install it on a cluster, manifests/example/posture.yaml for a posture to start from,");
    println!("      tests/demo for the files used here, tests/e2e for what else is proved this way (`make test`).");
    ExitCode::SUCCESS
}

struct Demo {
    gate: Gate,
    /// Where the commands run, with the files that they name.
    folder: PathBuf,
    path: String,
    colour: bool,
}

impl Demo {
    fn start() -> Self {
        let gate = Gate::start();
        let folder = gate.plane.folder.join("demo");
        let bin = folder.join(".bin");
        std::fs::create_dir_all(&bin).expect("the plane's folder can be written");
        link(Path::new(env!("CARGO_BIN_EXE_kubectl-writgate")), &bin.join("kubectl-writgate"));
        link(gate.plane.kubectl(), &bin.join("kubectl"));
        for (name, text) in FILES {
            std::fs::write(folder.join(name), text).expect("the plane's folder can be written");
        }
        let inherited = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{inherited}", bin.display());
        let demo = Self { gate, folder, path, colour: std::io::stdout().is_terminal() };
        demo.arrange();
        demo
    }

    /// What a platform team does once: a posture, the reviewers, a governed namespace.
    fn arrange(&self) {
        let gate = &self.gate;
        self.say(
            "Installed: manifests/writgate.yaml. The webhook runs beside the API server, with the chart's own rights.",
        );
        self.say("Bob, a reviewer, makes a key. A platform team puts its public half into the posture, and governs a namespace.");
        let keygen = "kubectl writgate keygen -o bob.pem --name bob@acme.example --capability deploy \
                      --capability replay.execute --no-passphrase";
        self.run(&gate.reviewer, keygen, Exit::Ok, &["publicKey"]);
        let public = std::fs::read_to_string(self.folder.join("bob.pub.pem")).expect("keygen wrote it");
        let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "reviewers": [
            {"name": "bob@acme.example", "capabilities": ["deploy", "replay.execute"], "identities": ["bob"],
             "keys": [{"publicKey": public}]}]});
        gate.plane.install(&[support::document("reviewers", "prod-reviewers", &reviewers)]);
        self.run(&gate.plane.admin, "kubectl apply --server-side -f posture.yaml", Exit::Ok, &[]);
        self.run(&gate.plane.admin, "kubectl create namespace payments", Exit::Ok, &[]);
        let label =
            "kubectl label namespace payments writgate.dev/environment=production writgate.dev/project=payments";
        self.run(&gate.plane.admin, label, Exit::Ok, &[]);
        gate.give_access(NAMESPACE);
        gate.let_read_postures();
        wait_until("the posture is in force", Duration::from_secs(20), || {
            let ran = self.quietly(&gate.operator, "kubectl create -f orders.yaml --dry-run=server");
            ran.stderr.contains("ApprovalRequired").then_some(())
        });
    }

    fn denied_without_an_approval(&self) {
        self.title("A Deployment that nobody approved");
        self.run(&self.gate.operator, "kubectl apply -f orders.yaml", Exit::Denied, &["ApprovalRequired", "next:"]);
    }

    fn approved_and_admitted(&self) {
        self.title("Alice asks; Bob is shown what he would sign, and signs; Alice attaches his approval and applies the same file");
        let request = "kubectl writgate request -f orders.yaml --requested-by alice@acme.example --reason CHG-1234 \
                       -o request.json";
        self.run(&self.gate.operator, request, Exit::Ok, &[]);
        // Nobody sits at this terminal, so the question is answered beforehand.
        let approve = "kubectl writgate approve -f request.json --key bob.pem --yes -o approval.json";
        self.run(&self.gate.reviewer, approve, Exit::Ok, &["is new: nothing runs under this name", "signed with key"]);
        let attach = "kubectl writgate attach -f orders.yaml --approval approval.json > approved.yaml";
        self.run(&self.gate.operator, attach, Exit::Ok, &[]);
        self.run(&self.gate.operator, "kubectl apply -f approved.yaml", Exit::Ok, &["deployment.apps/orders created"]);
    }

    fn what_is_left_behind(&self) {
        self.title("What is left behind: an Event, and a record that says who, what, where and by whose approval");
        let events = "kubectl get events.events.k8s.io -n payments --field-selector reason=Admitted \
                      -o custom-columns=TYPE:.type,REASON:.reason,OBJECT:.regarding.name,NOTE:.note";
        wait_until("the Event is written", Duration::from_secs(20), || {
            self.quietly(&self.gate.operator, events).stdout.contains("Admitted").then_some(())
        });
        self.run(&self.gate.operator, events, Exit::Ok, &["Normal", "Admitted", "bob@acme.example"]);
        let records =
            self.gate.webhook.records(|record| record["decision"] == "admitted" && record["action"] == "deploy");
        assert_eq!(records.len(), 1, "one admission, one record: {records:?}");
        assert_eq!(records[0]["requestedBy"], "alice@acme.example");
        assert_eq!(records[0]["approvals"][0]["reviewers"], json!(["bob@acme.example"]));
        self.say("The same decision in the webhook's log: one line of JSON there, here a field per line.");
        for field in RECORD {
            println!("    {field}: {}", records[0][field]);
        }
    }

    fn tampering_is_denied(&self) {
        self.title("Another image under the same approval");
        let line = "kubectl set image deployment/orders orders=ghcr.io/acme/orders:6.6.6 -n payments";
        self.run(&self.gate.operator, line, Exit::Denied, &["SpecHashMismatch"]);
    }

    fn operating_needs_no_approval(&self) {
        self.title("Scale and restart change how many run and when, not what: they just work");
        self.run(
            &self.gate.operator,
            "kubectl scale deployment/orders --replicas=5 -n payments",
            Exit::Ok,
            &["scaled"],
        );
        self.run(
            &self.gate.operator,
            "kubectl rollout restart deployment/orders -n payments",
            Exit::Ok,
            &["restarted"],
        );
    }

    fn replays(&self) {
        self.title("Replays: looking is free, acting is not");
        self.run(
            &self.gate.operator,
            "kubectl create -f replay-dry-run.yaml",
            Exit::Ok,
            &["job.batch/replay-look created"],
        );
        let line = "kubectl create -f replay-execute.yaml";
        self.run(&self.gate.operator, line, Exit::Denied, &["ApprovalRequired", "replay-execute"]);
    }

    /// Shows a command and what it says, and insists on how it ends.
    fn run(&self, user: &User, line: &str, exit: Exit, says: &[&str]) {
        let name = user.name.as_str();
        println!("\n{}", self.bold(&format!("{name}$ {line}")));
        let ran = self.quietly(user, line);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        if !text.trim().is_empty() {
            println!("{}", indented(text.trim_end()));
        }
        let code = match exit {
            Exit::Ok => 0,
            Exit::Denied => 1,
        };
        assert_eq!(ran.code, Some(code), "exit code of `{line}`");
        for word in says {
            assert!(text.contains(word), "`{line}` says nothing of {word}");
        }
    }

    fn quietly(&self, user: &User, line: &str) -> Ran {
        let mut shell: Command = user.command(Path::new("sh"));
        Ran::of(shell.args(["-c", line]).env("PATH", &self.path).current_dir(&self.folder), "")
    }

    fn title(&self, text: &str) {
        println!("\n{}", self.bold(&format!("── {text}")));
    }

    fn say(&self, text: &str) {
        println!("\n{}", self.bold(text));
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// How a command has to end.
#[derive(Clone, Copy)]
enum Exit {
    Ok,
    Denied,
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

fn link(target: &Path, link: &Path) {
    std::os::unix::fs::symlink(target, link).expect("the plane's folder can be written");
}

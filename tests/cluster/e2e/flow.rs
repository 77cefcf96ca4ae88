//! The operator's path with the command line: its hashes, signatures and decisions on a workstation are those of the
//! cluster.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::e2e::trail::{Expected, assert_admitted, assert_denied};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![an_approval_made_on_the_command_line_is_admitted, verify_makes_the_decision_of_the_webhook,]
}

fn an_approval_made_on_the_command_line_is_admitted(installation: &Installation) {
    for action in ["deploy", "replay-execute"] {
        let governed = installation.governed("flow");
        let manifest = if action == "deploy" { governed.deployment("orders") } else { governed.replay_job("orders") };
        let desk = Desk::of(&governed);
        desk.write("app.json", &manifest.to_string());
        let hashes: Value = desk.prints(&["hash", "-f", "app.json", "-o", "json"]);
        let hash = hashes[0]["specHash"].as_str().expect("a hash").trim_start_matches("sha256:").to_owned();
        let kind = manifest["kind"].as_str().expect("a kind");
        let expected = Expected { operation: "CREATE", action, kind, name: "orders", hash: &hash };
        assert_denied(&governed, &installation.operator.create(&manifest), "ApprovalRequired", &expected);

        desk.approve("app.json", "approval.json");
        desk.does(&["attach", "-f", "app.json", "--approval", "approval.json", "-o", "approved.json"]);
        let ran = installation.operator.kubectl(&["create", "-f", desk.path("approved.json").to_str().expect("UTF-8")]);
        let record = assert_admitted(&governed, &ran, &expected);
        assert_eq!(record["approvals"][0]["keyIds"][0], governed.bob.id().as_str());
    }
}

fn verify_makes_the_decision_of_the_webhook(installation: &Installation) {
    let governed = installation.governed("same");
    let desk = Desk::of(&governed);
    desk.write("app.json", &governed.deployment("orders").to_string());
    let denied = desk.verify("app.json");
    desk.approve("app.json", "approval.json");
    desk.does(&["attach", "-f", "app.json", "--approval", "approval.json", "-o", "approved.json"]);
    let admitted = desk.verify("approved.json");

    for (file, offline) in [("app.json", denied), ("approved.json", admitted)] {
        let file = desk.path(file);
        installation.operator.kubectl(&["create", "-f", file.to_str().expect("UTF-8")]);
        let outcome = &offline["decision"];
        let records = crate::e2e::trail::records(&governed, |record| {
            &record["decision"] == outcome && record["object"]["name"] == "orders"
        });
        assert_eq!(records.len(), 1, "expected one record of the webhook with the outcome {outcome}");
        // Every field but those that differ for each request: its initiator, its time, and the ids of the API server.
        for field in [
            "action",
            "approvals",
            "approvalRequired",
            "cluster",
            "decision",
            "enforcement",
            "environment",
            "operation",
            "postureVersion",
            "project",
            "reasons",
            "requestedBy",
            "requiredCapabilities",
            "specHash",
            "version",
        ] {
            assert_eq!(records[0][field], offline[field], "{field}");
        }
    }
}

/// A working directory with Bob's key and the posture's documents.
pub(crate) struct Desk<'a> {
    governed: &'a Governed<'a>,
    folder: PathBuf,
    /// Flags that are added to every command line.
    pub(crate) flags: &'static [&'static str],
}

impl<'a> Desk<'a> {
    pub(crate) fn of(governed: &'a Governed<'a>) -> Self {
        let folder = governed.installation.plane.folder.join(&governed.namespace);
        std::fs::create_dir_all(folder.join("postures")).expect("the plane's folder can be written");
        let desk = Self { governed, folder, flags: &[] };
        desk.write("bob.pem", &governed.bob.private_pem());
        std::fs::set_permissions(desk.path("bob.pem"), Permissions::from_mode(0o600)).expect("the test owns the file");
        for object in governed.posture_objects(&governed.usual_posture()) {
            let name = object["metadata"]["name"].as_str().expect("a name");
            desk.write(&format!("postures/{name}.yaml"), &object.to_string());
        }
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the plane's folder can be written");
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let program = writgate_testing::plugin();
        Ran::of(
            self.governed.installation.reviewer.command(program).args(args).args(self.flags).current_dir(&self.folder),
            "",
        )
    }

    /// Runs the plugin as the reviewer, and asserts that it succeeds.
    pub(crate) fn does(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert!(ran.ok(), "kubectl writgate {args:?}: {ran}");
        ran
    }

    pub(crate) fn prints(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.does(args).stdout).expect("the plugin prints JSON")
    }

    pub(crate) fn approve(&self, manifest: &str, approval: &str) {
        let Governed { environment, project, .. } = self.governed;
        self.does(&[
            "approve",
            "--yes",
            "--posture-dir",
            "postures",
            "-f",
            manifest,
            "--key",
            "bob.pem",
            "--environment",
            environment,
            "--project",
            project,
            "--requested-by",
            "alice@acme.example",
            "--reason",
            "CHG-1234",
            "--expires-in",
            "2h",
            "-o",
            approval,
        ]);
    }

    pub(crate) fn verify(&self, manifest: &str) -> Value {
        let Governed { environment, project, installation, .. } = self.governed;
        let ran = self.run(&[
            "verify",
            "-f",
            manifest,
            "--posture-dir",
            "postures",
            "--environment",
            environment,
            "--project",
            project,
            "--as",
            &installation.operator.name,
            "-o",
            "json",
        ]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("no record: {e}: {ran}"))
    }
}

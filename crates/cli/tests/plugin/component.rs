//! `attach --kustomize`, and what the real kubectl builds with the Component.

use std::{env, fs, os::unix::fs::symlink, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use writgate_testing::{Key, Ran, Tools};

use crate::{folder::Folder, transcripts};

/// The usual layout: the namespace is set by the kustomization that includes the Component.
const KUSTOMIZATION: &str = "namespace: payments\nresources: [app.yaml]\ncomponents: [approvals]\n";
const FILE: &str = "approvals/kustomization.yaml";
const VERIFY: &str = "verify -f - --posture-dir postures";

/// A folder with the tour's workload, without its namespace, and approvals by Bob and Carol.
fn desk() -> Folder {
    let folder = Folder::new();
    fs::copy(transcripts().join("attach.in/carol.pem"), folder.path("carol.pem")).expect("a copy");
    folder.chmod("carol.pem", 0o600);
    let app = folder.read("app.yaml").replace("\n  namespace: payments", "").replace(", namespace: payments", "");
    folder.write("app.yaml", app);
    folder.write("kustomization.yaml", KUSTOMIZATION);
    approve(&folder, "bob", "app.yaml", "bob.json");
    approve(&folder, "carol", "app.yaml", "carol.json");
    folder
}

fn approve(folder: &Folder, reviewer: &str, file: &str, approval: &str) {
    let statement = "--environment production --project payments --requested-by alice@acme.example";
    let approve =
        format!("approve --yes --no-posture -f {file} -n payments --key {reviewer}.pem {statement} -o {approval}");
    folder.expect(0, &approve, "");
}

fn attach(folder: &Folder, approvals: &[&str]) -> String {
    let approvals: Vec<String> = approvals.iter().map(|approval| format!(" --approval {approval}")).collect();
    folder.expect(0, &format!("attach --kustomize approvals{}", approvals.concat()), "").1
}

fn build(folder: &Folder) -> String {
    let tools = Tools::find().expect("the control plane's tools");
    let mut command = Command::new(tools.path("kubectl"));
    command.env("HOME", folder.root()).env("PATH", env::var_os("PATH").unwrap_or_default());
    let ran = Ran::of(command.args(["kustomize", "."]).current_dir(folder.root()), "");
    assert!(ran.ok(), "{ran}");
    ran.stdout
}

#[test]
fn what_kubectl_kustomize_builds_with_the_component_is_admitted() {
    let folder = desk();
    folder.write("kustomization.yaml", KUSTOMIZATION.replace("components: [approvals]\n", ""));
    let (out, _) = folder.expect(1, VERIFY, build(&folder));
    assert!(out.contains("ApprovalRequired"), "{out}");

    attach(&folder, &["bob.json"]);
    folder.write("kustomization.yaml", KUSTOMIZATION);
    let (out, _) = folder.expect(1, VERIFY, build(&folder));
    assert!(out.contains("QuorumNotMet"), "one of two signatures: {out}");
    attach(&folder, &["carol.json"]);
    let (out, _) = folder.expect(0, VERIFY, build(&folder));
    assert!(out.contains("admitted (deploy)"), "{out}");

    // The same, with another image than the approved one.
    folder.write("app.yaml", folder.read("app.yaml").replace("1.4.2", "1.4.3"));
    let (out, _) = folder.expect(1, VERIFY, build(&folder));
    assert!(out.contains("SpecHashMismatch"), "{out}");
}

#[test]
fn attaching_again_changes_nothing() {
    let folder = desk();
    attach(&folder, &["bob.json", "carol.json"]);
    let before = folder.read(FILE);
    for approvals in [&["carol.json", "bob.json"][..], &["bob.json"]] {
        let notes = attach(&folder, approvals);
        assert!(!notes.contains("removed"), "{notes}");
        assert_eq!(folder.read(FILE), before);
    }
}

#[test]
fn an_approval_of_a_new_spec_replaces_those_of_the_old_one() {
    let folder = desk();
    let app = folder.read("app.yaml");
    let second = app.split("---").next().expect("a document").replace("name: orders", "name: billing.v2");
    folder.write("second.yaml", &second);
    folder.write("kustomization.yaml", KUSTOMIZATION.replace("app.yaml", "app.yaml, second.yaml"));
    for reviewer in ["bob", "carol"] {
        approve(&folder, reviewer, "second.yaml", &format!("{reviewer}-second.json"));
    }
    attach(&folder, &["bob.json", "carol.json", "bob-second.json", "carol-second.json"]);
    folder.expect(0, VERIFY, build(&folder));

    folder.write("app.yaml", app.replace("1.4.2", "1.4.3"));
    for reviewer in ["bob", "carol"] {
        approve(&folder, reviewer, "app.yaml", &format!("{reviewer}-new.json"));
    }
    let notes = attach(&folder, &["bob-new.json", "carol-new.json"]);
    let removed: Vec<&str> = notes.lines().filter(|line| line.starts_with("removed: ")).collect();
    assert_eq!(removed.len(), 2, "{notes}");
    assert!(removed.iter().all(|line| line.contains("Deployment/payments/orders, approval ")), "{notes}");
    assert!(removed.iter().all(|line| line.contains(" of another spec, sha256:")), "{notes}");
    folder.expect(0, VERIFY, build(&folder));

    let (_, err) = folder.expect(2, "attach --kustomize approvals --approval bob.json --approval bob-new.json", "");
    assert!(err.contains("different specs"), "{err}");
    let (_, err) = folder.expect(1, "attach --kustomize approvals --approval bob.json -n elsewhere", "");
    assert!(err.contains("none of them is in namespace elsewhere"), "{err}");
    folder.expect(0, VERIFY, build(&folder));
}

#[test]
fn an_expired_approval_is_removed_when_another_is_attached() {
    let folder = desk();
    let envelope: Value = serde_json::from_str(&folder.read("bob.json")).expect("JSON");
    let payload = STANDARD.decode(envelope["payload"].as_str().expect("a payload")).expect("base64");
    let mut statement: Value = serde_json::from_slice(&payload).expect("a statement");
    statement["predicate"]["id"] = "01930000-0000-7000-8000-000000000000".into();
    statement["predicate"]["notBefore"] = "2020-01-01T10:00:00Z".into();
    statement["predicate"]["expiresAt"] = "2020-01-01T12:00:00Z".into();
    folder.write("old.json", writgate_testing::envelope(&statement, &[&Key::new()]));
    attach(&folder, &["old.json"]);
    let notes = attach(&folder, &["bob.json"]);
    assert!(notes.contains(" which expired at 2020-01-01T12:00:00Z"), "{notes}");
}

#[test]
fn a_file_of_others_is_not_overwritten() {
    let folder = desk();
    attach(&folder, &["bob.json"]);
    let own = folder.read(FILE);
    let with_comment = own.replace("patches:\n", "patches: # of the release\n");
    folder.write(FILE, &with_comment);
    attach(&folder, &["bob.json"]);
    assert_eq!(folder.read(FILE), own, "only the layout had changed");

    let header = own.lines().next().expect("a line");
    for other in [
        String::new(),
        own.replace(header, "# Written by hand."),
        own.replace("patches:\n", "resources: []\npatches:\n"),
        own.replace("kind: Component", "kind: Kustomization"),
        own.replace("      namespace: 'payments'\n", ""),
        own.replace("    version: v1\n", ""),
        own.replace("      annotations:\n", "      labels: {a: b}\n      annotations:\n"),
        own.replace("approval.", "approval-ref."),
        format!("{own}---\nkind: Component\n"),
    ] {
        assert_ne!(other, own);
        folder.write(FILE, &other);
        let (_, err) = folder.expect(1, "attach --kustomize approvals --approval bob.json", "");
        assert!(err.contains("was not written by attach --kustomize, or was changed afterwards"), "{other}: {err}");
        assert_eq!(folder.read(FILE), other);
    }
    fs::remove_file(folder.path(FILE)).expect("it exists");
    for name in ["kustomization.yml", "Kustomization"] {
        let name = format!("approvals/{name}");
        folder.write(&name, "");
        let (_, err) = folder.expect(1, "attach --kustomize approvals --approval bob.json", "");
        assert!(err.contains(&name), "{err}");
        fs::remove_file(folder.path(&name)).expect("it exists");
    }
    symlink("nowhere.yaml", folder.path(FILE)).expect("a link");
    folder.expect(3, "attach --kustomize approvals --approval bob.json", "");
}

#[test]
fn an_approval_of_a_generated_name_is_refused() {
    let folder = desk();
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-}\n\
               spec: {template: {spec: {restartPolicy: Never, containers: [{name: migrate, image: migrate:1}]}}}\n";
    folder.write("job.yaml", job);
    approve(&folder, "bob", "job.yaml", "job.json");
    let (_, err) = folder.expect(1, "attach --kustomize approvals --approval job.json", "");
    assert!(err.contains("Job/payments/migrate-* is not the name of one object"), "{err}");
    assert!(!folder.path("approvals").exists());
}

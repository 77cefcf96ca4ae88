//! Manifests and the files around them: standard input, folders, limits, names, and what `attach` and `select` do with
//! them.

use std::{fs, process::Command};

use proptest::prelude::*;
use serde_json::Value;

use crate::folder::Folder;

#[test]
fn attach_filters_standard_input_and_adds_only_an_annotation() {
    let folder = Folder::new();
    folder.approve("-f app.yaml -o approval.json");
    let app = folder.read("app.yaml");
    let (attached, _) = folder.expect(0, "attach -f - --approval approval.json", &app);
    let kept: Vec<&str> = attached.lines().filter(|line| !line.contains("writgate.dev/approval")).collect();
    assert_eq!(kept, app.lines().collect::<Vec<_>>());
    let (approval, _) = folder.expect(0, "attach -f app.yaml --approval -", folder.read("approval.json"));
    assert_eq!(approval, attached);
    // Again, it the file exists.
    assert_eq!(folder.expect(0, "attach -f - --approval approval.json", &attached).0, attached);
}

#[test]
fn json_stays_json() {
    let folder = Folder::new();
    let app = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"orders"},
        "spec":{"selector":{},"template":{"spec":{"containers":[{"name":"a","image":"a","args":["\ud83d\ude00"]}]}}}}"#;
    folder.write("app.json", app);
    folder.approve("-f app.json -n payments -o approval.json");
    let (attached, _) = folder.expect(0, "attach -f app.json -n payments --approval approval.json", "");
    let value: Value = serde_json::from_str(&attached).expect("JSON");
    let envelope = value["metadata"]["annotations"]["writgate.dev/approval"].as_str().expect("an annotation");
    assert_eq!(format!("{envelope}\n"), folder.read("approval.json"));
    assert_eq!(value["spec"]["template"]["spec"]["containers"][0]["args"][0], "😀");
    folder.expect(1, "attach -f app.json -n elsewhere --approval approval.json", "");
}

#[test]
fn an_object_that_appears_twice_is_not_signed() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let twice = format!("{app}---\n{}", app.replace("1.4.2", "1.4.3"));
    let approve = "approve --yes --no-posture -f - --key bob.pem --environment e --project p --requested-by a";
    let (_, err) = folder.expect(2, approve, &twice);
    assert!(err.contains("appears twice"), "{err}");
    let list = "apiVersion: v1\nkind: List\nitems: [1]\n";
    folder.expect(3, approve, list);
}

#[test]
fn attach_removes_approvals_for_another_spec_of_the_object() {
    let folder = Folder::new();
    for release in 1..=9 {
        let app = folder.read("app.yaml");
        let image = app.lines().find_map(|line| line.trim().strip_prefix("image: ")).expect("an image").to_owned();
        folder.write("app.yaml", app.replace(&image, &format!("ghcr.io/acme/orders:1.5.{release}")));
        folder.approve("-f app.yaml -o first.json");
        folder.approve("-f app.yaml -o second.json");
        let (_, err) = folder.expect(0, "attach -i -f app.yaml --approval first.json --approval second.json", "");
        let attached = folder.read("app.yaml").matches("writgate.dev/approval").count();
        assert_eq!(attached, 2, "release {release}: {err}");
        assert_eq!(err.matches("removed: app.yaml").count(), usize::from(release > 1), "{err}");
        assert_eq!(err.matches("replacing approval").count(), usize::from(release > 1), "{err}");
    }
    // An approval of the same spec stays, and so does one of another object.
    folder.approve("-f app.yaml -o third.json");
    folder.expect(0, "attach -i -f app.yaml --approval third.json --suffix third", "");
    assert_eq!(folder.read("app.yaml").matches("writgate.dev/approval").count(), 3);
    folder.write(
        "app.yaml",
        folder.read("app.yaml").replace("name: orders\n", "name: invoices\n").replace("1.5.9", "1.6.0"),
    );
    folder.approve("-f app.yaml -o fourth.json");
    folder.expect(0, "attach -i -f app.yaml --approval fourth.json --suffix fourth", "");
    assert_eq!(folder.read("app.yaml").matches("writgate.dev/approval").count(), 4);
}

#[test]
fn every_verb_names_the_fields_that_the_api_server_drops() {
    let folder = Folder::new();
    let misspelled = "          imagePullPolcy: Always\n          securityContext: {runAsNonroot: true}\n";
    let app = folder.read("app.yaml").replace("          image:", &format!("{misspelled}          image:"));
    folder.write("misspelled.yaml", app);
    let approve = "approve --yes --no-posture -f misspelled.yaml --key bob.pem --environment production --project payments \
                   --requested-by alice@acme.example -o approval.json";
    let verbs = [
        (0, "request -f misspelled.yaml --posture-dir postures --requested-by alice@acme.example -o request.json"),
        (0, "review -f request.json --no-posture"),
        (0, approve),
        (1, "verify -f misspelled.yaml --posture-dir postures"),
    ];
    for (code, verb) in verbs {
        let (out, err) = folder.expect(code, verb, "");
        let printed = format!("{out}{err}");
        for (path, meant) in [("imagePullPolcy", "imagePullPolicy"), ("securityContext.runAsNonroot", "runAsNonRoot")] {
            let expected = format!(
                "Kubernetes has no field spec.template.spec.containers[0].{path}, and the API server drops it; use {meant} if you meant that"
            );
            assert!(printed.contains(&expected), "{verb}: {printed}");
        }
        let right = ["misspelled.yaml app.yaml", "request.json right.json", "approval.json right-approval.json"]
            .iter()
            .filter_map(|pair| pair.split_once(' '))
            .fold(verb.to_owned(), |verb, (from, to)| verb.replace(from, to));
        let right = folder.expect(code, &right, "");
        assert!(!format!("{right:?}").contains("Kubernetes has no field"), "{verb}: {right:?}");
    }
}

#[test]
fn files_without_a_workload_have_one_exit_code() {
    let folder = Folder::new();
    folder.write("settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: payments}\n");
    let of = "--environment production --project payments --requested-by alice@acme.example";
    for verb in [
        "hash -f settings.yaml".to_owned(),
        "verify -f settings.yaml --posture-dir postures".to_owned(),
        "coverage -f settings.yaml --posture-dir postures".to_owned(),
        "select -f settings.yaml --posture-dir postures".to_owned(),
        "request -f settings.yaml --posture-dir postures --requested-by alice@acme.example".to_owned(),
        format!("review -f settings.yaml --no-posture {of}"),
        format!("approve --yes --no-posture -f settings.yaml --key bob.pem {of}"),
        "revoke spec settings.yaml --why test -f postures".to_owned(),
    ] {
        let (out, err) = folder.expect(3, &verb, "");
        assert!(out.is_empty() && err.contains("settings.yaml contains no workload"), "{verb}: {out}{err}");
    }
}

#[test]
fn an_approval_without_a_signer_names_every_kind_of_signer() {
    let folder = Folder::new();
    let (_, err) = folder.expect(2, "approve --yes --no-posture -f app.yaml", "");
    for flag in ["--key FILE", "--signer COMMAND", "--ssh-agent"] {
        assert!(err.contains(flag), "{flag}: {err}");
    }
}

#[test]
fn a_failed_attach_changes_no_file() {
    let folder = Folder::new();
    folder.approve("-f app.yaml -o approval.json");
    let other = folder.read("app.yaml").replace("1.4.2 #", "1.4.3 #");
    folder.write("app.yaml", &other);
    let before = folder.names();
    folder.expect(1, "attach -i -f app.yaml --approval approval.json", "");
    folder.expect(1, "attach -f app.yaml --approval approval.json -o new.yaml", "");
    assert_eq!(folder.read("app.yaml"), other);
    assert_eq!(folder.names(), before);
}

#[test]
fn select_finds_approvals_in_the_working_tree_except_for_ignored_files() {
    let folder = Folder::new();
    let posture = folder.read("postures/posture.yaml").replace("count: 2", "count: 1");
    folder.write("postures/posture.yaml", posture);
    let select = "select -f app.yaml --posture-dir postures";
    let git = |arguments: &[&str]| {
        let ran = Command::new("git").arg("-C").arg(folder.root()).args(arguments).output().expect("git runs");
        assert!(ran.status.success(), "{ran:?}");
    };
    git(&["init", "--quiet"]);
    fs::create_dir_all(folder.path("ignored")).expect("a folder");
    folder.write(".gitignore", "ignored/\n");
    folder.approve("-f app.yaml -o ignored/approval.json");
    folder.expect(1, select, "");
    fs::create_dir_all(folder.path("ab/c")).expect("a folder");
    fs::rename(folder.path("ignored/approval.json"), folder.path("ab/c/é.json")).expect("the file can be changed");
    let (out, _) = folder.expect(0, &format!("{select} -o json"), "");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found[0]["eligible"][0]["from"], serde_json::json!(["ab/c/é.json"]));
    assert_eq!(found[0]["eligible"][0]["reviewers"], serde_json::json!(["bob@acme.example"]));
    // The same approval, detached.
    let (config_map, _) = folder.expect(0, "attach --detached --approval ab/c/é.json", "");
    folder.write("approval.yaml", config_map);
    git(&["add", "--all"]);
    let (out, _) = folder.expect(0, &format!("{select} -o json"), "");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found[0]["eligible"][0]["from"].as_array().map(Vec::len), Some(2), "{out}");
}

#[test]
fn a_folder_is_read_as_kubectl_reads_it() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("release/deep")).expect("a folder");
    let app = folder.read("app.yaml");
    folder.write("release/a.yaml", &app);
    folder.write("release/notes.txt", "not: [yaml");
    folder.write("release/deep/b.yml", app.replace("name: orders\n", "name: other\n"));
    let lines = |arguments: &str| folder.expect(0, arguments, "").0.lines().count();
    assert_eq!((lines("hash -f release"), lines("hash -R -f release")), (1, 2));
    fs::create_dir(folder.path("empty")).expect("a folder");
    let (_, err) = folder.expect(3, "hash -f empty", "");
    assert!(err.contains("contains no manifest"), "{err}");
}

#[test]
fn refuses_a_namespace_that_contradicts_the_manifest() {
    let folder = Folder::new();
    let (_, err) = folder.expect(2, "hash -f app.yaml -n elsewhere", "");
    assert!(err.contains("-n says elsewhere"), "{err}");
}

#[test]
fn names_with_terminal_sequences_are_escaped() {
    let folder = Folder::new();
    let evil = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: \"a\\e[2J\\u202e\", namespace: payments}\nspec: {template: {spec: {containers: [{name: a, image: \"a\\e[31m\"}]}}}\n";
    let (hash, _) = folder.expect(0, "hash -f -", evil);
    let (verified, _) = folder.expect(1, "verify -f - --posture-dir postures", evil);
    let (_, err) = folder.expect(
        2,
        "approve --yes --no-posture -f - --key bob.pem --environment production --project payments --requested-by a",
        evil,
    );
    assert!(err.contains("is not a valid Kubernetes name"), "{err}");
    for shown in [hash, verified, err] {
        assert!(shown.contains("a\\u{1b}[2J\\u{202e}"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }
}

#[test]
fn a_name_with_a_wildcard_is_not_signed() {
    let folder = Folder::new();
    for name in ["{name: 'orders-*'}", "{generateName: 'orders*'}", "{name: a/b}", "{}"] {
        let app = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name}\nspec: {{template: {{spec: {{containers: []}}}}}}\n"
        );
        let approve = "approve --yes --no-posture -f - -n payments --key bob.pem --environment production --project payments --requested-by a";
        folder.expect(2, approve, app);
    }
}

/// A file as people and tools may damage it between two verbs.
fn damaged(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<Vec<u8>>());
    edit.prop_map(move |(from, to, insert)| {
        let mut bytes = text.as_bytes().to_vec();
        let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
        let to = to.max(from).min(from + 40);
        bytes.splice(from..to, insert.into_iter().take(20));
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 24 } else { 256 }))]

    #[test]
    fn damaged_files_give_an_answer_and_no_panic(
        app in damaged(include_str!("../cli/tour.in/app.yaml")),
        posture in damaged(include_str!("../cli/tour.in/postures/posture.yaml")),
        key in damaged(include_str!("../cli/tour.in/bob.pem")),
    ) {
        let folder = Folder::new();
        folder.approve("-f app.yaml -o approval.json");
        folder.write("damaged.yaml", app);
        folder.write("postures/posture.yaml", posture);
        folder.write("damaged.pem", key);
        folder.chmod("damaged.pem", 0o600);
        let verbs = [
            "hash -f damaged.yaml",
            "attach -f damaged.yaml --approval approval.json",
            "attach -f app.yaml --approval damaged.yaml",
            "verify -f damaged.yaml --posture-dir postures",
            "verify --review damaged.yaml --posture-dir postures",
            "approve --yes --no-posture -f app.yaml --key damaged.pem --environment e --project p --requested-by a",
            "approve --yes --no-posture -f damaged.yaml --key bob.pem --environment e --project p --requested-by a -n n",
            "posture check -f postures",
        ];
        for verb in verbs {
            let (code, _, err) = folder.writgate(verb, "");
            prop_assert!((0..=3).contains(&code) && !err.contains("panicked"), "{}: {} {}", verb, code, err);
        }
    }
}

//! The command line as people and programs meet it: transcripts that are documentation too (`cli/*.md`), then what a
//! transcript shows badly: standard input, limits, permissions, what is left behind.

use std::{
    collections::BTreeSet,
    env,
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

/// Commands that transcripts may contain. Others would be passed over in silence.
const COMMAND: &str = "kubectl writgate ";

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli"))
}

#[test]
fn transcripts() {
    let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-writgate")).parent().expect("a file has a folder");
    let others = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(plugin.to_owned()).chain(env::split_paths(&others))).expect("a path");
    trycmd::TestCases::new()
        .register_bin("kubectl", folder().join("kubectl"))
        .env("PATH", path.to_str().expect("UTF-8"))
        .case("tests/cli/*.md");
}

#[test]
fn no_command_of_a_transcript_is_passed_over() {
    let mut commands = 0;
    for entry in fs::read_dir(folder()).expect("it is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            for line in fs::read_to_string(&path).expect("text").lines() {
                if let Some(command) = line.strip_prefix("$ ") {
                    assert!(command.starts_with(COMMAND), "{}: {line}", path.display());
                    commands += 1;
                }
            }
        }
    }
    assert!(commands > 20);
}

/// A folder with the tour's files, in which the command line runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(folder.path("postures")).expect("a folder");
        let given = self::folder().join("tour.in");
        for name in
            ["app.yaml", "bob.pem", "postures/namespaces.yaml", "postures/posture.yaml", "postures/reviewers.yaml"]
        {
            fs::copy(given.join(name), folder.path(name)).expect("it can be copied");
        }
        folder.chmod("bob.pem", 0o600);
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("it can be read")
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("it can be written");
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("it is ours");
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("it is there").permissions().mode() & 0o777
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.0.path()).expect("it can be read");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    /// Runs a verb and returns its exit code, standard output and standard error.
    fn writgate(&self, arguments: &str, stdin: impl AsRef<[u8]>) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // It may end before it has read everything.
        let _ = child.stdin.take().expect("piped").write_all(stdin.as_ref());
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    fn expect(&self, code: i32, arguments: &str, stdin: impl AsRef<[u8]>) -> (String, String) {
        let (found, out, err) = self.writgate(arguments, stdin);
        assert_eq!(found, code, "{arguments}: {out}{err}");
        (out, err)
    }

    fn approve(&self, arguments: &str) -> String {
        self.expect(
            0,
            &format!(
                "approve --yes --no-posture --key bob.pem --environment production --project payments --requested-by alice@acme.example \
                 {arguments}"
            ),
            "",
        )
        .0
    }
}

#[test]
fn every_verb_has_help_with_examples_that_fits_a_terminal() {
    let folder = Folder::new();
    let verbs = verbs(&folder, "");
    assert!(verbs.len() > 10 && verbs.contains(&"posture check".to_owned()), "{verbs:?}");
    for verb in verbs {
        let (help, _) = folder.expect(0, &format!("{verb} --help"), "");
        assert!(help.contains("Examples:\n  kubectl writgate "), "{verb}");
        assert!(help.contains(&format!("Usage: kubectl writgate {verb} ")), "{verb}");
        let long = help.lines().find(|line| line.len() > 100);
        assert_eq!(long, None, "{verb}");
    }
}

/// Every verb that does something, as the help lists them.
fn verbs(folder: &Folder, of: &str) -> Vec<String> {
    let (help, _) = folder.expect(0, &format!("{of} --help"), "");
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return vec![of.trim().to_owned()] };
    let names = list.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| !line.starts_with(' ')).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").flat_map(|name| verbs(folder, &format!("{of} {name}"))).collect()
}

#[test]
fn every_verb_has_a_manual_page() {
    let folder = Folder::new();
    folder.expect(0, "man pages", "");
    for verb in verbs(&folder, "") {
        let page = folder.read(&format!("pages/kubectl-writgate-{}.1", verb.replace(' ', "-")));
        assert!(page.contains(".SH EXAMPLES\n.nf\n  kubectl writgate "), "{verb}");
    }
    assert!(folder.read("pages/kubectl-writgate.1").contains(".SH NOTES\n"));
    assert!(!folder.path("pages/kubectl-writgate-man.1").exists());
}

#[test]
fn the_shell_is_told_what_may_follow() {
    let folder = Folder::new();
    let values = |words: &str| {
        let (out, _) = folder.expect(0, &format!("__complete {words}"), "");
        let mut lines: Vec<String> =
            out.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect();
        let directive = lines.pop().expect("a directive");
        (lines, directive)
    };
    let files = ":4".to_owned();
    assert_eq!(values("ver"), (vec!["verify".to_owned()], files.clone()));
    assert_eq!(values("posture c"), (vec!["check".to_owned()], files.clone()));
    assert_eq!(values("verify --posture-d"), (vec!["--posture-dir".to_owned()], files.clone()));
    assert_eq!(values("explain SelfA"), (vec!["SelfApproval".to_owned()], files.clone()));
    assert_eq!(values("explain -o j"), (vec!["json".to_owned()], files.clone()));
    assert_eq!(values("verify -f app"), (vec!["app.yaml".to_owned()], files.clone()));
    // A folder is to be gone into: no space behind it.
    assert_eq!(values("verify -f post"), (vec!["postures/".to_owned()], ":6".to_owned()));
    // What is for programs is not proposed.
    assert_eq!(values("__comp"), (Vec::new(), files.clone()));
    assert_eq!(values("nothing such"), (Vec::new(), files));
    assert!(folder.expect(0, "__complete", "").0.contains("keygen\tMake a reviewer's key pair"));
}

/// What SARIF 2.1.0 requires (OASIS, 3.13 to 3.49), and that each reason is at the line of its object.
#[test]
fn code_scanning_is_told_each_reason_where_its_object_begins() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: shell, namespace: payments}\nspec: {containers: []}\n";
    folder.write("all: 100%.yaml", format!("{app}---\n# by hand\n{pod}"));
    let run = |format: &str| {
        let arguments = ["verify", "-f", "all: 100%.yaml", "--posture-dir", "postures", "-o", format];
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
            .args(arguments)
            .current_dir(folder.0.path())
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{format}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let line = u64::try_from(app.lines().count()).expect("few") + 3;
    let log: Value = serde_json::from_str(&run("sarif")).expect("JSON");
    assert_eq!(log["version"], "2.1.0");
    let run_of = &log["runs"][0];
    assert_eq!(run_of["tool"]["driver"]["name"], "kubectl-writgate");
    let (rules, results) = (&run_of["tool"]["driver"]["rules"], run_of["results"].as_array().expect("results"));
    let found: Vec<&str> = results.iter().filter_map(|result| result["ruleId"].as_str()).collect();
    assert_eq!(found, ["ApprovalRequired", "WorkloadNotAllowed"]);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("an index")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(rules[index]["help"]["text"].as_str().is_some_and(|page| page.starts_with("# ")));
        assert!(result["message"]["text"].as_str().is_some_and(|text| text.contains("next: ")), "{result}");
        assert_eq!(result["level"], "error");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "all%3A%20100%25.yaml");
    }
    assert_eq!(results[1]["locations"][0]["physicalLocation"]["region"]["startLine"], line);

    let commands = run("github");
    let told: Vec<&str> = commands.lines().collect();
    assert_eq!(told.len(), 2, "{commands}");
    let expected =
        format!("::error file=all%3A 100%25.yaml,line={line},title=WorkloadNotAllowed::denied Pod payments/shell");
    assert!(told[1].starts_with(&expected) && told[1].contains("%0Anext: "), "{commands}");
}

/// What krew's index asks of a manifest (krew.sigs.k8s.io, "Writing Krew plugin manifests").
#[test]
fn the_krew_manifest_of_a_release_is_whole() {
    let folder = Folder::new();
    for platform in ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64"] {
        folder.write(&format!("kubectl-writgate-{platform}.tar.gz"), platform);
    }
    let fill = |version: &str| {
        let script = writgate_testing::repository().join("packaging/krew/fill");
        let arguments = [version, "https://example.org/writgate", "https://example.org/v1.2.3"];
        let output = Command::new(script).args(arguments).arg(folder.0.path()).output().expect("it runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (done, manifest) = fill("v1.2.3");
    assert!(done && !manifest.contains('@'), "{manifest}");
    let manifest = writgate_core::encoding::read_yaml(&manifest).expect("YAML").remove(0);
    assert_eq!(manifest["apiVersion"], "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"writgate".into()));
    let spec = &manifest["spec"];
    assert_eq!(spec["version"], "v1.2.3");
    let short = spec["shortDescription"].as_str().expect("text");
    assert!(short.len() <= 50 && !short.ends_with('.'), "{short}");
    let platforms = spec["platforms"].as_array().expect("platforms");
    let mut digests: Vec<&str> = platforms.iter().filter_map(|platform| platform["sha256"].as_str()).collect();
    digests.dedup();
    assert_eq!((platforms.len(), digests.len()), (4, 4));
    for platform in platforms {
        let labels = &platform["selector"]["matchLabels"];
        let (os, arch) = (labels["os"].as_str().expect("text"), labels["arch"].as_str().expect("text"));
        let uri = format!("https://example.org/v1.2.3/kubectl-writgate-{os}-{arch}.tar.gz");
        assert_eq!(platform["uri"], uri.as_str());
        assert!(platform["sha256"].as_str().is_some_and(|hex| hex.len() == 64), "{platform}");
        assert_eq!(platform["bin"], "kubectl-writgate");
    }
    assert!(!fill("1.2.3").0, "krew wants a v");
    fs::remove_file(folder.path("kubectl-writgate-darwin-arm64.tar.gz")).expect("it is ours");
    assert!(!fill("v1.2.3").0, "an archive is missing");
}

#[test]
fn manifests_pass_through_standard_input_and_only_one_annotation_is_new() {
    let folder = Folder::new();
    folder.approve("-f app.yaml -o approval.json");
    let app = folder.read("app.yaml");
    let (attached, _) = folder.expect(0, "attach -f - --approval approval.json", &app);
    let kept: Vec<&str> = attached.lines().filter(|line| !line.contains("writgate.dev/approval")).collect();
    assert_eq!(kept, app.lines().collect::<Vec<_>>());
    let (approval, _) = folder.expect(0, "attach -f app.yaml --approval -", folder.read("approval.json"));
    assert_eq!(approval, attached);
    // Again, it is there already.
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
fn a_private_key_is_its_owners_alone() {
    let folder = Folder::new();
    folder.expect(0, "keygen -o new.pem --passphrase-file -", "a passphrase\n");
    assert_eq!(folder.mode("new.pem"), 0o600);
    assert!(folder.read("new.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let approve = "approve --yes --no-posture -f app.yaml --key new.pem --environment e --project p --requested-by a --passphrase-file -";
    folder.expect(0, approve, "a passphrase\n");
    let (_, err) = folder.expect(3, approve, "another\n");
    assert!(err.ends_with("error: new.pem: the passphrase does not open this key\n"), "{err}");
    for mode in [0o640, 0o604] {
        folder.chmod("new.pem", mode);
        let (_, err) = folder.expect(3, approve, "a passphrase\n");
        assert!(err.contains("run: chmod 600 new.pem"), "{err}");
    }
    let (_, err) = folder.expect(3, &approve.replace("new.pem", "new.pub.pem"), "a passphrase\n");
    assert!(err.contains("new.pub.pem: found a PEM block labelled PUBLIC KEY"), "{err}");
}

#[test]
fn a_key_file_is_judged_by_what_a_link_leads_to_and_nothing_is_written_through_one() {
    let folder = Folder::new();
    let approve = |key: &str| {
        format!("approve --yes --no-posture -f app.yaml --key {key} --environment e --project p --requested-by a")
    };
    symlink("bob.pem", folder.path("link.pem")).expect("a link");
    folder.expect(0, &approve("link.pem"), "");
    folder.chmod("bob.pem", 0o644);
    let (_, err) = folder.expect(3, &approve("link.pem"), "");
    assert!(err.contains("run: chmod 600 link.pem"), "{err}");
    symlink("elsewhere.pem", folder.path("dangling.pem")).expect("a link");
    let (_, err) = folder.expect(3, "keygen -o dangling.pem --no-passphrase", "");
    assert!(err.contains("is there already") && !folder.path("elsewhere.pem").exists(), "{err}");
}

#[test]
fn a_key_file_may_have_windows_line_ends_but_not_an_end_too_early() {
    let folder = Folder::new();
    let key = folder.read("bob.pem");
    let approve = "approve --yes --no-posture -f app.yaml --key other.pem --environment e --project p --requested-by a";
    let with = |text: &str| {
        folder.write("other.pem", text);
        folder.chmod("other.pem", 0o600);
    };
    with(&key.replace('\n', "\r\n"));
    folder.expect(0, approve, "");
    for length in (0..key.trim_end().len()).step_by(7) {
        with(&key[..length]);
        let (_, err) = folder.expect(3, approve, "");
        assert!(err.contains("other.pem: not a private key in PEM"), "{length}: {err}");
    }
}

#[test]
fn an_object_that_is_there_twice_is_not_signed() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let twice = format!("{app}---\n{}", app.replace("1.4.2", "1.4.3"));
    let approve = "approve --yes --no-posture -f - --key bob.pem --environment e --project p --requested-by a";
    let (_, err) = folder.expect(2, approve, &twice);
    assert!(err.contains("it is there twice"), "{err}");
    let list = "apiVersion: v1\nkind: List\nitems: [1]\n";
    folder.expect(3, approve, list);
}

#[test]
fn keygen_overwrites_nothing_and_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.write("new.pub.pem", "somebody's");
    let before = folder.names();
    folder.expect(3, "keygen -o new.pem --no-passphrase", "");
    folder.expect(3, "keygen -o bob.pem --no-passphrase", "");
    folder.expect(3, "keygen -o nowhere/new.pem --no-passphrase", "");
    folder.expect(2, "keygen -o other.pem --passphrase-file -", "\n");
    folder.expect(2, "keygen -o other.pem --no-passphrase --passphrase-file -", "");
    folder.expect(2, "keygen -o -", "");
    assert_eq!(folder.names(), before);
    assert_eq!(folder.read("new.pub.pem"), "somebody's");
}

#[test]
fn what_cannot_be_attached_changes_no_file() {
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
fn approvals_are_found_in_the_working_tree_but_not_where_git_ignores_them() {
    let folder = Folder::new();
    let posture = folder.read("postures/posture.yaml").replace("count: 2", "count: 1");
    folder.write("postures/posture.yaml", posture);
    let select = "select -f app.yaml --posture-dir postures";
    let git = |arguments: &[&str]| {
        let ran = Command::new("git").arg("-C").arg(folder.0.path()).args(arguments).output().expect("git runs");
        assert!(ran.status.success(), "{ran:?}");
    };
    git(&["init", "--quiet"]);
    fs::create_dir_all(folder.path("ignored")).expect("a folder");
    folder.write(".gitignore", "ignored/\n");
    folder.approve("-f app.yaml -o ignored/approval.json");
    folder.expect(1, select, "");
    fs::create_dir_all(folder.path("ab/c")).expect("a folder");
    fs::rename(folder.path("ignored/approval.json"), folder.path("ab/c/é.json")).expect("it is ours");
    let (out, _) = folder.expect(0, &format!("{select} -o json"), "");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found[0]["eligible"][0]["from"], serde_json::json!(["ab/c/é.json"]));
    assert_eq!(found[0]["eligible"][0]["reviewers"], serde_json::json!(["bob@acme.example"]));
    // The same approval, beside the workload.
    let (config_map, _) = folder.expect(0, "attach --detached --approval ab/c/é.json", "");
    folder.write("approval.yaml", config_map);
    git(&["add", "--all"]);
    let (out, _) = folder.expect(0, &format!("{select} -o json"), "");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(found[0]["eligible"][0]["from"].as_array().map(Vec::len), Some(2), "{out}");
}

#[test]
fn several_workloads_are_an_array_and_one_denial_makes_it_no() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: payments}\nspec: {containers: []}\n";
    folder.write("postures/posture.yaml", "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: production\nactions:\n  deploy: {approval: none}\nreviewerSets: [prod-reviewers]\n");
    let verify = "verify -f - --posture-dir postures -o json";
    let (one, _) = folder.expect(0, verify, &app);
    assert_eq!(serde_json::from_str::<Value>(&one).expect("JSON")["decision"], "admitted");
    let (two, _) = folder.expect(1, verify, format!("{app}---\n{pod}"));
    let two: Value = serde_json::from_str(&two).expect("JSON");
    assert_eq!(two.as_array().map(Vec::len), Some(2));
    assert_eq!(two[1]["reasons"], serde_json::json!(["WorkloadNotAllowed"]));
}

#[test]
fn a_namespace_that_the_folder_calls_ungoverned_has_no_actions() {
    let folder = Folder::new();
    folder.write("postures/namespaces.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments}\n");
    let (out, _) = folder.expect(0, "verify -f app.yaml --posture-dir postures -o json", "");
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")["decision"], "not-an-action");
}

#[test]
fn the_flags_go_before_the_namespace_in_the_folder() {
    let folder = Folder::new();
    let (out, _) =
        folder.expect(1, "verify -f app.yaml --posture-dir postures --environment other --project p -o json", "");
    let record: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(record["reasons"], serde_json::json!(["PostureMissing"]));
    assert_eq!(record["project"], "p");
}

#[test]
fn who_applies_it_counts() {
    let folder = Folder::new();
    let posture = folder.read("postures/posture.yaml").replace("count: 2", "count: 1");
    folder.write("postures/posture.yaml", posture);
    folder.approve("-f app.yaml -o approval.json");
    folder.expect(0, "attach -i -f app.yaml --approval approval.json", "");
    folder.expect(0, "verify -f app.yaml --posture-dir postures --as alice", "");
    let (out, _) = folder.expect(1, "verify -f app.yaml --posture-dir postures --as BOB@acme.example -o json", "");
    let record: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(record["reasons"], serde_json::json!(["SelfApproval"]));
    assert_eq!(record["initiator"]["username"], "BOB@acme.example");
}

#[test]
fn a_review_that_is_no_text_is_malformed_and_one_without_end_is_not_read_to_it() {
    let folder = Folder::new();
    let (out, _) =
        folder.expect(1, "verify --review - --posture-dir postures -o json", b"{\"request\":{\"uid\":\"7\"},\xff");
    let record: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(record["reasons"], serde_json::json!(["MalformedReview"]));
    assert_eq!(record["requestUid"], "7");
    let (_, err) = folder.expect(3, "verify --review /dev/zero --posture-dir postures", "");
    assert_eq!(err, "error: /dev/zero has more than 8388608 bytes, the most that is read\n");
    let (_, err) = folder.expect(3, "hash -f /dev/zero", "");
    assert_eq!(err, "error: /dev/zero has more than 67108864 bytes, the most that is read\n");
    let (_, err) = folder.expect(3, "hash -f -", vec![b' '; (64 << 20) + 1]);
    assert_eq!(err, "error: standard input has more than 67108864 bytes, the most that is read\n");
    folder.expect(3, "hash -f -", b"\xff\xfe");
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
    assert!(err.contains("holds no manifest"), "{err}");
}

#[test]
fn a_release_that_no_approval_could_cover_is_not_asked_for() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let release = |count: usize| {
        let named = |n| app.replace("name: orders\n", &format!("name: orders-{n}\n"));
        (0..count).map(named).collect::<Vec<_>>().join("---\n")
    };
    let request = "request -f - --posture-dir postures --requested-by alice@acme.example";
    let (asked, _) = folder.expect(0, request, release(64));
    assert_eq!(serde_json::from_str::<Value>(&asked).expect("JSON")["workloads"].as_array().map(Vec::len), Some(64));
    let (_, err) = folder.expect(2, request, release(65));
    assert!(err.contains("65 workloads need an approval, and one covers 64 at most"), "{err}");
}

#[test]
fn a_namespace_that_the_manifest_contradicts_is_refused() {
    let folder = Folder::new();
    let (_, err) = folder.expect(2, "hash -f app.yaml -n elsewhere", "");
    assert!(err.contains("-n says elsewhere"), "{err}");
}

#[test]
fn names_that_move_a_terminal_are_spelled_out() {
    let folder = Folder::new();
    let evil = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: \"a\\e[2J\\u202e\", namespace: payments}\nspec: {template: {spec: {containers: [{name: a, image: \"a\\e[31m\"}]}}}\n";
    let (hash, _) = folder.expect(0, "hash -f -", evil);
    let (verified, _) = folder.expect(1, "verify -f - --posture-dir postures", evil);
    let (_, err) = folder.expect(
        2,
        "approve --yes --no-posture -f - --key bob.pem --environment production --project payments --requested-by a",
        evil,
    );
    assert!(err.contains("is not a name that Kubernetes permits"), "{err}");
    for shown in [hash, verified, err] {
        assert!(shown.contains("a\\u{1b}[2J\\u{202e}"), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }
}

#[test]
fn a_wildcard_in_a_name_is_not_signed() {
    let folder = Folder::new();
    for name in ["{name: 'orders-*'}", "{generateName: 'orders*'}", "{name: a/b}", "{}"] {
        let app = format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name}\nspec: {{template: {{spec: {{containers: []}}}}}}\n"
        );
        let approve = "approve --yes --no-posture -f - -n payments --key bob.pem --environment production --project payments --requested-by a";
        folder.expect(2, approve, app);
    }
}

#[test]
fn a_request_that_makes_no_sense_is_not_reviewed() {
    let folder = Folder::new();
    let request = fs::read_to_string(self::folder().join("review.in/request.json")).expect("a request");
    let review = "review -f - --posture-dir postures";
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut request: Value = serde_json::from_str(&request).expect("JSON");
        edit(&mut request);
        request.to_string()
    };
    let cases = [
        (3, with(&|request| request["apiVersion"] = "writgate.dev/v2".into()), "it is a request of version"),
        (3, with(&|request| request["more"] = true.into()), "unknown field `more`"),
        (3, with(&|request| request["action"] = "rm".into()), "unknown variant `rm`"),
        (3, with(&|request| request["workloads"] = Value::Array(Vec::new())), "it has no workloads"),
        (2, with(&|request| request["workloads"][0]["object"]["kind"] = "Secret".into()), "there is no workload in it"),
        (3, with(&|request| request["workloads"][0]["object"] = Value::Array(Vec::new())), "found a list"),
        (2, format!("{request}---\n{request}"), "there are two requests"),
    ];
    for (code, text, why) in cases {
        let (_, err) = folder.expect(code, review, text);
        assert!(err.contains(why), "{why}: {err}");
    }
    folder.expect(3, review, b"\xff\xfe");
    folder.expect(3, "review -f /dev/zero --posture-dir postures", "");
}

#[test]
fn what_a_requester_writes_cannot_speak_to_a_terminal() {
    let folder = Folder::new();
    let request = fs::read_to_string(self::folder().join("review.in/request.json")).expect("a request");
    let mut request: Value = serde_json::from_str(&request).expect("JSON");
    let evil = "a\u{1b}[2J\u{202e}\nWRONG";
    for field in ["requestedBy", "reason", "environment", "project", "cluster"] {
        request[field] = evil.into();
    }
    let workload = &mut request["workloads"][0];
    for place in ["object", "runs"] {
        let pod = &mut workload[place]["spec"]["template"]["spec"];
        pod["serviceAccountName"] = format!("{place}{evil}").into();
        pod["containers"][0]["name"] = evil.into();
        pod["volumes"] =
            serde_json::json!([{"name": evil, "hostPath": {"path": evil}, "secret": {"secretName": evil}}]);
    }
    workload["subject"] = evil.into();
    let (code, out, err) = folder.writgate("review -f - --posture-dir postures", request.to_string());
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.lines().filter(|line| line.starts_with("WRONG")).count() == 1, "{out}");
    for text in [&out, &err] {
        assert!(text.chars().all(|char| char == '\n' || !char.is_control() && char != '\u{202e}'), "{text:?}");
    }
}

/// What people and tools do to files between two verbs.
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

#[test]
fn a_log_is_followed_as_it_grows_and_when_it_is_rotated() {
    let folder = Folder::new();
    let given = fs::read_to_string(self::folder().join("audit.in/webhook.log")).expect("it can be read");
    let lines: Vec<&str> = given.lines().skip(1).collect();
    folder.write("log", format!("{}\n", lines[0]));
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
        .args(["audit", "--log", "log", "--watch", "-o", "json"])
        .current_dir(folder.0.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut shown = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut next = || shown.next().expect("it goes on").expect("UTF-8");
    assert_eq!(next(), lines[0]);
    let mut log = fs::OpenOptions::new().append(true).open(folder.path("log")).expect("it can be written");
    log.write_all(format!("{}\n", lines[1]).as_bytes()).expect("it can be written");
    assert_eq!(next(), lines[1]);
    fs::rename(folder.path("log"), folder.path("log.1")).expect("it is ours");
    log.write_all(format!("{}\n", lines[2]).as_bytes()).expect("what was written last goes to the old file");
    folder.write("log", format!("{}\n", lines[3]));
    assert_eq!([next(), next()], [lines[2], lines[3]]);
    child.kill().expect("it runs until somebody ends it");
    child.wait().expect("a child can be waited for");
}

//! `verify`: the order of its inputs, its output formats, and reviews that are not valid.

use std::process::Command;

use serde_json::Value;

use crate::folder::Folder;

/// Checks what SARIF 2.1.0 requires (OASIS, 3.13 to 3.49), and the line of each reason.
#[test]
fn code_scanning_shows_each_reason_where_its_object_begins() {
    let folder = Folder::new();
    let app = folder.read("app.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: shell, namespace: payments}\nspec: {containers: []}\n";
    folder.write("all: 100%.yaml", format!("{app}---\n# by hand\n{pod}"));
    let run = |format: &str| {
        let arguments = ["verify", "-f", "all: 100%.yaml", "--posture-dir", "postures", "-o", format];
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
            .args(arguments)
            .current_dir(folder.root())
            .output()
            .expect("the program runs");
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
    let printed: Vec<&str> = commands.lines().collect();
    assert_eq!(printed.len(), 2, "{commands}");
    let expected =
        format!("::error file=all%3A 100%25.yaml,line={line},title=WorkloadNotAllowed::denied Pod payments/shell");
    assert!(printed[1].starts_with(&expected) && printed[1].contains("%0Anext: "), "{commands}");
}

#[test]
fn several_decisions_are_an_array_and_one_denial_sets_the_exit_code() {
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
fn an_ungoverned_namespace_of_the_folder_has_no_actions() {
    let folder = Folder::new();
    folder.write("postures/namespaces.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: payments}\n");
    let (out, _) = folder.expect(0, "verify -f app.yaml --posture-dir postures -o json", "");
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")["decision"], "not-an-action");
}

#[test]
fn flags_have_precedence_over_the_namespace_in_the_folder() {
    let folder = Folder::new();
    let (out, _) =
        folder.expect(1, "verify -f app.yaml --posture-dir postures --environment other --project p -o json", "");
    let record: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(record["reasons"], serde_json::json!(["PostureMissing"]));
    assert_eq!(record["project"], "p");
}

#[test]
fn the_user_who_applies_counts_for_separation_of_duties() {
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
fn a_review_that_is_not_text_is_malformed_and_an_endless_one_is_refused() {
    let folder = Folder::new();
    let (out, _) =
        folder.expect(1, "verify --review - --posture-dir postures -o json", b"{\"request\":{\"uid\":\"7\"},\xff");
    let record: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(record["reasons"], serde_json::json!(["MalformedReview"]));
    assert_eq!(record["requestUid"], "7");
    let (_, err) = folder.expect(3, "verify --review /dev/zero --posture-dir postures", "");
    assert_eq!(err, "error: /dev/zero has more than 8388608 bytes, the limit for this file\n");
    let (_, err) = folder.expect(3, "hash -f /dev/zero", "");
    assert_eq!(err, "error: /dev/zero has more than 67108864 bytes, the limit for this file\n");
    let (_, err) = folder.expect(3, "hash -f -", vec![b' '; (64 << 20) + 1]);
    assert_eq!(err, "error: standard input has more than 67108864 bytes, the limit for this file\n");
    folder.expect(3, "hash -f -", b"\xff\xfe");
}

//! The postures in words, and a change that is compared and not applied.

use axum::http::StatusCode;
use writgate_cluster::posture_dir;
use writgate_core::posture::PostureSet;

use crate::console::tests::{Answer, Served};

/// The documents of the tests of `posture`.
fn file(name: &str) -> String {
    let path = writgate_testing::repository().join("crates/cli/tests/cli/posture.in/changed").join(name);
    std::fs::read_to_string(path).expect("a file")
}

struct Browser {
    served: Served,
    cookie: String,
}

impl Browser {
    /// A console whose cluster has these documents.
    fn of(files: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        let set = PostureSet::assemble(posture_dir::read(folder.path()).expect("documents"));
        let served = Served::new();
        let cookie = served.open();
        served.console.posture_set.get(&served.console, false, || Ok(set)).expect("a set");
        Self { served, cookie }
    }

    fn new() -> Self {
        let names = ["posture-production.yaml", "reviewers-production.yaml", "revocations-production.yaml"];
        Self::of(&names.map(|name| (name, file(name))))
    }

    fn page(&self) -> String {
        self.served
            .send(self.served.get("/postures", &self.cookie))
            .expect(StatusCode::OK, "Environment production")
            .text
    }

    fn compare(&self, documents: &str) -> Answer {
        let fields = form_urlencoded::Serializer::new(String::new()).append_pair("documents", documents).finish();
        self.served.send(self.served.post("/postures", &self.cookie, &fields))
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_rules_are_those_of_posture_explain() {
    let text = Browser::new().page();
    has(&text, &["What requires an approval", "approval with deploy, signed by 1 reviewer, for at most 24h (enforce)"]);
    has(&text, &["Who may approve", "reviewer bob@acme.example may grant deploy, deploy.*, replay.execute"]);
    has(
        &text,
        &["<caption>The keys of the reviewers</caption>", "<span class=\"badge good\">valid</span>", "no limit"],
    );
}

#[test]
fn a_key_says_whether_it_is_valid_today() {
    let key = "          - publicKey: |\n";
    for (validity, word) in [
        ("notAfter: 2026-01-01T00:00:00Z", "expired"),
        ("notBefore: 2999-01-01T00:00:00Z", "not yet valid"),
        ("notAfter: 2999-01-01T00:00:00Z", "valid"),
    ] {
        let name = "reviewers-production.yaml";
        let reviewers = file(name).replacen(key, &format!("          - {validity}\n            publicKey: |\n"), 1);
        let posture = "posture-production.yaml";
        let revocations = "revocations-production.yaml";
        let text = Browser::of(&[(name, reviewers), (posture, file(posture)), (revocations, file(revocations))]).page();
        let row = text.split("<tr>").find(|row| row.starts_with("<th scope=\"row\">bob@")).expect("a row");
        assert!(row.contains(&format!("\">{word}</span>")), "{row}");
    }
}

#[test]
fn a_change_is_compared_with_the_document_that_it_replaces() {
    let browser = Browser::new();
    let posture = file("posture-production.yaml");
    let same = browser.compare(&posture).expect(StatusCode::OK, "The rules stay the same.").text;
    assert!(!same.contains("looser"), "{same}");
    let change = posture.replace("images: digest", "images: any").replace("maxLifetime: 24h", "maxLifetime: 12h");
    let text = browser.compare(&change).expect(StatusCode::OK, "2 changes, of which 1 are looser").text;
    has(&text, &["images: digest → any", "actions.deploy.maxLifetime: 24h → 12h", "Nothing was applied."]);
    // A bare document has the same meaning as one in a ConfigMap, whatever the ConfigMap's name is.
    let bare = change.split_once("posture.yaml: |\n").expect("a document").1.replace("\n    ", "\n");
    browser.compare(bare.trim_start()).expect(StatusCode::OK, "2 changes, of which 1 are looser");
    let renamed = change.replace("name: posture-production", "name: another");
    browser.compare(&renamed).expect(StatusCode::OK, "2 changes, of which 1 are looser");
    browser.served.send(browser.served.get("/postures", &browser.cookie)).expect(StatusCode::OK, "each by digest");
}

#[test]
fn a_text_that_is_no_document_is_named_as_such() {
    let browser = Browser::new();
    let wrong = StatusCode::BAD_REQUEST;
    browser.compare("").expect(wrong, "contains no posture document; expected a Posture");
    browser.compare("apiVersion: v1\nkind: Pod\n").expect(wrong, "contains no posture document");
    browser.compare("a: [").expect(wrong, "the change cannot be read");
    let unknown = file("posture-production.yaml").replace("    images: digest", "    imagez: digest");
    let text = browser.compare(&unknown).expect(StatusCode::OK, "The cluster would refuse these documents.").text;
    has(&text, &["imagez", "every action is denied"]);
}

#[test]
fn texts_of_others_are_neither_markup_nor_invisible() {
    let evil = r"<script>alert(1)</script>\u202e\u200b";
    let name = "reviewers-production.yaml";
    let reviewers = file(name).replace("\"bob@acme.example\"", &format!("\"{evil}\""));
    let browser = Browser::new();
    let changed = browser.compare(&reviewers).expect(StatusCode::OK, "The change").text;
    let posture = "posture-production.yaml";
    let revocations = "revocations-production.yaml";
    let files = [(name, reviewers), (posture, file(posture)), (revocations, file(revocations))];
    let browser = Browser::of(&files);
    let page = browser.served.send(browser.served.get("/postures", &browser.cookie)).text;
    for text in [changed, page] {
        has(&text, &["&lt;script&gt;alert(1)&lt;/script&gt;"]);
        assert!(!text.contains("<script>alert") && !text.contains(['\u{202e}', '\u{200b}']), "{text}");
    }
}

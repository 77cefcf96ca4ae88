//! Decisions for code hosts: SARIF 2.1.0 (OASIS), and workflow commands of GitHub Actions.
//!
//! Each denial is one result, at the line where its object begins.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde_json::{Value, json};
use writgate_core::{
    encoding::Outline,
    record::{Decision, Denial},
    text::escape,
};

use crate::{
    command::explain,
    failure::Failure,
    manifest::{Manifest, input},
};

/// A decision and where its object begins; no location for standard input and for an AdmissionReview.
pub(crate) struct LocatedDecision<'a> {
    pub(crate) decision: &'a Decision,
    pub(crate) location: Option<SourceLocation>,
}

/// A file and a line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SourceLocation {
    file: String,
    line: Option<u64>,
}

/// Where objects begin. Each file is read once.
#[derive(Default)]
pub(crate) struct SourceLocations(BTreeMap<String, Outline>);

impl SourceLocations {
    pub(crate) fn find(&mut self, manifest: &Manifest) -> Result<Option<SourceLocation>, Failure> {
        let file = manifest.file();
        if file == input::name(Path::new("-")) {
            return Ok(None);
        }
        if !self.0.contains_key(file) {
            // A file without an outline has no line numbers. It was parsed as manifests before.
            let outline = Outline::parse(&input::manifest_text(Path::new(file))?);
            self.0.insert(file.to_owned(), outline);
        }
        let line = self.0.get(file).and_then(|outline| outline.object(manifest.path())?.line());
        Ok(Some(SourceLocation { file: file.to_owned(), line }))
    }
}

/// Every denial, with its decision.
fn results<'a>(located: &'a [LocatedDecision<'a>]) -> impl Iterator<Item = (&'a LocatedDecision<'a>, &'a Denial)> {
    located.iter().flat_map(|located| located.decision.denials.iter().map(move |denial| (located, denial)))
}

/// The denial, and what to do next.
fn message(decision: &Decision, denial: &Denial) -> String {
    let next = decision.message().lines().last().filter(|line| line.starts_with("next: ")).map(str::to_owned);
    let text = format!("{}: {denial}", decision.summary());
    escape(&next.map_or(text.clone(), |next| format!("{text}\n{next}")))
}

/// A log of one run, for code scanning.
pub(crate) fn sarif(located: &[LocatedDecision<'_>]) -> Value {
    let mut codes: Vec<&str> = results(located).map(|(_, denial)| denial.code()).collect();
    codes.sort_unstable();
    codes.dedup();
    let rule = |code: &&str| {
        let (summary, page) = explain::page(code).unwrap_or((code, code));
        // The page itself, so that the log does not depend on where the page is published.
        json!({"id": code, "shortDescription": {"text": summary}, "help": {"text": page, "markdown": page}})
    };
    let result = |(located, denial): (&LocatedDecision<'_>, &Denial)| {
        let decision = located.decision;
        let object = decision.record.object.as_ref();
        let name = object.map(|object| format!("{} {}/{}", object.kind, object.namespace, object.name));
        let mut found = json!({"logicalLocations": [{"fullyQualifiedName": escape(&name.unwrap_or_default())}]});
        if let Some(location) = &located.location {
            found["physicalLocation"] = json!({"artifactLocation": {"uri": uri(&location.file)}});
            if let Some(line) = location.line {
                found["physicalLocation"]["region"] = json!({"startLine": line});
            }
        }
        json!({
            "ruleId": denial.code(),
            "ruleIndex": codes.iter().position(|code| *code == denial.code()),
            "level": if decision.allowed() { "warning" } else { "error" },
            "message": {"text": message(decision, denial)},
            "locations": [found],
            "properties": {"specHash": decision.record.spec_hash},
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "kubectl-writgate", "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": codes.iter().map(rule).collect::<Vec<_>>()}},
            "results": results(located).map(result).collect::<Vec<_>>(),
        }],
    })
}

/// One workflow command for each denial.
pub(crate) fn github(located: &[LocatedDecision<'_>]) -> String {
    let command = |(located, denial): (&LocatedDecision<'_>, &Denial)| {
        let level = if located.decision.allowed() { "warning" } else { "error" };
        let mut properties = Vec::new();
        if let Some(location) = &located.location {
            properties.push(format!("file={}", property(&location.file)));
            properties.extend(location.line.map(|line| format!("line={line}")));
        }
        properties.push(format!("title={}", property(denial.code())));
        format!("::{level} {}::{}\n", properties.join(","), data(&message(located.decision, denial)))
    };
    results(located).map(command).collect::<Vec<_>>().concat()
}

/// Escapes as the runner's own toolkit does (actions/toolkit, `packages/core/src/command.ts`).
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A path as a URI reference (RFC 3986): relative to the repository, or a `file:` URI.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut uri = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use writgate_core::encoding::OutlineNode;

    use super::*;

    #[test]
    fn escapes_what_a_runner_would_interpret() {
        assert_eq!(data("50%\r\n::error::x"), "50%25%0D%0A::error::x");
        assert_eq!(property("a,b:c%"), "a%2Cb%3Ac%25");
    }

    #[test]
    fn a_path_becomes_a_uri_reference() {
        assert_eq!(uri("./apps/my app#1.yaml"), "apps/my%20app%231.yaml");
        assert_eq!(uri("/tmp/a:b"), "file:///tmp/a%3Ab");
    }

    #[test]
    fn an_object_begins_at_its_first_field() {
        let text = "---\n# c\nkind: A\n---\nkind: List\nitems:\n- kind: B\n- metadata: {}\n  kind: C\n";
        let outline = Outline::parse(text);
        assert_eq!(
            [&[0][..], &[1, 0], &[1, 1]].map(|path| outline.object(path).and_then(OutlineNode::line)),
            [Some(3), Some(7), Some(8)]
        );
    }
}

//! Documents that an administrator writes.

use serde_json::Value;
use writgate_core::{
    encoding::read_yaml,
    posture::{Document, PostureError, PostureSet},
};

/// `valid`, or every problem as `path: message`.
pub(crate) fn run(text: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(text) else { return "not UTF-8".to_owned() };
    let set = assembled(text);
    for (environment, posture) in set.environments() {
        if let Err(error) = posture {
            let has_problems = matches!(error, PostureError::Invalid { problems } if !problems.is_empty());
            assert!(has_problems, "{environment:?} is invalid for no reason: {error:?}");
        }
    }
    for problem in set.problems() {
        assert!(!problem.source.is_empty() && !problem.message.is_empty(), "{problem:?}");
        assert!(!problem.to_string().contains(char::is_control), "{problem:?}");
    }
    if let Ok(documents) = read_yaml(text) {
        let json = documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(versions(&assembled(&json)), versions(&set), "the posture differs after conversion to JSON");
    }
    let problems: Vec<String> = set.problems().iter().map(|one| format!("{}: {}", one.path, one.message)).collect();
    if problems.is_empty() { "valid".to_owned() } else { problems.join("\n") }
}

fn assembled(text: &str) -> PostureSet {
    PostureSet::assemble(vec![Document { source: "fuzz".to_owned(), name: None, text: text.to_owned() }])
}

/// Each environment with the version of its posture, if it is valid.
fn versions(set: &PostureSet) -> Vec<(&str, Option<&str>)> {
    set.environments().map(|(name, posture)| (name, posture.ok().map(|posture| &*posture.version))).collect()
}

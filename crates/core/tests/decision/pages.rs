//! The page of a reason (docs/reasons), held against a decision that has it.

#![expect(clippy::disallowed_methods, reason = "a test of files; core itself has none")]

use std::{fs, path::Path};

use writgate_core::record::Decision;

/// Asserts that the page of the decision's first reason tells it as the decision does; returns the reason's code.
pub(crate) fn tells(decision: &Decision) -> &'static str {
    let denial = decision.headline().expect("a reason");
    let code = denial.code();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/reasons/{code}.md"));
    let text = fs::read_to_string(&page).unwrap_or_default();
    let told = format!("\n{code}: {denial}\n");
    assert!(text.contains(&told), "{} does not tell:{told}", page.display());
    code
}

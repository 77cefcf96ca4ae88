//! The pages in `docs/reasons`, compared with decisions.

use writgate_core::record::Decision;

/// Asserts that the page of the decision's first reason has the denial's text as its example; returns the code.
pub(crate) fn has_as_example(decision: &Decision) -> &'static str {
    let denial = decision.headline().expect("a reason");
    let expected = format!("\n{}: {denial}\n", denial.code());
    assert!(denial.reason().page().contains(&expected), "docs/reasons/{}.md lacks:{expected}", denial.code());
    denial.code()
}

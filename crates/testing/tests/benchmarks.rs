//! The figures of `docs/benchmarks.md` are those of `benches/baseline.json`.

use std::fs;

use writgate_testing::{
    figures::{PAGE, fill, read_baseline},
    repository,
};

#[test]
fn the_page_has_the_recorded_figures() {
    let page = fs::read_to_string(repository().join(PAGE)).expect("the page exists");
    let filled = fill(&page, &read_baseline().expect("the baseline is JSON")).expect("each marker has figures");
    assert!(page.contains("<!-- figures: admission/reviews -->"), "the page has no recorded figures");
    assert!(page == filled, "{PAGE} is not what benches/baseline.json says: run make bench-page");
}

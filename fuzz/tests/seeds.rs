//! Every seed and its expected outcome: `seeds/TARGET.txt` has a line for each file of `seeds/TARGET`.
//!
//! A line is the file's name and a part of the target's outcome. The seed `00-…` passes. Each other seed differs from it in one
//! thing, and its name starts with its class in docs/bad-input.md.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use writgate_fuzz::{TARGETS, Target};

fn seeds(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name)
}

#[test]
fn every_seed_has_its_expected_outcome() {
    let mut wrong = Vec::new();
    for target in TARGETS {
        let list = fs::read_to_string(seeds(target).with_extension("txt")).expect("a list");
        let mut expected: BTreeMap<&str, &str> =
            list.lines().map(|line| line.split_once(' ').expect("a name and an outcome")).collect();
        for entry in fs::read_dir(seeds(target)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let found = (target.run)(&fs::read(&path).expect("it can be read"));
            match expected.remove(name).map(str::trim) {
                Some(expected) if !expected.is_empty() && found.contains(expected) => {}
                expected => wrong.push(format!("{}/{name}: expected {expected:?}, found: {found}", target.name)),
            }
        }
        wrong.extend(expected.keys().map(|name| format!("{}/{name} is not there", target.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_review_cut_anywhere_is_malformed() {
    let review = include_bytes!("../seeds/review/00-admitted.json").trim_ascii_end();
    let target = writgate_fuzz::target("review");
    for length in 0..review.len() {
        assert_eq!((target.run)(&review[..length]), "MalformedReview", "{length} bytes");
    }
}

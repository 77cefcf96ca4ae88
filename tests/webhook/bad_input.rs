//! Compares `docs/bad-input.md` with the seeds and tests that it names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The class of each row, and the names in backticks in its third column.
fn rows() -> Vec<(usize, Vec<String>)> {
    let text = fs::read_to_string(repository().join("docs/bad-input.md")).expect("the page");
    let cells = text.lines().filter_map(|line| line.strip_prefix("| ")).map(|line| line.split(" | "));
    let row = |mut cells: std::str::Split<'_, &str>| {
        let class = cells.next()?.parse().ok()?;
        let named = cells.nth(1)?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((class, named))
    };
    cells.filter_map(row).collect()
}

/// Every seed as `TARGET/NN`.
fn seeds() -> BTreeSet<String> {
    let entries = |folder: PathBuf| fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let targets = entries(repository().join("fuzz/seeds")).filter(|entry| entry.path().is_dir());
    let names = targets.flat_map(|target| {
        let name = target.file_name().into_string().expect("UTF-8");
        let seeds = entries(target.path()).map(|seed| seed.file_name().into_string().expect("UTF-8"));
        seeds.map(move |seed| format!("{name}/{}", &seed[..2])).collect::<Vec<_>>()
    });
    names.filter(|name| !name.ends_with("/00")).collect()
}

#[test]
fn every_class_has_a_row_and_everything_that_a_row_names_exists() {
    let rows = rows();
    // No class has ever been dropped.
    assert!(rows.len() >= 63, "{} classes", rows.len());
    assert_eq!(rows.iter().map(|(class, _)| *class).collect::<Vec<_>>(), (1..=rows.len()).collect::<Vec<_>>());
    let seeds = seeds();
    let mut named = BTreeSet::new();
    for (class, names) in rows {
        assert!(!names.is_empty(), "class {class} is tried by nothing");
        let mut file = String::new();
        for name in names {
            if let Some(prefix) = name.strip_suffix("-*") {
                assert!(seeds.contains(prefix) && prefix.ends_with(&format!("/{class:02}")), "{class}: no seed {name}");
                named.insert(prefix.to_owned());
            } else if name.contains('/') {
                file = fs::read_to_string(repository().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            } else {
                assert!(file.contains(&format!("fn {name}(")), "{class}: no test {name}");
            }
        }
    }
    assert_eq!(seeds.difference(&named).collect::<Vec<_>>(), Vec::<&String>::new(), "seeds that no row names");
}

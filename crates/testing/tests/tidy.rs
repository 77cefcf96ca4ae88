//! Rules about the sources that the compiler does not check: imports between modules, lengths of files, and comments.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The modules of core in the order of understanding. A module imports only from those before it.
const CORE: [&str; 11] =
    ["work", "vocabulary", "text", "encoding", "kube", "approval", "record", "posture", "request", "decide", "guard"];

/// Longer files give their reason in their first comment, in a sentence that contains [`REASON`], or are generated.
const MAX_LINES: usize = 500;
const REASON: &str = "longer than 500 lines";

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below `folder`, which is relative to the workspace, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![workspace().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(workspace()).expect("it is below the workspace").display().to_string();
                found.push((name, fs::read_to_string(&path).expect("sources are UTF-8")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

fn all_sources() -> Vec<(String, String)> {
    ["src", "crates", "tests", "benches", "fuzz"].into_iter().flat_map(sources).collect()
}

/// The modules of core that a text names after `crate::`, in paths and in lists. Comments are not read.
fn imported_modules(text: &str) -> BTreeSet<String> {
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut modules = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => modules.extend(first_segments(list)),
            None => drop(modules.insert(identifier(rest))),
        }
    }
    modules
}

/// The first segment of each path in a list of imports, up to the brace that ends the list.
fn first_segments(list: &str) -> Vec<String> {
    let mut segments = Vec::new();
    let mut depth = 0;
    let mut is_start = true;
    for (at, char) in list.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            char if is_start && !char.is_whitespace() => {
                segments.push(identifier(&list[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    segments
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

#[test]
fn a_module_of_core_imports_only_from_those_before_it() {
    let rank = |module: &str| CORE.iter().position(|known| *known == module);
    let mut wrong = Vec::new();
    for (file, text) in sources("crates/core/src") {
        let path = file.trim_start_matches("crates/core/src/");
        let own = path.split(['/', '.']).next().unwrap_or_default();
        // `work` is used only by tests.
        if matches!(own, "lib" | "work") {
            continue;
        }
        let own_rank = rank(own).unwrap_or_else(|| panic!("{file}: add {own} to the order of modules"));
        // Tests may import from every module.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let is_test = path.split(['/', '.']).any(|part| part == "tests");
        let higher =
            imported_modules(code).into_iter().filter(|module| rank(module).is_some_and(|rank| rank > own_rank));
        wrong
            .extend(higher.filter(|_| !is_test).map(|module| format!("{file} imports {module}, which is above {own}")));
    }
    assert!(wrong.is_empty(), "move the item down, or pass it as an argument:\n{}", wrong.join("\n"));
}

#[test]
fn imports_are_found_in_paths_and_in_nested_lists() {
    let text = "use crate::{\n    decide::{driver::Step, Facts},\n    text::quoted, // crate::guard\n};\nfn f() { crate::kube::x() }";
    let found: Vec<String> = imported_modules(text).into_iter().collect();
    assert_eq!(found, ["decide", "kube", "text"]);
}

#[test]
fn a_long_file_gives_its_reason() {
    let mut wrong = Vec::new();
    for (file, text) in all_sources() {
        let lines = text.lines().count();
        let head: String = text.lines().take_while(|line| line.starts_with("//")).collect();
        if lines > MAX_LINES && !head.contains(REASON) && !head.contains("@generated") {
            wrong.push(format!("{file} has {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "split it, or say in its first comment why it is {REASON}:\n{}", wrong.join("\n"));
}

#[test]
fn comments_do_not_say_who_calls() {
    let callers = |text: &str| {
        let is_comment = |line: &str| line.trim_start().starts_with("//");
        text.lines().filter(|line| is_comment(line) && line.contains("Called by")).count()
    };
    let wrong: Vec<String> = all_sources()
        .into_iter()
        .filter(|(_, text)| callers(text) > 0)
        .map(|(file, text)| format!("{file}: {} times", callers(&text)))
        .collect();
    assert!(wrong.is_empty(), "say what lives here and why; who calls it goes stale:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_included_by_a_path_attribute() {
    let includes = |text: &str| text.lines().any(|line| line.trim_start().starts_with("#[path"));
    let wrong: Vec<String> =
        all_sources().into_iter().filter(|(_, text)| includes(text)).map(|(file, _)| file).collect();
    assert!(wrong.is_empty(), "share it through a crate instead:\n{}", wrong.join("\n"));
}

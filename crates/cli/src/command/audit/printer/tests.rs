use proptest::prelude::*;
use serde_json::json;
use writgate_core::encoding::read_yaml;

use super::*;

fn printed(format: Format, rows: &[(Row, String)]) -> String {
    let mut bytes = Vec::new();
    let mut printer = Printer::new(&mut bytes, format, false);
    for (row, json) in rows {
        printer.print(row, json).unwrap();
    }
    printer.flush().unwrap();
    drop(printer);
    String::from_utf8(bytes).unwrap()
}

fn row(initiator: &str) -> Row {
    Row { initiator: initiator.into(), decision: "denied".into(), ..Row::default() }
}

#[test]
fn a_hostile_name_controls_no_terminal_and_breaks_no_line() {
    let table = printed(Format::Table, &[(row("a\n\u{1b}[31m\u{202e}x"), String::new())]);
    assert_eq!(table.lines().count(), 2, "{table}");
    assert!(table.contains("a\\n\\u{1b}[31m\\u{202e}x"), "{table}");
    let json = json!({"who": "\u{1b}[31m\u{202e}ä\u{1f600}"});
    let line = printed(Format::Json, &[(row(""), json.to_string())]);
    assert!(line.trim_end().bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), json);
}

#[test]
fn a_row_of_one_of_several_contexts_has_its_context_first() {
    let row = Row { context: "prod-eu-1".into(), ..row("alice") };
    let print = |format, json: &str| {
        let mut bytes = Vec::new();
        let mut printer = Printer::new(&mut bytes, format, false).with_contexts();
        printer.print(&row, json).unwrap();
        printer.flush().unwrap();
        drop(printer);
        String::from_utf8(bytes).unwrap()
    };
    for format in [Format::Table, Format::Wide] {
        let text = print(format, "");
        assert!(text.starts_with("CONTEXT     TIME "), "{text}");
        assert!(text.contains("\nprod-eu-1   1970-"), "{text}");
    }
    assert!(print(Format::Csv, "").contains("\r\nprod-eu-1,1970-"));
    // A record cannot name another context than the one that it was read with.
    for json in [r#"{"id":"1"}"#, r#"{"context":"other","id":"1"}"#] {
        assert_eq!(print(Format::Json, json), "{\"context\":\"prod-eu-1\",\"id\":\"1\"}\n");
        assert_eq!(print(Format::Yaml, json), "---\ncontext: prod-eu-1\nid: \"1\"\n");
    }
}

#[test]
fn a_claimed_initiator_has_a_column_of_its_own() {
    let claim = "Application alice   by bob\n";
    let row = Row { claimed_initiators: claim.into(), ..row("mallory") };
    let column = |format| {
        let text = printed(format, &[(row.clone(), String::new())]);
        text.lines().nth(1).unwrap().to_owned()
    };
    assert!(!column(Format::Table).contains("alice"));
    let wide = column(Format::Wide);
    assert!(wide.contains(r"   Application alice \u{20} by bob\n   ") && wide.contains("   mallory   "), "{wide}");
    assert!(column(Format::Csv).ends_with(r",Application alice \u{20}\u{20}by bob\n"), "{}", column(Format::Csv));
}

#[test]
fn a_cell_is_never_a_formula_or_two_cells() {
    for plain in ["alice", "a-b", "a=b", "system:serviceaccount:gitops:applier", "CHG-1, bob@acme.example", "it's"] {
        assert_eq!(guarded(plain), plain);
    }
    for formula in FORMULA {
        assert_eq!(guarded(&format!("{formula}1+1")), format!("'{formula}1+1"));
        for before in ["a", "", " \"", "a b\u{a0}"] {
            for separator in SEPARATORS {
                for between in ["", " ", "\"", "\u{3000}\""] {
                    let guard = guarded(&format!("{before}{separator}{between}{formula}1"));
                    assert!(guard.ends_with(&format!("{separator}{between}'{formula}1")), "{guard:?}");
                }
            }
        }
    }
    assert_eq!(quoted("=cmd|'/c calc'!A1"), "'=cmd|''/c calc'!A1");
    for (begin, guard) in [("\tx", "'\tx"), ("\rx", "'\rx"), ("'x", "''x"), (" =x", " '=x"), ("x;=y;z;@", "x;'=y;z;'@")]
    {
        assert_eq!(guarded(begin), guard);
    }
    assert_eq!(quoted("a,\"b\"\r\nc"), "\"a,\"\"b\"\"\r\nc\"");
    let csv = printed(Format::Csv, &[(row("=1+1,2"), String::new())]);
    assert!(csv.ends_with("\r\n") && csv.contains(",\"'=1+1,2\","), "{csv}");
}

#[test]
fn a_hostile_name_is_one_line_of_csv_and_yaml() {
    let name = "a\u{1b}[2J\r\n2026-11-22T11:00:00Z,admitted,,alice\u{202e}\u{2028}";
    let csv = printed(Format::Csv, &[(row(name), String::new())]);
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.contains(r"a\u{1b}[2J\r\n2026-11-22T11:00:00Z,admitted,,alice\u{202e}\u{2028}"), "{csv}");
    for name in [name, "\u{202e}x", "\u{2066}\u{e0041}\u{1f600}", "\u{ad}", "a\u{7f}"] {
        let record = json!({"initiator": name});
        let yaml = printed(Format::Yaml, &[(row(""), record.to_string())]);
        assert_eq!(escape(&yaml), yaml);
        assert_eq!(read_yaml(&yaml).unwrap(), vec![record], "{yaml}");
    }
}

#[test]
fn a_hostile_name_is_one_cell() {
    let table = printed(Format::Table, &[(row("a   deploy   Deployment x/y"), String::new())]);
    assert!(table.contains(r"a \u{20} deploy \u{20} Deployment x/y   -   "), "{table}");
}

#[test]
fn a_long_cell_neither_panics_nor_widens_other_rows() {
    let long = "x".repeat(100_000);
    let table = printed(Format::Table, &[(row(&long), String::new()), (row("alice"), String::new())]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].contains(&format!("{}…   -", &long[..1_000])), "{}", lines[1].len());
    assert!(lines[2].len() < 400, "{}", lines[2].len());
}

#[test]
fn columns_align_with_their_names() {
    let table = printed(Format::Table, &[(row("a"), String::new()), (row("somebody-else"), String::new())]);
    let column = |line: &str| line.split("  ").filter(|cell| !cell.is_empty()).nth(2).map(str::len);
    let lines: Vec<&str> = table.lines().collect();
    let at = lines[0].find("ACTION").unwrap();
    assert!(lines[1..].iter().all(|line| line[at..].starts_with("-  ")), "{table} {:?}", column(lines[1]));
}

proptest! {
    #[test]
    fn yaml_means_what_the_record_says(text in "\\PC{0,12}|[yYnN0-9.:~-]{0,6}|(yes|null|0644|1e3|- a|#b|2026-11-22)") {
        let record = json!({"initiator": {"username": text, "groups": [text, "b"]}, "reasons": [], "dryRun": false});
        let yaml = printed(Format::Yaml, &[(row(""), record.to_string()), (row(""), record.to_string())]);
        prop_assert_eq!(read_yaml(&yaml).unwrap(), vec![record.clone(), record]);
    }
}

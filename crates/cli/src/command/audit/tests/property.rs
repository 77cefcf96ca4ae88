//! For random logs and random edits, `audit --verify` is clean exactly if its rows are the writers' records and no other
//! line looks like a record.

use ed25519_dalek::SigningKey;
use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use writgate_core::record::LogLine;

use super::{Written, audit, record};

/// A line of the edited log.
#[derive(Clone, Debug)]
struct Line {
    text: String,
    /// The value of strict JSON. None: the line is not strict JSON.
    value: Option<Value>,
    /// Whether the line looks like a record or a link.
    looks: bool,
}

impl Line {
    fn of(value: Value) -> Self {
        Self { text: value.to_string(), value: Some(value), looks: true }
    }

    fn broken(text: String, looks: bool) -> Self {
        Self { text, value: None, looks }
    }
}

/// A change of a log. The first four keep the values of the lines.
#[derive(Clone, Debug)]
enum Edit {
    Respell(Index, u64),
    Move(Index, Index),
    Repeat(Index, Index),
    Insert(Index, usize),
    Drop(Index),
    DropTail(usize),
    Alter(Index, usize),
    Forge(Index, usize),
    Swap(Index, Index, usize),
    Cut(Index, Index),
    Unseal(Index, bool),
    DuplicateKey(Index, Index),
    Corrupt(Index, usize),
}

fn keeps() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, seed)| Edit::Respell(at, seed)),
        (at(), at()).prop_map(|(from, to)| Edit::Move(from, to)),
        (at(), at()).prop_map(|(from, to)| Edit::Repeat(from, to)),
        (at(), 0..5_usize).prop_map(|(at, which)| Edit::Insert(at, which)),
    ]
}

fn changes() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Edit::Drop),
        (1..4_usize).prop_map(Edit::DropTail),
        (at(), 0..6_usize).prop_map(|(at, field)| Edit::Alter(at, field)),
        (at(), 0..5_usize).prop_map(|(at, how)| Edit::Forge(at, how)),
        (at(), at(), 0..5_usize).prop_map(|(one, other, field)| Edit::Swap(one, other, field)),
        (at(), at()).prop_map(|(at, length)| Edit::Cut(at, length)),
        (at(), any::<bool>()).prop_map(|(at, link)| Edit::Unseal(at, link)),
        (at(), at()).prop_map(|(at, key)| Edit::DuplicateKey(at, key)),
        (at(), 0..4_usize).prop_map(|(at, how)| Edit::Corrupt(at, how)),
    ]
}

const ORDINARY: [&str; 5] = [
    "plain text",
    "",
    r#"{"timestamp":"2026-11-22T11:00:00Z","level":"INFO","message":"a \"record\"\u002c 0\/1","ratio":0.1}"#,
    r#"{"message":"writgate.dev\/decision\/v1"}"#,
    r#"{"log":"{\"level\":\"INFO\"}\n","stream":"stderr","time":"2026-11-22T11:00:00Z"}"#,
];

impl Edit {
    fn apply(&self, lines: &mut Vec<Line>, written: &Written) {
        if lines.is_empty() {
            return;
        }
        let count = lines.len();
        let line = |index: &Index| index.index(count);
        match self {
            Self::Respell(at, seed) => {
                let line = &mut lines[line(at)];
                if let Some(value) = &line.value {
                    line.text = spell(value, &mut Random(*seed));
                }
            }
            Self::Move(from, to) => {
                let moved = lines.remove(line(from));
                lines.insert(to.index(count), moved);
            }
            Self::Repeat(from, to) => lines.insert(line(to), lines[line(from)].clone()),
            Self::Insert(at, which) => lines.insert(line(at), Line::broken(ORDINARY[*which].to_owned(), false)),
            Self::Drop(at) => drop(lines.remove(line(at))),
            Self::DropTail(most) => lines.truncate(count.saturating_sub(*most)),
            Self::Alter(at, field) => change(&mut lines[line(at)], |value| match field {
                0 => value["decision"] = "not-an-action".into(),
                1 => value["initiator"]["username"] = "mallory".into(),
                2 => value["chain"]["sequence"] = 99.into(),
                3 => value["added"] = Value::Null,
                4 => value["signature"]["keyid"] = "k".into(),
                _ => value["version"] = "writgate.dev/decision/v2".into(),
            }),
            Self::Forge(at, how) => lines.insert(line(at), forged(*how, written)),
            Self::Swap(one, other, field) => {
                let field = ["id", "decision", "chain", "signature", "time"][*field];
                let of = |line: &Line| line.value.as_ref().and_then(|value| value.get(field)).cloned();
                if let (Some(first), Some(second)) = (of(&lines[line(one)]), of(&lines[line(other)])) {
                    change(&mut lines[line(one)], |value| value[field] = second);
                    change(&mut lines[line(other)], |value| value[field] = first);
                }
            }
            Self::Cut(at, length) => {
                let line = &mut lines[line(at)];
                let ends: Vec<usize> = line.text.char_indices().map(|(at, _)| at).collect();
                if !ends.is_empty() {
                    let text = &line.text[..ends[length.index(ends.len())]];
                    // Little may be left of a line.
                    *line = Line::broken(text.to_owned(), LogLine::read(text.as_bytes()) != LogLine::NotARecord);
                }
            }
            Self::Unseal(at, from_chain) => change(&mut lines[line(at)], |value| {
                value.as_object_mut().unwrap().remove(if *from_chain { "chain" } else { "signature" });
            }),
            Self::DuplicateKey(at, key) => corrupt(&mut lines[line(at)], |object| {
                let (key, value) = object.iter().nth(key.index(object.len())).unwrap();
                format!("{}:{value}", json!(key))
            }),
            Self::Corrupt(at, how) => corrupt(&mut lines[line(at)], |_| {
                [r#""x":1e999"#, r#""x":9007199254740993"#, r#""x":"\ud800""#, r#""x":"#][*how].to_owned()
            }),
        }
    }
}

/// Changes a line that is a record or a link.
fn change(line: &mut Line, change: impl FnOnce(&mut Value)) {
    if let Some(mut value) = line.value.take() {
        change(&mut value);
        *line = Line::of(value);
    }
}

/// Adds a member that makes the line something other than strict JSON.
fn corrupt(line: &mut Line, member: impl FnOnce(&serde_json::Map<String, Value>) -> String) {
    if let Some(Value::Object(object)) = &line.value {
        let text = line.text.trim_end().strip_suffix('}').unwrap();
        *line = Line::broken(format!("{text},{}}}", member(object)), true);
    }
}

/// A record that no writer wrote.
fn forged(how: usize, written: &Written) -> Line {
    let mut record = serde_json::to_value(record(1, true, "mallory")).unwrap();
    match how {
        0 => {}
        1 => record["chain"] = written.lines[0]["chain"].clone(),
        2 => {
            record["chain"] = written.lines[0]["chain"].clone();
            record["signature"] = written.lines[0]["signature"].clone();
        }
        3 => record = written.forged_tail(),
        _ => {
            let mut other = Written { keys: vec![SigningKey::from_bytes(&[9; 32]); 9], ..Written::default() };
            other.write(&[]);
            record = other.lines[0].clone();
        }
    }
    let mut line = Line::of(record);
    line.text = spell(line.value.as_ref().unwrap(), &mut Random(how as u64));
    line
}

/// xorshift64*: a spelling depends only on the seed, so that a failing case can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
    }

    fn space(&mut self) -> &'static str {
        ["", "", "", " ", "\t", "\r", "  "][self.below(7)]
    }
}

/// The same value in another spelling: order of keys, white space, escapes and forms of numbers.
fn spell(value: &Value, random: &mut Random) -> String {
    let (before, after) = (random.space(), random.space());
    let text = match value {
        Value::Object(members) => {
            let mut members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}{}:{}", spell_text(key, random), random.space(), spell(value, random)))
                .collect();
            for at in (1..members.len()).rev() {
                members.swap(at, random.below(at + 1));
            }
            format!("{{{}{}}}", random.space(), members.join(&format!("{},{}", random.space(), random.space())))
        }
        Value::Array(items) => {
            format!(
                "[{}{}]",
                random.space(),
                items.iter().map(|item| spell(item, random)).collect::<Vec<_>>().join(",")
            )
        }
        Value::String(text) => spell_text(text, random),
        Value::Number(number) => {
            [number.to_string(), format!("{number}.0"), format!("{number}e0")][random.below(3)].clone()
        }
        other => other.to_string(),
    };
    format!("{before}{text}{after}")
}

fn spell_text(text: &str, random: &mut Random) -> String {
    let mut spelled = "\"".to_owned();
    for char in text.chars() {
        match (random.below(12), char) {
            (0, _) => spelled.extend(char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}"))),
            (1, _) => spelled.extend(char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}"))),
            (2..8, '/') => spelled.push_str("\\/"),
            _ => {
                let quoted = json!(char).to_string();
                spelled.push_str(&quoted[1..quoted.len() - 1]);
            }
        }
    }
    spelled.push('"');
    spelled
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn verify_is_clean_exactly_if_the_rows_are_the_writers_records(
        chains in prop::collection::vec((0..4_usize, prop::collection::vec((any::<bool>(), "[a-c/\"\\\\ü\u{1f600}=;]{0,6}"), 0..5)), 1..4),
        changed in prop::collection::vec(changes(), 0..3),
        kept in prop::collection::vec(keeps(), 0..24),
    ) {
        let mut written = Written::default();
        for (group, records) in &chains {
            written.write_in_groups(records, *group);
        }
        let mut lines: Vec<Line> = written.lines.iter().cloned().map(Line::of).collect();
        for edit in changed.iter().chain(&kept) {
            edit.apply(&mut lines, &written);
        }
        let texts: Vec<String> = lines.iter().map(|line| line.text.clone()).collect();
        let audited = audit(written.verifier(), &texts);
        let is_written = |line: &Line| line.value.as_ref().is_some_and(|value| written.lines.contains(value));
        let is_there = |value: &Value| lines.iter().any(|line| line.value.as_ref() == Some(value));
        let is_all_there = written.lines.iter().all(|value| written.spare.contains(value) || is_there(value));
        // A record after the last seal is not a finding, and it is not shown as verified.
        let tail = written.forged_tail();
        let is_no_other_there = lines.iter().all(|line| is_written(line) || !line.looks || line.value.as_ref() == Some(&tail));
        prop_assert_eq!(audited.is_clean, is_all_there && is_no_other_there, "{:#?}", audited);
        let rows = written.rows();
        for row in audited.rows.iter().filter(|row| !rows.contains(row)) {
            let remark = row.split(',').nth(2).unwrap();
            let is_remarked = ["forged", "altered", "unsigned", "forked", "not yet sealed"].iter().any(|found| remark.contains(found));
            prop_assert!(is_remarked, "shown as verified: {}", row);
        }
        let verified: Vec<String> = audited.rows.iter().filter(|row| !row.contains("not yet sealed")).cloned().collect();
        let shows_all = verified == rows && audited.links == written.links();
        prop_assert_eq!(audited.is_clean, shows_all && is_no_other_there, "{:#?}", audited);
    }
}

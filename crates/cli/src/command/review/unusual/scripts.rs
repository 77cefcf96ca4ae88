//! Texts that can deceive a reader: words that mix scripts, so that one letter can look like another, and characters that
//! are blank, invisible or look like ASCII.

use std::collections::BTreeMap;

use serde_json::Value;
use unicode_script::{Script, UnicodeScript as _};
use writgate_core::{kube::Severity, text::escape_line};

use super::{NAMED, Unusual, unusual};

/// The scripts that are written together, as `Highly Restrictive` of UTS #39 permits them.
const TOGETHER: [&[Script]; 3] = [
    &[Script::Latin, Script::Han, Script::Hiragana, Script::Katakana],
    &[Script::Latin, Script::Han, Script::Bopomofo],
    &[Script::Latin, Script::Han, Script::Hangul],
];

/// What is deceptive in one text. `place` is the subject of the sentence: `the reason`.
pub(super) fn of_text(place: &str, text: &str) -> Vec<Unusual> {
    let mut found = Deceptive::default();
    found.add(text);
    found.into_unusual(place)
}

/// What is deceptive in the names and values of an object.
pub(super) fn of_value(place: &str, value: &Value) -> Vec<Unusual> {
    let mut found = Deceptive::default();
    found.add_value(value);
    found.into_unusual(place)
}

#[derive(Default)]
struct Deceptive {
    /// The words that mix scripts, by the names of the scripts.
    mixed: BTreeMap<String, Words>,
    hidden: Words,
}

/// The first few words, and how many there are.
#[derive(Default)]
struct Words {
    first: Vec<String>,
    count: usize,
}

impl Words {
    fn add(&mut self, word: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(spelled_out(word));
        }
    }

    fn listed(&self) -> String {
        let more = self.count - self.first.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        self.first.join(", ") + &more
    }
}

impl Deceptive {
    fn add_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                self.add(name);
                self.add_value(value);
            }),
            _ => {}
        }
    }

    fn add(&mut self, text: &str) {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t' | b'\r')) {
            return;
        }
        for word in text.split_ascii_whitespace() {
            if word.chars().any(is_hidden) {
                self.hidden.add(word);
            }
            if let Some(scripts) = mixed_scripts(word) {
                self.mixed.entry(scripts).or_default().add(word);
            }
        }
    }

    fn into_unusual(self, place: &str) -> Vec<Unusual> {
        let mixed = self.mixed.iter().map(|(scripts, words)| {
            let what = format!("{place} mixes {scripts} letters in one word: {}", words.listed());
            unusual(Severity::Notable, "mixed-scripts", what)
        });
        let hidden = (self.hidden.count > 0).then(|| {
            let words = self.hidden.listed();
            let what = format!("{place} has characters that are invisible, blank or look like others: {words}");
            unusual(Severity::Notable, "hidden-characters", what)
        });
        mixed.chain(hidden).collect()
    }
}

/// Whether the escaper spells the character out.
fn is_hidden(char: char) -> bool {
    !char.is_ascii() && escape_line(char.encode_utf8(&mut [0; 4])).starts_with('\\')
}

/// The scripts of a word that are not written together: `Cyrillic and Latin`.
fn mixed_scripts(word: &str) -> Option<String> {
    let mut scripts: Vec<Script> = Vec::new();
    for char in word.chars().filter(|char| !is_hidden(*char)) {
        let script = char.script();
        let counts = !matches!(script, Script::Common | Script::Inherited | Script::Unknown);
        if counts && !scripts.contains(&script) {
            scripts.push(script);
        }
    }
    let is_usual =
        scripts.len() < 2 || TOGETHER.iter().any(|together| scripts.iter().all(|one| together.contains(one)));
    if is_usual {
        return None;
    }
    let mut names: Vec<&str> = scripts.iter().map(|script| script.full_name()).collect();
    names.sort_unstable();
    let last = names.pop()?;
    Some(format!("{} and {last}", names.join(", ")))
}

/// A word in which every letter that is not Latin is spelled out, because it may look like one that is.
fn spelled_out(word: &str) -> String {
    const MOST: usize = 60;
    let mut spelled = String::new();
    for char in word.chars().take(MOST) {
        match char {
            ' '..='~' => spelled.push(char),
            _ if char.script() == Script::Latin && !is_hidden(char) => spelled.push(char),
            _ => spelled.extend(char.escape_unicode()),
        }
    }
    if word.chars().nth(MOST).is_some() {
        spelled.push('…');
    }
    spelled
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(text: &str) -> Vec<(&'static str, String)> {
        of_text("the reason", text).into_iter().map(|one| (one.code, one.what)).collect()
    }

    #[test]
    fn reports_a_word_that_mixes_scripts_and_spells_the_other_letters_out() {
        assert_eq!(of("payments"), []);
        let expected = "the reason mixes Cyrillic and Latin letters in one word: p\\u{430}yments";
        assert_eq!(of("fix p\u{430}yments"), [("mixed-scripts", expected.to_owned())]);
        assert_eq!(of("\u{3bf}rders")[0].0, "mixed-scripts", "Greek");
        assert_eq!(of("\u{430}lice@acme.example")[0].0, "mixed-scripts");
    }

    #[test]
    fn words_in_other_languages_are_not_unusual() {
        for text in
            ["исправить платежи", "Zahlung für Müller", "決済のAPIを修正", "결제 API수정", "δοκιμή", "fix платежи"]
        {
            assert_eq!(of(text), [], "{text}");
        }
    }

    #[test]
    fn reports_characters_that_nobody_sees() {
        for hidden in ["\u{3164}", "\u{2800}", "\u{115f}", "\u{ffa0}", "\u{ad}", "\u{200b}", "\u{202e}", "\u{e0041}"] {
            let found = of(&format!("pay{hidden}ments"));
            assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["hidden-characters"], "{hidden:?}");
            assert!(found[0].1.ends_with(&format!("pay{}ments", hidden.escape_unicode())), "{found:?}");
        }
        assert_eq!(of("a \\ b\n\tc"), []);
    }

    #[test]
    fn finds_names_and_values_and_counts_them() {
        let words: Vec<String> = (0..5).map(|i| format!("p\u{430}y{i}")).collect();
        let found = of_value("the workload", &json!({"n\u{430}me": words}));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.ends_with("n\\u{430}me, p\\u{430}y0, p\\u{430}y1 and 3 more"), "{}", found[0].what);
    }
}

//! The path of a field, as the changes print it.

use std::ops::Range;

/// The path to the place where a walk is. The parts are pushed and truncated, so that a walk copies no names.
#[derive(Clone, Debug, Default)]
pub(super) struct FieldPath {
    text: String,
    /// The field names of the path, without the names of items.
    fields: String,
    /// Where each name is in `fields`: the key of a map may contain a dot, or be empty.
    names: Vec<Range<usize>>,
}

/// How long a path was before a part was added.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    text: usize,
    fields: usize,
    names: usize,
}

/// An item of a list.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    Named(&'a str),
    At(usize),
}

impl FieldPath {
    /// `spec.template.spec.containers[orders].image`
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// `spec.template.spec.containers.image`
    pub(super) fn fields(&self) -> &str {
        &self.fields
    }

    /// `spec`, `template`, `spec`, `containers`, `image`
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(|name| self.fields.get(name.clone()))
    }

    pub(super) fn enter_field(&mut self, name: &str) -> Mark {
        let mark = self.mark();
        if !self.fields.is_empty() {
            self.fields.push('.');
        }
        self.names.push(self.fields.len()..self.fields.len() + name.len());
        self.fields.push_str(name);
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            self.push_in_brackets(name);
            return mark;
        }
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
        mark
    }

    pub(super) fn enter_item(&mut self, item: Item<'_>) -> Mark {
        let mark = self.mark();
        match item {
            Item::Named(name) => self.push_in_brackets(name),
            Item::At(index) => {
                self.text.push('[');
                self.text.push_str(&index.to_string());
                self.text.push(']');
            }
        }
        mark
    }

    pub(super) fn leave(&mut self, mark: Mark) {
        self.text.truncate(mark.text);
        self.fields.truncate(mark.fields);
        self.names.truncate(mark.names);
    }

    fn mark(&self) -> Mark {
        Mark { text: self.text.len(), fields: self.fields.len(), names: self.names.len() }
    }

    /// A name that is not plain is a JSON string, so that it cannot look like the rest of a line. A name of digits would
    /// look like a position.
    fn push_in_brackets(&mut self, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte);
        let is_plain = name.bytes().all(plain) && !name.bytes().all(|byte| byte.is_ascii_digit());
        self.text.push('[');
        if is_plain {
            self.text.push_str(name);
        } else {
            self.text.push_str(&serde_json::Value::from(name).to_string());
        }
        self.text.push(']');
    }
}

/// `spec.containers.image` of `spec.containers[orders].image`
pub(in crate::command::review) fn without_items(path: &str) -> String {
    let mut kept = String::with_capacity(path.len());
    let (mut in_brackets, mut in_quotes, mut escaped) = (false, false, false);
    for char in path.chars() {
        match char {
            _ if escaped => escaped = false,
            '\\' if in_quotes => escaped = true,
            '"' if in_brackets => in_quotes = !in_quotes,
            '[' if !in_quotes => in_brackets = true,
            ']' if !in_quotes => in_brackets = false,
            _ if !in_brackets => kept.push(char),
            _ => {}
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> String {
        let mut path = FieldPath::default();
        path.enter_field("env");
        path.enter_item(Item::Named(name));
        path.enter_field("value");
        path.text().to_owned()
    }

    #[test]
    fn the_key_of_a_map_is_one_name_even_if_it_contains_dots() {
        let mut path = FieldPath::default();
        for name in ["spec", "nodeSelector", "kubernetes.io/os"] {
            path.enter_field(name);
        }
        let mark = path.enter_item(Item::Named("a.b"));
        path.enter_field("x");
        path.leave(mark);
        assert_eq!(path.names().collect::<Vec<_>>(), ["spec", "nodeSelector", "kubernetes.io/os"]);
        let mut path = FieldPath::default();
        path.enter_field("");
        path.enter_field("");
        assert_eq!(path.names().collect::<Vec<_>>(), ["", ""]);
    }

    #[test]
    fn quotes_a_name_that_is_not_plain() {
        for plain in ["LOG", "a.b-c_d", "/etc/x", "53/TCP"] {
            assert_eq!(item(plain), format!("env[{plain}].value"));
        }
        let odd = [
            ("A: x", r#"env["A: x"].value"#),
            ("A].value: \"1\" -> \"2\"\n    ~ image", r#"env["A].value: \"1\" -> \"2\"\n    ~ image"].value"#),
            ("0", r#"env["0"].value"#),
            ("", r#"env[""].value"#),
            ("\\", r#"env["\\"].value"#),
        ];
        for (name, expected) in odd {
            assert_eq!(item(name), expected);
            assert_eq!(without_items(expected), "env.value");
        }
    }
}

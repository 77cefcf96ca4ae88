//! What a field of a posture's documents means, from the same types that read them: their JSON Schemas.

use std::fmt::Write as _;

use serde_json::Value;
use writgate_core::posture::document_schemas;

use crate::{
    failure::Failure,
    terminal::{
        output::{columns, shown},
        style,
    },
};

/// What stands at `path`: `actions.deploy.quorum`, or a kind of document. As `kubectl explain` has it.
pub(super) fn explain(path: &str) -> Result<String, Failure> {
    let schemas = document_schemas();
    // A kind may be the name of a field too: `reviewers.keys`.
    let found = schemas.iter().find_map(|(kind, schema)| {
        let below = path.strip_prefix(*kind).filter(|rest| rest.is_empty() || rest.starts_with('.'));
        let ways = below.map(|rest| rest.trim_start_matches('.')).into_iter().chain([path]);
        ways.into_iter().find_map(|field| find(schema, field).map(|at| (*kind, field, at)))
    });
    let (kind, field, at) = found.ok_or_else(|| {
        Failure::Misuse(format!(
            "no document has a field {}; `--field posture` tells those of a posture, and likewise reviewers, revocations \
             and pipelines",
            shown(path)
        ))
    })?;
    let title = |word: &str| style::heading(word);
    let mut text = format!("{} {kind}\n", title("DOCUMENT:"));
    if !field.is_empty() {
        let _ = writeln!(text, "{} {} <{}>", title("FIELD:"), shown(field), type_of(&at));
    }
    let description = at.description.trim_end().replace('\n', " ");
    if !description.is_empty() {
        let _ = writeln!(text, "\n{description}");
    }
    let words: Vec<&str> = at.words().collect();
    if !words.is_empty() {
        let _ = writeln!(text, "\n{} {}", title("VALUES:"), words.join(", "));
    }
    let fields = at.fields();
    if !fields.is_empty() {
        let _ = write!(
            text,
            "\n{}\n{}",
            title("FIELDS:"),
            columns(fields.iter().map(|(name, told)| (&**name, told.clone())))
        );
    }
    Ok(text)
}

/// A place in a schema: what it says itself, and what it refers to.
struct Place<'a> {
    root: &'a Value,
    schema: &'a Value,
    description: &'a str,
}

fn find<'a>(root: &'a Value, path: &str) -> Option<Place<'a>> {
    let mut place = Place { root, schema: root, description: describe(root) };
    let path = path.replace("[]", "");
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let inner = place.inner();
        let schema = inner
            .pointer("/properties")
            .and_then(|fields| fields.get(name))
            .or_else(|| inner.get("additionalProperties").filter(|more| more.is_object()))?;
        let own = describe(schema);
        let description = if own.is_empty() { describe(resolve(root, schema)) } else { own };
        place = Place { root, schema, description };
    }
    Some(place)
}

impl<'a> Place<'a> {
    /// What a value, or each item of a list of them, is.
    fn inner(&self) -> &'a Value {
        let schema = resolve(self.root, self.schema);
        schema.get("items").map_or(schema, |items| resolve(self.root, items))
    }

    /// The words that may stand here, where not every text may.
    fn words(&self) -> impl Iterator<Item = &'a str> {
        let schema = self.inner();
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let alternatives = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        listed.chain(alternatives.filter_map(|one| one.get("const"))).filter_map(Value::as_str)
    }

    fn fields(&self) -> Vec<(String, String)> {
        let fields = self.inner().get("properties").and_then(Value::as_object).into_iter().flatten();
        let told = fields.map(|(name, schema)| {
            let told = describe(schema).replace('\n', " ");
            let own = if told.is_empty() { describe(resolve(self.root, schema)).replace('\n', " ") } else { told };
            (name.clone(), own)
        });
        told.collect()
    }
}

fn describe(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// Follows `$ref`, which schemars writes as `#/$defs/NAME`.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    let one = schema.get("anyOf").and_then(Value::as_array).and_then(|list| list.first());
    match (pointer.and_then(|pointer| root.pointer(pointer)), one) {
        (Some(target), _) => target,
        (None, Some(one)) => resolve(root, one),
        (None, None) => schema,
    }
}

fn type_of(place: &Place<'_>) -> String {
    let name = |schema: &Value| schema.get("type").and_then(Value::as_str).unwrap_or("string").to_owned();
    let schema = resolve(place.root, place.schema);
    match schema.get("items") {
        Some(items) => format!("[]{}", name(resolve(place.root, items))),
        None => name(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field without a word about it would be an empty page.
    #[test]
    fn every_field_of_every_document_is_described() {
        for (kind, schema) in document_schemas() {
            let mut paths = vec![kind.to_owned()];
            while let Some(path) = paths.pop() {
                let text = explain(&path).unwrap();
                let rest = path.strip_prefix(kind).unwrap().trim_start_matches('.');
                let place = find(&schema, rest).unwrap();
                for (name, told) in place.fields() {
                    assert!(!told.is_empty() || ["apiVersion", "kind"].contains(&&*name), "{path}.{name}");
                    paths.push(format!("{path}.{name}"));
                }
                assert!(text.contains("DOCUMENT:"), "{path}");
            }
        }
        assert!(explain("nothing.such").is_err());
    }
}

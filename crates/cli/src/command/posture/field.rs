//! The meaning of a field of the posture documents, from their JSON Schemas.

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

/// Explains the field at `path`, such as `actions.deploy.quorum`, or a kind of document. The layout is that of
/// `kubectl explain`.
pub(super) fn explain(path: &str) -> Result<String, Failure> {
    let schemas = document_schemas();
    // A kind may also be the name of a field: `reviewers.keys`.
    let found = schemas.iter().find_map(|(kind, schema)| {
        let below = path.strip_prefix(*kind).filter(|rest| rest.is_empty() || rest.starts_with('.'));
        let ways = below.map(|rest| rest.trim_start_matches('.')).into_iter().chain([path]);
        ways.into_iter().find_map(|field| find(schema, field).map(|at| (*kind, field, at)))
    });
    let (kind, field, at) = found.ok_or_else(|| {
        Failure::Misuse(format!(
            "no document has a field {}; to list the fields of a kind, use --field posture, reviewers, revocations or \
             pipelines",
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
            columns(fields.iter().map(|(name, description)| (&**name, description.clone())))
        );
    }
    Ok(text)
}

/// A node of a schema.
struct SchemaNode<'a> {
    root: &'a Value,
    schema: &'a Value,
    description: &'a str,
}

fn find<'a>(root: &'a Value, path: &str) -> Option<SchemaNode<'a>> {
    let mut node = SchemaNode { root, schema: root, description: describe(root) };
    let path = path.replace("[]", "");
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let inner = node.inner();
        let schema = inner
            .pointer("/properties")
            .and_then(|fields| fields.get(name))
            .or_else(|| inner.get("additionalProperties").filter(|more| more.is_object()))?;
        let own = describe(schema);
        let description = if own.is_empty() { describe(resolve(root, schema)) } else { own };
        node = SchemaNode { root, schema, description };
    }
    Some(node)
}

impl<'a> SchemaNode<'a> {
    /// The schema of the value, or of each item if the value is a list.
    fn inner(&self) -> &'a Value {
        let schema = resolve(self.root, self.schema);
        schema.get("items").map_or(schema, |items| resolve(self.root, items))
    }

    /// The permitted words, if not every text is permitted.
    fn words(&self) -> impl Iterator<Item = &'a str> {
        let schema = self.inner();
        let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
        let alternatives = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        listed.chain(alternatives.filter_map(|one| one.get("const"))).filter_map(Value::as_str)
    }

    fn fields(&self) -> Vec<(String, String)> {
        let fields = self.inner().get("properties").and_then(Value::as_object).into_iter().flatten();
        let describe_field = |(name, schema): (&String, &'a Value)| {
            let own = describe(schema);
            let description = if own.is_empty() { describe(resolve(self.root, schema)) } else { own };
            (name.clone(), description.replace('\n', " "))
        };
        fields.map(describe_field).collect()
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

fn type_of(node: &SchemaNode<'_>) -> String {
    let name = |schema: &Value| schema.get("type").and_then(Value::as_str).unwrap_or("string").to_owned();
    let schema = resolve(node.root, node.schema);
    match schema.get("items") {
        Some(items) => format!("[]{}", name(resolve(node.root, items))),
        None => name(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_every_document_is_described() {
        for (kind, schema) in document_schemas() {
            let mut paths = vec![kind.to_owned()];
            while let Some(path) = paths.pop() {
                let text = explain(&path).unwrap();
                let rest = path.strip_prefix(kind).unwrap().trim_start_matches('.');
                let node = find(&schema, rest).unwrap();
                for (name, description) in node.fields() {
                    assert!(!description.is_empty() || ["apiVersion", "kind"].contains(&&*name), "{path}.{name}");
                    paths.push(format!("{path}.{name}"));
                }
                assert!(text.contains("DOCUMENT:"), "{path}");
            }
        }
        assert!(explain("nothing.such").is_err());
    }
}

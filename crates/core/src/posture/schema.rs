//! The JSON Schemas of the documents, generated from the types that read them.

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::transform_subschemas};
use serde_json::Value;

use super::document::{PipelinesDocument, PostureDocument, ReviewersDocument, RevocationsDocument};

/// Each kind of document, in lower case, and its JSON Schema (draft 2020-12).
///
/// A schema says to an editor what may be written. It does not contain the checks that require all documents: for weak
/// keys, for names that do not exist, and for fields that this version does not enforce.
#[must_use]
pub fn document_schemas() -> [(&'static str, Value); 4] {
    [
        ("posture", schema::<PostureDocument>()),
        ("reviewers", schema::<ReviewersDocument>()),
        ("revocations", schema::<RevocationsDocument>()),
        ("pipelines", schema::<PipelinesDocument>()),
    ]
}

fn schema<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().with_transform(without_null).into_generator().into_root_schema_for::<T>().to_value()
}

/// An optional field may be absent, but not null.
fn without_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (keyword, value) in only {
                schema.insert(keyword, value);
            }
        }
    }
    transform_subschemas(&mut without_null, schema);
}

//! The published JSON Schemas are generated from the types. `make schemas` writes them.

#![expect(clippy::disallowed_methods, reason = "a test of files; core itself has none")]

use std::{env, fs, path::Path};

use serde_json::Value;

#[test]
fn the_published_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    for (kind, schema) in writgate_core::posture::document_schemas() {
        let file = folder.join(format!("{kind}.json"));
        let generated = format!("{schema:#}\n");
        if env::var_os("WRITGATE_WRITE_SCHEMAS").is_some() {
            fs::create_dir_all(&folder).expect("docs can be written");
            fs::write(&file, &generated).expect("docs can be written");
        }
        let published = fs::read_to_string(&file).unwrap_or_default();
        assert!(published == generated, "{} differs from the types; run make schemas", file.display());
    }
}

#[test]
fn no_field_of_a_document_may_be_null() {
    for (kind, schema) in writgate_core::posture::document_schemas() {
        assert!(!permits_null(&schema), "{kind}: {schema:#}");
    }
}

fn permits_null(schema: &Value) -> bool {
    match schema {
        Value::Null => true,
        Value::String(text) => text == "null",
        Value::Array(items) => items.iter().any(permits_null),
        Value::Object(fields) => fields.values().any(permits_null),
        _ => false,
    }
}

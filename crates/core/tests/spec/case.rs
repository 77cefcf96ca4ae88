//! Test vectors as files: their folders, and references of a case to other files.

#![expect(clippy::disallowed_methods, reason = "a test of files; core itself has none")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// One file of test vectors.
pub(crate) struct Case {
    /// The file's name without its extension.
    pub(crate) name: String,
    pub(crate) value: Value,
    folder: PathBuf,
}

impl Case {
    /// Every case of one specification. `expected` is their number, so that a lost file fails the test.
    pub(crate) fn all(specification: &str, expected: usize) -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec").join(specification);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<_> = paths.filter(|path| path.is_file() && !path.ends_with("fields.json")).collect();
        paths.sort();
        assert_eq!(paths.len(), expected, "{}", folder.display());
        let case = |path: &PathBuf| {
            let name = path.file_stem().expect("a name").to_str().expect("UTF-8").to_owned();
            let value = read(path);
            assert!(value["description"].as_str().is_some_and(|text| text.ends_with('.')), "{name}: description");
            Self { name, value, folder: folder.clone() }
        };
        paths.iter().map(case).collect()
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.value[member].as_str().unwrap_or_else(|| panic!("{}: {member}", self.name))
    }

    pub(crate) fn list(&self, member: &str) -> &[Value] {
        self.value[member].as_array().unwrap_or_else(|| panic!("{}: {member}", self.name))
    }

    pub(crate) fn expect(&self) -> &Value {
        &self.value["expect"]
    }

    /// The value of `{"value": …}` or `{"file": …, "patch": …}`.
    pub(crate) fn resolve(&self, part: &Value) -> Value {
        let Some(file) = part["file"].as_str() else { return part["value"].clone() };
        let mut value = read(&self.folder.join(file));
        if let Some(patch) = part.get("patch") {
            merge(&mut value, patch);
        }
        value
    }
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = Value::Object(serde_json::Map::new());
    }
    let members = value.as_object_mut().expect("the value is an object");
    for (name, patch) in patch {
        if patch.is_null() {
            members.remove(name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), patch);
        }
    }
}

//! `bundle`: an immutable ConfigMap with a configuration, named by the digest of its content.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{ArgGroup, builder::NonEmptyStringValueParser};
use serde_json::Value;
use writgate_cluster::names;
use writgate_core::{
    kube::{ConfigMapContent, bundle_name, check_bundle, content_digest},
    vocabulary::{BUNDLE_KIND, CONFIG_BUNDLE, ENVIRONMENT_LABEL, KIND_LABEL},
};

use crate::{
    failure::{Answer, Failure},
    manifest::{Manifest, input},
    terminal::output::{self, Access, shown},
};

/// The API server's limit for all values of one ConfigMap, in bytes.
const MAX_CONTENT: usize = 1024 * 1024;
/// Longest key of a ConfigMap.
const MAX_KEY: usize = 253;

/// Make a config bundle: an immutable ConfigMap named by the digest of its content
///
/// Prints the manifest, and on standard error the annotation with which a workload refers to the bundle. With -f,
/// checks the bundles in a file instead, and exits with 1 if a ConfigMap is not a valid bundle.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate bundle orders-config --from-file app.yaml --environment production -n payments
  kubectl writgate bundle flags --from-literal fast=yes --from-file=seed=- \\
      --environment staging < seed
  kubectl writgate bundle -f bundle.yaml --environment production")]
#[command(group(ArgGroup::new("what").required(true).args(["name", "filename"])))]
#[command(group(ArgGroup::new("content").multiple(true).requires("name").args(["from_file", "from_literal"])))]
pub(crate) struct Arguments {
    /// Prefix of the bundle's name; a dash and 32 digits of the digest follow
    #[arg(requires_all = ["content", "environment"])]
    name: Option<String>,
    /// Add a file under its own name or under KEY, or each file of a folder, `-` for standard input; may be repeated
    #[arg(long, value_name = "[KEY=]PATH")]
    from_file: Vec<String>,
    /// Add a value; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    from_literal: Vec<String>,
    /// Environment of the bundle, as in the namespace's label
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    environment: Option<String>,
    /// Namespace of the ConfigMap
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    /// Write the manifest to FILE [default: standard output]
    #[arg(short, long, value_name = "FILE", requires = "name")]
    output: Option<PathBuf>,
    /// Check the ConfigMaps of this manifest, YAML or JSON, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", conflicts_with = "namespace")]
    filename: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    match (&arguments.name, &arguments.environment) {
        (Some(stem), Some(environment)) => make(arguments, stem, environment),
        _ => check(arguments),
    }
}

fn make(arguments: &Arguments, stem: &str, environment: &str) -> Result<Answer, Failure> {
    let mut content = ConfigMapContent { immutable: true, ..ConfigMapContent::default() };
    for (key, bytes) in given(arguments)? {
        match String::from_utf8(bytes) {
            Ok(text) => drop(content.data.insert(key, text)),
            Err(binary) => drop(content.binary_data.insert(key, STANDARD.encode(binary.as_bytes()))),
        }
    }
    content.labels.insert(KIND_LABEL.to_owned(), BUNDLE_KIND.to_owned());
    content.labels.insert(ENVIRONMENT_LABEL.to_owned(), environment.to_owned());
    let name = bundle_name(stem, &content);
    if !names::is_subdomain(&name) {
        return Err(Failure::Misuse(format!(
            "{} is not a valid ConfigMap name; expected lower-case letters, digits, `-` and `.`, at most {} characters",
            shown(&name),
            names::MAX_SUBDOMAIN
        )));
    }
    let inputs = arguments.from_file.iter().map(|given| file(given).1);
    output::check_target(arguments.output.as_deref(), inputs)?;
    output::write(
        arguments.output.as_deref(),
        &manifest(&name, arguments.namespace.as_deref(), &content),
        Access::Public,
    )?;
    output::note(&format!(
        "config bundle: {name}\nrefer to it by this name, and annotate the workload:\n  {CONFIG_BUNDLE}: \"{}\"",
        content_digest(&content)
    ));
    Ok(Answer::Yes)
}

/// The keys and values that the flags give.
fn given(arguments: &Arguments) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut values = BTreeMap::new();
    for literal in &arguments.from_literal {
        let (key, value) = literal
            .split_once('=')
            .ok_or_else(|| Failure::Misuse(format!("--from-literal {}: expected KEY=VALUE", shown(literal))))?;
        add(&mut values, key, value.as_bytes().to_vec())?;
    }
    let files: Vec<(Option<&str>, &Path)> = arguments.from_file.iter().map(|given| file(given)).collect();
    input::one_stdin(files.iter().map(|(_, path)| *path))?;
    for (key, path) in files {
        match key {
            None if path.is_dir() => folder(path, &mut values)?,
            _ => add(&mut values, key.map_or_else(|| file_name(path), Ok)?, read(path)?)?,
        }
    }
    let size: usize = values.values().map(Vec::len).sum();
    if size > MAX_CONTENT {
        return Err(Failure::No(format!("the content has {size} bytes; a ConfigMap holds at most {MAX_CONTENT}")));
    }
    Ok(values)
}

/// `KEY=PATH` or `PATH`, as `kubectl create configmap` reads it: the key ends at the first `=`.
fn file(given: &str) -> (Option<&str>, &Path) {
    match given.split_once('=') {
        Some((key, path)) => (Some(key), Path::new(path)),
        None => (None, Path::new(given)),
    }
}

fn file_name(path: &Path) -> Result<&str, Failure> {
    if input::is_stdin(path) {
        return Err(Failure::Misuse("--from-file -: standard input has no name; pass KEY=-".to_owned()));
    }
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    name.ok_or_else(|| Failure::Misuse(format!("the name of {} cannot be a key; pass KEY=PATH", path.display())))
}

/// The files directly in a folder. As in kubectl, subfolders and links to them are skipped.
fn folder(folder: &Path, values: &mut BTreeMap<String, Vec<u8>>) -> Result<(), Failure> {
    let failed = |error| Failure::Undetermined(format!("cannot read {}: {error}", folder.display()));
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            add(values, file_name(&path)?, read(&path)?)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    input::bytes(path, u64::try_from(MAX_CONTENT).unwrap_or(u64::MAX))
}

fn add(values: &mut BTreeMap<String, Vec<u8>>, key: &str, value: Vec<u8>) -> Result<(), Failure> {
    let is_key = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(is_key) || key == "." || key.starts_with("..") {
        return Err(Failure::Misuse(format!(
            "{:?} is not a valid ConfigMap key; expected letters, digits, `-`, `_` and `.`, at most {MAX_KEY} characters",
            shown(key)
        )));
    }
    if values.insert(key.to_owned(), value).is_some() {
        return Err(Failure::Misuse(format!("key {key} is given twice; remove one")));
    }
    Ok(())
}

/// The manifest as YAML that means the same in YAML 1.1 and 1.2.
fn manifest(name: &str, namespace: Option<&str>, content: &ConfigMapContent) -> String {
    let quoted = |text: &str| Value::from(text).to_string(); // a JSON string is a YAML string
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\n", quoted(name));
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "  namespace: {}", quoted(namespace));
    }
    text.push_str("  labels:\n");
    for (key, value) in &content.labels {
        let _ = writeln!(text, "    {key}: {}", quoted(value));
    }
    text.push_str("immutable: true\n");
    for (field, values) in [("data", &content.data), ("binaryData", &content.binary_data)] {
        if !values.is_empty() {
            let _ = writeln!(text, "{field}:");
        }
        for (key, value) in values {
            let _ = writeln!(text, "  {}: {}", quoted(key), scalar(value));
        }
    }
    text
}

/// A string in YAML: as a literal block if that is readable and loses nothing, else quoted.
fn scalar(text: &str) -> String {
    let plain = |c: char| c == '\n' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'));
    let body = text.strip_suffix('\n').filter(|body| !body.is_empty() && !body.ends_with('\n'));
    match body {
        Some(body) if text.chars().all(plain) && !body.starts_with([' ', '\n']) => {
            let lines: Vec<String> =
                body.lines().map(|line| if line.is_empty() { String::new() } else { format!("    {line}") }).collect();
            format!("|\n{}", lines.join("\n"))
        }
        _ => {
            let escaped = |c: char| {
                let is_break = matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
                if is_break { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }
            };
            Value::from(text).to_string().chars().map(escaped).collect()
        }
    }
}

fn check(arguments: &Arguments) -> Result<Answer, Failure> {
    input::one_stdin(arguments.filename.iter().map(PathBuf::as_path))?;
    let manifests = input::manifests(&arguments.filename, &input::ManifestFlags::default())?;
    let config_maps: Vec<&Manifest> = manifests.iter().filter(|manifest| manifest.is_config_map()).collect();
    if config_maps.is_empty() {
        let names: Vec<String> = arguments.filename.iter().map(|path| input::name(path)).collect();
        return Err(Failure::Undetermined(format!("no ConfigMap found in {}", names.join(", "))));
    }
    let (mut text, mut all) = (String::new(), true);
    for config_map in config_maps {
        let name = config_map.name().unwrap_or_default();
        let checked = config_map.config_map().and_then(|content| {
            check_bundle(name, &content, arguments.environment.as_deref())?;
            Ok(content_digest(&content))
        });
        all &= checked.is_ok();
        let _ = match checked {
            Ok(digest) => writeln!(text, "{digest}  {}", shown(name)),
            Err(why) => writeln!(text, "not a config bundle: {}: {}", shown(name), shown(&why)),
        };
    }
    output::print(&text)?;
    Ok(Answer::of(all))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_manifest_reads_back_as_what_was_given(text in "(\\PC|[ \t\n\r\u{0}\u{7f}\u{85}\u{2028}\u{feff}#:|'\"-]){0,40}", end in "\n{0,2}") {
            let mut content = ConfigMapContent { immutable: true, ..ConfigMapContent::default() };
            content.data.insert("a.b".to_owned(), text + &end);
            content.data.insert("on".to_owned(), "no".to_owned());
            content.binary_data.insert("c".to_owned(), "AAEC".to_owned());
            let read = crate::manifest::read("f", &manifest("n", None, &content), &writgate_core::kube::WorkloadKinds::default()).unwrap();
            prop_assert_eq!(read[0].config_map(), Ok(content));
        }
    }
}

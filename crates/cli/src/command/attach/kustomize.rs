//! `attach --kustomize`: approvals in a kustomize Component, a folder that a kustomization includes.
//!
//! The Component has one patch for each workload, which sets an annotation for each approval. The annotations travel with
//! the workload, so they are in the dry run that Flux and Argo CD send before they apply anything. The patches are inline,
//! since `postRenderers` of a Flux HelmRelease takes the same list and no files.
//!
//! The folder's one file belongs to this verb. It is read back, so that approvals of other workloads stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde_json::Value;
use writgate_cluster::{
    clock,
    names::{is_label, is_subdomain},
};
use writgate_core::{
    approval::{Approval, Envelope, SpecHash, Subject},
    decide::MAX_ENVELOPES,
    encoding::read_yaml,
    vocabulary::APPROVAL_ANNOTATION,
};

use crate::{
    command::attach::{Arguments, Attachment, names_of, short_id},
    failure::{Answer, Failure},
    manifest::{edit::single_quoted, input},
    terminal::output::{self, Access, shown},
};

const FILE: &str = "kustomization.yaml";
/// Further names of the file. kustomize refuses a folder with two of them.
const OTHER_NAMES: [&str; 2] = ["kustomization.yml", "Kustomization"];
const HEADER: &str = "\
# Written by kubectl writgate attach --kustomize, which removes changes made by hand.
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
";
/// The most bytes of the file. Every approval that one kustomization can have fits.
const MAX_FILE: u64 = 64 << 20;

pub(super) fn run(arguments: &Arguments, folder: &Path, attachments: &[Attachment]) -> Result<Answer, Failure> {
    let path = folder.join(FILE);
    let is_new = !path.exists();
    let mut component = Component::of(folder)?;
    let notes = component.attach(attachments, arguments.namespace.as_deref(), clock::now())?;
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Undetermined(format!("cannot create {}: {error}", folder.display())))?;
    output::check_target(Some(&path), arguments.approvals.iter().map(PathBuf::as_path))?;
    output::write(Some(&path), &component.to_string(), Access::Public)?;
    for note in &notes {
        output::note(note);
    }
    if is_new {
        output::note(&format!(
            "next: add {} to `components` of the kustomization that contains the workloads, and check what it builds:\n  \
             kubectl kustomize DIR | kubectl writgate verify -f -",
            shown(&folder.display().to_string())
        ));
    }
    Ok(Answer::Yes)
}

/// The object that a subject names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ObjectName {
    namespace: String,
    api_version: String,
    kind: String,
    name: String,
}

impl ObjectName {
    /// Parses `apps/v1/Deployment/payments/orders`.
    fn parse(subject: &str) -> Option<Self> {
        let [api_version, kind, namespace, name] = Subject::parts(subject)?.map(str::to_owned);
        let found = Self { namespace, api_version, kind, name };
        let is_kind = found.kind.starts_with(|first: char| first.is_ascii_uppercase())
            && found.kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_version = is_label(found.version()) && found.group().is_none_or(is_subdomain);
        (is_kind && is_version && is_label(&found.namespace) && is_subdomain(&found.name)).then_some(found)
    }

    fn group(&self) -> Option<&str> {
        self.api_version.split_once('/').map(|(group, _)| group)
    }

    fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }
}

/// As in an approval's subject.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, api_version, kind, name } = self;
        write!(f, "{api_version}/{kind}/{namespace}/{name}")
    }
}

/// An approval in a patch.
struct Patched {
    envelope: String,
    approval: Approval,
}

impl Patched {
    /// The specs of an object that the approval is for.
    fn specs_of(&self, object: &ObjectName) -> BTreeSet<SpecHash> {
        specs_of(&self.approval, object)
    }
}

fn specs_of(approval: &Approval, object: &ObjectName) -> BTreeSet<SpecHash> {
    let object = object.to_string();
    approval.subjects.iter().filter(|subject| subject.name == object).map(|subject| subject.hash).collect()
}

/// The approvals of each object, by their annotation.
#[derive(Default)]
struct Component(BTreeMap<ObjectName, BTreeMap<String, Patched>>);

impl Component {
    /// Reads the Component in a folder; an empty one if there is none. Fails if the folder contains anything that this
    /// verb would not have written.
    fn of(folder: &Path) -> Result<Self, Failure> {
        if let Some(other) = OTHER_NAMES.into_iter().map(|name| folder.join(name)).find(|path| path.exists()) {
            return Err(foreign(&other));
        }
        let path = folder.join(FILE);
        // A link without a file is not a folder without a Component.
        if !path.exists() && !path.is_symlink() {
            return Ok(Self::default());
        }
        Self::parse(&input::text(&path, MAX_FILE)?).ok_or_else(|| foreign(&path))
    }

    /// `None` if the text has anything that would not be written again. Only comments and layout may differ.
    fn parse(text: &str) -> Option<Self> {
        let marker = HEADER.lines().next()?;
        if text.lines().next()? != marker {
            return None;
        }
        let documents = read_yaml(text).ok()?;
        let [document] = &*documents else { return None };
        let mut component = Self::default();
        for patch in document.get("patches")?.as_array()? {
            let objects = read_yaml(patch.get("patch")?.as_str()?).ok()?;
            let [object] = &*objects else { return None };
            let field = |path: &str| object.pointer(path).and_then(Value::as_str);
            let (api_version, kind) = (field("/apiVersion")?, field("/kind")?);
            let (namespace, name) = (field("/metadata/namespace")?, field("/metadata/name")?);
            let object_name = ObjectName::parse(&format!("{api_version}/{kind}/{namespace}/{name}"))?;
            let approvals = component.0.entry(object_name).or_default();
            for (annotation, envelope) in object.pointer("/metadata/annotations")?.as_object()? {
                let envelope = envelope.as_str()?.to_owned();
                let approval = Approval::parse(Envelope::parse(&envelope).ok()?.payload()).ok()?;
                if *annotation != annotation_of(&approval) {
                    return None;
                }
                approvals.insert(annotation.clone(), Patched { envelope, approval });
            }
        }
        (read_yaml(&component.to_string()).ok()? == documents).then_some(component)
    }

    /// Adds approvals, and removes those for other specs of their objects and those that have expired. Returns what it
    /// did, for people.
    fn attach(
        &mut self,
        attachments: &[Attachment],
        only: Option<&str>,
        now: Timestamp,
    ) -> Result<Vec<String>, Failure> {
        let mut wanted: BTreeMap<ObjectName, Vec<&Attachment>> = BTreeMap::new();
        for attachment in attachments {
            let mut objects = BTreeSet::new();
            for subject in &attachment.approval.subjects {
                let object = ObjectName::parse(&subject.name).ok_or_else(|| unnamed(&subject.name))?;
                if only.is_none_or(|only| only == object.namespace) {
                    objects.insert(object);
                }
            }
            if objects.is_empty() {
                return Err(Failure::No(format!(
                    "{}: the approval is for {}; none of them is in namespace {}",
                    attachment.source,
                    names_of(&attachment.approval),
                    shown(only.unwrap_or_default())
                )));
            }
            for object in objects {
                wanted.entry(object).or_default().push(attachment);
            }
        }
        let mut notes = Vec::new();
        for (object, attachments) in wanted {
            let specs = common_specs(&object, &attachments)?;
            let approvals = self.0.entry(object.clone()).or_default();
            let mut removed = Vec::new();
            approvals.retain(|_, old| {
                let is_given = attachments.iter().any(|attachment| attachment.approval.id == old.approval.id);
                let of_spec = old.specs_of(&object);
                let why = if is_given {
                    return true;
                } else if of_spec.is_disjoint(&specs) {
                    let of_spec: Vec<String> = of_spec.iter().map(ToString::to_string).collect();
                    format!("of another spec, {}", of_spec.join(", "))
                } else if old.approval.expires_at <= now {
                    format!("which expired at {}", old.approval.expires_at)
                } else {
                    return true;
                };
                removed.push(format!("removed: {object}, approval {} {why}", shown(&old.approval.id)));
                false
            });
            for attachment in attachments {
                let (envelope, approval) = (attachment.envelope.to_json(), attachment.approval.clone());
                approvals.insert(annotation_of(&approval), Patched { envelope, approval });
                notes.push(format!("attached: {object}, {}", attachment.source));
            }
            notes.append(&mut removed);
        }
        self.check_number()?;
        Ok(notes)
    }

    /// Fails if a workload would have more approvals than the webhook reads. A kustomization may change the namespace, so objects of
    /// one kind and name can become one object.
    fn check_number(&self) -> Result<(), Failure> {
        let mut numbers: BTreeMap<(&str, &str), BTreeSet<&String>> = BTreeMap::new();
        for (object, approvals) in &self.0 {
            numbers.entry((&object.kind, &object.name)).or_default().extend(approvals.keys());
        }
        match numbers.into_iter().find(|(_, approvals)| approvals.len() > MAX_ENVELOPES) {
            Some(((kind, name), approvals)) => Err(Failure::No(format!(
                "{kind} {name} would have {} approvals, but the webhook denies a workload with more than {MAX_ENVELOPES}; \
                 delete {FILE} and attach only the approvals that are required",
                approvals.len()
            ))),
            None => Ok(()),
        }
    }
}

/// The annotation of an approval. It depends on nothing else, so that another approval never changes it.
fn annotation_of(approval: &Approval) -> String {
    format!("{APPROVAL_ANNOTATION}.{}", short_id(approval))
}

/// The specs that all of these approvals are for.
fn common_specs(object: &ObjectName, attachments: &[&Attachment]) -> Result<BTreeSet<SpecHash>, Failure> {
    let mut specs: Option<BTreeSet<SpecHash>> = None;
    for attachment in attachments {
        let own = specs_of(&attachment.approval, object);
        specs = Some(match specs {
            None => own,
            Some(others) if others.is_disjoint(&own) => {
                let [others, own] = [&others, &own].map(|specs| specs.iter().map(ToString::to_string).collect());
                let (others, own): (Vec<String>, Vec<String>) = (others, own);
                return Err(Failure::Misuse(format!(
                    "the approvals are for different specs of {object}\n  before  {}\n  {}  {}\npass the approvals of one \
                     spec",
                    others.join(", "),
                    attachment.source,
                    own.join(", ")
                )));
            }
            Some(others) => &others & &own,
        });
    }
    Ok(specs.unwrap_or_default())
}

fn unnamed(subject: &str) -> Failure {
    Failure::No(format!(
        "{} is not the name of one object, and a kustomize patch requires one; attach the approval with -f, or use \
         --detached",
        shown(subject)
    ))
}

fn foreign(path: &Path) -> Failure {
    Failure::No(format!(
        "{} was not written by attach --kustomize, or was changed afterwards, and is not overwritten; pass a folder for \
         approvals alone, and delete the file if nobody requires it",
        shown(&path.display().to_string())
    ))
}

/// The content of the file.
///
/// A target names no namespace: `namespace` of a kustomization takes effect after its components, so its objects have no
/// namespace yet. An object of the same name in another namespace gets the annotation as well, which admits nothing there.
impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        f.write_str("patches:\n")?;
        for (object, approvals) in &self.0 {
            let ObjectName { namespace, api_version, kind, name } = object;
            f.write_str("- target:\n")?;
            if let Some(group) = object.group() {
                writeln!(f, "    group: {}", regular(group))?;
            }
            writeln!(f, "    version: {}\n    kind: {kind}\n    name: {}", object.version(), regular(name))?;
            writeln!(f, "  patch: |\n    apiVersion: {api_version}\n    kind: {kind}\n    metadata:")?;
            writeln!(f, "      name: {}\n      namespace: {}", single_quoted(name), single_quoted(namespace))?;
            f.write_str("      annotations:\n")?;
            for (annotation, Patched { envelope, .. }) in approvals {
                writeln!(f, "        {annotation}: {}", single_quoted(envelope))?;
            }
        }
        Ok(())
    }
}

/// A name as kustomize's target takes it: a regular expression of the whole name.
fn regular(name: &str) -> String {
    single_quoted(&name.replace('.', "\\."))
}

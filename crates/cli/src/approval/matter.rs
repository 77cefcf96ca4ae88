//! What is up for approval: the workloads of some manifests or of a request, named and hashed here.
//!
//! A request is believed in nothing: it carries the objects, and what it says of them beside is compared. Called by
//! `review` and `approve`; what the posture makes of it is `standing`'s.

use std::path::PathBuf;

use serde_json::Value;

use crate::{
    approval::request_file::{RequestFile, RequestedWorkload},
    failure::Failure,
    manifest::{
        self, Manifest, input,
        namespace::NamespaceFlag,
        workloads::{self, Workload},
    },
    terminal::output::{self, shown},
};

/// Where it is.
#[derive(clap::Args, Debug)]
pub(crate) struct MatterFlags {
    /// Request, as `request` wrote it, or manifest, YAML or JSON; `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) filename: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceFlag,
    #[command(flatten)]
    pub(crate) kinds: input::Kinds,
}

/// The objects of all files, and the request if there is one.
pub(crate) struct Files {
    /// Those of the request among them.
    pub(crate) manifests: Vec<Manifest>,
    /// The request, and what its file is called.
    pub(crate) request: Option<(RequestFile, String)>,
}

/// A workload that is up for approval.
pub(crate) struct Asked {
    /// The object, its name and its hash as it was computed here.
    pub(crate) workload: Workload,
    /// Where it is to run.
    pub(crate) namespace: String,
    /// What runs now by the word of who asks; absent where nothing does, or nothing is said.
    pub(crate) said_to_run: Option<Value>,
}

/// All workloads of one approval.
pub(crate) struct Matter {
    /// At least one.
    pub(crate) asked: Vec<Asked>,
    /// In what the request is wrong about its own objects.
    pub(crate) wrong: Vec<String>,
}

impl MatterFlags {
    /// Reads all files.
    pub(crate) fn read(&self) -> Result<Files, Failure> {
        let mut request = None;
        let mut manifests = Vec::new();
        for manifest in input::manifests(&self.filename, &self.kinds)? {
            if !RequestFile::is_one(manifest.object()) {
                self.namespace.told(&manifest)?;
                manifests.push(manifest);
                continue;
            }
            let name = manifest.to_string();
            let read = RequestFile::read(manifest.object().clone())
                .map_err(|why| Failure::CouldNotTell(format!("{name}: this cannot be a request: {}", shown(&why))))?;
            if request.replace((read, name)).is_some() {
                return Err(Failure::Misuse("there are two requests; an approval is for one".to_owned()));
            }
        }
        Ok(Files { manifests, request })
    }
}

impl Files {
    /// The workloads that are up; objects without a namespace are in `namespace`.
    pub(crate) fn matter(&self, kinds: &input::Kinds, namespace: Option<&str>) -> Result<Matter, Failure> {
        let Some((request, name)) = &self.request else {
            let workloads = workloads::of(self.manifests.clone(), namespace)?;
            let asked = workloads.into_iter().map(|workload| Asked::new(workload, None)).collect();
            return Ok(Matter { asked, wrong: Vec::new() });
        };
        let mut matter = Matter { asked: Vec::new(), wrong: Vec::new() };
        for requested in &request.workloads {
            matter.ask(self.find(requested, name, kinds)?, requested)?;
        }
        if matter.asked.is_empty() {
            return Err(Failure::CouldNotTell(format!("{name} asks for nothing: it has no workloads")));
        }
        self.pass_over(&matter, namespace);
        Ok(matter)
    }

    /// The object that is requested: the request's own, else the one of the other files that it names.
    fn find(&self, requested: &RequestedWorkload, request: &str, kinds: &input::Kinds) -> Result<Workload, Failure> {
        let namespace = Some(&*requested.namespace);
        let only = |manifest: Manifest| workloads::of(vec![manifest], namespace).map(|mut found| found.remove(0));
        if let Some(object) = &requested.object {
            let name = format!("{request}, {}", shown(&requested.subject));
            let mut read = manifest::read(&name, &object.to_string(), &kinds.known())?;
            return match (read.pop(), read.pop()) {
                (Some(manifest), None) => only(manifest),
                _ => Err(Failure::CouldNotTell(format!("{name}: expected one object"))),
            };
        }
        let mut other_hash = None;
        for manifest in self.manifests.iter().filter(|manifest| manifest.workload().is_some()) {
            let Ok(workload) = only(manifest.clone()) else { continue };
            if workload.subject.name == requested.subject {
                if workload.subject.hash == requested.spec_hash {
                    return Ok(workload);
                }
                other_hash = Some(workload.subject.hash);
            }
        }
        let subject = shown(&requested.subject);
        Err(match other_hash {
            Some(hash) => Failure::No(format!(
                "{request} asks for {subject} with spec {}, but the manifest's is {hash}: it is another version of it",
                requested.spec_hash
            )),
            None => Failure::Misuse(format!(
                "{request} was made from a denial and holds no manifest of {subject}: give that with a further -f"
            )),
        })
    }

    /// Tells of workloads that lie beside the request and are not signed.
    fn pass_over(&self, matter: &Matter, namespace: Option<&str>) {
        for manifest in self.manifests.iter().filter(|manifest| manifest.workload().is_some()) {
            let of = workloads::of(vec![manifest.clone()], namespace);
            let asked = |workload: &Workload| {
                matter.asked.iter().any(|asked| asked.workload.subject.name == workload.subject.name)
            };
            if !of.is_ok_and(|found| found.iter().all(asked)) {
                output::note(&format!("note: {manifest} is not part of the request, and is passed over"));
            }
        }
    }
}

impl Asked {
    fn new(workload: Workload, said_to_run: Option<Value>) -> Self {
        // `<group>/<version>/<kind>/<namespace>/<name>`, the group absent in the core group.
        let namespace = workload.subject.name.rsplit('/').nth(1).unwrap_or_default().to_owned();
        Self { workload, namespace, said_to_run }
    }
}

impl Matter {
    fn ask(&mut self, workload: Workload, requested: &RequestedWorkload) -> Result<(), Failure> {
        let subject = &workload.subject;
        if self.asked.iter().any(|other| other.workload.subject.name == subject.name) {
            return Err(Failure::Misuse(format!("the request names {} twice", subject.name)));
        }
        if subject.name != requested.subject {
            self.wrong.push(format!(
                "the request says that it is for {}, but holds {}",
                shown(&requested.subject),
                shown(&subject.name)
            ));
        }
        if subject.hash != requested.spec_hash {
            self.wrong.push(format!(
                "the request says that {} has spec {}, but what it holds has {}",
                shown(&subject.name),
                requested.spec_hash,
                subject.hash
            ));
        }
        self.asked.push(Asked::new(workload, requested.runs.clone()));
        Ok(())
    }

    /// The workloads alone.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Workload> + Clone {
        self.asked.iter().map(|asked| &asked.workload)
    }
}

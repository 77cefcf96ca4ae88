//! The workloads of one approval, from manifests or from a request file, with names and hashes computed here.
//!
//! A request file is not trusted: its claims are compared with its own objects. `assessment` decides by the posture.

use std::path::PathBuf;

use serde_json::Value;
use writgate_core::{
    approval::{RequestFile, RequestedWorkload},
    vocabulary::{BOUND_ANNOTATIONS, REPLAY_LABEL},
};

use crate::{
    cluster::{
        Cluster,
        posted::{self, Posted, RequestStore},
    },
    failure::Failure,
    manifest::{
        self, Manifest, input,
        namespace::NamespaceFlag,
        workloads::{self, Workload},
    },
    terminal::output::{self, shown},
};

/// The files to read, or the posted request.
#[derive(clap::Args, Debug, Default)]
#[command(mut_arg("namespace", |flag| flag.help(
    "Namespace of posted requests; with -f, of objects that set none [default: the context's, if a cluster is used]"
)))]
pub(crate) struct ProposalFlags {
    /// Request file or manifest, YAML or JSON, `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Posted request, as `request list` prints it
    #[arg(value_name = "NAME", conflicts_with = "filename")]
    pub(crate) request: Option<String>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceFlag,
    #[command(flatten)]
    pub(crate) reading: input::ManifestFlags,
}

/// The objects of all files, and the request file if there is one.
pub(crate) struct ProposalFiles {
    /// The objects of the manifests, not those of the request file.
    pub(crate) manifests: Vec<Manifest>,
    /// The request file, and its name in messages.
    pub(crate) request: Option<(RequestFile, String)>,
}

/// A workload for which the approval is requested.
pub(crate) struct ProposedWorkload {
    /// The object, its name, and its hash as computed here.
    pub(crate) workload: Workload,
    /// Its namespace.
    pub(crate) namespace: String,
    /// The live object that the request file claims; absent if there is none, or nothing is claimed.
    pub(crate) claimed_live: Option<Value>,
    /// Whether the live object will be deleted first, as the manifest's annotations or the request say.
    pub(crate) is_recreated: bool,
}

/// All workloads of one approval.
pub(crate) struct Proposal {
    /// At least one.
    pub(crate) asked: Vec<ProposedWorkload>,
    /// Claims of the request file that differ from its own objects.
    pub(crate) contradictions: Vec<String>,
}

impl ProposalFlags {
    /// The posted request `name`, in the namespace of the flag or of the context.
    pub(crate) fn posted(&self, cluster: &Cluster, name: &str) -> Result<Posted, Failure> {
        let namespace = self.namespace.namespace.as_ref().unwrap_or(&cluster.namespace);
        RequestStore { cluster }.get(namespace, &posted::request_name(name)?)
    }

    /// Reads all files.
    pub(crate) fn read(&self) -> Result<ProposalFiles, Failure> {
        let mut request = None;
        let mut manifests = Vec::new();
        for manifest in input::manifests(&self.filename, &self.reading)? {
            if !RequestFile::is_one(manifest.object()) {
                self.namespace.stated(&manifest)?;
                manifests.push(manifest);
                continue;
            }
            let name = manifest.file().to_owned();
            let read = RequestFile::read(manifest.object().clone()).map_err(|why| {
                Failure::Undetermined(format!(
                    "{name} is not a request file: {}; create one with `kubectl writgate request`",
                    shown(&why.to_string())
                ))
            })?;
            if request.replace((read, name)).is_some() {
                return Err(Failure::Misuse(
                    "two request files are given; pass one, since an approval is for one request".to_owned(),
                ));
            }
        }
        Ok(ProposalFiles { manifests, request })
    }
}

impl ProposalFiles {
    /// A posted request.
    pub(crate) fn of_posted(posted: &Posted) -> Self {
        Self { manifests: Vec::new(), request: Some((posted.request.file.clone(), posted.name.clone())) }
    }

    /// The workloads of the approval. Objects without a namespace are in `namespace`.
    pub(crate) fn proposal(
        &self,
        kinds: &input::WorkloadKindFlags,
        namespace: Option<&str>,
    ) -> Result<Proposal, Failure> {
        let Some((request, name)) = &self.request else {
            let workloads = workloads::of(self.manifests.clone(), namespace)?;
            let asked = workloads.into_iter().map(|workload| ProposedWorkload::new(workload, None, false)).collect();
            return Ok(Proposal { asked, contradictions: Vec::new() });
        };
        let mut proposal = Proposal { asked: Vec::new(), contradictions: Vec::new() };
        for requested in &request.workloads {
            proposal.ask(self.find(requested, name, kinds)?, requested)?;
        }
        if proposal.asked.is_empty() {
            return Err(Failure::Undetermined(format!(
                "{name} contains no workload; create another request with `kubectl writgate request`"
            )));
        }
        self.pass_over(&proposal, namespace);
        Ok(proposal)
    }

    /// The object of a requested workload: from the request file, or else from the other files.
    fn find(
        &self,
        requested: &RequestedWorkload,
        request: &str,
        kinds: &input::WorkloadKindFlags,
    ) -> Result<Workload, Failure> {
        let namespace = Some(&*requested.namespace);
        let only = |manifest: Manifest| workloads::of(vec![manifest], namespace).map(|mut found| found.remove(0));
        if let Some(object) = &requested.object {
            let name = format!("{request}, {}", shown(&requested.subject));
            let mut read = manifest::read(&name, &object.to_string(), &kinds.known())?;
            return match (read.pop(), read.pop()) {
                (Some(manifest), None) => only(manifest),
                _ => Err(Failure::Undetermined(format!("{name}: expected exactly one object"))),
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
                "{request} is for {subject} with spec hash {}, but the manifest's is {hash}; pass the manifest of that version",
                requested.spec_hash
            )),
            None => Failure::Misuse(format!(
                "{request} was made from a denial and does not contain {subject}; pass its manifest with another -f"
            )),
        })
    }

    /// Notes workloads of the other files that are not part of the request.
    fn pass_over(&self, proposal: &Proposal, namespace: Option<&str>) {
        for manifest in self.manifests.iter().filter(|manifest| manifest.workload().is_some()) {
            let of = workloads::of(vec![manifest.clone()], namespace);
            let asked = |workload: &Workload| {
                proposal.asked.iter().any(|asked| asked.workload.subject.name == workload.subject.name)
            };
            if !of.is_ok_and(|found| found.iter().all(asked)) {
                output::note(&format!("note: {manifest} is not part of the request and is ignored"));
            }
        }
    }
}

impl ProposedWorkload {
    fn new(workload: Workload, claimed_live: Option<Value>, recreate: bool) -> Self {
        // `<group>/<version>/<kind>/<namespace>/<name>`, the group absent in the core group.
        let namespace = workload.subject.name.rsplit('/').nth(1).unwrap_or_default().to_owned();
        let is_recreated = recreate || workload.manifest.is_recreated();
        Self { workload, namespace, claimed_live, is_recreated }
    }
}

/// What is false about the live object that a request claims, whatever the cluster has.
fn false_claim(proposed: &ProposedWorkload) -> Option<String> {
    let (workload, runs) = (&proposed.workload, proposed.claimed_live.as_ref()?);
    let (manifest, name) = (&workload.manifest, shown(&workload.subject.name));
    let claimed = manifest.with_object(runs.clone());
    let text = |field| runs.get(field).and_then(Value::as_str);
    let is_it = text("apiVersion") == Some(manifest.api_version())
        && text("kind") == Some(manifest.kind())
        && claimed.name() == manifest.name()
        && claimed.namespace().is_none_or(|namespace| workload.subject.name.rsplit('/').nth(1) == Some(namespace));
    if !is_it {
        return Some(format!("the request claims a live object for {name} that is another object"));
    }
    let hash = match claimed.spec_hash()? {
        Ok(hash) => hash,
        Err(why) => return Some(format!("the live object that the request claims for {name} is not valid: {why}")),
    };
    let same_claims = BOUND_ANNOTATIONS.into_iter().all(|name| claimed.annotation(name) == manifest.annotation(name))
        && claimed.label(REPLAY_LABEL) == manifest.label(REPLAY_LABEL);
    let owners = |object: &Value| object.pointer("/metadata/ownerReferences").cloned();
    let same = !proposed.is_recreated
        && hash == workload.subject.hash
        && same_claims
        && owners(runs) == owners(manifest.object());
    same.then(|| {
        format!("the request claims that {name} already runs with this spec, but then it would require no approval")
    })
}

impl Proposal {
    fn ask(&mut self, workload: Workload, requested: &RequestedWorkload) -> Result<(), Failure> {
        let subject = &workload.subject;
        if self.asked.iter().any(|other| other.workload.subject.name == subject.name) {
            return Err(Failure::Misuse(format!("the request names {} twice; remove one", subject.name)));
        }
        if subject.name != requested.subject {
            self.contradictions.push(format!(
                "the request says subject {}, but contains {}",
                shown(&requested.subject),
                shown(&subject.name)
            ));
        }
        if subject.hash != requested.spec_hash {
            self.contradictions.push(format!(
                "the request says that {} has spec hash {}, but its object has {}",
                shown(&subject.name),
                requested.spec_hash,
                subject.hash
            ));
        }
        let proposed = ProposedWorkload::new(workload, requested.runs.clone(), requested.recreate);
        self.contradictions.extend(false_claim(&proposed));
        self.asked.push(proposed);
        Ok(())
    }

    /// The workloads, without their namespaces and claims.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Workload> + Clone {
        self.asked.iter().map(|asked| &asked.workload)
    }
}

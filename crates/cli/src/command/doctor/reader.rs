//! Reads objects of the cluster, each once, for all checks.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;
use serde_json::Value;
use writgate_core::posture::PostureSet;

use super::{
    configuration::{self, Surroundings, entries},
    expected::{CERTIFICATE_POLICY, CONFIGURATION, Expected, STATIC_MANIFESTS_ANNOTATION, WEBHOOK, path, title},
    metrics::{self, PodMetrics},
    policies,
    probe::Probes,
    report::{Examination, Finding},
    scope::{NamespaceEntry, RESTORE},
    static_manifests,
};
use crate::{cluster::Cluster, failure::Failure, postures};

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// The cluster as the checks see it.
pub(super) struct Reader<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) expected: Expected,
    pub(super) now: Timestamp,
    /// The governed namespace that the command line names.
    pub(super) namespace: Option<&'a str>,
    objects: RefCell<BTreeMap<String, Result<Option<Value>, Failure>>>,
    namespaces: OnceCell<Result<Vec<NamespaceEntry>, Failure>>,
    postures: OnceCell<Result<PostureSet, Failure>>,
    probes: OnceCell<Probes>,
    metrics: OnceCell<Result<Vec<PodMetrics>, String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(cluster: &'a Cluster, now: Timestamp, namespace: Option<&'a str>) -> Self {
        Self {
            cluster,
            expected: Expected::in_namespace(&cluster.system_namespace),
            now,
            namespace,
            objects: RefCell::default(),
            namespaces: OnceCell::new(),
            postures: OnceCell::new(),
            probes: OnceCell::new(),
            metrics: OnceCell::new(),
        }
    }

    /// The namespace of the webhook and of the postures.
    pub(super) fn system(&self) -> &str {
        &self.cluster.system_namespace
    }

    /// What is at a path of the API; none if nothing is there.
    pub(super) fn get(&self, path: &str, what: &str) -> Result<Option<Value>, Failure> {
        if let Some(known) = self.objects.borrow().get(path) {
            return known.clone();
        }
        let found = self.cluster.ask(&format!("read {what}"), async {
            match self.cluster.client.request(request("GET", path, None)).await {
                Ok(object) => Ok(Some(object)),
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
                Err(error) => Err(error),
            }
        });
        self.objects.borrow_mut().insert(path.to_owned(), found.clone());
        found
    }

    /// The live object of a rendered one.
    pub(super) fn live(&self, expected: &Value) -> Result<Option<Value>, Failure> {
        self.get(&path(expected), &title(expected))
    }

    /// The live object with the name of the rendered one.
    pub(super) fn named(&self, kind: &str, name: &str) -> Result<Option<Value>, Failure> {
        self.live(self.expected.object(kind, name))
    }

    pub(super) fn configuration(&self) -> Result<Option<Value>, Failure> {
        self.named("ValidatingWebhookConfiguration", CONFIGURATION)
    }

    pub(super) fn deployment(&self) -> Result<Option<Value>, Failure> {
        self.named("Deployment", WEBHOOK)
    }

    /// The arguments of the webhook; none if the Deployment cannot be read.
    pub(super) fn arguments(&self) -> Option<Vec<String>> {
        Some(arguments(&self.deployment().ok()??))
    }

    /// The arguments of the webhook; those that the chart renders by default if the Deployment cannot be read.
    pub(super) fn arguments_or_default(&self) -> Vec<String> {
        self.arguments().unwrap_or_else(|| arguments(self.expected.object("Deployment", WEBHOOK)))
    }

    /// Whether the chart left out the webhook configuration and the policies, because API servers read them from files.
    pub(super) fn has_static_manifests(&self) -> bool {
        let deployment = self.deployment().ok().flatten().unwrap_or_default();
        deployment["metadata"]["annotations"][STATIC_MANIFESTS_ANNOTATION] == "true"
    }

    /// Whether the webhook makes its certificate, as the chart's default is. Otherwise the chart leaves out what only that requires.
    pub(super) fn makes_certificate(&self) -> bool {
        self.arguments().is_none_or(|all| all.iter().any(|one| one.starts_with("--certificate-secret=")))
    }

    /// All namespaces with their labels.
    pub(super) fn namespaces(&self) -> Result<&[NamespaceEntry], &Failure> {
        self.namespaces.get_or_init(|| self.list_namespaces()).as_deref()
    }

    fn list_namespaces(&self) -> Result<Vec<NamespaceEntry>, Failure> {
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let query: String = form_urlencoded::Serializer::new(String::new()).append_pair("continue", &next).finish();
            let path = format!("/api/v1/namespaces?limit={PAGE}&{query}");
            let list = self.get(&path, "the list of namespaces")?.unwrap_or_default();
            found.extend(list["items"].as_array().into_iter().flatten().map(|item| NamespaceEntry {
                name: item["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                labels: serde_json::from_value(item["metadata"]["labels"].clone()).unwrap_or_default(),
            }));
            list["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut next);
            if next.is_empty() {
                return Ok(found);
            }
        }
    }

    pub(super) fn postures(&self) -> Result<&PostureSet, &Failure> {
        let read = || Ok(PostureSet::assemble(postures::documents(self.cluster)?));
        self.postures.get_or_init(read).as_ref()
    }

    pub(super) fn probes(&self) -> &Probes {
        self.probes.get_or_init(|| Probes::send(self))
    }

    /// The metrics of the webhook's Pods, or why they could not be read.
    pub(super) fn metrics(&self) -> Result<&[PodMetrics], &str> {
        self.metrics.get_or_init(|| metrics::read(self)).as_deref().map_err(String::as_str)
    }

    pub(super) fn configuration_compared(&self) -> Result<Examination, Failure> {
        if self.has_static_manifests() {
            return static_manifests::configuration(self);
        }
        let expected = self.expected.object("ValidatingWebhookConfiguration", CONFIGURATION);
        let Some(found) = self.configuration()? else {
            let missing = format!("{} is missing; no request is checked", title(expected));
            return Ok(Examination::new("", vec![Finding::failed(missing, RESTORE)]));
        };
        let why = self.namespaces().err().map(ToString::to_string).unwrap_or_default();
        let exempt = |arguments: Vec<String>| {
            let pair = |argument: &String| argument.strip_prefix("--exempt-controller=").map(str::to_owned);
            arguments.iter().filter_map(pair).collect::<BTreeSet<String>>()
        };
        let around = Surroundings {
            namespaces: self.namespaces().map_err(|_| why.as_str()),
            system_namespace: self.system(),
            exempt: self.arguments().map(exempt),
        };
        let mut findings = configuration::compare(expected, &found, &around);
        if let Some(arguments) = self.arguments() {
            let differing = configuration::as_rendered(&arguments, &found);
            // An entry that is weaker than the default one is named already, with the field.
            let is_named = |entry: &str| findings.iter().any(|finding| finding.found.starts_with(entry));
            let new: Vec<Finding> =
                differing.into_iter().filter(|(entry, _)| !is_named(entry)).map(|(_, new)| new).collect();
            findings.extend(new);
        }
        let summary = format!("{} entries, as the chart renders them or stricter", entries(&found).count());
        Ok(Examination::new(summary, findings))
    }

    fn is_left_out(&self, policy: &Value) -> bool {
        policy["metadata"]["name"] == CERTIFICATE_POLICY && !self.makes_certificate()
    }

    pub(super) fn policies_compared(&self) -> Examination {
        if self.has_static_manifests() {
            return static_manifests::policies(self);
        }
        let why = self.namespaces().err().map(ToString::to_string).unwrap_or_default();
        let namespaces = self.namespaces().map_err(|_| why.as_str());
        let (mut findings, mut count) = (Vec::new(), 0);
        for expected in self.expected.of_kind("ValidatingAdmissionPolicy") {
            count += 1;
            match self.live(expected) {
                Ok(Some(found)) => findings.extend(policies::policy(expected, &found, namespaces, self.system())),
                Ok(None) if self.is_left_out(expected) => {}
                Ok(None) => findings.push(policies::missing(expected)),
                Err(failure) => findings.push(failure.into()),
            }
        }
        for expected in self.expected.of_kind("ValidatingAdmissionPolicyBinding") {
            match self.live(expected) {
                Ok(Some(found)) => findings.extend(policies::binding(expected, &found)),
                Ok(None) if self.is_left_out(expected) => {}
                Ok(None) => findings.push(policies::missing(expected)),
                Err(failure) => findings.push(failure.into()),
            }
        }
        Examination::new(
            format!("{count} policies and their bindings, as the chart renders them or stricter"),
            findings,
        )
    }
}

/// The arguments of a Deployment's containers.
fn arguments(deployment: &Value) -> Vec<String> {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
    let texts = containers.filter_map(|container| container["args"].as_array()).flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A request to the API server. The path consists of names that were checked.
pub(super) fn request(method: &str, path: &str, body: Option<&Value>) -> http::Request<Vec<u8>> {
    http::Request::builder()
        .method(method)
        .uri(path)
        .header("Accept", "application/json")
        .header("Content-Type", "application/json")
        .body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default())
        .expect("the method and the path are valid")
}

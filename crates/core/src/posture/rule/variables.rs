//! What an expression can speak of: the request and its objects, and the Pod wherever its kind keeps it.
//!
//! Each variable is made when a rule first asks for it, once for all rules of a decision.

use std::cell::OnceCell;

use super::{
    fuel::{Fault, Fuel},
    json::{self, Json},
    value::Value,
};
use crate::{
    kube::workload::WorkloadKind,
    request::admission_review::{Object, Request},
};

/// A name that every expression knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    Object,
    OldObject,
    Pod,
    OldPod,
    Containers,
    Request,
}

impl Variable {
    pub(super) const ALL: [Self; 6] =
        [Self::Object, Self::OldObject, Self::Pod, Self::OldPod, Self::Containers, Self::Request];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::OldObject => "oldObject",
            Self::Pod => "pod",
            Self::OldPod => "oldPod",
            Self::Containers => "containers",
            Self::Request => "request",
        }
    }
}

/// Everything that is ever in the map at `path`; none where that is the object's own business.
pub(super) fn known_fields(path: &[&str]) -> Option<&'static [&'static str]> {
    Some(match path {
        ["object" | "oldObject"] => &["apiVersion", "kind", "metadata", "spec"],
        ["object" | "oldObject", "metadata"] => &["name", "generateName", "namespace", "labels", "annotations"],
        ["request"] => &["operation", "userInfo", "namespace", "name", "dryRun", "kind", "resource", "subResource"],
        ["request", "userInfo"] => &["username", "uid", "groups"],
        ["request", "kind"] => &["group", "version", "kind"],
        _ => return None,
    })
}

/// What was read of the two objects, from where the variables borrow.
#[derive(Default)]
pub(super) struct Specs<'r> {
    new: OnceCell<Result<Vec<Json<'r>>, Fault>>,
    old: OnceCell<Result<Vec<Json<'r>>, Fault>>,
}

/// The variables of one request.
pub(super) struct Variables<'v> {
    request: &'v Request<'v>,
    specs: &'v Specs<'v>,
    fuel: &'v Fuel,
    made: [OnceCell<Result<Value<'v>, Fault>>; Variable::ALL.len()],
}

impl<'v> Variables<'v> {
    pub(super) fn of(request: &'v Request<'v>, specs: &'v Specs<'v>, fuel: &'v Fuel) -> Self {
        Self { request, specs, fuel, made: Default::default() }
    }

    pub(super) fn get(&self, variable: Variable) -> Result<Value<'v>, Fault> {
        let [object, old_object, pod, old_pod, containers, request] = &self.made;
        let cell = match variable {
            Variable::Object => object,
            Variable::OldObject => old_object,
            Variable::Pod => pod,
            Variable::OldPod => old_pod,
            Variable::Containers => containers,
            Variable::Request => request,
        };
        cell.get_or_init(|| self.make(variable)).clone()
    }

    fn make(&self, variable: Variable) -> Result<Value<'v>, Fault> {
        match variable {
            Variable::Object => self.object("object", self.request.object.as_ref(), &self.specs.new),
            Variable::OldObject => self.object("oldObject", self.request.old_object.as_ref(), &self.specs.old),
            Variable::Pod => self.pod(Variable::Object),
            Variable::OldPod => self.pod(Variable::OldObject),
            Variable::Containers => self.containers(),
            Variable::Request => Ok(self.request()),
        }
    }

    /// What is empty in the metadata is absent, as it is in the object that the API server stores.
    fn object(
        &self,
        name: &str,
        object: Option<&'v Object<'v>>,
        read: &'v OnceCell<Result<Vec<Json<'v>>, Fault>>,
    ) -> Result<Value<'v>, Fault> {
        let Some(object) = object else { return Ok(Value::Null) };
        let metadata = &object.metadata;
        let texts =
            [("name", &metadata.name), ("generateName", &metadata.generate_name), ("namespace", &metadata.namespace)];
        let mut in_metadata: Vec<_> =
            texts.iter().filter(|(_, text)| !text.is_empty()).map(|(key, text)| (*key, Value::text(text))).collect();
        let entries: [(_, Vec<_>); 2] =
            [("labels", metadata.labels.iter().collect()), ("annotations", metadata.annotations.iter().collect())];
        for (key, entries) in entries.into_iter().filter(|(_, entries)| !entries.is_empty()) {
            self.fuel.spend(entries.len())?;
            let entries = entries.into_iter().map(|(key, value)| (key, Value::text(value))).collect();
            in_metadata.push((key, Value::map(entries)));
        }
        let mut members = vec![
            ("apiVersion", Value::text(&object.api_version)),
            ("kind", Value::text(&object.kind)),
            ("metadata", Value::map(in_metadata)),
        ];
        if let Some(spec) = object.spec {
            let spec =
                read.get_or_init(|| json::read(spec.get(), self.fuel)).as_ref().map_err(|fault| match fault {
                    Fault::Error(why) => Fault::Error(format!("{name}.spec: {why}")),
                    Fault::TooCostly => Fault::TooCostly,
                })?;
            members.push(("spec", Value::read(spec)));
        }
        Ok(Value::map(members))
    }

    /// The Pod's spec in an object: null where there is no object, or one of a kind that has no Pod.
    fn pod(&self, of: Variable) -> Result<Value<'v>, Fault> {
        let object = self.get(of)?;
        let kind = &self.request.kind;
        let path: &[&str] = match self.request.workload {
            Some(WorkloadKind::CronJob) => &["spec", "jobTemplate", "spec", "template", "spec"],
            Some(WorkloadKind::Further(further)) => further.pod(),
            Some(_) => &["spec", "template", "spec"],
            None if kind.group.is_empty() && kind.version == "v1" && kind.kind == "Pod" => &["spec"],
            None => return Ok(Value::Null),
        };
        if matches!(object, Value::Null) {
            return Ok(Value::Null);
        }
        let mut pod = Some(object);
        for key in path {
            pod = self.member(pod.as_ref(), key)?;
        }
        // A rule that sees no Pod where there must be one would let every Pod pass.
        pod.filter(|pod| matches!(pod, Value::Map(_))).ok_or_else(|| {
            Fault::Error(format!("{} has no Pod spec at {}, where a {} has it", of.name(), path.join("."), kind.kind))
        })
    }

    /// The member of a map, without which there is none.
    fn member(&self, of: Option<&Value<'v>>, key: &str) -> Result<Option<Value<'v>>, Fault> {
        match of {
            Some(Value::Map(map)) => map.get(key, self.fuel),
            _ => Ok(None),
        }
    }

    /// Every container that the Pod has, of whatever sort.
    fn containers(&self) -> Result<Value<'v>, Fault> {
        let pod = self.get(Variable::Pod)?;
        let mut all = Vec::new();
        for key in ["initContainers", "containers", "ephemeralContainers"] {
            match self.member(Some(&pod), key)? {
                None | Some(Value::Null) => {}
                Some(Value::List(containers)) => {
                    self.fuel.spend(containers.len())?;
                    all.extend(containers.iter());
                }
                Some(other) => {
                    return Err(Fault::Error(format!("the Pod's {key} is {}, expected a list", other.kind())));
                }
            }
        }
        Ok(Value::list(all))
    }

    fn request(&self) -> Value<'v> {
        let request = self.request;
        let groups = request.user.groups.iter().map(|group| Value::text(&group.0)).collect();
        let user = vec![
            ("username", Value::text(&request.user.username)),
            ("uid", Value::text(&request.user.uid)),
            ("groups", Value::list(groups)),
        ];
        let kind = vec![
            ("group", Value::text(&request.kind.group)),
            ("version", Value::text(&request.kind.version)),
            ("kind", Value::text(&request.kind.kind)),
        ];
        Value::map(vec![
            ("operation", Value::text(request.operation.as_str())),
            ("userInfo", Value::map(user)),
            ("namespace", Value::text(&request.namespace)),
            ("name", Value::text(&request.name)),
            ("dryRun", Value::Bool(request.dry_run)),
            ("kind", Value::map(kind)),
            ("resource", Value::text(&request.resource)),
            ("subResource", Value::text(&request.sub_resource)),
        ])
    }
}

//! The variables of conditions: the request, its objects, and the Pod wherever its kind has it.
//!
//! A variable is computed when a condition first refers to it, once for all rules of a decision.

use std::cell::OnceCell;

use super::{
    fuel::{Fault, Fuel},
    input::{RuleInput, RuleObject},
    json::{self, Json},
    value::Value,
};

/// A name that every condition knows.
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

/// All fields that the map at `path` can have; `None`: the fields depend on the object.
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

/// The parsed specs of both objects. Variables borrow from them.
#[derive(Default)]
pub(super) struct Specs<'r> {
    new: OnceCell<Result<Vec<Json<'r>>, Fault>>,
    old: OnceCell<Result<Vec<Json<'r>>, Fault>>,
}

/// The variables of one request.
pub(super) struct Variables<'v> {
    input: &'v RuleInput<'v>,
    specs: &'v Specs<'v>,
    fuel: &'v Fuel,
    computed: [OnceCell<Result<Value<'v>, Fault>>; Variable::ALL.len()],
}

impl<'v> Variables<'v> {
    pub(super) fn new(input: &'v RuleInput<'v>, specs: &'v Specs<'v>, fuel: &'v Fuel) -> Self {
        Self { input, specs, fuel, computed: Default::default() }
    }

    pub(super) fn get(&self, variable: Variable) -> Result<Value<'v>, Fault> {
        let [object, old_object, pod, old_pod, containers, request] = &self.computed;
        let cell = match variable {
            Variable::Object => object,
            Variable::OldObject => old_object,
            Variable::Pod => pod,
            Variable::OldPod => old_pod,
            Variable::Containers => containers,
            Variable::Request => request,
        };
        cell.get_or_init(|| self.compute(variable)).clone()
    }

    fn compute(&self, variable: Variable) -> Result<Value<'v>, Fault> {
        match variable {
            Variable::Object => self.object("object", self.input.object.as_ref(), &self.specs.new),
            Variable::OldObject => self.object("oldObject", self.input.old_object.as_ref(), &self.specs.old),
            Variable::Pod => self.pod(Variable::Object),
            Variable::OldPod => self.pod(Variable::OldObject),
            Variable::Containers => self.containers(),
            Variable::Request => Ok(self.request()),
        }
    }

    fn object(
        &self,
        variable: &str,
        object: Option<&'v RuleObject<'v>>,
        parsed: &'v OnceCell<Result<Vec<Json<'v>>, Fault>>,
    ) -> Result<Value<'v>, Fault> {
        let Some(RuleObject { api_version, kind, name, generate_name, namespace, labels, annotations, spec }) = object
        else {
            return Ok(Value::Null);
        };
        let texts = [("name", name), ("generateName", generate_name), ("namespace", namespace)];
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let mut metadata: Vec<_> = texts.map(|(key, text)| (key, Value::text(text))).collect();
        let maps = [("labels", labels), ("annotations", annotations)];
        for (key, entries) in maps.into_iter().filter(|(_, entries)| !entries.is_empty()) {
            self.fuel.spend(entries.len())?;
            let entries = entries.iter().map(|(key, value)| (*key, Value::text(value))).collect();
            metadata.push((key, Value::map(entries)));
        }
        let mut members = vec![
            ("apiVersion", Value::text(api_version)),
            ("kind", Value::text(kind)),
            ("metadata", Value::map(metadata)),
        ];
        if let Some(spec) = spec {
            let spec = parsed.get_or_init(|| json::parse(spec, self.fuel)).as_ref().map_err(|fault| match fault {
                Fault::Error(why) => Fault::Error(format!("{variable}.spec: {why}")),
                Fault::TooCostly => Fault::TooCostly,
            })?;
            members.push(("spec", Value::parsed(spec)));
        }
        Ok(Value::map(members))
    }

    /// The Pod's spec of an object; null without an object, and for a kind without Pods.
    fn pod(&self, variable: Variable) -> Result<Value<'v>, Fault> {
        let Some(path) = self.input.pod else { return Ok(Value::Null) };
        let object = self.get(variable)?;
        if matches!(object, Value::Null) {
            return Ok(Value::Null);
        }
        let mut pod = self.member(Some(&object), "spec")?;
        for key in path.members() {
            pod = self.member(pod.as_ref(), key)?;
        }
        match pod {
            Some(pod @ Value::Map(_)) => Ok(pod),
            // Without a Pod, every condition on Pods would be false, and every Pod would pass.
            _ => Err(Fault::Error(format!(
                "{} has no Pod spec at {}, where every {} has one",
                variable.name(),
                [&["spec"], path.members()].concat().join("."),
                self.input.kind
            ))),
        }
    }

    /// The value of a key; `None` if there is no map or no such key.
    fn member(&self, map: Option<&Value<'v>>, key: &str) -> Result<Option<Value<'v>>, Fault> {
        match map {
            Some(Value::Map(map)) => map.get(key, self.fuel),
            _ => Ok(None),
        }
    }

    /// All containers of the Pod: init containers, containers and ephemeral containers.
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
                    return Err(Fault::Error(format!("{key} of the Pod is {}; expected a list", other.type_name())));
                }
            }
        }
        Ok(Value::list(all))
    }

    fn request(&self) -> Value<'v> {
        let input = self.input;
        let user = vec![
            ("username", Value::text(input.user.username)),
            ("uid", Value::text(input.user.uid)),
            ("groups", Value::list(input.user.groups.iter().map(|group| Value::text(group)).collect())),
        ];
        let kind = vec![
            ("group", Value::text(input.group)),
            ("version", Value::text(input.version)),
            ("kind", Value::text(input.kind)),
        ];
        Value::map(vec![
            ("operation", Value::text(input.operation)),
            ("userInfo", Value::map(user)),
            ("namespace", Value::text(input.namespace)),
            ("name", Value::text(input.name)),
            ("dryRun", Value::Bool(input.dry_run)),
            ("kind", Value::map(kind)),
            ("resource", Value::text(input.resource)),
            ("subResource", Value::text(input.sub_resource)),
        ])
    }
}

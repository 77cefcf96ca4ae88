//! The dry-run contract: the closed description of a Job that counts as a dry-run replay. A field that is not listed here
//! is not permitted.
//!
//! The contract is checked on the spec as the API server has defaulted it, so it lists the defaults as well.

use serde_json::{Map, Value};

use crate::{
    kube::image::{ImagePatterns, pinned},
    posture::{DryRunContract, ImageRule, Posture},
};

/// Whether the spec of a Job meets the whole contract.
pub(crate) fn is_met(contract: &DryRunContract, posture: &Posture, spec: &str) -> bool {
    let contract = Contract { terms: contract, images: &posture.replay.images, naming: posture.images };
    serde_json::from_str(spec).is_ok_and(|spec| contract.job(&spec).is_some())
}

struct Contract<'p> {
    terms: &'p DryRunContract,
    images: &'p ImagePatterns,
    naming: ImageRule,
}

/// `None` as soon as something is not permitted.
type Met = Option<()>;

fn require(holds: bool) -> Met {
    holds.then_some(())
}

/// Requires that `check` permits every member.
fn each<'v>(value: &'v Value, mut check: impl FnMut(&str, &'v Value) -> Met) -> Met {
    value.as_object()?.iter().try_for_each(|(key, value)| check(key, value))
}

impl Contract<'_> {
    fn job(&self, spec: &Value) -> Met {
        let mut template = None;
        each(spec, |key, value| match key {
            "backoffLimit" | "activeDeadlineSeconds" | "ttlSecondsAfterFinished" | "suspend" => Some(()),
            "completions" | "parallelism" => require(*value == 1),
            "template" => {
                template = Some(value);
                Some(())
            }
            // Set by the API server.
            "completionMode" => require(value == "NonIndexed"),
            "podReplacementPolicy" => require(value == "TerminatingOrFailed"),
            "manualSelector" => require(*value == false),
            "selector" => require(value.is_object()),
            _ => None,
        })?;
        let mut pod = None;
        each(template?, |key, value| match key {
            "metadata" => Self::metadata(value),
            "spec" => {
                pod = Some(value);
                Some(())
            }
            _ => None,
        })?;
        self.pod(pod?)
    }

    /// Permits only the labels that the API server generates for a Job's Pods.
    fn metadata(metadata: &Value) -> Met {
        each(metadata, |key, value| match key {
            "creationTimestamp" => require(value.is_null()),
            "labels" => each(value, |label, _| {
                require(matches!(
                    label,
                    "controller-uid"
                        | "job-name"
                        | "batch.kubernetes.io/controller-uid"
                        | "batch.kubernetes.io/job-name"
                ))
            }),
            _ => None,
        })
    }

    fn pod(&self, pod: &Value) -> Met {
        require(pod.get("serviceAccountName").is_some())?;
        require(pod.get("containers").is_some())?;
        // Otherwise each Service of the namespace, which tenants may create, puts variables into the containers.
        require(pod.get("enableServiceLinks") == Some(&Value::Bool(false)))?;
        each(pod, |key, value| match key {
            "containers" => match value.as_array()?.as_slice() {
                [container] => self.container(container),
                _ => None,
            },
            "serviceAccountName" | "serviceAccount" => {
                require(self.terms.service_accounts.iter().any(|account| value == account))
            }
            "restartPolicy"
            | "terminationGracePeriodSeconds"
            | "automountServiceAccountToken"
            | "enableServiceLinks" => Some(()),
            "securityContext" => only_restricts(value),
            // Defaulted by the API server.
            "dnsPolicy" => require(value == "ClusterFirst"),
            "schedulerName" => require(value == "default-scheduler"),
            _ => None,
        })
    }

    fn container(&self, container: &Value) -> Met {
        self.environment(container.get("env"))?;
        self.arguments(container.get("args"))?;
        require(container.get("image").is_some())?;
        each(container, |key, value| match key {
            "name" | "resources" | "imagePullPolicy" | "env" | "args" => Some(()),
            "image" => self.image(value.as_str()?),
            "securityContext" => only_restricts(value),
            // Defaulted by the API server.
            "terminationMessagePath" => require(value == "/dev/termination-log"),
            "terminationMessagePolicy" => require(value == "File"),
            _ => None,
        })
    }

    fn image(&self, image: &str) -> Met {
        require(self.images.matches(image))?;
        require(self.naming == ImageRule::Any || pinned(image).is_some())
    }

    /// Requires exactly the listed variables, each once and with its listed value as a literal.
    fn environment(&self, env: Option<&Value>) -> Met {
        let none = Vec::new();
        let variables = env.map_or(Some(&none), Value::as_array)?;
        require(variables.len() == self.terms.env.len())?;
        let mut seen = Map::new();
        for variable in variables {
            let name = variable.get("name")?.as_str()?;
            require(seen.insert(name.to_owned(), Value::Null).is_none())?;
            // The API server omits an empty value.
            let value = variable.get("value").map_or(Some(""), Value::as_str)?;
            require(self.terms.env.get(name).is_some_and(|listed| listed == value))?;
            each(variable, |key, _| require(matches!(key, "name" | "value")))?;
        }
        Some(())
    }

    /// Requires one of the listed alternatives, word for word.
    fn arguments(&self, args: Option<&Value>) -> Met {
        let none = Vec::new();
        let words = args.map_or(Some(&none), Value::as_array)?;
        let words: Vec<&str> = words.iter().map(Value::as_str).collect::<Option<_>>()?;
        let is = |listed: &Vec<String>| {
            listed.len() == words.len() && listed.iter().zip(&words).all(|(listed, word)| is_word(listed, word))
        };
        require(if self.terms.args.is_empty() { words.is_empty() } else { self.terms.args.iter().any(is) })
    }
}

/// `*` stands for one whole word that no program reads as an option or splits, and that the kubelet does not change: the
/// kubelet replaces `$(NAME)` by a variable, which may come from a Service of the namespace.
fn is_word(listed: &str, word: &str) -> bool {
    if listed == "*" {
        !word.is_empty() && !word.starts_with('-') && !word.contains(char::is_whitespace) && !word.contains("$(")
    } else {
        listed == word
    }
}

/// Permits a security context that only restricts. A user or group is not permitted, since it may own files.
fn only_restricts(context: &Value) -> Met {
    each(context, |key, value| match key {
        "runAsNonRoot" | "readOnlyRootFilesystem" => require(*value == true),
        "allowPrivilegeEscalation" | "privileged" => require(*value == false),
        "capabilities" => each(value, |key, _| require(key == "drop")),
        "seccompProfile" => each(value, |key, value| require(key == "type" && value == "RuntimeDefault")),
        _ => None,
    })
}

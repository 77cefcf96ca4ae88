//! The dry runs of the canary, and how their answers are read.
//!
//! Each one matches another rule of the webhook configuration. None of them could do harm if it were stored:
//! the `ResourceQuota` of the namespace permits no Pods, Deployments or Jobs.

use std::time::Duration;

use axum::http::{Method, Request};
use kube::Client;
use kube::core::Status;
use serde_json::{Value, json};
use writgate_cluster::bounded_request::{self, RequestError};
use writgate_core::vocabulary::ENVIRONMENT_LABEL;

use crate::canary::{ANNOTATION, CAUSE, NAMESPACE};

/// How long the API server may take, with the time that it waits for the webhook.
const ANSWER: Duration = Duration::from_secs(15);
/// An image that exists nowhere, by digest, so that no other policy has to look for it.
const IMAGE: &str =
    "registry.invalid/writgate-canary@sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// One of the dry runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    Deployment,
    Job,
    Pod,
    /// The namespace without the label that governs it.
    Namespace,
}

/// How the API server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The webhook of this installation denied the dry run.
    Denied {
        /// Its version.
        version: String,
    },
    /// The webhook of this installation did not deny it. The text says what happened.
    NotDenied(String),
    /// A webhook denied it as this one does, with a proof that is not this installation's.
    Forged,
    /// The answer does not say whether the webhook denied it. The text says why.
    None(String),
}

impl Probe {
    pub(crate) const ALL: [Self; 4] = [Self::Deployment, Self::Job, Self::Pod, Self::Namespace];

    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Deployment => "a Deployment",
            Self::Job => "a Job",
            Self::Pod => "a Pod",
            Self::Namespace => "the removal of a governing label",
        }
    }

    /// Sends the dry run. `mac` is what the webhook's denial proves itself with.
    pub(crate) async fn send(self, client: &Client, nonce: &str, mac: &str) -> Answer {
        let (method, path, content_type, body) = self.request(nonce);
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}?dryRun=All&fieldManager=writgate-canary"))
            .header("content-type", content_type)
            .body(body.to_string().into_bytes());
        let answer = match request {
            Ok(request) => bounded_request::send(ANSWER, client.request::<Value>(request)).await,
            Err(error) => return Answer::None(error.to_string()),
        };
        match answer {
            Ok(_) => Answer::NotDenied(
                "the API server admitted it; the webhook configuration is missing or does not send it to the webhook"
                    .to_owned(),
            ),
            Err(RequestError::Failed(kube::Error::Api(status))) => read(&status, mac),
            Err(error) => Answer::None(error.to_string()),
        }
    }

    fn request(self, nonce: &str) -> (Method, String, &'static str, Value) {
        let metadata = json!({"name": NAMESPACE, "namespace": NAMESPACE, "annotations": {ANNOTATION: nonce}});
        let labels = json!({"app.kubernetes.io/name": NAMESPACE});
        let pod = |restart: &str| {
            json!({"restartPolicy": restart, "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "canary", "image": IMAGE,
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]}},
                    "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}}}]})
        };
        let template = |restart: &str| json!({"metadata": {"labels": labels}, "spec": pod(restart)});
        let create = |path: &str, body: Value| (Method::POST, path.replace("{}", NAMESPACE), "application/json", body);
        match self {
            Self::Deployment => create(
                "/apis/apps/v1/namespaces/{}/deployments",
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
                    "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template("Always")}}),
            ),
            Self::Job => create(
                "/apis/batch/v1/namespaces/{}/jobs",
                json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
                    "spec": {"suspend": true, "template": template("Never")}}),
            ),
            Self::Pod => create(
                "/api/v1/namespaces/{}/pods",
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod("Never")}),
            ),
            Self::Namespace => {
                let patch =
                    json!({"metadata": {"annotations": {ANNOTATION: nonce}, "labels": {ENVIRONMENT_LABEL: null}}});
                (Method::PATCH, format!("/api/v1/namespaces/{NAMESPACE}"), "application/merge-patch+json", patch)
            }
        }
    }
}

fn read(status: &Status, mac: &str) -> Answer {
    let message = &status.message;
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let proofs: Vec<&str> = causes.iter().filter(|cause| cause.reason == CAUSE).map(|cause| &*cause.message).collect();
    let denied = message.contains("admission webhook \"") && message.contains("\" denied the request");
    if let ([found], true) = (proofs.as_slice(), denied) {
        // Another version of the webhook has the same key during an update.
        return match found.split_once(' ') {
            Some((version, found)) if found == mac => Answer::Denied { version: version.to_owned() },
            _ => Answer::Forged,
        };
    }
    match status.code {
        // Overload, a timeout or an API server that starts. They say nothing about the webhook unless they name it.
        408 | 429 | 500.. if !message.contains("webhook") => Answer::None(message.clone()),
        403 if message.contains("cannot create resource") || message.contains("cannot patch resource") => {
            Answer::None(format!("{message}; the chart's Role writgate-canary grants this"))
        }
        404 if message.contains("namespaces") => {
            Answer::None(format!("{message}; the chart renders namespace {NAMESPACE}"))
        }
        _ if message.contains("failed calling webhook") => {
            Answer::NotDenied(format!("the API server cannot call the webhook: {message}"))
        }
        _ => Answer::NotDenied(format!("something other than this webhook refused it: {message}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canary::proof;

    fn status(code: u16, message: &str, causes: &Value) -> Status {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message,
            "details": {"causes": causes}});
        serde_json::from_value(status).expect("a Status")
    }

    const DENIED: &str = "admission webhook \"workloads.writgate.dev\" denied the request: no";

    #[test]
    fn only_a_denial_with_the_proof_of_this_installation_counts() {
        let cause = |message: &str| json!([{"reason": "PostureMissing", "message": "x"}, {"reason": CAUSE, "message": message}]);
        let answer = |message: &str, causes: &Value| read(&status(403, message, causes), "mac");
        assert_eq!(answer(DENIED, &cause("1.2.3 mac")), Answer::Denied { version: "1.2.3".to_owned() });
        assert!(
            answer(DENIED, &cause(&proof("mac"))) == Answer::Denied { version: env!("CARGO_PKG_VERSION").to_owned() }
        );
        for causes in [cause("1.2.3 other"), cause("mac")] {
            assert_eq!(answer(DENIED, &causes), Answer::Forged, "{causes}");
        }
        for (message, causes) in [
            (DENIED, json!([{"reason": CAUSE, "message": "1.2.3 mac"}, {"reason": CAUSE, "message": "1.2.3 mac"}])),
            (DENIED, json!([])),
            ("pods \"writgate-canary\" is forbidden: exceeded quota", cause("1.2.3 mac")),
            ("admission webhook \"validate.kyverno.svc-fail\" denied the request: no", json!([])),
        ] {
            assert!(matches!(answer(message, &causes), Answer::NotDenied(_)), "{message} {causes}");
        }
    }

    #[test]
    fn an_answer_that_says_nothing_about_the_webhook_is_no_verdict() {
        let none =
            |code: u16, message: &str| matches!(read(&status(code, message, &json!([])), "mac"), Answer::None(_));
        assert!(none(503, "the server is currently unable to handle the request"));
        assert!(none(403, "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\""));
        assert!(none(404, "namespaces \"writgate-canary\" not found"));
        assert!(!none(500, "Internal error occurred: failed calling webhook \"workloads.writgate.dev\": refused"));
        assert!(!none(403, DENIED));
    }
}

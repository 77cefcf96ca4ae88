//! Random manifests of the seven kinds.

use serde_json::{Value, json};
use writgate_core::kube::WorkloadKind;

use crate::random::{Draft, Random};

use crate::manifests::{pod, volume};

const ALWAYS: &[&str] = &["", "Always"];
const FINITE: &[&str] = &["Never", "OnFailure"];

/// A manifest as in a user's file.
pub fn manifest(random: &mut Random, kind: WorkloadKind, name: &str) -> Value {
    let spec = random.object(|draft| match kind {
        WorkloadKind::Deployment | WorkloadKind::ReplicaSet | WorkloadKind::DaemonSet => controller(draft, kind),
        WorkloadKind::StatefulSet => {
            controller(draft, kind);
            stateful_set(draft);
        }
        WorkloadKind::ReplicationController => {
            draft.maybe("replicas", |random| random.below(3).into());
            draft.maybe_or("selector", json!({}), |_| json!({"app": "a"}));
            let template = pod::template(draft.random, ALWAYS);
            draft.set("template", template);
        }
        WorkloadKind::Job => job(draft),
        WorkloadKind::CronJob => cron_job(draft),
        WorkloadKind::Further(_) => unreachable!("only what the API server knows by itself is drawn"),
    });
    json!({"apiVersion": kind.api_version(), "kind": kind.kind(), "metadata": {"name": name}, "spec": spec})
}

fn controller(draft: &mut Draft<'_>, kind: WorkloadKind) {
    draft.set("selector", json!({"matchLabels": {"app": "a"}}));
    let template = pod::template(draft.random, ALWAYS);
    draft.set("template", template);
    draft.maybe_or("minReadySeconds", 0, |_| 5.into());
    if kind == WorkloadKind::DaemonSet {
        draft.maybe_or("updateStrategy", json!({}), |_| json!({"type": "OnDelete"}));
    } else {
        draft.maybe("replicas", |random| random.below(3).into());
    }
    if kind != WorkloadKind::ReplicaSet {
        draft.maybe("revisionHistoryLimit", |random| random.below(3).into());
    }
    if kind == WorkloadKind::Deployment {
        draft.maybe_bool("paused");
        draft.maybe_or("strategy", json!({}), |_| json!({"type": "Recreate"}));
    }
}

fn stateful_set(draft: &mut Draft<'_>) {
    draft.maybe_text("serviceName", &["headless"]);
    draft.maybe_text("podManagementPolicy", &["OrderedReady", "Parallel"]);
    draft.maybe_or("updateStrategy", json!({}), |random| {
        random.pick(&[
            json!({"type": "OnDelete"}),
            json!({"type": "RollingUpdate"}),
            json!({"type": "RollingUpdate", "rollingUpdate": {}}),
            json!({"rollingUpdate": {"partition": 2}}),
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "30%", "partition": null}}),
            json!({"rollingUpdate": {"maxUnavailable": 2}, "type": ""}),
        ])
    });
    draft.maybe_or("persistentVolumeClaimRetentionPolicy", json!({}), |random| {
        random.object(|draft| {
            for name in ["whenDeleted", "whenScaled"] {
                draft.maybe_text(name, &["Delete", "Retain"]);
            }
        })
    });
    draft.maybe_or("ordinals", json!({}), |_| json!({"start": 3}));
    draft.maybe_or("volumeClaimTemplates", json!([]), |random| {
        random.list(1, 2, |random, index| {
            random.object(|draft| {
                draft.make("metadata", |random| {
                    random.object(|draft| {
                        draft.set("name", format!("data{index}"));
                        draft.maybe_or("labels", json!({}), |_| json!({"a": "b"}));
                        draft.maybe_or("annotations", json!({}), |_| json!({"a": ""}));
                        draft.maybe("creationTimestamp", |_| Value::Null);
                    })
                });
                let spec = volume::claim_spec(draft.random);
                draft.set("spec", spec);
                draft.maybe_text("kind", &["PersistentVolumeClaim"]);
                draft.maybe_text("apiVersion", &["v1"]);
                draft.maybe_or("status", json!({}), claim_status);
            })
        })
    });
}

/// A field that users do not write, but that the output of `kubectl get -o yaml` has.
fn claim_status(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.maybe_text("phase", &["Pending", "Bound"]);
        draft.maybe_or("accessModes", json!([]), |_| json!(["ReadWriteOnce"]));
        for name in ["capacity", "allocatedResources"] {
            draft.maybe_or(name, json!({}), |random| json!({"storage": random.pick(&["0.5Gi", "0.0001", "1e9"])}));
        }
        draft.maybe_or("allocatedResourceStatuses", json!({}), |_| json!({"storage": "ControllerResizeInProgress"}));
        draft.maybe("currentVolumeAttributesClassName", |random| random.text(&["", "gold"]));
        draft.maybe("healthStatus", |_| json!({"lastTransitionTime": "2026-11-22T10:00:00Z"}));
        draft.maybe("modifyVolumeStatus", |random| {
            random.object(|draft| {
                draft.set("status", "Pending");
                draft.maybe_text("targetVolumeAttributesClassName", &["gold"]);
            })
        });
        draft.maybe_or("conditions", json!([]), |random| {
            json!([random.object(|draft| {
                draft.set("type", "Resizing");
                draft.set("status", "True");
                draft.maybe("lastProbeTime", |_| "2026-11-22T10:00:00.5+01:00".into());
                draft.maybe("lastTransitionTime", |_| "0001-01-01T00:00:00Z".into());
                draft.maybe_text("reason", &["because"]);
                draft.maybe_text("message", &["so"]);
            })])
        });
    })
}

fn job(draft: &mut Draft<'_>) {
    draft.maybe("parallelism", |random| (random.below(3)).into());
    draft.maybe_or("activeDeadlineSeconds", Value::Null, |_| 600.into());
    draft.maybe_or("ttlSecondsAfterFinished", 0, |_| 100.into());
    draft.maybe_bool("suspend");
    draft.maybe("managedBy", |_| "example.com/controller".into());
    draft.maybe("scheduling", |_| json!({"schedulingPolicy": {"basic": {}}}));
    draft.maybe("podReplacementPolicy", |_| "Failed".into());
    draft.maybe_or("backoffLimit", 0, |random| random.below(10).into());
    let indexed = draft.random.chance(40);
    if indexed {
        draft.set("completionMode", "Indexed");
        draft.set("completions", 3);
        draft.maybe_or("backoffLimitPerIndex", 0, |_| 2.into());
        if draft.get("backoffLimitPerIndex").is_number() {
            draft.maybe_or("maxFailedIndexes", 0, |_| 2.into());
        }
        draft.maybe("successPolicy", |random| {
            json!({"rules": random.list(1, 2, |random, _| random.pick(&[
                json!({"succeededIndexes": "0-1"}),
                json!({"succeededCount": 1}),
                json!({"succeededIndexes": "0,2", "succeededCount": 2}),
                json!({"succeededIndexes": "0", "succeededCount": null}),
            ]))})
        });
    } else {
        draft.maybe("completionMode", |_| "NonIndexed".into());
        draft.maybe("completions", |random| (1 + random.below(3)).into());
    }
    let policy = draft.random.chance(30);
    if policy {
        let rules = draft.random.list(0, 2, |random, _| failure_rule(random));
        draft.set("podFailurePolicy", json!({ "rules": rules }));
    }
    let template = pod::template(draft.random, if policy { &["Never"] } else { FINITE });
    draft.set("template", template);
    if draft.random.chance(20) {
        draft.set("manualSelector", true);
        draft.set("selector", json!({"matchLabels": {"app": "a"}, "matchExpressions": []}));
    } else {
        draft.maybe("manualSelector", |_| false.into());
    }
}

fn failure_rule(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.make("action", |random| random.text(&["FailJob", "Ignore", "Count"]));
        if draft.random.chance(50) {
            let codes = draft.random.object(|draft| {
                draft.make("operator", |random| random.text(&["In", "NotIn"]));
                draft.set("values", json!([1, 2, 42]));
                draft.maybe("containerName", |_| "main".into());
            });
            draft.set("onExitCodes", codes);
            draft.maybe_or("onPodConditions", json!([]), |_| Value::Null);
        } else {
            draft.make("onPodConditions", |random| {
                random.list(1, 2, |random, _| {
                    random.object(|draft| {
                        draft.set("type", "DisruptionTarget");
                        draft.maybe_text("status", &["True", "False", "Unknown"]);
                    })
                })
            });
            draft.maybe("onExitCodes", |_| Value::Null);
        }
    })
}

fn cron_job(draft: &mut Draft<'_>) {
    draft.make("schedule", |random| random.text(&["@daily", "*/5 * * * *", "0 0 1 1 *"]));
    draft.maybe("timeZone", |random| random.text(&["Etc/UTC", "Europe/Berlin"]));
    draft.maybe_or("startingDeadlineSeconds", 0, |_| 60.into());
    draft.maybe_text("concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    draft.maybe_bool("suspend");
    draft.maybe_or("successfulJobsHistoryLimit", 0, |_| 2.into());
    draft.maybe_or("failedJobsHistoryLimit", 0, |_| 2.into());
    draft.make("jobTemplate", |random| {
        random.object(|draft| {
            draft.maybe_or("metadata", json!({}), |random| {
                random.object(|draft| {
                    draft.maybe_or("labels", json!({}), |_| json!({"a": "b"}));
                    draft.maybe_or("annotations", json!({}), |_| json!({"a": "b"}));
                    draft.maybe("creationTimestamp", |_| Value::Null);
                })
            });
            let mut spec = draft.random.object(job);
            if let Some(spec) = spec.as_object_mut() {
                // Only a Job may have a selector of its own.
                spec.remove("manualSelector");
                spec.remove("selector");
            }
            draft.set("spec", spec);
        })
    });
}

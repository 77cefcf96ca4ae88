//! Random pod templates that a real API server accepts.

use serde_json::{Value, json};

use crate::random::{Draft, Random};

use crate::manifests::{
    container::{self, Context, Role},
    volume::{self, selector},
};

/// A pod template with the label `app: a`. `restarts` are the restart policies that the kind allows; an empty text leaves the
/// field out.
pub(crate) fn template(random: &mut Random, restarts: &[&str]) -> Value {
    random.object(|draft| {
        draft.make("metadata", metadata);
        let spec = spec(draft.random, restarts);
        draft.set("spec", spec);
    })
}

fn metadata(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.make("labels", |random| {
            random.pick(&[json!({"app": "a"}), json!({"app": "a", "empty": "", "nothing": null})])
        });
        draft.maybe_or("annotations", json!({}), |random| {
            random.pick(&[
                json!({"a": "b"}),
                json!({"example.com/long": "x".repeat(2000), "c": null}),
                json!({"pod.beta.kubernetes.io/init-containers": "[]"}),
                json!({"pod.alpha.kubernetes.io/init-containers": "[]", "a": "ünïcode"}),
                json!({"kubectl.kubernetes.io/restartedAt": "2026-11-22T10:00:00Z"}),
                json!({"kubectl.kubernetes.io/restartedAt": "yesterday", "a": ""}),
            ])
        });
        draft.maybe("creationTimestamp", |random| {
            random.pick(&[Value::Null, "2026-11-22T10:00:00Z".into(), "2026-11-22T10:00:00.75+05:30".into()])
        });
        draft.maybe_text("name", &["template"]);
        draft.maybe_text("namespace", &["elsewhere"]);
        draft.maybe_text("generateName", &["template-"]);
        for name in ["selfLink", "uid", "resourceVersion"] {
            draft.maybe_text(name, &["7"]);
        }
        draft.maybe("deletionTimestamp", |_| "2026-11-22T10:00:00-08:00".into());
        draft.maybe_or("deletionGracePeriodSeconds", 0, |_| 30.into());
        draft.maybe_or("managedFields", json!([]), |_| {
            json!([{"manager": "m", "operation": "Apply", "apiVersion": "v1", "time": "2026-11-22T10:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {}}}, "subresource": ""}])
        });
        draft.maybe_or("generation", 0, |_| 3.into());
        draft.maybe_or("finalizers", json!([]), |_| json!(["example.com/finalizer"]));
        draft.maybe_or("ownerReferences", json!([]), |random| {
            json!([random.object(|draft| {
                draft.set("apiVersion", "v1");
                draft.set("kind", "ConfigMap");
                draft.set("name", "owner");
                draft.set("uid", "1");
                draft.maybe_bool("controller");
                draft.maybe_bool("blockOwnerDeletion");
            })])
        });
    })
}

fn spec(random: &mut Random, restarts: &[&str]) -> Value {
    random.object(|draft| {
        let restart = draft.random.pick(restarts);
        if !restart.is_empty() {
            draft.set("restartPolicy", restart);
        } else if draft.random.chance(20) {
            draft.set("restartPolicy", "");
        }
        let mut context = Context {
            never_restarts: restart == "Never",
            windows_options: draft.random.chance(50),
            ..Context::default()
        };
        draft.maybe_or("terminationGracePeriodSeconds", 0, |random| (2 + random.below(100)).into());
        context.no_time = draft.get("terminationGracePeriodSeconds") == 0;
        host(draft, &mut context);
        volumes(draft, &mut context);
        claims(draft, &mut context);
        draft.maybe("resources", container::pod_resources);
        context.no_resources = draft.get("resources").is_object();
        containers(draft, &context);

        dns(draft);
        if !restarts.contains(&"Always") {
            draft.maybe("activeDeadlineSeconds", |_| 600.into());
        }
        draft.maybe_or("nodeSelector", json!({}), |_| json!({"disk": "ssd", "zone": ""}));
        draft.maybe_text("serviceAccountName", &["runner"]);
        draft.maybe_text("serviceAccount", &["old-runner"]);
        draft.maybe_bool("automountServiceAccountToken");
        draft.maybe_text("nodeName", &["node-1"]);
        draft.maybe_or("securityContext", json!({}), |random| security_context(random, &context));
        draft.maybe_or("imagePullSecrets", json!([]), |random| {
            random.pick(&[json!([{"name": "pull"}]), json!([{"name": "a"}, {"name": "b"}]), json!([{"name": ""}])])
        });
        draft.maybe_text("hostname", &["host"]);
        draft.maybe_text("subdomain", &["sub"]);
        draft.maybe_or("affinity", json!({}), affinity);
        draft.maybe_text("schedulerName", &["default-scheduler", "other"]);
        draft.maybe_or("tolerations", json!([]), |random| random.list(1, 3, |random, _| toleration(random)));
        draft.maybe_or("hostAliases", json!([]), |random| {
            random.list(1, 2, |random, index| {
                random.object(|draft| {
                    draft.set("ip", format!("10.0.0.{index}"));
                    draft.maybe_or("hostnames", json!([]), |_| json!(["a", "b.c"]));
                })
            })
        });
        draft.maybe_text("priorityClassName", &["high"]);
        draft.maybe_or("priority", 0, |random| (random.below(100)).into());
        draft.maybe_or("readinessGates", json!([]), |_| json!([{"conditionType": "example.com/ready"}]));
        draft.maybe("runtimeClassName", |_| "gvisor".into());
        draft.maybe_bool("enableServiceLinks");
        draft.maybe("preemptionPolicy", |random| random.text(&["Never", "PreemptLowerPriority"]));
        draft.maybe_or("overhead", json!({}), |random| {
            json!({"cpu": random.pick(&["0.1", "0.0001", "1e-1"]), "memory": random.pick(&["64Mi", "65536Ki"])})
        });
        draft.maybe_or("topologySpreadConstraints", json!([]), |random| random.list(1, 2, spread));
        if !context.windows_options {
            draft.maybe("os", |_| json!({"name": "linux"}));
        }
        draft.maybe_or("schedulingGates", json!([]), |_| json!([{"name": "example.com/gate"}]));
        draft.maybe("schedulingGroup", |_| json!({"podGroupName": "group"}));
        draft.maybe_or("evictionResponders", json!([]), |_| json!([{"name": "example.com/responder", "priority": 1}]));
    })
}

/// The namespaces that a pod shares with its host. Most choices exclude others.
fn host(draft: &mut Draft<'_>, context: &mut Context) {
    for name in ["hostNetwork", "hostPID", "hostIPC"] {
        draft.maybe_bool(name);
    }
    context.host_network = draft.get("hostNetwork") == true;
    context.host_ipc = draft.get("hostIPC") == true;
    let shares = ["hostNetwork", "hostPID", "hostIPC"].iter().any(|name| draft.get(name) == true);
    if draft.get("hostPID") == true {
        draft.maybe("shareProcessNamespace", |_| false.into());
    } else {
        draft.maybe_bool("shareProcessNamespace");
    }
    if shares {
        draft.maybe("hostUsers", |_| true.into());
    } else {
        draft.maybe_bool("hostUsers");
    }
    context.unmasked = draft.get("hostUsers") == false;
    if context.host_network {
        draft.maybe("hostnameOverride", |_| Value::Null);
    } else {
        draft.maybe("hostnameOverride", |_| "other".into());
    }
    if draft.get("hostnameOverride").is_null() {
        draft.maybe_bool("setHostnameAsFQDN");
    }
}

fn volumes(draft: &mut Draft<'_>, context: &mut Context) {
    draft.maybe_or("volumes", json!([]), |random| {
        random.list(1, 6, |random, index| {
            let name = format!("v{index}");
            let (kind, volume) = volume::volume(random, &name, "main");
            match kind {
                "persistentVolumeClaim" | "ephemeral" if context.unmasked => {} // no devices in a user namespace
                "persistentVolumeClaim" | "ephemeral" => context.devices.push(name),
                "emptyDir" => {
                    context.scratch = Some(name.clone());
                    context.volumes.push(name);
                }
                _ => context.volumes.push(name),
            }
            volume
        })
    });
}

fn claims(draft: &mut Draft<'_>, context: &mut Context) {
    draft.maybe_or("resourceClaims", json!([]), |random| {
        context.claims.push("claim".to_owned());
        let name = random.pick(&["resourceClaimName", "resourceClaimTemplateName"]);
        json!([{"name": "claim", name: "some"}])
    });
}

fn containers(draft: &mut Draft<'_>, context: &Context) {
    draft.make("containers", |random| {
        random.list(1, 2, |random, index| {
            container::container(random, if index == 0 { "main" } else { "second" }, Role::Main, context)
        })
    });
    draft.maybe_or("initContainers", json!([]), |random| {
        random.list(1, 3, |random, index| {
            let role = if random.chance(50) { Role::Sidecar } else { Role::Init };
            container::container(random, &format!("init{index}"), role, context)
        })
    });
}

fn dns(draft: &mut Draft<'_>) {
    draft.maybe_text("dnsPolicy", &["ClusterFirst", "Default", "ClusterFirstWithHostNet", "None"]);
    let config = |random: &mut Random| {
        random.object(|draft| {
            draft.set("nameservers", json!(["10.0.0.1"]));
            draft.maybe_or("searches", json!([]), |_| json!(["example.com"]));
            draft.maybe_or("options", json!([]), |random| {
                random.list(1, 2, |random, _| {
                    random.object(|draft| {
                        draft.set("name", "ndots");
                        draft.maybe_or("value", "", |_| "2".into());
                    })
                })
            });
        })
    };
    if draft.get("dnsPolicy") == "None" {
        draft.make("dnsConfig", config);
    } else {
        draft.maybe_or("dnsConfig", json!({}), config);
    }
}

fn security_context(random: &mut Random, context: &Context) -> Value {
    random.object(|draft| {
        container::common_security(draft, context.windows_options);
        draft.maybe_or("supplementalGroups", json!([]), |_| json!([0, 1000, 4_294_967]));
        draft.maybe("supplementalGroupsPolicy", |random| random.text(&["Merge", "Strict"]));
        draft.maybe_or("fsGroup", 0, |_| 1000.into());
        draft.maybe("fsGroupChangePolicy", |random| random.text(&["OnRootMismatch", "Always"]));
        draft.maybe("seLinuxChangePolicy", |random| random.text(&["Recursive", "MountOption"]));
        if !context.host_ipc {
            draft.maybe_or("sysctls", json!([]), |_| json!([{"name": "kernel.shm_rmid_forced", "value": "1"}]));
        }
    })
}

fn toleration(random: &mut Random) -> Value {
    random.object(|draft| match draft.random.below(3) {
        0 => {
            draft.set("operator", "Exists");
            draft.maybe_text("key", &["dedicated"]);
            draft.maybe_or("value", "", |_| Value::Null);
            draft.maybe_text("effect", &["NoSchedule", "PreferNoSchedule"]);
        }
        1 => {
            draft.set("key", "dedicated");
            draft.maybe_text("operator", &["Equal"]);
            draft.maybe_text("value", &["a"]);
            draft.maybe_text("effect", &["NoSchedule"]);
        }
        _ => {
            draft.set("key", "dedicated");
            draft.set("operator", "Exists");
            draft.set("effect", "NoExecute");
            draft.maybe_or("tolerationSeconds", 0, |_| 300.into());
        }
    })
}

fn affinity(random: &mut Random) -> Value {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    random.object(|draft| {
        draft.maybe_or("nodeAffinity", json!({}), |random| {
            random.object(|draft| {
                draft.maybe(
                    REQUIRED,
                    |random| json!({"nodeSelectorTerms": random.list(1, 2, |random, _| node_term(random))}),
                );
                draft.maybe_or(PREFERRED, json!([]), |random| {
                    random.list(
                        1,
                        2,
                        |random, _| json!({"weight": 1 + random.below(100), "preference": node_term(random)}),
                    )
                });
            })
        });
        for name in ["podAffinity", "podAntiAffinity"] {
            draft.maybe_or(name, json!({}), |random| {
                random.object(|draft| {
                    draft.maybe_or(REQUIRED, json!([]), |random| random.list(1, 2, |random, _| pod_term(random)));
                    draft.maybe_or(PREFERRED, json!([]), |random| {
                        random.list(
                            1,
                            2,
                            |random, _| json!({"weight": 1 + random.below(100), "podAffinityTerm": pod_term(random)}),
                        )
                    });
                })
            });
        }
    })
}

fn node_term(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.maybe_or("matchExpressions", json!([]), |random| {
            random.list(1, 2, |random, _| {
                random.object(|draft| {
                    draft.set("key", "zone");
                    let (operator, values) = draft.random.pick(&[
                        ("In", json!(["a", "b"])),
                        ("NotIn", json!(["a"])),
                        ("Exists", json!([])),
                        ("DoesNotExist", Value::Null),
                        ("Gt", json!(["1"])),
                    ]);
                    draft.set("operator", operator);
                    draft.set("values", values);
                })
            })
        });
        draft.maybe_or(
            "matchFields",
            json!([]),
            |_| json!([{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]),
        );
    })
}

fn pod_term(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.set("topologyKey", "kubernetes.io/hostname");
        draft.make("labelSelector", selector);
        draft.maybe_or("namespaceSelector", json!({}), selector);
        draft.maybe_or("namespaces", json!([]), |_| json!(["a", "b"]));
        draft.maybe_or("matchLabelKeys", json!([]), |_| json!(["pod-template-hash"]));
        draft.maybe_or("mismatchLabelKeys", json!([]), |_| json!(["tenant"]));
    })
}

fn spread(random: &mut Random, index: usize) -> Value {
    random.object(|draft| {
        draft.set("maxSkew", 1);
        draft.set("topologyKey", format!("topology.example.com/{index}"));
        let unsatisfiable = draft.random.pick(&["DoNotSchedule", "ScheduleAnyway"]);
        draft.set("whenUnsatisfiable", unsatisfiable);
        draft.make("labelSelector", selector);
        if unsatisfiable == "DoNotSchedule" {
            draft.maybe("minDomains", |_| 2.into());
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            draft.maybe(name, |random| random.text(&["Honor", "Ignore"]));
        }
        draft.maybe_or("matchLabelKeys", json!([]), |_| json!(["pod-template-hash"]));
    })
}

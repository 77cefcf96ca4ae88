//! Random containers: main, init and sidecar, with all their fields.
//!
//! The file is longer than 500 lines: it lists every field of a container.

use serde_json::{Value, json};

use crate::random::{Draft, Random};

/// The parts of the pod to which a container may refer, and the pod's restrictions.
#[expect(clippy::struct_excessive_bools, reason = "facts about one pod that don't depend on each other")]
#[derive(Default)]
pub(crate) struct Context {
    /// Volumes that can be mounted.
    pub(crate) volumes: Vec<String>,
    /// Block devices.
    pub(crate) devices: Vec<String>,
    /// An emptyDir, for environment files.
    pub(crate) scratch: Option<String>,
    /// Dynamic resource claims.
    pub(crate) claims: Vec<String>,
    /// Whether the pod has resources, so that its containers have none.
    pub(crate) no_resources: bool,
    pub(crate) host_network: bool,
    pub(crate) host_ipc: bool,
    pub(crate) windows_options: bool,
    pub(crate) unmasked: bool,
    pub(crate) never_restarts: bool,
    /// Whether the pod has no grace period, so that a hook may not sleep.
    pub(crate) no_time: bool,
}

/// The role of a container in its pod.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Main,
    Init,
    Sidecar,
}

pub(crate) const IMAGES: &[&str] = &[
    "app",
    "app:1",
    "app:latest",
    "acme/app",
    "docker.io/acme/app:latest",
    "ghcr.io/acme/app:1.2.3",
    "ghcr.io/acme/app",
    "registry.example:5000/app",
    "registry.example:5000/acme/app:latest",
    "localhost/app",
    "app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "app:latest@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ghcr.io/Acme/app:latest",
    "app:latest@sha256:short",
    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
    "[::1]:5000/app",
    "a..b",
];

const TEXTS: &[&str] =
    &["a", "two words", "$(A)", "ünïcode \u{1f600}", "<&>\"'\\", "1", "true", "line\nline", "\u{2028}"];

pub(crate) fn container(random: &mut Random, name: &str, role: Role, context: &Context) -> Value {
    random.object(|draft| {
        draft.set("name", name);
        draft.make("image", |random| random.text(IMAGES));
        draft.maybe_text("imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
        for name in ["command", "args"] {
            draft.maybe_or(name, json!([]), |random| random.list(1, 3, |random, _| text_or_null(random)));
        }
        draft.maybe_text("workingDir", &["/", "/srv"]);
        draft.maybe_or("ports", json!([]), |random| ports(random, name, context.host_network));
        draft.maybe_or("envFrom", json!([]), |random| random.list(1, 2, |random, _| environment_source(random)));
        draft.maybe_or("env", json!([]), |random| {
            random.list(1, 4, |random, index| variable(random, index, name, context))
        });
        if !context.no_resources {
            draft.maybe_or("resources", json!({}), |random| resources(random, context));
        }
        draft.maybe_or("resizePolicy", json!([]), |random| resize_policy(random, role, context.never_restarts));
        restart_policy(draft, role);
        mounts(draft, context);
        if role != Role::Init {
            let hooks = if context.no_time { Handlers::HastyHook } else { Handlers::Hook };
            draft.maybe("livenessProbe", |random| probe(random, ProbeKind::Liveness));
            draft.maybe("readinessProbe", |random| probe(random, ProbeKind::Readiness));
            draft.maybe("startupProbe", |random| probe(random, ProbeKind::Liveness));
            draft.maybe_or("lifecycle", json!({}), |random| {
                random.object(|draft| {
                    draft.maybe("postStart", |random| handler(random, hooks));
                    draft.maybe("preStop", |random| handler(random, hooks));
                    draft.maybe("stopSignal", |random| random.text(&["SIGTERM", "SIGUSR1"]));
                })
            });
        }
        draft.maybe_text("terminationMessagePath", &["/dev/termination-log", "/tmp/message"]);
        draft.maybe_text("terminationMessagePolicy", &["File", "FallbackToLogsOnError"]);
        draft.maybe_or("securityContext", json!({}), |random| security_context(random, context));
        for name in ["stdin", "stdinOnce", "tty"] {
            draft.maybe_bool(name);
        }
    })
}

/// A null in a list is an empty text.
fn text_or_null(random: &mut Random) -> Value {
    if random.chance(5) { Value::Null } else { random.text(TEXTS) }
}

fn ports(random: &mut Random, container: &str, host_network: bool) -> Value {
    random.list(1, 3, |random, index| {
        random.object(|draft| {
            let number = 1000 + draft.random.below(60000);
            draft.set("containerPort", number);
            draft.maybe_or("name", "", |_| format!("{}{index}", &container[..container.len().min(8)]).into());
            draft.maybe_or("protocol", "", |random| random.text(&["TCP", "UDP", "SCTP"]));
            draft.maybe_text("hostIP", &["10.0.0.1", "::1"]);
            if host_network {
                draft.maybe_or("hostPort", 0, |_| number.into());
            } else {
                draft.maybe_or("hostPort", 0, |random| (1000 + random.below(60000)).into());
            }
        })
    })
}

fn environment_source(random: &mut Random) -> Value {
    let source = random.pick(&["configMapRef", "secretRef"]);
    random.object(|draft| {
        draft.maybe_text("prefix", &["P_", "a."]);
        let reference = draft.random.object(|draft| {
            draft.set("name", "shared");
            draft.maybe_bool("optional");
        });
        draft.set(source, reference);
    })
}

fn variable(random: &mut Random, index: usize, container: &str, context: &Context) -> Value {
    random.object(|draft| {
        draft.set("name", format!("V{index}"));
        if draft.random.chance(40) {
            let source = variable_source(draft.random, container, context);
            draft.set("valueFrom", source);
            draft.maybe_or("value", "", |_| Value::Null);
        } else {
            draft.maybe_text("value", TEXTS);
            draft.maybe("valueFrom", |_| Value::Null);
        }
    })
}

fn variable_source(random: &mut Random, container: &str, context: &Context) -> Value {
    let kind = random.pick(&["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"]);
    let source = match kind {
        "resourceFieldRef" => resource_field(random, container),
        "configMapKeyRef" | "secretKeyRef" => random.object(|draft| {
            draft.set("name", "shared");
            draft.set("key", "key.txt");
            draft.maybe_bool("optional");
        }),
        "fileKeyRef" if context.scratch.is_some() => random.object(|draft| {
            draft.set("volumeName", context.scratch.clone());
            draft.set("path", "env/file");
            draft.set("key", "KEY");
            draft.maybe_bool("optional");
        }),
        _ => {
            let source = random.object(|draft| {
                draft.make("fieldPath", |random| {
                    random.text(&[
                        "metadata.name",
                        "metadata.namespace",
                        "metadata.uid",
                        "metadata.labels['app']",
                        "metadata.annotations['a']",
                        "spec.nodeName",
                        "spec.serviceAccountName",
                        "status.hostIP",
                        "status.hostIPs",
                        "status.podIP",
                        "status.podIPs",
                    ])
                });
                draft.maybe_text("apiVersion", &["v1"]);
            });
            return json!({"fieldRef": source});
        }
    };
    json!({ kind: source })
}

/// A reference to a container's resource, with a divisor in a random spelling.
pub(crate) fn resource_field(random: &mut Random, container: &str) -> Value {
    let (resource, divisors) = random.pick(&[
        ("limits.cpu", [json!("1"), json!(1), json!("1m"), json!("1000m"), json!("0.001"), json!("0")]),
        ("requests.cpu", [json!("1m"), json!("1000u"), json!("1000m"), json!(1), json!("1"), json!(0.001)]),
        ("limits.memory", [json!("1Mi"), json!("1024Ki"), json!("1M"), json!("1000k"), json!("1"), json!("1024Mi")]),
        ("requests.memory", [json!("1Gi"), json!("1k"), json!("1000"), json!(1000), json!("1G"), json!("1Ki")]),
        ("limits.ephemeral-storage", [json!("1"), json!("1M"), json!("1Mi"), json!("1k"), json!("1Ei"), json!("1P")]),
    ]);
    random.object(|draft| {
        draft.set("resource", resource);
        draft.set("containerName", container);
        draft.maybe("divisor", |random| random.pick(&divisors));
    })
}

/// Quantities that are less than every one of `LARGE`, in many spellings.
const SMALL: &[&str] = &[
    "0",
    "0.0001",
    "1m",
    "1500u",
    "1n",
    ".25",
    "0.25",
    "250m",
    "+250m",
    "0250m",
    "2.5e-1",
    "250e-3",
    "0.000250k",
    "1.0005",
    "1",
    "1.",
    "1.0",
    "1.000",
    "1.5",
    "01.50",
    "1500m",
    "1e0",
    "1E0",
    "10e-1",
    "1.25e0",
    "3",
];
/// Quantities that are more than every one of `SMALL`.
const LARGE: &[&str] = &[
    "4",
    "+4",
    "004",
    "4.0",
    "4000m",
    "4e0",
    "5.5",
    "5500m",
    "0.007k",
    "8192m",
    "1k",
    "1e3",
    "1Ki",
    "0.5Ki",
    "1000Ki",
    "1024Ki",
    "2048Mi",
    "1000Mi",
    "1025Mi",
    "1.5Gi",
    "0.3Gi",
    "1.1Gi",
    "1M",
    "1e6",
    "1E6",
    "64e6",
    "123456789",
    "1.5G",
    "1e9",
    "1000000k",
    "12345678901234567890",
    "1Ti",
    "1.5Ti",
    "1Pi",
    "1Ei",
    "16Ei",
    "1P",
    "1E",
    "9223372036854775807",
    "1.000000001k",
    "1e18",
    "1e21",
    "1234567.891M",
];

/// Any number with any suffix.
fn any_quantity(random: &mut Random) -> Value {
    let mut digits = |most: usize| -> String {
        let length = random.below(most + 1);
        (0..length).map(|_| char::from(random.pick(b"0001234567899"))).collect()
    };
    let (whole, fraction) = (digits(12), digits(10));
    let point = if fraction.is_empty() { "" } else { "." };
    let zero = if whole.is_empty() && fraction.is_empty() { "0" } else { "" };
    let suffix = random.pick(&[
        "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E6", "e-2", "e+1",
        "e0",
    ]);
    format!("{whole}{zero}{point}{fraction}{suffix}").into()
}

fn small(random: &mut Random) -> Value {
    if random.chance(20) {
        random.pick(&[json!(0), json!(1), json!(0.5), json!(0.0001), json!(2)])
    } else {
        random.text(SMALL)
    }
}

fn large(random: &mut Random) -> Value {
    if random.chance(20) {
        random.pick(&[json!(4), json!(4.5), json!(1000), json!(1_073_741_824), json!(1_234_567_890_123_i64)])
    } else {
        random.text(LARGE)
    }
}

fn resources(random: &mut Random, context: &Context) -> Value {
    let extended =
        random.chance(20).then(|| random.pick(&[json!("1"), json!(2), json!("1k"), json!("2000m"), json!("2e0")]));
    let huge = random.chance(10).then(|| random.text(&["2Mi", "4096Ki", "1Gi"]));
    let both = |draft: &mut Draft<'_>| {
        if let Some(count) = &extended {
            draft.set("example.com/device", count.clone());
        }
        if let Some(pages) = &huge {
            draft.set("hugepages-2Mi", pages.clone());
            draft.set("memory", "64Mi"); // huge pages require memory or CPU as well
        }
    };
    random.object(|draft| {
        let limits = extended.is_some() || huge.is_some() || draft.random.chance(60);
        if limits {
            draft.make("limits", |random| {
                random.object(|draft| {
                    for name in ["cpu", "memory", "ephemeral-storage"] {
                        draft.maybe(name, large);
                        if draft.get(name).is_null() {
                            draft.set(name, "100Ei"); // a null would be zero, which is less than the request
                        }
                    }
                    both(draft);
                })
            });
        } else {
            draft.maybe_or("limits", json!({}), |_| Value::Null);
        }
        draft.maybe_or("requests", json!({}), |random| {
            random.object(|draft| {
                for name in ["cpu", "memory", "ephemeral-storage"] {
                    if limits {
                        draft.maybe(name, small);
                    } else {
                        draft.maybe(name, |random| match random.below(3) {
                            0 => small(random),
                            1 => large(random),
                            _ => any_quantity(random),
                        });
                    }
                }
                both(draft);
            })
        });
        if !context.claims.is_empty() {
            draft.maybe_or("claims", json!([]), |random| {
                let name = random.pick(&context.claims);
                json!([random.object(|draft| {
                    draft.set("name", name);
                    draft.maybe_text("request", &["one"]);
                })])
            });
        }
    })
}

/// The pod's own resources.
pub(crate) fn pod_resources(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.maybe("limits", |random| {
            random.object(|draft| {
                draft.set("cpu", "9");
                draft.make("memory", |random| random.text(&["1.5Gi", "2048Mi", "3000000000"]));
            })
        });
        draft.maybe_or("requests", json!({}), |random| {
            random.object(|draft| {
                draft.maybe("cpu", small);
            })
        });
    })
}

fn resize_policy(random: &mut Random, role: Role, never_restarts: bool) -> Value {
    if role == Role::Init {
        return json!([]);
    }
    let policies: &[&str] = if never_restarts { &["NotRequired"] } else { &["NotRequired", "RestartContainer"] };
    let resources = random.pick(&[vec!["cpu"], vec!["memory"], vec!["cpu", "memory"]]);
    resources.into_iter().map(|name| json!({"resourceName": name, "restartPolicy": random.pick(policies)})).collect()
}

fn restart_policy(draft: &mut Draft<'_>, role: Role) {
    if role == Role::Sidecar {
        draft.set("restartPolicy", "Always");
        return;
    }
    draft.maybe("restartPolicy", |random| random.text(&["OnFailure", "Never"]));
    if !draft.get("restartPolicy").is_null() {
        draft.maybe_or("restartPolicyRules", json!([]), |random| {
            random.list(1, 2, |random, _| {
                json!({"action": "Restart", "exitCodes": {"operator": random.pick(&["In", "NotIn"]),
                    "values": random.list(1, 3, |_, index| (index + 1).into())}})
            })
        });
    }
}

fn mounts(draft: &mut Draft<'_>, context: &Context) {
    if !context.volumes.is_empty() {
        draft.maybe_or("volumeMounts", json!([]), |random| {
            random.list(1, 3, |random, index| {
                let volume = random.pick(&context.volumes);
                mount(random, &volume, index)
            })
        });
    }
    if !context.devices.is_empty() {
        draft.maybe_or(
            "volumeDevices",
            json!([]),
            |random| json!([{"name": random.pick(&context.devices), "devicePath": "/dev/xvda"}]),
        );
    }
}

fn mount(random: &mut Random, volume: &str, index: usize) -> Value {
    random.object(|draft| {
        draft.set("name", volume);
        draft.set("mountPath", format!("/mnt/{index}"));
        draft.maybe_bool("readOnly");
        if draft.get("readOnly") == true {
            draft.maybe("recursiveReadOnly", |random| random.text(&["Disabled", "IfPossible", "Enabled"]));
        }
        let recursive = draft.get("recursiveReadOnly").is_string();
        let propagation: &[&str] = if recursive { &["None"] } else { &["None", "HostToContainer"] };
        draft.maybe("mountPropagation", |random| random.text(propagation));
        match draft.random.below(3) {
            0 => draft.maybe_text("subPath", &["a/b"]),
            1 => draft.maybe_text("subPathExpr", &["$(V0)/x"]),
            _ => draft.maybe("bindMountOptions", |_| json!(["noexec"])),
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ProbeKind {
    Liveness,
    Readiness,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Handlers {
    Probe,
    Hook,
    HastyHook,
}

fn probe(random: &mut Random, kind: ProbeKind) -> Value {
    let mut probe = handler(random, Handlers::Probe);
    let rest = random.object(|draft| {
        for name in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"] {
            draft.maybe_or(name, 0, |random| (1 + random.below(30)).into());
        }
        match kind {
            ProbeKind::Liveness => {
                draft.maybe_or("successThreshold", 0, |_| 1.into());
                draft.maybe("terminationGracePeriodSeconds", |random| (1 + random.below(60)).into());
            }
            ProbeKind::Readiness => draft.maybe_or("successThreshold", 0, |random| (1 + random.below(5)).into()),
        }
    });
    if let (Some(probe), Value::Object(rest)) = (probe.as_object_mut(), rest) {
        probe.extend(rest);
    }
    probe
}

fn handler(random: &mut Random, handlers: Handlers) -> Value {
    let port = |random: &mut Random| random.pick(&[json!(8080), json!("http"), json!(1)]);
    let kind = match handlers {
        Handlers::Probe => random.pick(&["exec", "httpGet", "tcpSocket", "grpc"]),
        Handlers::Hook => random.pick(&["exec", "httpGet", "tcpSocket", "sleep"]),
        Handlers::HastyHook => random.pick(&["exec", "httpGet", "tcpSocket"]),
    };
    let action = match kind {
        "exec" => random.object(|draft| {
            draft.make("command", |random| random.list(1, 3, |random, _| random.text(TEXTS)));
        }),
        "httpGet" => random.object(|draft| {
            draft.make("port", port);
            draft.maybe_text("path", &["/", "/healthz?a=b&c=d"]);
            draft.maybe_text("host", &["localhost", "10.0.0.1"]);
            draft.maybe_text("scheme", &["HTTP", "HTTPS"]);
            draft.maybe("protocol", |random| random.text(&["HTTP1", "H2C"]));
            draft.maybe_or("httpHeaders", json!([]), |random| {
                random.list(1, 2, |random, _| json!({"name": "X-A", "value": random.pick(TEXTS)}))
            });
        }),
        "tcpSocket" => random.object(|draft| {
            draft.make("port", port);
            draft.maybe_text("host", &["localhost"]);
        }),
        "sleep" => json!({"seconds": 1}),
        _ => random.object(|draft| {
            draft.set("port", 9000);
            draft.maybe_text("service", &["health"]);
            draft.maybe("mode", |random| random.text(&["Plaintext", "TLS"]));
        }),
    };
    json!({ kind: action })
}

/// Fields that pods and containers share.
pub(crate) fn common_security(draft: &mut Draft<'_>, windows_options: bool) {
    for name in ["runAsUser", "runAsGroup"] {
        draft.maybe_or(name, 0, |random| (1 + random.below(100_000)).into());
    }
    draft.maybe_bool("runAsNonRoot");
    draft.maybe_or("seLinuxOptions", json!({}), |random| {
        random.object(|draft| {
            for name in ["user", "role", "type"] {
                draft.maybe_text(name, &["system_u"]);
            }
            draft.maybe_text("level", &["s0:c123,c456"]);
        })
    });
    for name in ["seccompProfile", "appArmorProfile"] {
        draft.maybe(name, |random| {
            random.object(|draft| {
                let kind = draft.random.pick(&["RuntimeDefault", "Unconfined", "Localhost"]);
                draft.set("type", kind);
                if kind == "Localhost" {
                    draft.set("localhostProfile", "profile.json");
                }
            })
        });
    }
    if windows_options {
        draft.maybe_or("windowsOptions", json!({}), |random| {
            random.object(|draft| {
                draft.maybe("runAsUserName", |random| random.text(&["ContainerUser"]));
                draft.maybe("gmsaCredentialSpecName", |random| random.text(&["spec"]));
                draft.maybe("gmsaCredentialSpec", |random| random.text(&["{}"]));
                draft.maybe("hostProcess", |_| false.into());
            })
        });
    }
}

fn security_context(random: &mut Random, context: &Context) -> Value {
    random.object(|draft| {
        common_security(draft, context.windows_options);
        draft.maybe_or("capabilities", json!({}), |random| {
            random.object(|draft| {
                draft.maybe_or("add", json!([]), |_| json!(["NET_BIND_SERVICE", "CHOWN"]));
                draft.maybe_or("drop", json!([]), |random| random.pick(&[json!(["ALL"]), json!(["NET_RAW"])]));
            })
        });
        draft.maybe_bool("readOnlyRootFilesystem");
        draft.maybe_bool("privileged");
        if draft.get("privileged") == true {
            draft.maybe("allowPrivilegeEscalation", |_| true.into());
        } else {
            draft.maybe_bool("allowPrivilegeEscalation");
        }
        let mounts: &[&str] = if context.unmasked { &["Default", "Unmasked"] } else { &["Default"] };
        draft.maybe("procMount", |random| random.text(mounts));
    })
}

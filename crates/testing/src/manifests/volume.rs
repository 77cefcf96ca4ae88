//! Random volumes of every type, and claims.

use serde_json::{Value, json};

use crate::random::{Draft, Random};

use crate::manifests::container::{IMAGES, resource_field};

/// The fields of a volume that are its type.
const TYPES: &[&str] = &[
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "persistentVolumeClaim",
    "photonPersistentDisk",
    "portworxVolume",
    "projected",
    "quobyte",
    "rbd",
    "scaleIO",
    "secret",
    "storageos",
    "vsphereVolume",
    "", // none: an emptyDir
];

const FILE_SYSTEMS: &[&str] = &["ext4", "xfs"];

/// A volume, and the name of its type.
pub(crate) fn volume(random: &mut Random, name: &str, container: &str) -> (&'static str, Value) {
    let kind = random.pick(TYPES);
    let mut volume = json!({ "name": name });
    if !kind.is_empty() {
        volume[kind] = source(random, kind, container);
    }
    // A null is not a second source.
    if random.chance(10) {
        let other = random.pick(TYPES);
        if other != kind && !other.is_empty() {
            volume[other] = Value::Null;
        }
    }
    (kind, volume)
}

fn source(random: &mut Random, kind: &str, container: &str) -> Value {
    match kind {
        "configMap" | "secret" | "downwardAPI" | "projected" => files(random, kind, container),
        "emptyDir" => random.object(|draft| {
            draft.maybe_text("medium", &["Memory"]);
            draft.maybe("sizeLimit", |random| {
                random.pick(&[
                    json!("1024Ki"),
                    json!("1.5Gi"),
                    json!("0.1"),
                    json!(1_000_000),
                    json!("0"),
                    json!("1e6"),
                ])
            });
            draft.maybe("mode", |_| 0o1777.into());
        }),
        "hostPath" => random.object(|draft| {
            draft.set("path", "/data");
            draft.maybe_text("type", &["Directory", "DirectoryOrCreate", "File", "Socket"]);
        }),
        "image" => random.object(|draft| {
            draft.make("reference", |random| random.text(IMAGES));
            draft.maybe_text("pullPolicy", &["Always", "IfNotPresent", "Never"]);
        }),
        "ephemeral" => random.object(|draft| {
            let template = draft.random.object(|draft| {
                draft.maybe_or("metadata", json!({}), |random| {
                    random.object(|draft| {
                        draft.maybe_or("labels", json!({}), |_| json!({"a": "b"}));
                        draft.maybe_or("annotations", json!({}), |_| json!({"a": "b"}));
                    })
                });
                draft.make("spec", claim_spec);
            });
            draft.set("volumeClaimTemplate", template);
        }),
        "persistentVolumeClaim" => random.object(|draft| {
            draft.set("claimName", "claim");
            draft.maybe_bool("readOnly");
        }),
        "csi" => random.object(|draft| {
            draft.set("driver", "csi.example.com");
            draft.maybe_bool("readOnly");
            draft.maybe_text("fsType", FILE_SYSTEMS);
            draft.maybe_or("volumeAttributes", json!({}), |_| json!({"a": "b", "c": ""}));
            draft.maybe("nodePublishSecretRef", |_| json!({"name": "secret"}));
        }),
        _ => driver(random, kind),
    }
}

/// File modes, which a user writes in octal.
fn mode(random: &mut Random) -> Value {
    random.pick(&[0o644, 0o400, 0, 0o777]).into()
}

fn files(random: &mut Random, kind: &str, container: &str) -> Value {
    random.object(|draft| {
        draft.maybe("defaultMode", mode);
        draft.maybe("defaultUser", |_| 1000.into());
        match kind {
            "configMap" => {
                draft.set("name", "config");
                key_files(draft);
            }
            "secret" => {
                draft.set("secretName", "secret");
                key_files(draft);
            }
            "downwardAPI" => draft.maybe_or("items", json!([]), |random| downward_items(random, container)),
            _ => {
                draft.make("sources", |random| random.list(0, 4, |random, index| projection(random, index, container)));
            }
        }
    })
}

fn key_files(draft: &mut Draft<'_>) {
    draft.maybe_bool("optional");
    draft.maybe_or("items", json!([]), |random| {
        random.list(1, 2, |random, index| {
            random.object(|draft| {
                draft.set("key", format!("key{index}"));
                draft.make("path", |random| format!("path{}/{index}", random.below(1_000_000)).into());
                draft.maybe("mode", mode);
                draft.maybe("user", |_| 1000.into());
            })
        })
    });
}

fn downward_items(random: &mut Random, container: &str) -> Value {
    random.list(1, 3, |random, index| {
        random.object(|draft| {
            draft.make("path", |random| format!("downward{}/{index}", random.below(1_000_000)).into());
            draft.maybe("mode", mode);
            draft.maybe("user", |_| 1000.into());
            if draft.random.chance(50) {
                let field = draft.random.object(|draft| {
                    let path = draft.random.text(&[
                        "metadata.name",
                        "metadata.labels",
                        "metadata.annotations",
                        "metadata.uid",
                    ]);
                    draft.set("fieldPath", path);
                    draft.maybe_text("apiVersion", &["v1"]);
                });
                draft.set("fieldRef", field);
            } else {
                let field = resource_field(draft.random, container);
                draft.set("resourceFieldRef", field);
            }
        })
    })
}

fn projection(random: &mut Random, index: usize, container: &str) -> Value {
    let kind = random.pick(&[
        "secret",
        "configMap",
        "downwardAPI",
        "serviceAccountToken",
        "clusterTrustBundle",
        "podCertificate",
    ]);
    let source = random.object(|draft| {
        if !matches!(kind, "secret" | "configMap" | "downwardAPI") {
            draft.maybe("user", |_| 1000.into());
        }
        projected(draft, kind, index, container);
    });
    json!({ kind: source })
}

fn projected(draft: &mut Draft<'_>, kind: &str, index: usize, container: &str) {
    match kind {
        "secret" | "configMap" => {
            draft.set("name", "shared");
            key_files(draft);
        }
        "downwardAPI" => draft.maybe_or("items", json!([]), |random| downward_items(random, container)),
        "serviceAccountToken" => {
            draft.set("path", format!("token{index}"));
            draft.maybe_text("audience", &["vault"]);
            draft.maybe("expirationSeconds", |random| (600 + random.below(10_000)).into());
        }
        "clusterTrustBundle" => {
            draft.set("path", format!("bundle{index}"));
            draft.maybe_bool("optional");
            if draft.random.chance(50) {
                draft.set("name", "bundle");
            } else {
                draft.set("signerName", "example.com/signer");
                draft.maybe_or("labelSelector", json!({}), selector);
            }
        }
        _ => {
            draft.set("signerName", "example.com/signer");
            draft.make("keyType", |random| random.text(&["ED25519", "RSA4096", "ECDSAP256"]));
            draft.maybe("maxExpirationSeconds", |random| (3600 + random.below(3600)).into());
            if draft.random.chance(50) {
                draft.set("credentialBundlePath", format!("credential{index}"));
            } else {
                draft.set("keyPath", format!("key{index}"));
                draft.set("certificateChainPath", format!("chain{index}"));
            }
            draft.maybe_or("userAnnotations", json!({}), |_| json!({"example.com/a": "b"}));
        }
    }
}

/// A label selector with both parts, either or none.
pub(crate) fn selector(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.maybe_or("matchLabels", json!({}), |_| json!({"app": "a"}));
        draft.maybe_or("matchExpressions", json!([]), |random| {
            random.list(1, 2, |random, _| {
                random.object(|draft| {
                    draft.set("key", "tier");
                    if draft.random.chance(50) {
                        draft.set("operator", "In");
                        draft.set("values", json!(["a", ""]));
                    } else {
                        draft.set("operator", "Exists");
                        draft.maybe_or("values", json!([]), |_| Value::Null);
                    }
                })
            })
        });
    })
}

/// The spec of a claim: a StatefulSet's or an ephemeral volume's.
pub(crate) fn claim_spec(random: &mut Random) -> Value {
    random.object(|draft| {
        draft.make("accessModes", |random| {
            random.pick(&[json!(["ReadWriteOnce"]), json!(["ReadOnlyMany", "ReadWriteMany"])])
        });
        let resources = draft.random.object(|draft| {
            let storage = draft.random.pick(&[
                json!("1Gi"),
                json!("0.5Gi"),
                json!("1024Mi"),
                json!(1_000_000_000),
                json!("1.5T"),
                json!("1e9"),
                json!("1500m"),
                json!("0.0001"),
            ]);
            draft.set("requests", json!({ "storage": storage }));
            draft.maybe_or("limits", json!({}), |_| json!({"storage": "2048Pi"}));
        });
        draft.set("resources", resources);
        draft.maybe_or("selector", json!({}), selector);
        draft.maybe_text("storageClassName", &["fast"]);
        draft.maybe_text("volumeName", &["volume"]);
        draft.maybe("volumeMode", |random| random.text(&["Filesystem", "Block"]));
        draft.maybe("volumeAttributesClassName", |random| random.text(&["gold"]));
        match draft.random.below(5) {
            0 => draft.set("dataSource", json!({"kind": "PersistentVolumeClaim", "name": "other"})),
            1 => draft.set(
                "dataSource",
                json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "other"}),
            ),
            2 => draft.set(
                "dataSourceRef",
                json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "other"}),
            ),
            // The feature gate of this field is off, but the server drops it only from PersistentVolumeClaims.
            3 => draft.set(
                "dataSourceRef",
                json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "other", "namespace": "a"}),
            ),
            _ => {}
        }
    })
}

/// A field that a driver's volume may have.
#[derive(Clone, Copy)]
enum Optional {
    Text(&'static str),
    Number(&'static str),
    Bool(&'static str),
    /// `secretRef`
    Secret,
    /// `fsType`
    FileSystem,
    /// `readOnly`
    ReadOnly,
}

/// The drivers from before CSI.
fn driver(random: &mut Random, kind: &str) -> Value {
    use Optional::{Bool, FileSystem, Number, ReadOnly, Secret, Text};
    let (required, optional): (Value, &[Optional]) = match kind {
        "awsElasticBlockStore" => (json!({"volumeID": "id"}), &[FileSystem, Number("partition"), ReadOnly]),
        "azureDisk" => {
            let disk = random.pick(&[
                json!({"diskName": "d", "diskURI": "/subscriptions/a/d", "kind": "Managed", "cachingMode": "None"}),
                json!({"diskName": "d", "diskURI": "https://example.com/d.vhd", "kind": "Dedicated"}),
                json!({"diskName": "d", "diskURI": "https://example.com/d.vhd", "kind": null, "cachingMode": null}),
            ]);
            (disk, &[FileSystem, ReadOnly])
        }
        "azureFile" => (json!({"secretName": "s", "shareName": "s"}), &[ReadOnly]),
        "cephfs" => {
            (json!({"monitors": ["a", "b"]}), &[Text("path"), Text("user"), Text("secretFile"), Secret, ReadOnly])
        }
        "cinder" => (json!({"volumeID": "id"}), &[FileSystem, Secret, ReadOnly]),
        "fc" => {
            let target = random.pick(&[
                json!({"wwids": ["w"]}),
                json!({"targetWWNs": ["w"], "lun": 0}),
                json!({"targetWWNs": ["w"], "lun": 2, "wwids": []}),
            ]);
            (target, &[FileSystem, ReadOnly])
        }
        "flexVolume" => {
            let options = random.pick(&[json!({}), json!({"a": "b"}), Value::Null]);
            (json!({"driver": "example.com/driver", "options": options}), &[FileSystem, Secret, ReadOnly])
        }
        "flocker" => (random.pick(&[json!({"datasetName": "d"}), json!({"datasetUUID": "u", "datasetName": ""})]), &[]),
        "gcePersistentDisk" => (json!({"pdName": "d"}), &[FileSystem, Number("partition"), ReadOnly]),
        "gitRepo" => (json!({"repository": "https://example.com/r"}), &[Text("revision"), Text("directory")]),
        "glusterfs" => (json!({"endpoints": "e", "path": "p"}), &[ReadOnly]),
        "iscsi" => {
            let portals = random.pick(&[json!([]), json!(["10.0.0.2"]), Value::Null]);
            let target = json!({"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:disk", "lun": 0,
                "portals": portals, "chapAuthDiscovery": false, "chapAuthSession": false, "initiatorName": "iqn.2001-04.com.example:me"});
            (target, &[Text("iscsiInterface"), FileSystem, Secret, ReadOnly])
        }
        "nfs" => (json!({"server": "s", "path": "/path"}), &[ReadOnly]),
        "photonPersistentDisk" => (json!({"pdID": "id"}), &[FileSystem]),
        "portworxVolume" => (json!({"volumeID": "id"}), &[FileSystem, ReadOnly]),
        "quobyte" => {
            (json!({"registry": "r:1", "volume": "v"}), &[Text("user"), Text("group"), Text("tenant"), ReadOnly])
        }
        "rbd" => {
            let optional = &[Text("pool"), Text("user"), Text("keyring"), FileSystem, Secret, ReadOnly];
            (json!({"monitors": ["m"], "image": "i"}), optional)
        }
        "scaleIO" => {
            let volume = json!({"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}});
            (
                volume,
                &[
                    Bool("sslEnabled"),
                    Text("protectionDomain"),
                    Text("storagePool"),
                    Text("storageMode"),
                    FileSystem,
                    ReadOnly,
                ],
            )
        }
        "storageos" => (json!({"volumeName": "v"}), &[Text("volumeNamespace"), FileSystem, Secret, ReadOnly]),
        _ => (json!({"volumePath": "/p"}), &[Text("storagePolicyName"), Text("storagePolicyID"), FileSystem]),
    };
    random.object(|draft| {
        for field in optional {
            match field {
                Text(name) => draft.maybe_text(name, &["x"]),
                Number(name) => draft.maybe_or(name, 0, |_| 1.into()),
                Bool(name) => draft.maybe_bool(name),
                Secret => draft.maybe("secretRef", |_| json!({"name": "secret"})),
                FileSystem => draft.maybe_text("fsType", FILE_SYSTEMS),
                ReadOnly => draft.maybe_bool("readOnly"),
            }
        }
        if let Value::Object(required) = required {
            for (name, value) in required {
                draft.set(&name, value);
            }
        }
    })
}

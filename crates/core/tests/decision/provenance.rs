//! Canonical builds, config bundles and images by digest: checks that apply in addition to the approval's.
//!
//! The file is longer than 500 lines: one short test for each rule, all from the same case.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use writgate_core::{
    kube::{ConfigMapContent, WorkloadKind, bundle_name, content_digest},
    record::Basis,
    vocabulary::{BUNDLE_KIND, KIND_LABEL},
};

use crate::decision::case::{Case, Ledger, Person};

const ORDERS: &str = "ghcr.io/acme/orders@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const PROXY: &str = "ghcr.io/acme/proxy@sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";

fn codes(case: &Case, ledger: &Ledger) -> String {
    case.decide_knowing(&case.body(), ledger).record.reasons.join(" ")
}

fn pod(c: &mut Case) -> &mut Value {
    &mut c.spec()["template"]["spec"]
}

fn container(c: &mut Case) -> &mut Value {
    &mut pod(c)["containers"][0]
}

mod images {
    use super::*;

    fn pinned() -> Case {
        Case::deployment()
            .with(|c| {
                c.posture["images"] = "digest".into();
                container(c)["image"] = ORDERS.into();
            })
            .reapproved()
    }

    #[test]
    fn an_image_by_digest_is_admitted() {
        pinned().expect("admitted");
        pinned()
            .with(|c| container(c)["image"] = ORDERS.replace('@', ":1.4.2@").into())
            .reapproved()
            .expect("admitted");
    }

    #[test]
    fn denies_every_image_without_a_digest() {
        let places: [fn(&mut Case); 4] = [
            |c| container(c)["image"] = "ghcr.io/acme/orders:1.4.2".into(),
            |c| container(c)["image"] = "ghcr.io/acme/orders@sha256:e3b0c442".into(),
            |c| pod(c)["initContainers"] = json!([{"name": "init", "image": "ghcr.io/acme/init:1"}]),
            |c| pod(c)["volumes"] = json!([{"name": "model", "image": {"reference": "ghcr.io/acme/model:1"}}]),
        ];
        for change in places {
            pinned().with(change).reapproved().expect("ImageNotPinned");
        }
        let message = pinned().with(places[2]).reapproved().decide().message();
        assert!(message.contains("ghcr.io/acme/init:1 (init container init) has none"), "{message}");
    }

    #[test]
    fn requires_digests_if_no_approval_is_required() {
        let tag: fn(&mut Case) = |c| container(c)["image"] = "ghcr.io/acme/orders:1.4.2".into();
        let free = |c: &mut Case| c.posture["actions"]["deploy"] = json!({"approval": "none"});
        pinned().with(free).expect("admitted");
        pinned().with(free).with(tag).expect("ImageNotPinned");
        let template = json!({"template": {"spec": {"containers": [{"name": "a", "image": "ghcr.io/acme/orders:1"}]}}});
        let allowed = |c: &mut Case| {
            c.posture["images"] = "digest".into();
            c.posture["workloads"] = "allow".into();
        };
        Case::of(WorkloadKind::DaemonSet, "agent", &template).with(allowed).expect("ImageNotPinned");
        let cron = json!({"schedule": "@daily", "jobTemplate": {"spec": template}});
        Case::of(WorkloadKind::CronJob, "nightly", &cron).with(allowed).expect("ImageNotPinned");
    }

    #[test]
    fn requires_digests_under_break_glass() {
        let emergency = pinned().with(|c| {
            c.posture["breakGlass"] = json!({"maxLifetime": "2h"});
            c.reviewers["reviewers"][1]["capabilities"] = json!(["break-glass"]);
            c.approval.break_glass = true;
            c.approval.capabilities = vec!["break-glass".to_owned()];
            c.signers = vec![Person::Carol];
        });
        assert_eq!(emergency.decide().record.basis, Some(Basis::BreakGlass));
        emergency
            .with(|c| container(c)["image"] = "ghcr.io/acme/orders:1.4.2".into())
            .reapproved()
            .expect("ImageNotPinned");
    }

    #[test]
    fn denies_a_permitted_pod_without_digests() {
        let bare = |image: &str| {
            Case::deployment().with(|c| {
                c.posture["images"] = "digest".into();
                c.posture["pods"] = "allow".into();
                c.request["kind"] = json!({"group": "", "version": "v1", "kind": "Pod"});
                c.request["resource"] = json!({"group": "", "version": "v1", "resource": "pods"});
                c.object()["apiVersion"] = "v1".into();
                c.object()["kind"] = "Pod".into();
                c.object()["spec"] = json!({"containers": [{"name": "shell", "image": image}]});
            })
        };
        bare(ORDERS).expect("admitted");
        bare("busybox:1").expect("ImageNotPinned");
        let debug = json!([{"name": "debug", "image": "busybox:1"}]);
        let ephemeral = bare(ORDERS).updated().with(|c| {
            c.request["subResource"] = "ephemeralcontainers".into();
            c.spec()["ephemeralContainers"] = debug;
        });
        ephemeral.expect("ImageNotPinned");
    }

    #[test]
    fn denies_a_dry_run_without_digests() {
        let by_digest = |c: &mut Case| c.posture["images"] = "digest".into();
        Case::dry_run().with(by_digest).expect("ApprovalRequired ImageNotPinned");
        let image = ORDERS.replace("orders", "replay");
        Case::dry_run().with(by_digest).with(|c| container(c)["image"] = image.into()).expect("admitted");
    }
}

mod builds {
    use super::*;

    /// A Deployment with the canonical spec and images of `orders@1.4.2`.
    fn canonical() -> Case {
        let case = Case::deployment().with(|c| container(c)["image"] = ORDERS.into()).reapproved();
        let hash = case.approval.subjects[0].hash;
        case.with(|c| {
            c.posture["pipelineVersion"] = "required".into();
            c.posture["pipelineSets"] = json!(["builds"]);
            c.pipelines = json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines", "name": "builds",
                "pipelines": {"orders": {"1.4.2": {"specHash": hash.to_string(), "images": [ORDERS, PROXY]}}}});
            c.annotate("writgate.dev/pipeline-version", "orders@1.4.2");
            c.approval.pipeline_version = Some("orders@1.4.2".to_owned());
        })
    }

    fn build(c: &mut Case) -> &mut Value {
        &mut c.pipelines["pipelines"]["orders"]["1.4.2"]
    }

    fn any_spec(c: &mut Case) {
        build(c).as_object_mut().expect("a build").remove("specHash");
    }

    fn unrequired(c: &mut Case) {
        c.posture.as_object_mut().expect("a posture").remove("pipelineVersion");
    }

    fn unnamed(c: &mut Case) {
        c.object()["metadata"]["annotations"] = json!({});
        c.approval.pipeline_version = None;
    }

    #[test]
    fn the_canonical_build_is_admitted() {
        canonical().expect("admitted");
        canonical().with(any_spec).expect("admitted");
    }

    #[test]
    fn denies_an_object_or_an_approval_without_a_version() {
        canonical().with(unnamed).expect("PipelineVersionMismatch");
        canonical().with(|c| c.approval.pipeline_version = None).expect("PipelineVersionMismatch");
        canonical().with(|c| c.object()["metadata"]["annotations"] = json!({})).expect("PipelineVersionMismatch");
        let free = |c: &mut Case| c.posture["actions"]["deploy"] = json!({"approval": "none"});
        canonical().with(unnamed).with(free).expect("PipelineVersionMismatch");
    }

    #[test]
    fn denies_a_version_that_no_set_lists() {
        for version in ["orders@1.4.3", "ledger@1.4.2", "orders", "orders@", "@1.4.2", "Orders@1.4.2"] {
            canonical()
                .with(|c| {
                    c.annotate("writgate.dev/pipeline-version", version);
                    c.approval.pipeline_version = Some(version.to_owned());
                })
                .expect("NotCanonicalBuild");
        }
        canonical().with(|c| c.pipelines["pipelines"] = json!({})).expect("NotCanonicalBuild");
    }

    #[test]
    fn denies_an_image_that_is_not_of_the_version() {
        let other = "ghcr.io/acme/orders@sha256:84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";
        let sidecar = |image: &str| json!([{"name": "sidecar", "image": image}]);
        let of =
            |image: &str| canonical().with(any_spec).with(|c| pod(c)["initContainers"] = sidecar(image)).reapproved();
        of(PROXY).expect("admitted");
        of(&PROXY.replace('@', ":2@")).expect("admitted");
        of(other).expect("NotCanonicalBuild");
        of("ghcr.io/acme/orders:1.4.2").expect("NotCanonicalBuild");
        of(&ORDERS.replace("ghcr.io", "docker.io")).expect("NotCanonicalBuild");
        let message = of(other).decide().message();
        assert!(message.contains("of init container sidecar is not one of its images"), "{message}");
    }

    #[test]
    fn denies_another_spec_of_the_version() {
        let more = |c: &mut Case| container(c)["args"] = json!(["--verbose"]);
        canonical().with(more).reapproved().expect("NotCanonicalBuild");
        canonical().with(more).with(any_spec).reapproved().expect("admitted");
    }

    #[test]
    fn a_named_version_must_be_canonical_if_none_is_required() {
        canonical().with(unrequired).expect("admitted");
        canonical().with(unrequired).with(unnamed).expect("admitted");
        canonical()
            .with(unrequired)
            .with(|c| container(c)["args"] = json!(["--verbose"]))
            .reapproved()
            .expect("NotCanonicalBuild");
    }

    #[test]
    fn reports_an_expired_approval_as_well() {
        canonical()
            .with(|c| c.pipelines["pipelines"] = json!({}))
            .with(|c| c.now = "2026-11-22T12:00:00Z".to_owned())
            .expect("Expired NotCanonicalBuild");
    }

    #[test]
    fn a_rollback_must_be_canonical() {
        let case = canonical().with(|c| c.posture["rollback"] = json!({"within": "720h", "revisions": 3}));
        let ledger = Ledger::default();
        let note = case.decide_knowing(&case.body(), &ledger).note.expect("an admission to remember");
        ledger.history.borrow_mut().note(note.admission);
        let later = case.with(|c| c.now = "2026-11-23T11:00:00Z".to_owned());
        assert_eq!(codes(&later, &ledger), "");
        assert_eq!(codes(&later.with(|c| c.pipelines["pipelines"] = json!({})), &ledger), "Expired NotCanonicalBuild");
    }

    /// A replay of an incident with `orders@1.4.2`.
    fn replay() -> Case {
        Case::replay().with(|c| {
            let image = ORDERS.replace("orders", "replay");
            container(c)["image"] = image.clone().into();
            c.posture["pipelineSets"] = json!(["builds"]);
            c.pipelines = json!({"apiVersion": "writgate.dev/v1", "kind": "Pipelines", "name": "builds", "pipelines": {
                "orders": {"1.4.2": {"specHash": format!("sha256:{}", "ab".repeat(32)), "images": [image]}}}});
            c.annotate("writgate.dev/pipeline-version", "orders@1.4.2");
            incident(c, &format!("sha256:{}", "ab".repeat(32)));
        })
        .reapproved()
    }

    fn incident(c: &mut Case, hash: &str) {
        c.annotate("writgate.dev/incident-spec-hash", hash);
        c.approval.replay.as_mut().expect("a replay").incident_spec_hash = Some(hash.to_owned());
    }

    #[test]
    fn denies_a_replay_of_a_spec_that_the_incident_did_not_run() {
        replay().expect("admitted");
        replay().with(|c| incident(c, &format!("sha256:{}", "ac".repeat(32)))).expect("IncidentMismatch");
        replay().with(|c| incident(c, "unknown")).expect("IncidentMismatch");
        let spec = |c: &mut Case| build(c)["specHash"] = format!("sha256:{}", "ac".repeat(32)).into();
        replay().with(spec).expect("IncidentMismatch");
        replay().with(any_spec).expect("admitted");
    }

    #[test]
    fn denies_a_dry_run_of_a_spec_that_the_incident_did_not_run() {
        let dry = |c: &mut Case| {
            c.object()["metadata"]["labels"] = json!({"writgate.dev/replay": "dry-run"});
            c.signers.clear();
        };
        replay().with(dry).expect("admitted");
        replay().with(dry).with(|c| incident(c, "sha256:00")).expect("IncidentMismatch");
    }
}

mod bundles {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn content() -> ConfigMapContent {
        ConfigMapContent {
            labels: map(&[(KIND_LABEL, BUNDLE_KIND), ("writgate.dev/environment", "production")]),
            immutable: true,
            data: map(&[("app.yaml", "workers: 4\n")]),
            binary_data: BTreeMap::new(),
        }
    }

    fn name() -> String {
        bundle_name("orders-config", &content())
    }

    /// The namespace with the bundle, changed by `change`.
    fn namespace(change: impl FnOnce(&mut ConfigMapContent)) -> Ledger {
        let mut content = content();
        change(&mut content);
        let ledger = Ledger::default();
        ledger.config_maps.borrow_mut().insert(name(), content);
        ledger
    }

    fn refers_to(c: &mut Case, name: &str) {
        container(c)["envFrom"] = json!([{"configMapRef": {"name": name}}]);
    }

    fn names(c: &mut Case, digest: &str) {
        c.annotate("writgate.dev/config-bundle", digest);
        c.approval.config_bundle = Some(digest.to_owned());
    }

    /// A Deployment that names a bundle's digest and refers to the bundle.
    fn bundled() -> Case {
        Case::deployment()
            .with(|c| {
                c.posture["configBundle"] = "required".into();
                refers_to(c, &name());
                names(c, &content_digest(&content()));
            })
            .reapproved()
    }

    #[track_caller]
    fn expect(case: &Case, expected: &str) {
        assert_eq!(codes(case, &namespace(|_| ())), expected);
    }

    #[test]
    fn the_approved_bundle_is_admitted() {
        expect(&bundled(), "");
    }

    #[test]
    fn denies_an_object_or_an_approval_without_a_bundle() {
        expect(&bundled().with(|c| c.object()["metadata"]["annotations"] = json!({})), "ConfigBundleMismatch");
        expect(&bundled().with(|c| c.approval.config_bundle = None), "ConfigBundleMismatch");
        for text in ["sha256:00", "orders-config"] {
            expect(&bundled().with(|c| names(c, text)), "ConfigBundleMismatch");
        }
    }

    #[test]
    fn denies_a_bundle_that_the_template_does_not_refer_to() {
        expect(&bundled().with(|c| names(c, &format!("sha256:{}", "ab".repeat(32)))), "ConfigBundleMismatch");
        let nothing = |c: &mut Case| drop(container(c).as_object_mut().expect("a container").remove("envFrom"));
        let without = bundled().with(nothing).reapproved();
        expect(&without, "ConfigBundleMismatch");
        let said = without.decide_knowing(&without.body(), &namespace(|_| ())).message();
        let expected = format!("no ConfigMap that the object refers to has digest {}", content_digest(&content()));
        assert!(said.contains(&expected), "{said}");
    }

    #[test]
    fn denies_a_digest_that_shares_only_a_prefix() {
        let digest = content_digest(&content());
        let other = format!("{}{}", &digest[..digest.len() - 1], if digest.ends_with('0') { '1' } else { '0' });
        expect(&bundled().with(|c| names(c, &other)), "ConfigBundleMismatch");
    }

    #[test]
    fn denies_a_bundle_of_another_environment() {
        let changes: [fn(&mut ConfigMapContent); 5] = [
            |content| content.immutable = false,
            |content| drop(content.data.insert("app.yaml".into(), "workers: 5\n".into())),
            |content| drop(content.binary_data.insert("more".into(), "AAEC".into())),
            |content| drop(content.labels.insert("writgate.dev/environment".into(), "staging".into())),
            |content| drop(content.labels.remove(KIND_LABEL)),
        ];
        for change in changes {
            assert_eq!(codes(&bundled(), &namespace(change)), "ConfigBundleMismatch");
        }
        assert_eq!(codes(&bundled(), &Ledger::default()), "ConfigBundleMismatch");
    }

    #[test]
    fn denies_if_the_bundle_cannot_be_read() {
        let mut ledger = namespace(|_| ());
        ledger.fault = Some("no answer within 2 s".to_owned());
        assert_eq!(codes(&bundled(), &ledger), "LookupFailed");
    }

    #[test]
    fn denies_every_reference_to_another_config_map() {
        let places: [fn(&mut Case); 4] = [
            |c| {
                container(c)["env"] =
                    json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "flags", "key": "a"}}}]);
            },
            |c| pod(c)["volumes"] = json!([{"name": "v", "configMap": {"name": "flags"}}]),
            |c| {
                pod(c)["volumes"] =
                    json!([{"name": "v", "projected": {"sources": [{"configMap": {"name": "flags"}}]}}]);
            },
            |c| {
                pod(c)["initContainers"] = json!([{"name": "i", "image": "a",
                    "envFrom": [{"configMapRef": {"name": "flags", "optional": true}}]}]);
            },
        ];
        for place in places {
            let ledger = namespace(|_| ());
            assert_eq!(codes(&bundled().with(place).reapproved(), &ledger), "ConfigBundleMismatch");
            assert!(ledger.config_maps_read() == 0, "the name alone shows that it is not the bundle");
        }
    }

    #[test]
    fn reads_no_bundle_of_an_object_that_is_denied_anyway() {
        let ledger = namespace(|_| ());
        assert_eq!(codes(&bundled().with(|c| c.posture["images"] = "digest".into()), &ledger), "ImageNotPinned");
        assert_eq!(ledger.config_maps_read(), 0);
    }

    #[test]
    fn a_second_bundle_is_checked_as_well() {
        let mut flags = content();
        flags.data = map(&[("flags", "fast")]);
        let second = bundle_name("flags", &flags);
        let case =
            bundled().with(|c| pod(c)["volumes"] = json!([{"name": "v", "configMap": {"name": second}}])).reapproved();
        let ledger = namespace(|_| ());
        assert_eq!(codes(&case, &ledger), "ConfigBundleMismatch", "the bundle does not exist");
        ledger.config_maps.borrow_mut().insert(second.clone(), flags.clone());
        assert_eq!(codes(&case, &ledger), "");
        flags.immutable = false;
        ledger.config_maps.borrow_mut().insert(second, flags);
        assert_eq!(codes(&case, &ledger), "ConfigBundleMismatch");
    }

    #[test]
    fn denies_a_secret_unless_the_posture_lists_it() {
        let secret = |c: &mut Case| {
            container(c)["env"] =
                json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "orders-db", "key": "a"}}}]);
        };
        let case = bundled().with(secret).reapproved();
        expect(&case, "ConfigBundleMismatch");
        expect(&case.clone().with(|c| c.posture["secrets"] = json!(["orders"])), "ConfigBundleMismatch");
        expect(&case.with(|c| c.posture["secrets"] = json!(["orders-db"])), "");
    }

    #[test]
    fn reads_at_most_32_config_maps() {
        let many = |count: usize| {
            let sources = (0..count).map(|n| json!({"configMapRef": {"name": format!("c{n}-{}", "ab".repeat(16))}}));
            let sources: Vec<Value> = sources.collect();
            bundled().with(|c| container(c)["envFrom"] = sources.into()).reapproved()
        };
        let ledger = namespace(|_| ());
        assert_eq!(codes(&many(32), &ledger), "ConfigBundleMismatch");
        assert_eq!(ledger.config_maps_read(), 32);
        let ledger = namespace(|_| ());
        assert_eq!(codes(&many(33), &ledger), "ConfigBundleMismatch");
        assert!(ledger.config_maps_read() == 0);
    }

    #[test]
    fn reads_nothing_for_a_denied_request() {
        let ledger = namespace(|_| ());
        assert_eq!(codes(&bundled().with(|c| c.signers.clear()), &ledger), "ApprovalRequired");
        assert!(ledger.config_maps_read() == 0);
    }

    #[test]
    fn reads_the_bundle_if_no_approval_is_required() {
        let free = bundled().with(|c| c.posture["actions"]["deploy"] = json!({"approval": "none"}));
        expect(&free, "");
        assert_eq!(codes(&free, &namespace(|content| content.immutable = false)), "ConfigBundleMismatch");
    }

    #[test]
    fn reads_the_bundle_for_a_rollback_and_before_a_use() {
        let case = bundled().with(|c| {
            c.posture["rollback"] = json!({"within": "720h", "revisions": 3});
            c.posture["actions"]["deploy"] = json!({"singleUse": true});
        });
        let ledger = namespace(|content| content.immutable = false);
        assert_eq!(codes(&case, &ledger), "ConfigBundleMismatch");
        assert!(ledger.uses.borrow().is_empty(), "the approval was not used");
        let ledger = namespace(|_| ());
        let note = case.decide_knowing(&case.body(), &ledger).note.expect("an admission to remember");
        ledger.history.borrow_mut().note(note.admission);
        let later = case.with(|c| c.now = "2026-11-23T11:00:00Z".to_owned());
        assert_eq!(codes(&later, &ledger), "");
        ledger.config_maps.borrow_mut().clear();
        assert_eq!(codes(&later, &ledger), "Expired ConfigBundleMismatch");
    }

    #[test]
    fn a_dry_run_requires_no_bundle() {
        Case::dry_run().with(|c| c.posture["configBundle"] = "required".into()).expect("admitted");
        Case::replay().with(|c| c.posture["configBundle"] = "required".into()).expect("ConfigBundleMismatch");
    }

    #[test]
    fn without_the_rule_any_config_map_is_admitted() {
        let unrequired = bundled().with(|c| drop(c.posture.as_object_mut().expect("a map").remove("configBundle")));
        let ledger = Ledger::default();
        assert_eq!(codes(&unrequired, &ledger), "");
        assert!(ledger.config_maps_read() == 0);
        let claimed = unrequired.with(|c| c.annotate("writgate.dev/config-bundle", "sha256:00"));
        assert_eq!(codes(&claimed, &ledger), "ConfigBundleMismatch", "a claim of the approval binds");
    }
}

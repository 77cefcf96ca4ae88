//! The requests that Argo CD's sync and its server-side diff send, sent by kubectl as Argo CD's service account would. Argo CD
//! itself is too large to build here. The sources of the requests are `gitops-engine/pkg/sync` and `util/argo` in
//! argoproj/argo-cd. Its own dry run before a sync is kubectl's client-side one, which sends nothing.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use writgate_testing::harness::{Test, tests};
use writgate_testing::{Governed, Installation, Ran, attach, denied_for, envelope, seconds_from_now, wait_until};

/// The field manager of Argo CD.
const MANAGER: &str = "--field-manager=argocd-controller";
/// The finalizer that Argo CD gives to its hooks, and removes before it deletes them.
const FINALIZER: &str = "argocd.argoproj.io/hook-finalizer";
/// How long an approval is valid that a test lets expire.
const LIFETIME: Duration = Duration::from_secs(10);

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        argo_cd_applies_and_diffs_on_the_server_after_the_approval_has_expired,
        argo_cd_creates_a_hook_with_a_fixed_name_again_while_its_approval_is_valid,
        no_approval_covers_a_hook_whose_name_argo_cd_generates,
    ]
}

/// An Application whose destination is a governed namespace.
struct Application<'a> {
    governed: &'a Governed<'a>,
}

impl Application<'_> {
    fn apply(&self, more: &[&str], object: &Value) -> Ran {
        let args = [&["apply", "--server-side", "--force-conflicts", MANAGER, "-f", "-"], more].concat();
        self.governed.installation.gitops.kubectl_in(&args, &object.to_string())
    }

    fn sync(&self, object: &Value) -> Ran {
        self.apply(&[], object)
    }

    fn diff(&self, object: &Value) -> Ran {
        self.apply(&["--dry-run=server"], object)
    }

    /// Deletes a hook as Argo CD does before it creates the next one: without its finalizer, in the foreground.
    fn delete_hook(&self, name: &str) -> Ran {
        let (gitops, namespace) = (&self.governed.installation.gitops, &self.governed.namespace);
        // The Job's controller writes as well, so there may be a conflict.
        wait_until("the finalizer is removed", Duration::from_secs(20), || {
            let mut hook = gitops.get(&["job", name, "-n", namespace])?;
            hook["metadata"]["finalizers"].as_array_mut()?.retain(|one| one != FINALIZER);
            gitops.kubectl_in(&["replace", "-f", "-"], &hook.to_string()).ok().then_some(())
        });
        gitops.kubectl(&["delete", "job", name, "-n", namespace, "--cascade=foreground", "--timeout=60s"])
    }

    /// The object as Argo CD tracks it.
    fn tracked(&self, object: &Value) -> Value {
        let [kind, name] = ["kind", "name"].map(|field| object.get(field).unwrap_or(&object["metadata"][field]));
        let group = object["apiVersion"].as_str().and_then(|version| version.split('/').next()).expect("a group");
        let id = format!(
            "argocd_shop:{group}/{}:{}/{}",
            kind.as_str().expect("a kind"),
            self.governed.namespace,
            name.as_str().unwrap_or_default()
        );
        let mut tracked = object.clone();
        tracked["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = json!(id);
        tracked
    }
}

/// The object with an approval that expires after [`LIFETIME`], and when that will be.
fn briefly_approved(governed: &Governed<'_>, object: &Value, mut statement: Value) -> (Value, Instant) {
    statement["predicate"]["expiresAt"] = json!(seconds_from_now(i64::try_from(LIFETIME.as_secs()).expect("small")));
    let end = Instant::now() + LIFETIME + Duration::from_secs(1); // the statement has whole seconds
    (attach(object, &envelope(&statement, &[&governed.bob])), end)
}

fn argo_cd_applies_and_diffs_on_the_server_after_the_approval_has_expired(installation: &Installation) {
    let governed = installation.governed("argo");
    let application = Application { governed: &governed };
    let orders = application.tracked(&governed.deployment("orders"));
    let denied = application.sync(&orders);
    assert!(denied_for(&denied, "ApprovalRequired"), "{denied}");

    // The first sync applies on the client. The next one migrates its fields to the server's manager.
    let (approved, end) = briefly_approved(&governed, &orders, governed.statement(&orders));
    let created = installation.gitops.kubectl_in(&["apply", MANAGER, "-f", "-"], &approved.to_string());
    assert!(created.ok(), "{created}");
    let is_admitted =
        |record: &Value| record["environment"] == *governed.environment && record["decision"] == "admitted";
    let record = installation.webhook.records(is_admitted).pop().expect("a record");
    assert_eq!(record["initiator"]["username"], installation.gitops.name);
    let claim = json!([{"kind": "Application", "name": "shop", "namespace": "argocd", "revision": null}]);
    assert_eq!(record["initiatedBy"], claim);

    sleep(end.saturating_duration_since(Instant::now()));
    for unchanged in [application.diff(&approved), application.sync(&approved), application.diff(&approved)] {
        assert!(unchanged.ok(), "{unchanged}");
    }
    // Self-heal: somebody scales, and Argo CD scales back.
    let namespace = &governed.namespace;
    let scaled = installation.operator.kubectl(&["scale", "deployment/orders", "--replicas=3", "-n", namespace]);
    assert!(scaled.ok(), "{scaled}");
    let healed = application.sync(&approved);
    assert!(healed.ok(), "{healed}");
    let live = installation.plane.admin.get(&["deployment", "orders", "-n", namespace]).expect("it exists");
    assert_eq!(live["spec"]["replicas"], 1);

    let mut changed = approved;
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("ghcr.io/acme/orders:1.5.0");
    for denied in [application.diff(&changed), application.sync(&changed)] {
        assert!(denied_for(&denied, "SpecHashMismatch"), "{denied}");
    }
    let pruned = installation.gitops.kubectl(&["delete", "deployment", "orders", "-n", namespace]);
    assert!(pruned.ok(), "{pruned}");
}

/// A Job that is not a replay.
fn migrate(governed: &Governed<'_>) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "namespace": governed.namespace, "finalizers": [FINALIZER],
            "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "migrate", "image": "ghcr.io/acme/migrate:1"}]}}}})
}

/// `BeforeHookCreation`, which is Argo CD's default.
fn argo_cd_creates_a_hook_with_a_fixed_name_again_while_its_approval_is_valid(installation: &Installation) {
    let governed = installation.governed("argo-hook");
    let application = Application { governed: &governed };
    let hook = application.tracked(&migrate(&governed));
    let uid = || {
        let found = installation.plane.admin.get(&["job", "migrate", "-n", &governed.namespace]);
        found.map(|job| job["metadata"]["uid"].clone())
    };
    let gone = || wait_until("the hook is gone", Duration::from_secs(30), || uid().is_none().then_some(()));

    let (approved, end) = briefly_approved(&governed, &hook, governed.statement_of_job(&hook));
    let first = application.sync(&approved);
    assert!(first.ok(), "{first}");
    let before = uid();
    let deleted = application.delete_hook("migrate");
    assert!(deleted.ok(), "{deleted}");
    gone();
    let again = application.sync(&approved);
    assert!(again.ok(), "{again}");
    assert_ne!(uid(), before, "another Job");

    // To delete the hook requires no approval. To create it does.
    sleep(end.saturating_duration_since(Instant::now()));
    let deleted = application.delete_hook("migrate");
    assert!(deleted.ok(), "{deleted}");
    gone();
    let denied = application.sync(&approved);
    assert!(denied_for(&denied, "Expired"), "{denied}");
    let renewed = attach(&hook, &envelope(&governed.statement_of_job(&hook), &[&governed.bob]));
    let created = application.sync(&renewed);
    assert!(created.ok(), "{created}");
}

/// Argo CD appends the revision, the phase and the time to the prefix, and leaves `generateName` in the object.
fn no_approval_covers_a_hook_whose_name_argo_cd_generates(installation: &Installation) {
    let governed = installation.governed("argo-generated");
    let application = Application { governed: &governed };
    let mut hook = migrate(&governed);
    hook["metadata"].as_object_mut().expect("metadata").remove("name");
    hook["metadata"]["generateName"] = json!("migrate-");
    installation.permit_reading_postures();
    let mut request = installation.operator.command(writgate_testing::plugin());
    let warned = Ran::of(request.args(["request", "-o", "-", "-f", "-"]), &hook.to_string());
    assert!(warned.ok() && warned.stderr.contains("Argo CD generates the name of this hook"), "{warned}");

    let statement = governed.statement_of_job(&hook);
    assert!(statement["subject"][0]["name"].as_str().is_some_and(|name| name.ends_with("/migrate-*")), "{statement}");
    let approved = attach(&hook, &envelope(&statement, &[&governed.bob]));
    let named = |name: &str| {
        let mut named = approved.clone();
        named["metadata"]["name"] = json!(name);
        named
    };
    // The API server's own form of a name is covered.
    let generated = application.sync(&named("migrate-bcdfg"));
    assert!(generated.ok(), "{generated}");
    for name in ["migrate-3f2a91c-presync-1764331200", "migrate-billing", "migrate-bcdfgh"] {
        let denied = application.sync(&named(name));
        assert!(denied_for(&denied, "WrongResource"), "{name}: {denied}");
    }
}

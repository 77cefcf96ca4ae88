//! Requests, reviews and approvals for several clusters, each with a stand-in for its API server.

use serde_json::{Value, json};
use writgate_core::encoding::read_yaml;

use crate::{folder::Folder, stand_in};

/// A cluster whose posture has this name, and in which the Deployment runs with `image`, if it runs.
fn cluster(folder: &Folder, name: &str, image: Option<&str>) -> String {
    let live = image.map(|image| {
        let mut object = read_yaml(&folder.read("app.yaml")).expect("YAML").remove(0);
        object["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        object
    });
    stand_in::cluster(folder, &format!("cluster: {name}\n"), move |path| {
        if path.ends_with("/selfsubjectreviews") {
            return Some(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {},
                "status": {"userInfo": {"username": "alice@acme.example"}}}));
        }
        path.ends_with("/deployments/orders").then(|| live.clone()).flatten()
    })
}

/// A folder whose kubeconfig has the contexts eu, us, ap and down.
fn fleet() -> Folder {
    let folder = Folder::new();
    let [eu, us, ap] = [
        cluster(&folder, "prod-eu-1", Some("ghcr.io/acme/orders:1.4.1")),
        cluster(&folder, "prod-us-1", Some("ghcr.io/acme/orders:1.3.0")),
        cluster(&folder, "prod-ap-1", None),
    ];
    let contexts = [("eu", &*eu), ("us", &us), ("ap", &ap), ("down", "http://127.0.0.1:1")];
    folder.write("config", stand_in::kubeconfig(&contexts));
    folder.expect(0, "request -f app.yaml --kubeconfig config --other-context us -o request.json", "");
    folder
}

const REVIEW: &str = "review -f request.json --kubeconfig config";

#[test]
fn a_request_names_the_clusters_of_its_contexts() {
    let folder = fleet();
    let request: Value = serde_json::from_str(&folder.read("request.json")).expect("JSON");
    assert_eq!(request["clusters"], json!(["prod-eu-1", "prod-us-1"]));
    assert_eq!(request.get("cluster"), None);
    let (_, err) = folder.expect(3, "request -f app.yaml --kubeconfig config --other-context down -o other.json", "");
    assert!(err.contains("--other-context down: "), "{err}");
}

#[test]
fn a_review_shows_the_change_in_each_cluster() {
    let folder = fleet();
    let (out, _) = folder.expect(0, &format!("{REVIEW} --other-context us"), "");
    let (own, other) = out
        .split_once("orders in cluster prod-us-1 (context us): compared with the live object")
        .expect("the other cluster");
    assert!(own.contains("orders in cluster prod-eu-1: compared") && own.contains("orders:1.4.1\" -> "), "{out}");
    assert!(other.contains("orders:1.3.0\" -> ") && !other.contains("orders:1.4.1\" -> "), "{out}");
    assert!(!out.contains("is not known"), "{out}");

    // The cluster that was read is another one, or none: the change in prod-us-1 is not known.
    for flags in ["", "--other-context down"] {
        let (out, _) = folder.expect(0, &format!("{REVIEW} {flags}"), "");
        assert!(out.contains("! the change in cluster prod-us-1 is not known: "), "{out}");
        assert_eq!(out.contains("! the change in context down is not known: "), !flags.is_empty(), "{out}");
    }
}

#[test]
fn nobody_signs_what_another_cluster_would_deny() {
    let folder = fleet();
    let (out, _) = folder.expect(1, &format!("{REVIEW} --other-context us --other-context ap"), "");
    let why = "cluster prod-ap-1 (context ap): the approval says cluster prod-eu-1, prod-us-1, expected prod-ap-1";
    assert!(out.contains("DENIED in another cluster, whoever signs") && out.contains(why), "{out}");
    let approve = "approve -f request.json --kubeconfig config --key bob.pem --yes -o approval.json --other-context us";
    let (_, err) = folder.expect(1, &format!("{approve} --other-context ap"), "");
    assert!(err.contains("not signed: another cluster of the approval would deny it whoever signs"), "{err}");
    folder.expect(0, approve, "");
}

#[test]
fn an_approval_for_one_cluster_has_no_other_context() {
    let folder = fleet();
    folder.expect(0, "request -f app.yaml --kubeconfig config -o one.json", "");
    let (_, err) = folder.expect(2, "review -f one.json --kubeconfig config --other-context us", "");
    assert!(err.contains("this one is for one cluster"), "{err}");
}

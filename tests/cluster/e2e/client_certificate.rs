//! A replica with a client CA: the API server authenticates with the certificate of its admission configuration.

use std::time::Duration;

use writgate_testing::harness::{Test, tests};
use writgate_testing::{API_SERVER, Installation, Webhook, wait_until};

const LIMIT: Duration = Duration::from_secs(30);
const REFUSED: (&str, &[(&str, &str)]) =
    ("writgate_connections_refused_total", &[("port", "webhook"), ("reason", "client-certificate")]);

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![a_webhook_with_a_client_ca_answers_the_api_server_and_nobody_else]
}

fn a_webhook_with_a_client_ca_answers_the_api_server_and_nobody_else(installation: &Installation) {
    let plane = &installation.plane;
    let governed = installation.governed("client-certificate");
    let approved = governed.approved(&governed.deployment("orders"));
    let file = plane.authority_file();
    let file = file.to_str().expect("a UTF-8 path");
    let replica = |name: &str| {
        Webhook::replica_with(plane, &format!("for-{name}"), &["--client-ca-file", file, "--client-name", name])
    };
    let try_out = || {
        let args = ["create", "--dry-run=server", "-f", "-"];
        installation.operator.kubectl_in(&args, &approved.to_string())
    };
    assert!(try_out().ok(), "the usual webhook admits it");

    let ours = replica(API_SERVER);
    plane.install(&[ours.configuration(plane, "client-certificate", &governed.namespace)]);
    wait_until("the API server has called the replica", LIMIT, || {
        let ran = try_out();
        assert!(ran.ok(), "{ran}");
        (ours.metric("writgate_admission_requests_total", &[("decision", "admitted")]) > 0.0).then_some(())
    });
    assert!(ours.metric(REFUSED.0, REFUSED.1) < 1.0);
    // The plane's authority signs its certificate too, for another name.
    let answer = plane.block_on(async { ours.client(plane).await.apiserver_version().await.map(|_| ()) });
    answer.expect_err("another client is refused");
    assert!(ours.metric(REFUSED.0, REFUSED.1) >= 1.0);

    let other = replica("somebody-else");
    plane.install(&[other.configuration(plane, "client-certificate", &governed.namespace)]);
    wait_until("the API server is refused, and denies", LIMIT, || {
        let ran = try_out();
        (!ran.ok() && ran.to_string().contains("failed calling webhook")).then_some(())
    });
    assert!(other.metric(REFUSED.0, REFUSED.1) >= 1.0);
    let ran = plane.admin.kubectl(&["delete", "validatingwebhookconfiguration", "client-certificate"]);
    assert!(ran.ok(), "{ran}");
}

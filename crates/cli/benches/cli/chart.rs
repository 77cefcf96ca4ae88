//! A folder with the workloads of a large chart, and the other files that the verbs require.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, bail};

/// Workloads of the chart. An approval covers at most 64 subjects, so `approve` gets a part of them.
const WORKLOADS: usize = 100;
const APPROVED: usize = 60;

/// Writes chart, postures, key and approval into `folder`.
pub(crate) fn write(folder: &Path, plugin: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder.join("postures"))?;
    fs::write(folder.join("chart.yaml"), workloads(WORKLOADS))?;
    fs::write(folder.join("part.yaml"), workloads(APPROVED))?;
    run(folder, plugin, "keygen -o bob.pem --name bob@acme.example --no-passphrase")?;
    let key = fs::read_to_string(folder.join("bob.pub.pem"))?.replace('\n', "\n          ");
    let postures = [
        (
            "posture.yaml",
            "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: production\nreviewerSets: [prod]\n".to_owned(),
        ),
        (
            "reviewers.yaml",
            format!(
                "apiVersion: writgate.dev/v1\nkind: Reviewers\nname: prod\nreviewers:\n  - name: bob@acme.example\n    \
                 capabilities: [deploy]\n    keys:\n      - publicKey: |\n          {key}\n"
            ),
        ),
        (
            "namespaces.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: payments\n  labels: {writgate.dev/environment: production, \
             writgate.dev/project: payments}\n"
                .to_owned(),
        ),
    ];
    for (name, text) in postures {
        fs::write(folder.join("postures").join(name), text)?;
    }
    run(
        folder,
        plugin,
        "approve -f part.yaml --key bob.pem --posture-dir postures --requested-by alice@acme.example --yes --full \
         -o approval.json",
    )
}

/// Runs the plugin, and asserts that it succeeds.
fn run(folder: &Path, plugin: &Path, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new(plugin).args(arguments.split_whitespace()).current_dir(folder).output();
    let output = output.with_context(|| format!("{}", plugin.display()))?;
    if !output.status.success() {
        bail!("{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Deployments as charts write them, each with a ConfigMap, which is not a workload.
fn workloads(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: orders-{number}, namespace: payments}}\ndata:\n  \
             settings.ini: |\n    [queue]\n    depth = {number}\n---\n{}",
            DEPLOYMENT.replace("NUMBER", &number.to_string())
        );
    }
    text
}

const DEPLOYMENT: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: orders-NUMBER
  namespace: payments
  labels: {app.kubernetes.io/name: orders, app.kubernetes.io/instance: orders-NUMBER, helm.sh/chart: orders-1.4.2}
spec:
  replicas: 2
  selector: {matchLabels: {app: orders-NUMBER}}
  template:
    metadata:
      labels: {app: orders-NUMBER}
      annotations: {checksum/config: "3b1f8a0c"}
    spec:
      serviceAccountName: orders
      securityContext: {runAsNonRoot: true, runAsUser: 1000}
      containers:
        - name: orders
          image: "ghcr.io/acme/orders:1.4.2"
          ports: [{name: http, containerPort: 8080, protocol: TCP}]
          env:
            - {name: REGION, value: eu-1}
            - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
          livenessProbe: {httpGet: {path: /livez, port: http}}
          readinessProbe: {httpGet: {path: /readyz, port: http}}
          resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
          volumeMounts: [{name: config, mountPath: /etc/orders}]
      volumes: [{name: config, configMap: {name: orders-NUMBER}}]
"#;

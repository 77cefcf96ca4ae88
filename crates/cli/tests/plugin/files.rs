//! Files that are written and read: what an output may not replace, who may read it, and files that never end.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use crate::folder::Folder;

const APPROVE: &str =
    "approve --yes --no-posture -f app.yaml --key bob.pem --environment e --project p --requested-by a";

#[test]
fn an_approval_replaces_neither_a_key_nor_an_input() {
    let folder = Folder::new();
    folder.write("other.pem", "text before\n-----BEGIN OPENSSH PRIVATE KEY-----\n");
    symlink("bob.pem", folder.path("link")).expect("a link");
    fs::hard_link(folder.path("bob.pem"), folder.path("hard")).expect("a link");
    fs::hard_link(folder.path("app.yaml"), folder.path("app-too")).expect("a link");
    let before: Vec<String> = ["bob.pem", "app.yaml", "other.pem"].map(|name| folder.read(name)).into();
    for (name, why) in [
        ("bob.pem", "is the input bob.pem"),
        ("link", "is the input bob.pem"),
        ("hard", "is the input bob.pem"),
        ("app.yaml", "is the input app.yaml"),
        ("app-too", "is the input app.yaml"),
        ("other.pem", "contains a private key"),
    ] {
        let (_, err) = folder.expect(2, &format!("{APPROVE} -o {name}"), "");
        assert!(err.contains(why), "{name}: {err}");
    }
    let after: Vec<String> = ["bob.pem", "app.yaml", "other.pem"].map(|name| folder.read(name)).into();
    assert_eq!(before, after);
    let posture = "request -f app.yaml --posture-dir postures --requested-by a@acme.example -o postures/posture.yaml";
    let (_, err) = folder.expect(2, posture, "");
    assert!(err.contains("is the input postures/posture.yaml"), "{err}");
}

#[test]
fn an_approval_is_readable_by_its_owner_only_and_sets_no_id() {
    let folder = Folder::new();
    folder.expect(0, &format!("{APPROVE} -o new.json"), "");
    assert_eq!(folder.mode("new.json"), 0o600);
    folder.write("old.json", "{}");
    folder.chmod("old.json", 0o6664);
    folder.expect(0, &format!("{APPROVE} -o old.json"), "");
    let mode = fs::metadata(folder.path("old.json")).expect("it exists").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let (out, _) = folder.expect(0, &format!("{APPROVE} -o /dev/stdout"), "");
    assert!(out.contains("payloadType"), "{out}");
}

#[test]
fn a_passphrase_file_is_readable_by_its_owner_only() {
    let folder = Folder::new();
    folder.write("secret", "a passphrase\n");
    for mode in [0o640, 0o604] {
        folder.chmod("secret", mode);
        let (_, err) = folder.expect(3, "keygen -o new.pem --passphrase-file secret", "");
        assert!(err.contains("others can read the passphrase secret"), "{err}");
        assert!(err.contains("run: chmod 600 secret"), "{err}");
    }
    folder.chmod("secret", 0o600);
    folder.expect(0, "keygen -o new.pem --passphrase-file secret", "");
    let approve = format!("{} --passphrase-file secret", APPROVE.replace("bob.pem", "new.pem"));
    folder.expect(0, &approve, "");
    folder.chmod("secret", 0o644);
    folder.expect(3, &approve, "");
}

#[test]
fn a_fifo_in_a_folder_is_named_and_not_read() {
    let folder = Folder::new();
    let fifo = |name: &str| {
        assert!(Command::new("mkfifo").arg(folder.path(name)).status().expect("mkfifo").success());
    };
    fs::create_dir(folder.path("manifests")).expect("a folder");
    fs::copy(folder.path("app.yaml"), folder.path("manifests/app.yaml")).expect("a copy");
    folder.expect(0, "hash -f manifests", "");
    fifo("manifests/b.yaml");
    let (_, err) = folder.expect(3, "hash -f manifests", "");
    assert!(err.contains("manifests/b.yaml is not a regular file"), "{err}");
    let verify = "verify -f app.yaml --posture-dir postures --as a";
    folder.expect(1, verify, "");
    fifo("postures/a.yaml");
    let (_, err) = folder.expect(3, verify, "");
    assert!(err.contains("postures/a.yaml is not a regular file"), "{err}");
}

#[test]
fn the_output_of_a_credential_plugin_is_never_printed() {
    let folder = Folder::new();
    let kubeconfig = |script: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:9'}}}}]\n\
             users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             interactiveMode: Never, args: ['-c', '{script}']}}}}}}]\n"
        )
    };
    for (script, why) in [
        ("echo SECRET-TOKEN; exit 3", "failed with exit status: 3"),
        ("echo [SECRET-TOKEN", "is not an ExecCredential"),
        ("echo SECRET-TOKEN", "is not an ExecCredential"),
    ] {
        folder.write("config", kubeconfig(script));
        let (_, err) = folder.expect(3, "pending -n payments --kubeconfig config", "");
        assert!(err.contains(why) && !err.contains("SECRET"), "{script}: {err}");
    }
    folder.write("config", kubeconfig("true") + "  token: [SECRET-TOKEN\n");
    let (_, err) = folder.expect(3, "pending -n payments --kubeconfig config", "");
    assert!(err.contains("not valid YAML") && !err.contains("SECRET"), "{err}");
}

//! Key files: permissions, links, line ends, and what `keygen` leaves behind.

use std::os::unix::fs::symlink;

use crate::folder::Folder;

#[test]
fn a_private_key_is_readable_by_its_owner_only() {
    let folder = Folder::new();
    folder.expect(0, "keygen -o new.pem --passphrase-file -", "a passphrase\n");
    assert_eq!(folder.mode("new.pem"), 0o600);
    assert!(folder.read("new.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let approve = "approve --yes --no-posture -f app.yaml --key new.pem --environment e --project p --requested-by a --passphrase-file -";
    folder.expect(0, approve, "a passphrase\n");
    let (_, err) = folder.expect(3, approve, "another\n");
    assert!(err.ends_with("error: new.pem: the passphrase does not open this key\n"), "{err}");
    for mode in [0o640, 0o604] {
        folder.chmod("new.pem", mode);
        let (_, err) = folder.expect(3, approve, "a passphrase\n");
        assert!(err.contains("run: chmod 600 new.pem"), "{err}");
    }
    let (_, err) = folder.expect(3, &approve.replace("new.pem", "new.pub.pem"), "a passphrase\n");
    assert!(err.contains("new.pub.pem: found a PEM block labelled PUBLIC KEY"), "{err}");
}

#[test]
fn a_link_to_a_key_file_is_followed_for_reading_and_not_for_writing() {
    let folder = Folder::new();
    let approve = |key: &str| {
        format!("approve --yes --no-posture -f app.yaml --key {key} --environment e --project p --requested-by a")
    };
    symlink("bob.pem", folder.path("link.pem")).expect("a link");
    folder.expect(0, &approve("link.pem"), "");
    folder.chmod("bob.pem", 0o644);
    let (_, err) = folder.expect(3, &approve("link.pem"), "");
    assert!(err.contains("run: chmod 600 link.pem"), "{err}");
    symlink("elsewhere.pem", folder.path("dangling.pem")).expect("a link");
    let (_, err) = folder.expect(3, "keygen -o dangling.pem --no-passphrase", "");
    assert!(err.contains("exists and is not overwritten") && !folder.path("elsewhere.pem").exists(), "{err}");
}

#[test]
fn a_key_file_may_have_windows_line_ends_but_not_be_cut_off() {
    let folder = Folder::new();
    let key = folder.read("bob.pem");
    let approve = "approve --yes --no-posture -f app.yaml --key other.pem --environment e --project p --requested-by a";
    let with = |text: &str| {
        folder.write("other.pem", text);
        folder.chmod("other.pem", 0o600);
    };
    with(&key.replace('\n', "\r\n"));
    folder.expect(0, approve, "");
    for length in (0..key.trim_end().len()).step_by(7) {
        with(&key[..length]);
        let (_, err) = folder.expect(3, approve, "");
        assert!(err.contains("other.pem: not a private key in PEM"), "{length}: {err}");
    }
}

#[test]
fn keygen_overwrites_nothing_and_leaves_nothing_behind() {
    let folder = Folder::new();
    folder.write("new.pub.pem", "somebody's");
    let before = folder.names();
    folder.expect(3, "keygen -o new.pem --no-passphrase", "");
    folder.expect(3, "keygen -o bob.pem --no-passphrase", "");
    folder.expect(3, "keygen -o nowhere/new.pem --no-passphrase", "");
    folder.expect(2, "keygen -o other.pem --passphrase-file -", "\n");
    folder.expect(2, "keygen -o other.pem --no-passphrase --passphrase-file -", "");
    folder.expect(2, "keygen -o -", "");
    assert_eq!(folder.names(), before);
    assert_eq!(folder.read("new.pub.pem"), "somebody's");
}

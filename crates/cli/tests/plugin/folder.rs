//! A folder with the files of the tour, in which a test runs the command line.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::transcripts;

/// A folder with the tour's files, in which the command line runs.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::create_dir(folder.path("postures")).expect("a folder");
        let given = transcripts().join("tour.in");
        for name in
            ["app.yaml", "bob.pem", "postures/namespaces.yaml", "postures/posture.yaml", "postures/reviewers.yaml"]
        {
            fs::copy(given.join(name), folder.path(name)).expect("a copy");
        }
        folder.chmod("bob.pem", 0o600);
        folder
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a readable file")
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("a writable file");
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("the file can be changed");
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("it exists").permissions().mode() & 0o777
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.root()).expect("a readable file");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    /// Runs a verb and returns its exit code, standard output and standard error.
    pub(crate) fn writgate(&self, arguments: &str, stdin: impl AsRef<[u8]>) -> (i32, String, String) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-writgate"))
            .args(arguments.split_whitespace())
            .current_dir(self.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // The program may end before it has read everything.
        let _ = child.stdin.take().expect("piped").write_all(stdin.as_ref());
        let output = child.wait_with_output().expect("the program ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    pub(crate) fn expect(&self, code: i32, arguments: &str, stdin: impl AsRef<[u8]>) -> (String, String) {
        let (found, out, err) = self.writgate(arguments, stdin);
        assert_eq!(found, code, "{arguments}: {out}{err}");
        (out, err)
    }

    pub(crate) fn approve(&self, arguments: &str) -> String {
        self.expect(
            0,
            &format!(
                "approve --yes --no-posture --key bob.pem --environment production --project payments --requested-by alice@acme.example \
                 {arguments}"
            ),
            "",
        )
        .0
    }
}

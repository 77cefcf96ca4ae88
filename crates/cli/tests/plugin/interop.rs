//! Keys and envelopes are exchanged in both directions with OpenSSL and securesystemslib (the library of in-toto and
//! TUF). Each direction has a near miss, so that a check that accepts everything fails the test.
//!
//! Python's packages are pinned in `interop/requirements.txt` and fetched once, into an ignored folder.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tempfile::TempDir;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A folder with the manifest of an application, in which commands run.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::copy(repository().join("tests/fixtures/deployment.yaml"), folder.path("app.yaml")).expect("a manifest");
        folder.write("passphrase", "correct horse battery staple\n");
        folder.run("chmod", "600 passphrase");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("it can be written");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("it can be read")
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).expect("JSON")
    }

    fn command(&self, program: impl AsRef<OsStr>, arguments: &str) -> Output {
        let program = program.as_ref();
        let output = Command::new(program).args(arguments.split_whitespace()).current_dir(self.0.path()).output();
        output.unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()))
    }

    /// Runs a program that must succeed.
    fn run(&self, program: impl AsRef<OsStr>, arguments: &str) {
        let output = self.command(program, arguments);
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn openssl(&self, arguments: &str) {
        self.run("openssl", arguments);
    }

    fn writgate(&self, arguments: &str) {
        self.run(env!("CARGO_BIN_EXE_kubectl-writgate"), arguments);
    }

    fn approve(&self, key: &str) {
        self.writgate(&format!(
            "approve --yes --no-posture -f app.yaml --key {key} --environment production --project payments --requested-by \
             alice@acme.example -o approval.json"
        ));
    }

    /// The decision about the manifest with the approval attached, if `public` is Bob's key.
    fn decided(&self, public: &str) -> Value {
        let pem = self.read(public);
        fs::create_dir_all(self.path("postures")).expect("a folder");
        self.write(
            "postures/reviewers.yaml",
            json!({
                "apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "people",
                "reviewers": [{"name": "bob@acme.example", "capabilities": ["deploy"], "keys": [{"publicKey": pem}]}],
            })
            .to_string(),
        );
        self.write(
            "postures/posture.yaml",
            "apiVersion: writgate.dev/v1\nkind: Posture\nenvironment: production\nreviewerSets: [people]\n",
        );
        self.writgate("attach -f app.yaml --approval approval.json -o approved.yaml");
        let output = self.command(
            env!("CARGO_BIN_EXE_kubectl-writgate"),
            "verify -f approved.yaml --posture-dir postures --environment production --project payments -o json",
        );
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }

    fn expect_admitted(&self, public: &str) {
        let record = self.decided(public);
        assert_eq!(record["decision"], "admitted", "{record:#}");
        assert_eq!(record["approvals"][0]["reviewers"], json!(["bob@acme.example"]));
    }

    fn expect_denied(&self, public: &str, reason: &str) {
        let record = self.decided(public);
        assert_eq!(record["reasons"], json!([reason]), "{record:#}");
    }

    /// Writes the bytes that were signed, as DSSE's protocol specifies them, and the signature.
    fn write_signed_bytes(&self) {
        let envelope = self.json("approval.json");
        let decode = |value: &Value| BASE64.decode(value.as_str().expect("a text")).expect("base64");
        self.write("pae", signed_bytes(&decode(&envelope["payload"])));
        self.write("signature", decode(&envelope["signatures"][0]["sig"]));
    }

    /// Replaces the signature by OpenSSL's.
    fn sign_with_openssl(&self, arguments: &str) {
        self.write_signed_bytes();
        self.openssl(&format!("pkeyutl -sign -rawin -in pae -out signature {arguments}"));
        let mut envelope = self.json("approval.json");
        let signature = BASE64.encode(fs::read(self.path("signature")).expect("a signature"));
        envelope["signatures"] = json!([{"sig": signature}]);
        self.write("approval.json", envelope.to_string());
    }

    /// Changes the payload without signing it again.
    fn tamper(&self) {
        let mut envelope = self.json("approval.json");
        let payload = BASE64.decode(envelope["payload"].as_str().expect("a text")).expect("base64");
        let payload = String::from_utf8(payload).expect("UTF-8").replace("alice@", "malice@");
        envelope["payload"] = BASE64.encode(payload).into();
        self.write("approval.json", envelope.to_string());
    }
}

fn repository() -> &'static Path {
    writgate_testing::repository()
}

fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A Python with the packages of `requirements.txt`.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let requirements = repository().join("tests/interop/requirements.txt");
        let pinned = fs::read_to_string(&requirements).expect("requirements.txt");
        let folder = repository().join(".tools/python");
        let python = folder.join("bin/python");
        let complete = folder.join("complete");
        if fs::read_to_string(&complete).is_ok_and(|installed| installed == pinned) {
            return python;
        }
        eprintln!("fetching the packages of tests/interop/requirements.txt, once");
        run("python3", &["-m".as_ref(), "venv".as_ref(), "--clear".as_ref(), folder.as_os_str()]);
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "-r"];
        let mut install: Vec<&OsStr> = install.map(OsStr::new).to_vec();
        install.push(requirements.as_os_str());
        run(&python, &install);
        fs::write(&complete, pinned).expect(".tools can be written");
        python
    })
}

fn run(program: impl AsRef<OsStr>, arguments: &[&OsStr]) {
    let output = Command::new(program).args(arguments).output().expect("python3 starts; `make check-tools` names it");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn dsse_py() -> String {
    repository().join("tests/interop/dsse.py").to_str().expect("UTF-8").to_owned()
}

/// `writgate_v1` is written from docs/spec alone and shares no code with Writgate, so this shows that the specification
/// is complete.
#[test]
fn a_second_implementation_agrees_on_every_vector() {
    let spec = repository().join("docs/spec");
    let mut command = Command::new(python());
    command.current_dir(repository().join("tests/interop")).args(["-m", "writgate_v1"]).arg(spec);
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" 0 failed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn securesystemslib_verifies_writgates_envelopes() {
    let folder = Folder::new();
    folder.writgate("keygen -o bob.pem --no-passphrase");
    folder.approve("bob.pem");
    let keyid = folder.json("approval.json")["signatures"][0]["keyid"].as_str().expect("a key id").to_owned();
    let arguments = format!("{} verify approval.json bob.pub.pem {keyid}", dsse_py());
    folder.run(python(), &arguments);

    folder.tamper();
    let output = folder.command(python(), &arguments);
    assert!(String::from_utf8_lossy(&output.stderr).contains("Accepted signatures do not match threshold"));
}

#[test]
fn admits_what_securesystemslib_signed() {
    let folder = Folder::new();
    let hash = folder.command(env!("CARGO_BIN_EXE_kubectl-writgate"), "hash -f app.yaml -o json").stdout;
    let hash: Value = serde_json::from_slice(&hash).expect("JSON");
    let hash = hash[0]["specHash"].as_str().expect("a hash").trim_start_matches("sha256:");
    let now = jiff::Timestamp::now();
    let time = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "apps/v1/Deployment/payments/orders", "digest": {"sha256": hash}}],
        "predicateType": "https://writgate.dev/approval/v1",
        "predicate": {
            "id": uuid::Uuid::now_v7(), "projection": "v1", "action": "deploy",
            "environment": "production", "project": "payments", "capabilities": ["deploy"],
            "requestedBy": "alice@acme.example", "notBefore": time(-1), "expiresAt": time(1),
        },
    });
    folder.write("payload", format!("{statement:#}"));
    folder.run(python(), &format!("{} sign payload approval.json theirs.pub.pem", dsse_py()));
    folder.expect_admitted("theirs.pub.pem");

    // securesystemslib's key id differs from Writgate's, so a tampered signature has no known key.
    folder.tamper();
    folder.expect_denied("theirs.pub.pem", "UnknownKey");
}

#[test]
fn signs_with_openssls_keys_and_openssl_verifies() {
    let kinds = [
        ("plain", "genpkey -algorithm ed25519 -out theirs.pem"),
        ("PBKDF2", "genpkey -algorithm ed25519 -aes256 -pass file:passphrase -out theirs.pem"),
        ("scrypt", "pkcs8 -topk8 -scrypt -in plain.pem -passout file:passphrase -out theirs.pem"),
    ];
    for (kind, make) in kinds {
        let folder = Folder::new();
        folder.openssl("genpkey -algorithm ed25519 -out plain.pem");
        folder.openssl(make);
        folder.openssl("pkey -in theirs.pem -passin file:passphrase -pubout -out theirs.pub.pem");
        folder.run("chmod", "600 theirs.pem");
        let passphrase = if kind == "plain" { "" } else { " --passphrase-file passphrase" };
        folder.approve(&format!("theirs.pem{passphrase}"));
        folder.expect_admitted("theirs.pub.pem");

        folder.write_signed_bytes();
        let verify = "pkeyutl -verify -rawin -in pae -sigfile signature -pubin -inkey theirs.pub.pem";
        folder.openssl(verify);
        folder.write("pae", [fs::read(folder.path("pae")).expect("bytes"), b" ".to_vec()].concat());
        assert!(!folder.command("openssl", verify).status.success(), "{kind}: another message");
    }
}

#[test]
fn openssl_reads_writgates_keys_and_signs_with_them() {
    for (keygen, passin) in [("--no-passphrase", ""), ("--passphrase-file passphrase", "-passin file:passphrase")] {
        let folder = Folder::new();
        folder.writgate(&format!("keygen -o bob.pem {keygen}"));
        folder.openssl(&format!("pkey -in bob.pem {passin} -pubout -out read.pub.pem"));
        assert_eq!(folder.read("read.pub.pem"), folder.read("bob.pub.pem"));

        folder.writgate("keygen -o other.pem --no-passphrase");
        folder.approve("other.pem");
        folder.expect_denied("bob.pub.pem", "UnknownKey");
        folder.sign_with_openssl(&format!("-inkey bob.pem {passin}"));
        folder.expect_admitted("bob.pub.pem");
    }
}

#[test]
fn openssl_opens_writgates_key_only_with_its_passphrase() {
    let folder = Folder::new();
    folder.writgate("keygen -o bob.pem --passphrase-file passphrase");
    folder.write("wrong", "correct horse battery stable\n");
    assert!(!folder.command("openssl", "pkey -in bob.pem -passin file:wrong -noout").status.success());
    assert!(folder.read("bob.pem").starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
}

//! Signers other than key files: programs and the SSH agent, with valid and invalid answers, and the question on a
//! terminal. A failure leaves no file behind.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tempfile::TempDir;

const APPROVE: &str = "approve --yes -f request.json --posture-dir postures -o approval.json";
const BOB: &str = "84f522c40a2df55aa12ecba9233cec2e5175f62b40afd195879c36f95a80d32b";
const VERSION: &str = "writgate.dev/signer/v1";

/// A folder with the files of `approve.md`.
struct Desk {
    folder: TempDir,
    agent: Option<PathBuf>,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().expect("a folder"), agent: None };
        let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/approve.in");
        fs::create_dir(desk.path("postures")).expect("a folder");
        for name in
            ["bob.pem", "request.json", "postures/posture.yaml", "postures/namespaces.yaml", "postures/reviewers.yaml"]
        {
            fs::copy(given.join(name), desk.path(name)).expect("it can be copied");
        }
        fs::set_permissions(desk.path("bob.pem"), Permissions::from_mode(0o600)).expect("it is ours");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder.path()).expect("it can be read");
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_remove("SSH_AUTH_SOCK");
        command.envs(self.agent.iter().map(|socket| ("SSH_AUTH_SOCK", socket)));
        command
    }

    fn writgate(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(env!("CARGO_BIN_EXE_kubectl-writgate")).args(arguments).output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs `approve`, which must sign, and returns the envelope.
    fn signs(&self, signer: &[&str]) -> Value {
        let arguments: Vec<&str> = APPROVE.split(' ').chain(signer.iter().copied()).collect();
        let (code, printed) = self.writgate(&arguments);
        assert_eq!(code, Some(0), "{printed}");
        serde_json::from_str(&fs::read_to_string(self.path("approval.json")).expect("it is written")).expect("JSON")
    }

    /// Runs `approve`, which must fail with `why` and leave no file behind.
    fn refuses(&self, code: i32, signer: &[&str], why: &str) {
        let before = self.names();
        let arguments: Vec<&str> = APPROVE.split(' ').chain(signer.iter().copied()).collect();
        let (found, printed) = self.writgate(&arguments);
        assert_eq!(found, Some(code), "{signer:?}: {printed}");
        assert!(printed.contains(why), "{signer:?}: expected {why:?}, found {printed}");
        assert!(!printed.contains("SECRET"), "the output of a program is not printed: {printed}");
        assert_eq!(self.names(), before, "{signer:?}");
    }

    /// A program that signs.
    fn program(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("it can be written");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o700)).expect("it is ours");
    }

    /// A program that answers the first question with Bob's key, and the second with `line` of a shell.
    fn odd_program(&self, line: &str) {
        let pem = "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=\\n-----END PUBLIC KEY-----\\n";
        let answer = format!("{{\"version\": \"{VERSION}\", \"publicKey\": \"{pem}\"}}");
        self.program("odd", &format!("#!/bin/sh\nread -r question\ncase $question in\n*public-key*) cat <<'END'\n{answer}\nEND\n;;\n*) {line} ;;\nesac\n"));
    }
}

/// The program in docs/signers.md.
fn documented() -> String {
    let page = fs::read_to_string(writgate_testing::repository().join("docs/signers.md")).expect("a page");
    let (_, rest) = page.split_once("```python\n").expect("an example");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn a_program_signs_as_the_documentation_says() {
    let desk = Desk::new();
    desk.program("signer", &documented());
    let envelope = desk.signs(&["--signer", "./signer", "bob.pem"]);
    assert_eq!(envelope["signatures"][0]["keyid"], BOB);
    desk.refuses(3, &["--signer", "./signer", "nowhere.pem"], "the program ended with exit status: 1");
}

#[test]
fn a_program_with_an_invalid_answer_signs_nothing() {
    let desk = Desk::new();
    let answer = |fields: Value| {
        let mut answer = json!({"version": VERSION});
        answer.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        format!("echo '{answer}'")
    };
    let cases = [
        ("echo hello".to_owned(), "its answer cannot be read: expected value"),
        (":".to_owned(), "its answer cannot be read: EOF"),
        (answer(json!({})), "missing field `signature`"),
        (answer(json!({"version": "writgate.dev/signer/v2", "signature": ""})), "its answer has another version"),
        (answer(json!({"signature": "====" })), "its signature is not 64 bytes in base64"),
        (answer(json!({"signature": BASE64.encode([0; 63])})), "its signature is not 64 bytes in base64"),
        (answer(json!({"signature": BASE64.encode([7; 64])})), "does not verify with key"),
        (answer(json!({"signature": {"SECRET": 1}})), "`signature` is not a string"),
        ("echo SECRET".to_owned(), "its answer cannot be read: expected value"),
        (answer(json!({"version": "SECRET", "signature": ""})), "its answer has another version"),
        ("yes".to_owned(), "its answer has more than 65536 bytes"),
        ("echo busy >&2; exit 7".to_owned(), "the program ended with exit status: 7 and did not sign"),
        ("kill -9 $$".to_owned(), "the program ended with signal: 9"),
        ("exec sleep 600".to_owned(), "no answer within 1s"),
        ("exec 1>&-; exec sleep 600".to_owned(), "the program did not exit within 1s"),
    ];
    for (line, why) in cases {
        desk.odd_program(&line);
        desk.refuses(3, &["--signer-timeout", "1s", "--signer", "./odd"], why);
    }
    desk.refuses(3, &["--signer", "./nowhere"], "cannot start the program: No such file");
    desk.refuses(2, &["--signer", "./odd", "--key", "bob.pem"], "cannot be used with");
}

#[test]
fn refuses_a_program_whose_key_cannot_be_used() {
    let desk = Desk::new();
    for (key, why) in [
        ("none", "its publicKey cannot be used"),
        (
            "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\\n-----END PUBLIC KEY-----\\n",
            "its publicKey cannot be used",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEAWGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY=\\n-----END PUBLIC KEY-----\\n",
            "the posture does not contain this key",
        ),
    ] {
        let answer = format!("{{\"version\": \"{VERSION}\", \"publicKey\": \"{key}\"}}");
        desk.program("other", &format!("#!/bin/sh\ncat <<'END'\n{answer}\nEND\n"));
        let code = if why.starts_with("the posture") { 1 } else { 3 };
        desk.refuses(code, &["--signer", "./other"], why);
    }
}

/// An agent in this process that gives one answer to each connection.
fn agent(desk: &mut Desk, answers: Vec<Vec<u8>>) {
    let socket = desk.path("agent");
    let _ = fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("a socket");
    desk.agent = Some(socket);
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut length = [0; 4];
            let _ = stream.read_exact(&mut length);
            let _ = (&mut stream).take(u32::from_be_bytes(length).into()).read_to_end(&mut Vec::new());
            let _ = stream.write_all(&answer);
            if answer.is_empty() {
                // Keeps the connection open without an answer.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        }
    });
}

fn put(parts: &[&[u8]]) -> Vec<u8> {
    let framed = |part: &&[u8]| [&u32::try_from(part.len()).expect("short").to_be_bytes(), *part].concat();
    parts.iter().flat_map(framed).collect()
}

fn identities() -> Vec<u8> {
    let key = BASE64.decode("7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=").expect("base64");
    let blob = put(&[b"ssh-ed25519", &key]);
    put(&[&[[12, 0, 0, 0, 1].as_slice(), &put(&[&blob, b"bob's"])].concat()])
}

#[test]
fn an_agent_with_an_invalid_answer_signs_nothing() {
    let mut desk = Desk::new();
    let signature = |bytes: &[u8]| put(&[&[[14].as_slice(), &put(&[&put(&[b"ssh-ed25519", bytes])])].concat()]);
    let cases = [
        (vec![put(&[&[5]])], "its list of keys cannot be read"),
        (vec![vec![0xff; 8]], "its length differs from the announced one"),
        (vec![put(&[&[12, 0, 0, 0, 9]])], "its list of keys cannot be read"),
        (vec![put(&[&[12, 0, 0, 0, 0]])], "the SSH agent has no Ed25519 key; add one"),
        (vec![identities(), put(&[&[5]])], "the SSH agent did not sign"),
        (vec![identities(), signature(&[7; 64])], "does not verify with key"),
        (vec![identities(), signature(&[7; 63])], "the SSH agent did not sign"),
        (vec![identities(), vec![0, 0, 0, 9, 14]], "its length differs from the announced one"),
        (vec![identities(), Vec::new()], "the SSH agent did not answer within 1s"),
    ];
    for (answers, why) in cases {
        agent(&mut desk, answers);
        desk.refuses(3, &["--signer-timeout", "1s", "--ssh-agent"], why);
    }
    agent(&mut desk, vec![identities()]);
    desk.refuses(3, &["--ssh-agent", "somebody's"], "the SSH agent has no Ed25519 key somebody's");
    agent(&mut desk, vec![identities()]);
    desk.refuses(3, &["--ssh-agent", "bob.pem"], "bob.pem contains no Ed25519 public key");
    desk.agent = Some(desk.path("nowhere"));
    desk.refuses(3, &["--ssh-agent"], "cannot contact the SSH agent at");
    desk.agent = None;
    desk.refuses(3, &["--ssh-agent"], "SSH_AUTH_SOCK is not set");
}

/// OpenSSH's agent, stopped when it is dropped.
struct OpenSsh(Child);

impl Drop for OpenSsh {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl OpenSsh {
    /// None if OpenSSH is not installed. The agent in this process is tested anyway.
    fn start(desk: &mut Desk) -> Option<Self> {
        let socket = desk.path("ssh");
        let agent = desk.command("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::piped()).spawn().ok()?;
        let mut agent = Self(agent);
        // It prints its address once it listens.
        let mut first = [0; 1];
        agent.0.stdout.take()?.read_exact(&mut first).expect("it starts");
        desk.agent = Some(socket);
        Some(agent)
    }
}

/// Makes a key and adds it to the agent. Returns the public key in the form of a posture.
fn add_key(desk: &Desk, name: &str, kind: &str) -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = desk.command(program).args(arguments).output().expect("OpenSSH is there");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run("ssh-keygen", &["-q", "-t", kind, "-N", "", "-C", &format!("{name}'s"), "-f", name]);
    run("ssh-add", &["-q", name]);
    let public = fs::read_to_string(desk.path(&format!("{name}.pub"))).expect("a key");
    let blob = BASE64.decode(public.split(' ').nth(1).expect("a blob")).expect("base64");
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], &blob[blob.len() - 32..]];
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(spki.concat()))
}

#[test]
fn openssh_signs_what_the_webhook_admits() {
    let mut desk = Desk::new();
    let Some(_agent) = OpenSsh::start(&mut desk) else { return };
    add_key(&desk, "rsa", "rsa");
    desk.refuses(3, &["--ssh-agent"], "the SSH agent has no Ed25519 key");
    let pem = add_key(&desk, "dora", "ed25519");
    desk.refuses(1, &["--ssh-agent"], "the posture does not contain this key");
    let reviewers = json!({"apiVersion": "writgate.dev/v1", "kind": "Reviewers", "name": "prod-reviewers",
        "reviewers": [{"name": "dora@acme.example", "capabilities": ["deploy"], "keys": [{"publicKey": pem}]}]});
    fs::write(desk.path("postures/reviewers.yaml"), reviewers.to_string()).expect("it can be written");
    desk.signs(&["--ssh-agent"]);

    let request: Value =
        serde_json::from_str(&fs::read_to_string(desk.path("request.json")).expect("text")).expect("JSON");
    fs::write(desk.path("app.json"), request["workloads"][0]["object"].to_string()).expect("it can be written");
    let (code, printed) = desk.writgate(&["attach", "-i", "-f", "app.json", "--approval", "approval.json"]);
    assert_eq!(code, Some(0), "{printed}");
    let (code, printed) = desk.writgate(&["verify", "-f", "app.json", "--posture-dir", "postures", "--as", "alice"]);
    assert_eq!(code, Some(0), "{printed}");

    fs::remove_file(desk.path("approval.json")).expect("it is ours");
    add_key(&desk, "eve", "ed25519");
    desk.refuses(2, &["--ssh-agent"], "select one with --ssh-agent FINGERPRINT: SHA256:");
    desk.refuses(1, &["--ssh-agent", "eve's"], "the posture does not contain this key");
    for name in ["dora's", "dora.pub"] {
        desk.signs(&["--ssh-agent", name]);
    }
}

/// Runs `approve` on a terminal of 24 rows, turns `pages` pages, runs `meanwhile` in a shell, answers the question, and
/// returns the exit code and what was printed.
fn on_a_terminal(desk: &Desk, pages: usize, meanwhile: &str, answer: &str) -> (Option<i32>, String) {
    let script = "import fcntl, os, pty, struct, sys, termios\n\
        pid, terminal = pty.fork()\n\
        if pid == 0: os.execv(sys.argv[1], sys.argv[1:2] + sys.argv[5:])\n\
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))\n\
        seen, turned = b'', 0\n\
        try:\n\
        \x20   while b'y/N' not in seen:\n\
        \x20       seen += os.read(terminal, 4096)\n\
        \x20       if seen.count(b'q stops --') > turned:\n\
        \x20           turned += 1\n\
        \x20           os.write(terminal, b'\\n' if turned <= int(sys.argv[2]) else b'q\\n')\n\
        \x20   os.system(sys.argv[3])\n\
        \x20   os.write(terminal, sys.argv[4].encode() + b'\\r')\n\
        \x20   while True: seen += os.read(terminal, 4096)\n\
        except OSError: pass\n\
        sys.stdout.buffer.write(seen)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
    let arguments =
        ["approve", "-f", "request.json", "--posture-dir", "postures", "--key", "bob.pem", "-o", "approval.json"];
    let mut command = desk.command("python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_kubectl-writgate"), &pages.to_string(), meanwhile, answer]);
    let output = command.args(arguments).env("TERM", "xterm").output().expect("Python is there");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn at_a_terminal(desk: &Desk, answer: &str) -> Option<i32> {
    on_a_terminal(desk, 9, ":", answer).0
}

#[test]
fn a_review_that_is_longer_than_the_terminal_is_shown_to_its_end_or_not_signed() {
    let desk = Desk::new();
    let (code, printed) = on_a_terminal(&desk, 0, ":", "y");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("page 1 of") && printed.contains("was not shown to its end"), "{printed}");
    assert!(!printed.contains("Code of this review") && !desk.path("approval.json").exists(), "{printed}");
    let (code, printed) = on_a_terminal(&desk, 9, ":", "y");
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn what_changes_while_the_question_is_open_is_not_signed() {
    let desk = Desk::new();
    let change = "sed -i s/maxLifetime:.30m/maxLifetime:\\ 20m/ postures/posture.yaml";
    let (code, printed) = on_a_terminal(&desk, 9, change, "y");
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("what was reviewed has changed since"), "{printed}");
    assert!(printed.contains("asked[posture].value"), "{printed}");
    assert!(!desk.path("approval.json").exists());
    let (code, printed) = on_a_terminal(&desk, 9, "touch postures/posture.yaml", "y");
    assert_eq!(code, Some(0), "{printed}");
}

#[test]
fn asks_on_a_terminal_and_only_yes_counts() {
    let desk = Desk::new();
    for answer in ["n", ""] {
        assert_eq!(at_a_terminal(&desk, answer), Some(1));
        assert!(!desk.path("approval.json").exists());
    }
    assert_eq!(at_a_terminal(&desk, "y"), Some(0));
    assert!(desk.path("approval.json").exists());
}

#[test]
fn without_a_terminal_it_fails_before_reading() {
    let desk = Desk::new();
    let (code, printed) = desk.writgate(&["approve", "-f", "nowhere.json", "--key", "nowhere.pem"]);
    assert_eq!(code, Some(2));
    assert!(printed.contains("there is no terminal to ask on"), "{printed}");
}

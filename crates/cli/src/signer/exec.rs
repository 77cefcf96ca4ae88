//! A program that signs. It reads one JSON object from standard input and writes one to standard output, and it keeps
//! the key. docs/signers.md describes the protocol.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Serialize;
use serde_json::Value;
use writgate_core::approval::PublicKey;

use crate::{
    failure::Failure,
    terminal::output::{self, shown},
};

/// `version` of questions and answers.
const VERSION: &str = "writgate.dev/signer/v1";
/// Size limit of an answer; a real one is far smaller.
const MAX_ANSWER: u64 = 64 * 1024;
/// How often to check whether a program that has answered has exited.
const GLANCE: Duration = Duration::from_millis(10);

/// A program and the public key that it reported.
pub(crate) struct Program<'a> {
    command: &'a [String],
    patience: Duration,
    pub(super) public: PublicKey,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    version: &'static str,
    operation: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// A program's answer. Messages never quote it: a program that answers with something else may print a secret.
struct ProgramAnswer<'a> {
    command: &'a [String],
    fields: Value,
}

impl<'a> ProgramAnswer<'a> {
    fn read(command: &'a [String], answer: &[u8]) -> Result<Self, Failure> {
        // Errors of serde_json's syntax quote nothing.
        let fields = serde_json::from_slice(answer)
            .map_err(|error| odd(command, &format!("its answer cannot be read: {error}")))?;
        let read = Self { command, fields };
        if read.field("version")? == VERSION {
            return Ok(read);
        }
        Err(odd(command, &format!("its answer has another version, expected {VERSION:?}")))
    }

    fn field(&self, name: &str) -> Result<&str, Failure> {
        let value = self.fields.get(name);
        let value =
            value.ok_or_else(|| odd(self.command, &format!("its answer cannot be read: missing field `{name}`")))?;
        value.as_str().ok_or_else(|| odd(self.command, &format!("its answer cannot be read: `{name}` is not a string")))
    }
}

impl<'a> Program<'a> {
    /// Asks the program for its public key.
    pub(super) fn find(command: &'a [String], patience: Duration) -> Result<Self, Failure> {
        let question = Question { version: VERSION, operation: "public-key", payload_type: None, message: None };
        let answer = ask(command, patience, &question)?;
        let public = PublicKey::from_pem(answer.field("publicKey")?).map_err(|_| {
            odd(command, "its publicKey cannot be used: expected an Ed25519 key as one PEM block labelled PUBLIC KEY")
        })?;
        Ok(Self { command, patience, public })
    }

    /// The program's name in messages.
    pub(super) fn name(&self) -> String {
        name(self.command)
    }

    /// Asks the program to sign. The signature is not verified yet.
    pub(super) fn sign(&self, payload_type: &str, message: &[u8]) -> Result<[u8; 64], Failure> {
        output::note(&format!("waiting for {} to sign; it may require a touch or a PIN", self.name()));
        let message = Some(BASE64.encode(message));
        let question = Question { version: VERSION, operation: "sign", payload_type: Some(payload_type), message };
        let answer = ask(self.command, self.patience, &question)?;
        let bytes = BASE64.decode(answer.field("signature")?).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| odd(self.command, "its signature is not 64 bytes in base64, as Ed25519 requires"))
    }
}

fn name(command: &[String]) -> String {
    format!("signer {}", shown(command.first().map_or("", String::as_str)))
}

fn odd(command: &[String], why: &str) -> Failure {
    Failure::Undetermined(format!("{}: {}; docs/signers.md describes the protocol", name(command), shown(why)))
}

/// Runs the program once. Its standard error goes to the terminal unchanged, because it may ask for a PIN.
fn ask<'a>(command: &'a [String], patience: Duration, question: &Question<'_>) -> Result<ProgramAnswer<'a>, Failure> {
    let failed = |why: String| Failure::Undetermined(format!("{}: {why}", name(command)));
    let [program, arguments @ ..] = command else {
        return Err(Failure::Misuse("--signer is empty; give a program and its arguments".to_owned()));
    };
    let child = Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| failed(format!("cannot start the program: {error}")))?;
    let asked = serde_json::to_vec(question).map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + patience;
    let Some(answer) = exchange(&mut child, asked, patience) else {
        stop(&mut child);
        return Err(failed(format!("no answer within {patience:?}; --signer-timeout changes the limit")));
    };
    if u64::try_from(answer.len()).is_ok_and(|length| length > MAX_ANSWER) {
        stop(&mut child);
        return Err(odd(command, &format!("its answer has more than {MAX_ANSWER} bytes")));
    }
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => thread::sleep(GLANCE),
            Ok(None) => {
                stop(&mut child);
                return Err(failed(format!(
                    "the program did not exit within {patience:?}; --signer-timeout changes the limit"
                )));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    if !status.success() {
        return Err(failed(format!("the program ended with {status} and did not sign; its own message is above")));
    }
    ProgramAnswer::read(command, &answer)
}

/// Writes the question and reads the answer in two threads, since the program may do either first. None after a
/// timeout.
fn exchange(child: &mut Child, question: Vec<u8>, patience: Duration) -> Option<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    thread::spawn(move || {
        // A program that does not read its input says why with its exit code.
        let _ = stdin.map(|mut stdin| stdin.write_all(&question));
    });
    thread::spawn(move || {
        let mut answer = Vec::new();
        let _ = stdout.map(|stdout| stdout.take(MAX_ANSWER + 1).read_to_end(&mut answer));
        let _ = sender.send(answer);
    });
    receiver.recv_timeout(patience).ok()
}

fn stop(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

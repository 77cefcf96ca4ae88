//! The console with a real API server: what a page shows is what is signed, once, and the webhook admits it. Requests are made as a
//! browser makes them, without a browser.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use writgate_cluster::key_file::KeyFile;

use crate::e2e::{posted::Team, trail};
use writgate_testing::harness::{Test, tests};
use writgate_testing::{Installation, Key, User, denied_for, wait_until};

pub(crate) fn tests() -> Vec<Test<Installation>> {
    tests![
        a_request_that_is_signed_in_the_console_is_admitted,
        two_tabs_of_the_console_sign_once,
        two_reviewers_sign_in_their_consoles_and_share_the_envelope,
        the_console_signs_nothing_that_changed_after_it_was_shown,
        the_console_offers_the_approval_as_a_file_and_rejects_with_a_reason,
        the_console_asks_for_a_passphrase_and_keeps_it_only_if_asked,
        the_console_shows_decisions_what_runs_and_the_postures,
    ]
}

/// A running console, and the session of one browser.
struct Console {
    child: Child,
    port: u16,
    cookie: String,
    /// The start of each address of the session.
    prefix: String,
}

/// An answer of the console.
struct Page {
    status: u16,
    location: String,
    text: String,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Console {
    /// Starts a console as `user`, and opens its session.
    fn start(team: &Team<'_>, user: &User, arguments: &[&str]) -> Self {
        let mut command: Command = user.command(writgate_testing::plugin());
        command.arg("console").args(arguments).args(["-n", team.namespace()]).current_dir(team.folder());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the console starts");
        let mut address = String::new();
        let output = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(output).read_line(&mut address).expect("an address");
        let (port, path) =
            address.trim().strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/')).expect("an address");
        let mut console =
            Self { child, port: port.parse().expect("a port"), cookie: String::new(), prefix: String::new() };
        let answer = console.send("GET", &format!("/{path}"), None);
        console.page(&answer).location.trim_end_matches('/').clone_into(&mut console.prefix);
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
        cookie.split(';').next().expect("a cookie").clone_into(&mut console.cookie);
        console
    }

    fn reviewer(team: &Team<'_>, key: &str) -> Self {
        Self::start(team, &team.installation().reviewer, &["--key", key])
    }

    fn send(&self, method: &str, path: &str, body: Option<&str>) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the console listens");
        let (port, cookie) = (self.port, &self.cookie);
        let form = body.map_or(String::new(), |body| {
            format!(
                "Origin: http://127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            )
        });
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n{form}\r\n"
        );
        stream.write_all((head + body.unwrap_or_default()).as_bytes()).expect("the console reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the console answers");
        answer
    }

    /// An answer, and the location without the prefix.
    fn page(&self, answer: &str) -> Page {
        let (head, text) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let location = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default();
        let location = location.strip_prefix(&self.prefix).unwrap_or(location).to_owned();
        Page { status, location, text: text.to_owned() }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn get(&self, path: &str) -> Page {
        self.page(&self.send("GET", &self.at(path), None))
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = value_of(&self.get("/").text, "csrf");
        let encoded = |text: &str| text.bytes().fold(String::new(), |all, byte| all + &format!("%{byte:02X}"));
        let fields = fields.iter().copied().chain([("csrf", &*token)]);
        let body: Vec<String> = fields.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        self.page(&self.send("POST", &self.at(path), Some(&body.join("&"))))
    }

    /// Signs what `review` shows, with each item of the checklist ticked.
    fn sign(&self, address: &str, review: &Page, more: &[(&str, &str)]) -> Page {
        let digest = value_of(&review.text, "digest");
        let items = checklist(&review.text);
        assert!(items.len() > 3, "{}", review.text);
        let mut fields: Vec<(&str, &str)> = items.iter().map(|item| ("checked", &**item)).collect();
        fields.push(("digest", &digest));
        fields.extend(more);
        self.post(&format!("{address}/sign"), &fields)
    }
}

/// The value of the first field of this name.
fn value_of(text: &str, name: &str) -> String {
    let (_, rest) =
        text.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("no {name}: {text}"));
    rest.split('"').next().expect("a value").to_owned()
}

fn checklist(text: &str) -> Vec<String> {
    let items = text.split("name=\"checked\" value=\"").skip(1);
    items.filter_map(|item| item.split('"').next()).map(str::to_owned).collect()
}

fn encrypted(key: &Key, passphrase: &str) -> String {
    match KeyFile::parse(&key.private_pem()) {
        Ok(KeyFile::Plain(key)) => key.to_encrypted_pem(passphrase).expect("it can be encrypted").to_string(),
        other => panic!("{:?}", other.err()),
    }
}

fn signatures(team: &Team<'_>, name: &str) -> usize {
    team.approval(name)["signatures"].as_array().map_or(0, Vec::len)
}

/// Posts a request, and returns its name and the address of its page.
fn posted(team: &Team<'_>, manifest: &Value) -> (String, String) {
    let name = team.post(manifest);
    let address = format!("/requests/{}/{name}", team.namespace());
    (name, address)
}

fn a_request_that_is_signed_in_the_console_is_admitted(installation: &Installation) {
    let governed = installation.governed("console");
    let team = Team::of(&governed);
    let (name, address) = posted(&team, &governed.deployment("orders"));
    let console = Console::reviewer(&team, "bob.pem");

    let review = console.get(&address);
    let printed = team.reviewer(&["review", &name]);
    let code = printed.stdout.lines().find_map(|line| line.strip_prefix("Code of this review: ")).expect("a code");
    assert!(review.text.contains(code), "the page and the terminal show the same review: {}", review.text);
    assert!(review.text.contains("ghcr.io/acme/orders"), "{}", review.text);

    let digest = value_of(&review.text, "digest");
    let unticked = console.post(&format!("{address}/sign"), &[("digest", &digest)]);
    assert!(unticked.status == 400 && unticked.text.contains("nothing was signed: tick"), "{}", unticked.text);
    assert!(team.config_map(&name.replace("request-", "approval-")).is_none());

    let signed = console.sign(&address, &review, &[]);
    assert_eq!((signed.status, &*signed.location), (303, &*format!("/results/{digest}")), "{}", signed.text);
    let result = console.get(&signed.location);
    assert!(result.text.contains("approved by bob@acme.example") && result.text.contains(&digest), "{}", result.text);
    assert_eq!(team.state(&name)["state"], "approved");
    let file = team.folder().join("app.json");
    let applied = installation.operator.kubectl(&["apply", "-f", file.to_str().expect("UTF-8")]);
    assert!(applied.ok(), "{applied}");
    let live = console.get(&address);
    assert!(live.text.contains("It cannot be signed"), "{}", live.text);
}

fn two_tabs_of_the_console_sign_once(installation: &Installation) {
    let governed = installation.governed("tabs");
    let team = Team::of(&governed);
    let (name, address) = posted(&team, &governed.deployment("orders"));
    let console = Console::reviewer(&team, "bob.pem");
    let (first, second) = (console.get(&address), console.get(&address));
    assert_ne!(value_of(&first.text, "digest"), value_of(&second.text, "digest"), "each tab has its own statement");
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| console.sign(&address, &first, &[]));
        let other = scope.spawn(|| console.sign(&address, &second, &[]));
        (one.join().expect("no panic"), other.join().expect("no panic"))
    });
    let (signed, refused) = if one.status == 303 { (one, other) } else { (other, one) };
    assert_eq!((signed.status, refused.status), (303, 409), "{}", refused.text);
    assert!(refused.text.contains("What you reviewed has changed since"), "{}", refused.text);
    assert_eq!(signatures(&team, &name), 1);
    // The same form again leads to the result of the first one.
    let shown = if signed.location.ends_with(&value_of(&first.text, "digest")) { &first } else { &second };
    let again = console.sign(&address, shown, &[]);
    assert_eq!((again.status, again.location), (303, signed.location), "{}", again.text);
    assert_eq!(signatures(&team, &name), 1);
}

fn two_reviewers_sign_in_their_consoles_and_share_the_envelope(installation: &Installation) {
    let quorum = |posture: &mut Value| posture["actions"] = json!({"deploy": {"quorum": [{"count": 2}]}});
    let governed = installation.governed_with("consoles", quorum);
    let team = Team::of(&governed);
    let (name, address) = posted(&team, &governed.deployment("orders"));
    let [bob, carol] = ["bob.pem", "carol.pem"].map(|key| Console::reviewer(&team, key));
    let signed = bob.sign(&address, &bob.get(&address), &[]);
    let result = bob.get(&signed.location);
    assert!(result.text.contains("signed by bob@acme.example; could sign: carol@acme.example"), "{}", result.text);
    let twice = bob.get(&address);
    assert!(twice.text.contains("has already signed this"), "{}", twice.text);
    let review = carol.get(&address);
    assert!(review.text.contains("signed by bob@acme.example"), "{}", review.text);
    let signed = carol.sign(&address, &review, &[]);
    assert_eq!(signed.status, 303, "{}", signed.text);
    assert_eq!(signatures(&team, &name), 2);
    assert_eq!(team.state(&name)["state"], "approved");
}

fn the_console_signs_nothing_that_changed_after_it_was_shown(installation: &Installation) {
    let governed = installation.governed("changes");
    let team = Team::of(&governed);
    let orders = governed.deployment("orders");
    let (name, address) = posted(&team, &orders);
    let console = Console::reviewer(&team, "bob.pem");
    let review = console.get(&address);
    // Another version goes live while the page is open.
    let mut other = orders.clone();
    other["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(77);
    let (other_name, other_address) = posted(&team, &other);
    assert_eq!(console.sign(&other_address, &console.get(&other_address), &[]).status, 303);
    let applied = installation.operator.apply(&other);
    assert!(applied.ok(), "{applied}");
    let refused = console.sign(&address, &review, &[]);
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(
        refused.text.contains("Nothing was signed.") && refused.text.contains("terminationGracePeriodSeconds"),
        "{}",
        refused.text
    );
    // A request that was cancelled meanwhile.
    let review = console.get(&address);
    assert!(team.operator(&["request", "cancel", &name]).ok());
    let refused = console.sign(&address, &review, &[]);
    assert!(refused.status == 409 && refused.text.contains("it was cancelled or has expired"), "{}", refused.text);
    assert!(team.config_map(&name.replace("request-", "approval-")).is_none(), "{other_name}");
}

fn the_console_offers_the_approval_as_a_file_and_rejects_with_a_reason(installation: &Installation) {
    let governed = installation.governed("offers");
    let team = Team::of(&governed);
    let (name, address) = posted(&team, &governed.deployment("orders"));
    let console = Console::reviewer(&team, "bob.pem");
    let signed = console.sign(&address, &console.get(&address), &[("where", "file")]);
    let file = console.get(&format!("{}/approval.json", signed.location));
    let envelope: Value = serde_json::from_str(&file.text).unwrap_or_else(|error| panic!("{error}: {}", file.text));
    assert_eq!(envelope["signatures"].as_array().map(Vec::len), Some(1), "{envelope}");
    assert!(team.config_map(&name.replace("request-", "approval-")).is_none(), "it is a file only");

    let digest = value_of(&console.get(&address).text, "digest");
    let reject = format!("{address}/reject");
    let refused = console.post(&reject, &[("digest", &digest), ("reason", " ")]);
    assert!(refused.status == 400 && refused.text.contains("a rejection requires a reason"), "{}", refused.text);
    let rejected = console.post(&reject, &[("digest", &digest), ("reason", "not ours <b>")]);
    assert_eq!(rejected.status, 303, "{}", rejected.text);
    let result = console.get(&rejected.location);
    assert!(result.text.contains("rejected by bob@acme.example: not ours &lt;b&gt;"), "{}", result.text);
    assert_eq!(team.state(&name)["state"], "rejected");
}

fn the_console_asks_for_a_passphrase_and_keeps_it_only_if_asked(installation: &Installation) {
    let governed = installation.governed("phrases");
    let team = Team::of(&governed);
    team.write_private("encrypted.pem", &encrypted(&governed.bob, "correct horse"));
    let console = Console::reviewer(&team, "encrypted.pem");
    let sign = |name: &str, more: &[(&str, &str)]| {
        let (_, address) = posted(&team, &governed.deployment(name));
        console.sign(&address, &console.get(&address), more)
    };
    let without = sign("one", &[]);
    assert!(
        without.status == 400 && without.text.contains("the passphrase of the key is required"),
        "{}",
        without.text
    );
    let wrong = sign("two", &[("passphrase", "wrong horse")]);
    assert!(wrong.status == 502 && wrong.text.contains("encrypted.pem"), "{}", wrong.text);
    assert_eq!(sign("three", &[("passphrase", "correct horse")]).status, 303);
    assert_eq!(sign("four", &[]).status, 400, "it was not kept");
    assert_eq!(sign("five", &[("passphrase", "correct horse"), ("keep", "1")]).status, 303);
    assert_eq!(sign("six", &[]).status, 303, "it was kept");
    assert_eq!(console.post("/forget-passphrase", &[]).status, 303);
    assert_eq!(sign("seven", &[]).status, 400, "it was forgotten");
}

fn the_console_shows_decisions_what_runs_and_the_postures(installation: &Installation) {
    let governed = installation.governed("pages");
    let team = Team::of(&governed);
    let (name, _) = posted(&team, &governed.deployment("orders"));
    let file = team.folder().join("app.json");
    let apply = || installation.operator.kubectl(&["apply", "-f", file.to_str().expect("UTF-8")]);
    let ran = apply();
    assert!(denied_for(&ran, "ApprovalRequired"), "{ran}");
    let console = Console::reviewer(&team, "bob.pem");
    let row = |decision: &str| {
        wait_until("the Event is in the history", trail::LIMIT, || {
            assert_eq!(console.get("/history?again=1").status, 303);
            let page = console.get(&format!("/history?object=deployment/orders&decision={decision}"));
            let row = page.text.split("<tr>").find(|row| row.contains(&format!(">{decision}</span>")))?;
            Some(row.to_owned())
        })
    };
    let denied = row("denied");
    assert!(denied.contains("ApprovalRequired") && denied.contains(&installation.operator.name), "{denied}");
    assert!(console.get("/running").text.contains("No workload was found."));

    let ran = team.approve(&name, "bob.pem");
    assert!(ran.ok(), "{ran}");
    let ran = apply();
    assert!(ran.ok(), "{ran}");
    let admitted = row("admitted");
    assert!(admitted.contains("bob@acme.example"), "{admitted}");
    assert_eq!(console.get("/running?again=1").status, 303);
    let running = console.get("/running").text;
    assert!(running.contains("1 approved") && running.contains("bob@acme.example"), "{running}");
    assert!(running.contains(&format!("Deployment {}/orders", team.namespace())), "{running}");

    let postures = console.get("/postures").text;
    assert!(postures.contains(&format!("<h2>Environment {}</h2>", governed.environment)), "{postures}");
    let document = json!({"apiVersion": "writgate.dev/v1", "kind": "Posture", "environment": governed.environment});
    let compared = console.post("/postures", &[("documents", &document.to_string())]);
    assert!(compared.status == 200 && compared.text.contains("Nothing was applied."), "{}", compared.text);
}

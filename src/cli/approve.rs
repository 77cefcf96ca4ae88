//! `approve`: a statement about the workloads of a file, signed by a reviewer; or a further signature under one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::builder::NonEmptyStringValueParser;
use jiff::{SignedDuration, Timestamp, Unit};
use writgate_core::{Action, Approval, Capability, Envelope, Replay, parse_duration, parse_time};

use super::{
    attach,
    failure::{Answer, Failure},
    input,
    output::{self, columns, shown},
    passphrase::PassphraseSource,
    workloads::{self, Workload},
};
use crate::{
    clock,
    key_file::{EncryptedKey, KeyFile, PrivateKey},
    manifest::Manifest,
};

const REPLAY_LABEL: &str = "writgate.dev/replay";

/// Sign an approval of every workload in a file
///
/// Prints a DSSE envelope around an in-toto statement that binds each workload's name and spec to one environment,
/// project and action, for a time. What is signed is shown on standard error first. What the objects' annotations say
/// of pipeline version, config bundle and replay is bound too.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl writgate approve -f app.yaml --key bob.pem --environment production --project payments \\
      --requested-by alice@acme.example --reason CHG-1234 --expires-in 2h -o approval.json
  kubectl writgate approve -f app.yaml --key carol.pem --add-signature approval.json \\
      -o approval.json")]
pub(super) struct Arguments {
    /// Manifest, YAML or JSON; `-` for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    /// The namespace of objects that name none
    #[arg(short, long, value_parser = NonEmptyStringValueParser::new())]
    namespace: Option<String>,
    #[command(flatten)]
    kinds: input::Kinds,
    /// Your private key, Ed25519 in PKCS#8 PEM; readable by you alone
    #[arg(short, long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// File to write the envelope to; without it standard output
    #[arg(short, long, value_name = "FILE", value_parser = output_file)]
    output: Option<PathBuf>,
    /// Sign what is in this envelope too, instead of a new statement, if it is for these workloads and no others
    #[arg(long, value_name = "ENVELOPE", conflicts_with = "Statement")]
    add_signature: Option<PathBuf>,
    #[command(flatten)]
    statement: Statement,
}

/// What a new statement says beside its subjects.
#[derive(clap::Args, Debug)]
#[group(id = "Statement", multiple = true)]
struct Statement {
    /// The one environment that it is for
    #[arg(long, required_unless_present = "add_signature", help_heading = "Statement")]
    environment: Option<String>,
    /// The one project that it is for
    #[arg(long, required_unless_present = "add_signature", help_heading = "Statement")]
    project: Option<String>,
    /// The one cluster that it is for, where the posture names one
    #[arg(long, help_heading = "Statement")]
    cluster: Option<String>,
    /// Who asked for it
    #[arg(long, value_name = "PERSON", required_unless_present = "add_signature", help_heading = "Statement")]
    requested_by: Option<String>,
    /// Why: a ticket, a sentence
    #[arg(long, help_heading = "Statement")]
    reason: Option<String>,
    /// What may be done: `deploy`, `replay-execute` or `replay-dry-run` [default: what the workloads are; `replay-execute`
    /// for Jobs labelled as replays, else `deploy`]
    #[arg(long, value_parser = action, help_heading = "Statement")]
    action: Option<Action>,
    /// What the action may need; may be repeated [default: the action's own, `deploy` or
    /// `replay.execute`; `break-glass` in an emergency]
    #[arg(long, help_heading = "Statement")]
    capability: Vec<Capability>,
    /// For an emergency: judged by the posture's `breakGlass`, and told to everybody as such
    #[arg(long, help_heading = "Statement")]
    break_glass: bool,
    /// How long it is valid, as in 90m, 2h or 1d [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "expires_at", help_heading = "Statement")]
    expires_in: Option<SignedDuration>,
    /// When it stops to be valid, as in 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Statement")]
    expires_at: Option<Timestamp>,
    /// When it begins to be valid [default: now]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Statement")]
    not_before: Option<Timestamp>,
    /// The pipeline version [default: the objects' annotation]
    #[arg(long, value_name = "PIPELINE@VERSION", help_heading = "Statement")]
    pipeline_version: Option<String>,
    /// The config bundle [default: the objects' annotation]
    #[arg(long, value_name = "DIGEST", help_heading = "Statement")]
    config_bundle: Option<String>,
    /// Of a replay: the incident [default: the objects' annotation]
    #[arg(long, help_heading = "Statement")]
    incident: Option<String>,
    /// Of a replay: the spec hash that ran in the incident [default: the objects' annotation]
    #[arg(long, value_name = "DIGEST", help_heading = "Statement")]
    incident_spec_hash: Option<String>,
    /// Of a replay: the environment that its input is from [default: the objects' annotation]
    #[arg(long, value_name = "ENVIRONMENT", help_heading = "Statement")]
    source_environment: Option<String>,
    /// Of a replay: the artifact that it reads [default: the objects' annotation]
    #[arg(long, value_name = "DIGEST", help_heading = "Statement")]
    source_artifact: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Answer, Failure> {
    let optional = [&arguments.passphrase.passphrase_file, &arguments.add_signature];
    let paths = arguments.filename.iter().chain(optional.into_iter().flatten()).chain([&arguments.key]);
    input::one_stdin(paths.map(PathBuf::as_path))?;
    let key = read_key(&arguments.key)?;
    let workloads = workloads::read(&arguments.filename, &arguments.kinds, arguments.namespace.as_deref())?;
    let (mut envelope, approval) = match &arguments.add_signature {
        Some(path) => under_review(path, &workloads)?,
        None => new_statement(&arguments.statement, &workloads)?,
    };
    output::note(&summary(&approval, &workloads, &envelope));
    let key = open_key(key, arguments)?;
    let id = key.id();
    if envelope.keyids().any(|signed| signed == id.to_string()) {
        return Err(Failure::No(format!("key {id} has signed this already; a second signature counts for nothing")));
    }
    envelope.add_signature(id, key.sign(&envelope.signed_bytes()));
    let json = envelope.to_json();
    Envelope::parse(&json).map_err(|why| Failure::Misuse(format!("this cannot be an approval: {why}")))?;
    output::write(arguments.output.as_deref(), &(json + "\n"))?;
    output::note(&format!("signed with key {id}"));
    Ok(Answer::Yes)
}

fn new_statement(statement: &Statement, workloads: &[Workload]) -> Result<(Envelope, Approval), Failure> {
    let now = clock::now();
    let whole = now.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor));
    let not_before = statement.not_before.unwrap_or(whole.unwrap_or(now));
    let expires_at = match statement.expires_at {
        Some(time) => time,
        None => not_before
            .checked_add(statement.expires_in.unwrap_or(SignedDuration::from_hours(1)))
            .map_err(|_| Failure::Misuse("it would expire beyond the year 9999".to_owned()))?,
    };
    if expires_at <= now {
        return Err(Failure::Misuse(format!("it would have expired already, at {expires_at}")));
    }
    let action = match statement.action {
        Some(action) => action,
        None => action_of(workloads)?,
    };
    let approval = Approval {
        subjects: workloads.iter().map(|workload| workload.subject.clone()).collect(),
        id: clock::decision_id(now).to_string(),
        action,
        cluster: statement.cluster.clone(),
        environment: statement.environment.clone().unwrap_or_default(),
        project: statement.project.clone().unwrap_or_default(),
        capabilities: capabilities(statement, action),
        pipeline_version: claim(workloads, "pipeline-version", statement.pipeline_version.as_deref())?,
        config_bundle: claim(workloads, "config-bundle", statement.config_bundle.as_deref())?,
        replay: replay(statement, action, workloads)?,
        break_glass: statement.break_glass,
        requested_by: statement.requested_by.clone().unwrap_or_default(),
        reason: statement.reason.clone(),
        not_before,
        expires_at,
    };
    // What the gate would not read as this very statement is not signed.
    let payload = approval.to_payload();
    match Approval::parse(&payload) {
        Ok(read) if read == approval => Ok((Envelope::new(payload), approval)),
        Ok(_) => Err(Failure::Misuse("this cannot be an approval: it would be read as another one".to_owned())),
        Err(why) => Err(Failure::Misuse(format!("this cannot be an approval: {why}"))),
    }
}

fn action_of(workloads: &[Workload]) -> Result<Action, Failure> {
    let action = |workload: &Workload| match workload.manifest.label(REPLAY_LABEL) {
        Some(_) => Action::ReplayExecute,
        None => Action::Deploy,
    };
    let first = workloads.first().map_or(Action::Deploy, action);
    match workloads.iter().find(|workload| action(workload) != first) {
        None => Ok(first),
        Some(other) => Err(Failure::Misuse(format!(
            "some of it is {first}, but {} is {}; an approval is for one action: approve them in files of their own",
            other.manifest,
            action(other)
        ))),
    }
}

fn capabilities(statement: &Statement, action: Action) -> Vec<String> {
    if !statement.capability.is_empty() {
        return statement.capability.iter().map(ToString::to_string).collect();
    }
    let own = match action {
        _ if statement.break_glass => "break-glass",
        Action::Deploy => "deploy",
        Action::ReplayExecute => "replay.execute",
        Action::ReplayDryRun => "replay.dry-run",
    };
    vec![own.to_owned()]
}

/// What all workloads say in annotation `writgate.dev/<name>`. A claim binds, so it must be true of each.
fn claim(workloads: &[Workload], name: &str, asked: Option<&str>) -> Result<Option<String>, Failure> {
    let annotation = format!("writgate.dev/{name}");
    let mut said: BTreeMap<Option<&str>, &Manifest> = BTreeMap::new();
    for workload in workloads {
        said.entry(workload.manifest.annotation(&annotation)).or_insert(&workload.manifest);
    }
    let show = |value: Option<&str>| value.map_or("nothing".to_owned(), shown);
    let mut different = said.iter();
    if let (Some((one, first)), Some((other, second))) = (different.next(), different.next()) {
        return Err(Failure::Misuse(format!(
            "annotation {annotation} says {} in {first} and {} in {second}; an approval binds one value: approve them in \
             files of their own",
            show(*one),
            show(*other)
        )));
    }
    let found = said.keys().next().copied().flatten();
    match (asked, found) {
        (Some(asked), Some(found)) if asked != found => Err(Failure::No(format!(
            "--{name} says {}, but annotation {annotation} says {}",
            shown(asked),
            shown(found)
        ))),
        (Some(asked), None) => {
            output::note(&format!(
                "note: the objects have no annotation {annotation} yet; without {annotation}: {} they will be denied",
                shown(asked)
            ));
            Ok(Some(asked.to_owned()))
        }
        (asked, found) => Ok(asked.or(found).map(str::to_owned)),
    }
}

fn replay(statement: &Statement, action: Action, workloads: &[Workload]) -> Result<Option<Replay>, Failure> {
    let asked = [
        ("incident", &statement.incident),
        ("incident-spec-hash", &statement.incident_spec_hash),
        ("source-environment", &statement.source_environment),
        ("source-artifact", &statement.source_artifact),
    ];
    if action == Action::Deploy {
        return match asked.into_iter().find(|(_, value)| value.is_some()) {
            Some((flag, _)) => Err(Failure::Misuse(format!("--{flag} is of a replay, but this is a deploy"))),
            None => Ok(None),
        };
    }
    let [incident, incident_spec_hash, source_environment, source_artifact] =
        asked.map(|(name, value)| claim(workloads, name, value.as_deref()));
    let replay = Replay {
        incident: incident?,
        incident_spec_hash: incident_spec_hash?,
        source_environment: source_environment?,
        source_artifact: source_artifact?,
    };
    for (missing, name) in [(&replay.incident, "incident"), (&replay.source_environment, "source-environment")] {
        if missing.is_none() && action == Action::ReplayExecute {
            return Err(Failure::Misuse(format!(
                "a replay needs its {name}: annotate the objects with writgate.dev/{name}, or give --{name}"
            )));
        }
    }
    Ok((replay != Replay::default()).then_some(replay))
}

/// The envelope of another reviewer, once it is for exactly these workloads as they are in the file.
fn under_review(path: &Path, workloads: &[Workload]) -> Result<(Envelope, Approval), Failure> {
    let envelope = input::envelope(path)?;
    let name = input::name(path);
    let approval = attach::approval_in(&envelope, &name)?;
    let refuse = |why: String| Err(Failure::No(format!("{name} is not for this file: {why}")));
    for subject in &approval.subjects {
        if workloads.iter().all(|workload| workload.subject.name != subject.name) {
            return refuse(format!("it covers {}, which is not in the file", shown(&subject.name)));
        }
    }
    for Workload { manifest, subject } in workloads {
        let approved = approval.subjects.iter().find(|approved| approved.name == subject.name);
        match approved {
            None => return refuse(format!("it does not cover {manifest}")),
            Some(approved) if approved.hash != subject.hash => {
                return refuse(format!("{manifest} has spec {}, it covers {}", subject.hash, approved.hash));
            }
            Some(_) => {}
        }
    }
    for (name, approved) in claims(&approval) {
        let found = claim(workloads, name, None)?;
        if found.as_deref() != Some(approved) {
            let found = found.as_deref().map_or("nothing".to_owned(), shown);
            return refuse(format!("it says {name} {}, the objects' annotations say {found}", shown(approved)));
        }
    }
    if approval.expires_at <= clock::now() {
        return refuse(format!("it expired at {}", approval.expires_at));
    }
    Ok((envelope, approval))
}

/// The claims of an approval that annotations of the objects bear out, by their names.
fn claims(approval: &Approval) -> impl Iterator<Item = (&'static str, &str)> {
    let replay = approval.replay.as_ref();
    [
        ("pipeline-version", approval.pipeline_version.as_deref()),
        ("config-bundle", approval.config_bundle.as_deref()),
        ("incident", replay.and_then(|replay| replay.incident.as_deref())),
        ("incident-spec-hash", replay.and_then(|replay| replay.incident_spec_hash.as_deref())),
        ("source-environment", replay.and_then(|replay| replay.source_environment.as_deref())),
        ("source-artifact", replay.and_then(|replay| replay.source_artifact.as_deref())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// Everything that is about to be signed.
fn summary(approval: &Approval, workloads: &[Workload], envelope: &Envelope) -> String {
    let lasts = approval.lifetime();
    let mut rows = vec![
        ("action", approval.action.to_string()),
        ("environment", shown(&approval.environment)),
        ("project", shown(&approval.project)),
        ("cluster", approval.cluster.as_deref().map(shown).unwrap_or_default()),
        ("capabilities", shown(&approval.capabilities.join(", "))),
        ("requested by", shown(&approval.requested_by)),
        ("reason", approval.reason.as_deref().map(shown).unwrap_or_default()),
        ("valid", format!("{} to {} ({lasts:#})", approval.not_before, approval.expires_at)),
    ];
    rows.extend(claims(approval).map(|(name, value)| (name, shown(value))));
    rows.push(("id", approval.id.clone()));
    let claimed = |keyid: &str| if keyid.is_empty() { "unnamed".to_owned() } else { shown(keyid) };
    rows.extend(envelope.keyids().map(|keyid| ("signed, it says", format!("by key {}", claimed(keyid)))));
    let mut lines = vec!["To be signed:".to_owned(), columns(rows)];
    for Workload { manifest, subject } in workloads {
        lines.push(format!("  {}\n    spec   {}", shown(&subject.name), subject.hash));
        lines.extend(manifest.images().into_iter().map(|image| format!("    image  {}", shown(image))));
    }
    lines.join("\n")
}

fn read_key(path: &Path) -> Result<KeyFile, Failure> {
    let key = KeyFile::parse(&zeroize::Zeroizing::new(input::small_text(path)?))
        .map_err(|error| Failure::CouldNotTell(format!("{}: {error}", input::name(path))))?;
    // Last, so that what is no private key is told as that.
    check_private(path)?;
    Ok(key)
}

/// A private key that others can read is nobody's alone, and a signature with it proves nothing.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) }; // reading it tells why
    let mode = found.permissions().mode() & 0o777;
    // Nothing for the group, nothing for others, as ssh has it.
    if input::is_stdin(path) || !found.is_file() || mode.trailing_zeros() >= 6 {
        return Ok(());
    }
    Err(Failure::CouldNotTell(format!(
        "others can read the private key {0} (mode {mode:04o}); run: chmod 600 {0}",
        path.display()
    )))
}

#[cfg(not(unix))]
fn check_private(_: &Path) -> Result<(), Failure> {
    Ok(())
}

fn open_key(file: KeyFile, arguments: &Arguments) -> Result<PrivateKey, Failure> {
    let open = |key: &EncryptedKey| {
        let passphrase = arguments.passphrase.of_key(&arguments.key)?;
        key.decrypt(&passphrase)
            .map_err(|error| Failure::CouldNotTell(format!("{}: {error}", input::name(&arguments.key))))
    };
    match file {
        KeyFile::Plain(key) => Ok(*key),
        KeyFile::Encrypted(key) => open(&key),
    }
}

fn action(text: &str) -> Result<Action, String> {
    let names = Action::ALL.map(Action::as_str).join(", ");
    Action::ALL.into_iter().find(|action| action.as_str() == text).ok_or_else(|| format!("expected one of {names}"))
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.subsec_nanos() == 0 { Ok(duration) } else { Err("expected whole seconds".to_owned()) }
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_time(text).map_err(|error| error.to_string())
}

/// Elsewhere `-o` names a format; a file of that name is nobody's wish.
fn output_file(text: &str) -> Result<PathBuf, String> {
    match text {
        "" | "json" | "text" | "yaml" => Err("here -o names a file; the envelope is always JSON".to_owned()),
        path => Ok(path.into()),
    }
}

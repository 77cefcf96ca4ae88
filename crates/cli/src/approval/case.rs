//! One approval as it is reviewed and signed: the workloads, the posture's decision about them, and the statement.
//!
//! `review` prints it and `approve` signs it, so that both show the same. Nothing is asked, signed or printed here.

use std::path::Path;

use jiff::SignedDuration;
use writgate_core::{
    approval::{Action, Approval, Capability, Envelope},
    decide::EligibilityTerms,
    posture::{Posture, QuorumEntry, Reviewer},
    record::Denial,
};

use crate::{
    approval::{
        judge::Judge,
        matter::{Files, Matter, MatterFlags},
        request_file::{NeededCapability, RequestFile},
        standing::{Claimed, PostureFlags, Standing},
        statement::{self, StatementFlags},
    },
    failure::Failure,
    manifest::input,
    rules::Place,
    terminal::output::shown,
};

/// Everything that is known of one approval before it is signed.
pub(crate) struct Case<'f> {
    pub(crate) request: Option<&'f RequestFile>,
    pub(crate) matter: Matter,
    /// How the posture decides; none if no posture is used.
    pub(crate) rules: Option<(Judge<'f>, Standing)>,
    pub(crate) ground: Ground,
    /// The statement to sign.
    pub(crate) approval: Approval,
    /// The statement with the signatures that it has already.
    pub(crate) envelope: Envelope,
    /// Claims of the request file or the envelope that differ from what was computed.
    pub(crate) wrong: Vec<String>,
}

/// What a statement is based on: the posture, or the claims of the request file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ground {
    /// Whether the values come from the posture.
    pub(crate) by_rules: bool,
    pub(crate) place: Place,
    pub(crate) cluster: Option<String>,
    pub(crate) action: Option<Action>,
    pub(crate) needed: Vec<NeededCapability>,
    /// The longest validity that the posture permits.
    pub(crate) max_lifetime: Option<SignedDuration>,
}

/// The inputs from the command line.
pub(crate) struct Opening<'f> {
    pub(crate) files: &'f Files,
    pub(crate) matter: &'f MatterFlags,
    pub(crate) posture: &'f PostureFlags,
    pub(crate) statement: &'f StatementFlags,
    /// An envelope to review, in place of a new statement.
    pub(crate) envelope: Option<&'f Path>,
}

impl<'f> Case<'f> {
    /// Collects everything, and decides by the posture if it is used.
    pub(crate) fn open(opening: &Opening<'f>) -> Result<Self, Failure> {
        let kinds = &opening.matter.kinds;
        let judge = opening.posture.load(&opening.files.manifests, kinds)?;
        let cluster = judge.as_ref().and_then(|judge| judge.rules.cluster.as_ref());
        let namespace = opening.matter.namespace.namespace.as_deref().or(cluster.map(|cluster| &*cluster.namespace));
        let matter = opening.files.matter(kinds, namespace)?;
        let request = opening.files.request.as_ref().map(|(request, _)| request);
        let given = opening.envelope.map(|path| statement::in_envelope(path, &matter)).transpose()?;
        let claimed = opening.claimed(given.as_ref().map(|(_, approval)| approval), request)?;
        let rules = match judge {
            None => None,
            Some(mut judge) => {
                let standing = Standing::of(&mut judge, &matter, &claimed)?;
                Some((judge, standing))
            }
        };
        let ground = match &rules {
            Some((judge, standing)) => Ground::of_rules(standing, standing.posture(judge), claimed.emergency),
            None => request.map(Ground::of_request).unwrap_or_default(),
        };
        let mut wrong = matter.wrong.clone();
        wrong.extend(request.iter().flat_map(|request| ground.contradicts("the request", &Word::of_request(request))));
        let (envelope, approval) = if let Some((envelope, approval)) = given {
            wrong.extend(ground.contradicts("the envelope", &Word::of_approval(&approval)));
            wrong.extend(request.and_then(|request| other_requester(&approval, request)));
            (envelope, approval)
        } else {
            let approval = opening.statement.state(&matter, request, &ground)?;
            (Envelope::new(approval.to_payload()), approval)
        };
        Ok(Self { request, matter, rules, ground, approval, envelope, wrong })
    }

    /// The environment's posture, if it is used and valid.
    pub(crate) fn posture(&self) -> Option<&Posture> {
        self.rules.as_ref().and_then(|(judge, standing)| standing.posture(judge))
    }

    /// The quorum of this approval: how many reviewers must sign, of which groups.
    pub(crate) fn quorum<'p>(&self, posture: &'p Posture) -> &'p [QuorumEntry] {
        let emergency = posture.break_glass.as_ref().filter(|_| self.approval.break_glass);
        emergency.map_or(&posture.rule(self.approval.action).quorum, |rule| &rule.quorum)
    }

    /// The reviewers whose signature would count; none if no posture is used.
    pub(crate) fn could_sign(&self) -> Vec<&Reviewer> {
        let (Some((judge, _)), Some(posture)) = (&self.rules, self.posture()) else { return Vec::new() };
        let needed: Vec<Capability> =
            self.ground.needed.iter().filter_map(|needed| needed.capability.parse().ok()).collect();
        let requested_by = &self.approval.requested_by;
        let now = judge.now.max(self.approval.not_before);
        let project = &self.approval.project;
        let terms =
            EligibilityTerms { posture, project, required: &needed, requested_by, initiator: requested_by, now };
        posture.reviewers.iter().filter(|reviewer| terms.holds(reviewer)).collect()
    }

    /// The denials of a request with `envelope` as its only approval; none if no posture is used. The time of the
    /// decision is the first moment at which the approval is valid.
    pub(crate) fn judge(&mut self, envelope: &Envelope) -> Result<Option<Vec<Denial>>, Failure> {
        let Some((judge, standing)) = &mut self.rules else { return Ok(None) };
        judge.now = judge.now.max(self.approval.not_before);
        standing.judge(judge, &self.matter, &self.approval.requested_by, envelope).map(Some)
    }
}

/// Reads the files of `flags`. Fails if `others` read standard input too.
pub(crate) fn read<'p>(flags: &'p MatterFlags, others: impl IntoIterator<Item = &'p Path>) -> Result<Files, Failure> {
    input::one_stdin(flags.filename.iter().map(|path| &**path).chain(others))?;
    flags.read()
}

impl Opening<'_> {
    /// What is claimed before any check: by the envelope if there is one, else by the flags and the request file.
    fn claimed(&self, given: Option<&Approval>, request: Option<&RequestFile>) -> Result<Claimed, Failure> {
        match given {
            Some(Approval { requested_by, break_glass, environment, project, .. }) => Ok(Claimed {
                requested_by: requested_by.clone(),
                emergency: *break_glass,
                place: Place { environment: Some(environment.clone()), project: Some(project.clone()) },
            }),
            None => Ok(Claimed {
                requested_by: self.statement.requester(request)?,
                emergency: self.statement.emergency(request)?,
                place: self.statement.place(request),
            }),
        }
    }
}

fn other_requester(approval: &Approval, request: &RequestFile) -> Option<String> {
    (approval.requested_by != request.requested_by).then(|| {
        format!(
            "the envelope says that {} requested it, but the request says {}",
            shown(&approval.requested_by),
            shown(&request.requested_by)
        )
    })
}

/// What a request file or an envelope claims.
struct Word<'a> {
    environment: &'a str,
    project: &'a str,
    cluster: Option<&'a str>,
    action: Action,
    capabilities: Vec<&'a str>,
}

impl<'a> Word<'a> {
    fn of_request(request: &'a RequestFile) -> Self {
        Self {
            environment: &request.environment,
            project: &request.project,
            cluster: request.cluster.as_deref(),
            action: request.action,
            capabilities: request.capabilities.iter().map(|needed| &*needed.capability).collect(),
        }
    }

    fn of_approval(approval: &'a Approval) -> Self {
        Self {
            environment: &approval.environment,
            project: &approval.project,
            cluster: approval.cluster.as_deref(),
            action: approval.action,
            capabilities: approval.capabilities.iter().map(String::as_str).collect(),
        }
    }
}

impl Ground {
    fn of_rules(standing: &Standing, posture: Option<&Posture>, emergency: bool) -> Self {
        let lifetime = |posture: &Posture| {
            let action = standing.action.map(|action| posture.rule(action).max_lifetime);
            posture.break_glass.as_ref().filter(|_| emergency).map(|rule| rule.max_lifetime).or(action)
        };
        Self {
            by_rules: true,
            place: standing.place.clone(),
            cluster: posture.and_then(|posture| posture.cluster.clone()),
            action: standing.action,
            needed: posture.map(|posture| standing.needed(posture, emergency)).unwrap_or_default(),
            max_lifetime: posture.and_then(lifetime),
        }
    }

    fn of_request(request: &RequestFile) -> Self {
        Self {
            by_rules: false,
            place: Place { environment: Some(request.environment.clone()), project: Some(request.project.clone()) },
            cluster: request.cluster.clone(),
            action: Some(request.action),
            needed: request.capabilities.clone(),
            max_lifetime: None,
        }
    }

    /// Claims that differ from the posture; none if no posture is used.
    fn contradicts(&self, whose: &str, word: &Word<'_>) -> Vec<String> {
        let Some(action) = self.action.filter(|_| self.by_rules) else { return Vec::new() };
        let mut wrong = Vec::new();
        let mut compare = |what: &str, said: Option<&str>, is: Option<&str>| {
            let named = |value: Option<&str>| value.map_or("none".to_owned(), shown);
            if said != is {
                wrong.push(format!("{whose} says {what} {}, expected {}", named(said), named(is)));
            }
        };
        compare("environment", Some(word.environment), self.place.environment.as_deref());
        compare("project", Some(word.project), self.place.project.as_deref());
        compare("cluster", word.cluster, self.cluster.as_deref());
        compare("action", Some(word.action.as_str()), Some(action.as_str()));
        let sorted = |mut names: Vec<&str>| {
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        let needed = sorted(self.needed.iter().map(|needed| &*needed.capability).collect());
        compare("capabilities", Some(&sorted(word.capabilities.clone())), Some(&needed));
        wrong
    }
}

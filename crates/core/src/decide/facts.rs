//! The facts that a decision rests on besides the request: the governance of its namespace, and what the caller is
//! configured with. Facts that are looked up only when a decision requires them are in `driver`.

use jiff::SignedDuration;
use uuid::Uuid;

use crate::{
    posture::{Posture, PostureError},
    record::denial::Denial,
    request::exempt::ExemptControllers,
    text::on_one_line,
};

/// The rules that apply to a namespace.
#[derive(Clone, Copy, Debug)]
pub enum Governance<'a> {
    /// The namespace has no environment. Writgate decides nothing in it.
    Ungoverned,
    /// The namespace belongs to an environment.
    Governed {
        /// The label `writgate.dev/environment`; empty if the labels of the namespace could not be read.
        environment: &'a str,
        /// The label `writgate.dev/project`. Without it, every action is denied.
        project: Option<&'a str>,
        /// The posture of the environment.
        posture: Result<&'a Posture, &'a PostureError>,
    },
}

/// What the caller knows before it reads the request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The id of the decision, a `UUIDv7`.
    pub decision_id: Uuid,
    /// The controllers whose writes are not actions.
    pub exempt: &'a ExemptControllers,
    /// How long before its `notBefore` an approval is valid already, because clocks differ. Zero or more.
    pub clock_leeway: SignedDuration,
}

/// A governed namespace with a posture, and with a project that the posture accepts.
#[derive(Clone, Copy)]
pub(crate) struct GovernedNamespace<'a> {
    pub(crate) environment: &'a str,
    pub(crate) project: &'a str,
    pub(crate) posture: &'a Posture,
}

impl<'a> GovernedNamespace<'a> {
    /// Row 1, for the labels of the namespace.
    pub(crate) fn new(
        namespace: &str,
        environment: &'a str,
        project: Option<&'a str>,
        posture: &'a Posture,
    ) -> Result<Self, Denial> {
        let not_listed = |why: String| Err(Denial::NamespaceNotListed { why: on_one_line(&why) });
        let Some(project) = project else {
            return not_listed(format!(
                "namespace {namespace} is in environment {environment} but has no label writgate.dev/project"
            ));
        };
        match posture.namespaces.as_ref().map(|listed| listed.get(namespace)) {
            None => {}
            Some(Some(listed)) if listed == project => {}
            Some(Some(listed)) => {
                return not_listed(format!(
                    "namespace {namespace} claims project {project}, but the posture lists it under project {listed}"
                ));
            }
            Some(None) => {
                return not_listed(format!(
                    "namespace {namespace} claims environment {environment}, but the posture does not list it"
                ));
            }
        }
        Ok(Self { environment, project, posture })
    }
}

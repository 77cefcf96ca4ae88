//! The labels and annotations with which Flux and Argo CD mark the objects that they apply.

use crate::{
    record::claimed_initiator::ClaimedInitiator,
    request::admission_review::{Metadata, Request},
    text::{bounded, escape_line},
};

/// The kinds of Flux, with the labels of their names and namespaces.
const FLUX: [(&str, &str, &str); 2] = [
    ("Kustomization", "kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"),
    (HELM_RELEASE, "helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace"),
];
const HELM_RELEASE: &str = "HelmRelease";
/// The label with a chart's name and version. Flux itself names no revision.
const CHART: &str = "helm.sh/chart";
/// The label that an installation of Argo CD may be configured to use (`application.instanceLabelKey`). Its default,
/// `app.kubernetes.io/instance`, is not read, because most charts set it as well.
const ARGO_INSTANCE: &str = "argocd.argoproj.io/instance";

/// The longest part of a claim, in bytes: that of a name in Kubernetes.
const MAX_PART: usize = 253;

/// What the object of a request names: the object after the request or, of a deletion, the one before.
pub(crate) fn claimed_initiators(request: &Request<'_>) -> Vec<ClaimedInitiator> {
    let object = request.object.as_ref().or(request.old_object.as_ref());
    object.map(|object| claims(&object.metadata)).unwrap_or_default()
}

fn claims(metadata: &Metadata<'_>) -> Vec<ClaimedInitiator> {
    let label = |key: &str| metadata.labels.get(key);
    let flux = FLUX.iter().filter_map(|(kind, name, namespace)| {
        let revision = if *kind == HELM_RELEASE { label(CHART) } else { None };
        claim(kind, label(namespace), label(name)?, revision)
    });
    let tracking_id = metadata.annotations.tracking_id();
    // `<application>:<group>/<kind>:<namespace>/<name>`
    let tracked = tracking_id.as_deref().and_then(|id| id.split_once(':')).map(|(application, _)| application);
    let mut claims: Vec<ClaimedInitiator> = flux.collect();
    for application in [tracked, label(ARGO_INSTANCE)].into_iter().flatten() {
        // An Application outside Argo CD's own namespace is `<namespace>_<name>`. Names contain no underscore.
        let (namespace, name) =
            application.split_once('_').map_or((None, application), |(namespace, name)| (Some(namespace), name));
        claims.extend(claim("Application", namespace, name, None).filter(|claim| !claims.contains(claim)));
    }
    claims
}

fn claim(kind: &str, namespace: Option<&str>, name: &str, revision: Option<&str>) -> Option<ClaimedInitiator> {
    let part = |text: &str| Some(text).filter(|text| !text.is_empty()).map(shown);
    Some(ClaimedInitiator {
        kind: kind.to_owned(),
        name: part(name)?,
        namespace: namespace.and_then(part),
        revision: revision.and_then(part),
    })
}

/// An annotation may have 256 KiB of any characters.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(MAX_PART + 1).collect();
    bounded(&escape_line(&text), MAX_PART)
}

//! The posture documents, and whether each governed namespace has a posture.

use writgate_cluster::names::CANARY_NAMESPACE;

use super::{
    probe::checked_namespaces,
    reader::Reader,
    report::{Examination, Finding},
};
use crate::{command::posture, failure::Failure};

pub(super) fn examine(reader: &Reader<'_>) -> Result<Examination, Failure> {
    let set = reader.postures().map_err(Clone::clone)?;
    let mut findings: Vec<Finding> = posture::problems(set)
        .map(|problem| {
            Finding::failed(
                problem.to_string(),
                "correct the document; `kubectl writgate posture check` lists every problem",
            )
        })
        .collect();
    let mut count = 0;
    for (environment, posture) in set.environments() {
        count += 1;
        match posture {
            Ok(posture) => findings.extend(set.warnings(posture, reader.now).into_iter().map(|warning| {
                Finding::warning(
                    format!("environment {environment}: {warning}"),
                    format!("see the posture: kubectl writgate posture explain {environment}"),
                )
            })),
            // The problems say why.
            Err(_) => findings.push(Finding::failed(
                format!("environment {environment}: the posture is invalid, so the webhook denies everything in its namespaces"),
                "correct the document; `kubectl writgate posture check` lists every problem",
            )),
        }
    }
    if count == 0 {
        findings.push(Finding::warning(
            format!("namespace {} contains no posture, so no namespace can be governed", reader.system()),
            "write a first one with `kubectl writgate posture init`",
        ));
    }
    let mut governed = 0;
    match reader.namespaces() {
        Err(failure) => findings.push(failure.clone().into()),
        Ok(namespaces) => {
            // The labels have no effect on exempt namespaces.
            let checked = checked_namespaces(reader);
            for namespace in namespaces.iter().filter(|namespace| checked.selects(&namespace.labels)) {
                // It has no posture, so that everything in it is denied.
                if namespace.name == CANARY_NAMESPACE {
                    continue;
                }
                let Some(environment) = namespace.environment() else { continue };
                governed += 1;
                if !set.environments().any(|(known, _)| known == environment) {
                    let name = &namespace.name;
                    findings.push(Finding::failed(
                        format!("namespace {name} belongs to environment {environment}, which has no posture; everything is denied"),
                        format!("write the posture of {environment}, or correct the label: kubectl get namespace {name} --show-labels"),
                    ));
                }
            }
        }
    }
    Ok(Examination::new(format!("{count} valid postures, {governed} governed namespaces"), findings))
}

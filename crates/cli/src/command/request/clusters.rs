//! The clusters of one request: those that the flags name, and those of the contexts that the flags name.

use std::collections::BTreeSet;

use writgate_core::posture::Posture;

use crate::{
    command::request::Arguments,
    failure::Failure,
    postures::{LoadedPostures, PostureSourceFlags},
    terminal::output::shown,
};

/// The clusters, each once. None if the posture names no cluster.
pub(super) fn of(arguments: &Arguments, posture: &Posture) -> Result<Vec<String>, Failure> {
    let mut named: BTreeSet<String> = arguments.cluster.iter().cloned().collect();
    for context in &arguments.others.other_context {
        named.insert(cluster_of(arguments, context, &posture.environment)?);
    }
    let environment = shown(&posture.environment);
    match &posture.cluster {
        None if named.is_empty() => Ok(Vec::new()),
        None => Err(Failure::No(format!(
            "the request is for clusters {}, but the posture of {environment} names no cluster; set cluster in the posture, or \
             omit --cluster and --other-context",
            shown(&named.into_iter().collect::<Vec<_>>().join(", "))
        ))),
        Some(own) if !arguments.cluster.is_empty() && !arguments.cluster.contains(own) => Err(Failure::No(format!(
            "--cluster says {}, but the posture of {environment} is for cluster {own}; add --cluster {own}, or select another \
             cluster with --context",
            shown(&arguments.cluster.join(", ")),
            own = shown(own)
        ))),
        Some(own) => {
            named.insert(own.clone());
            Ok(named.into_iter().collect())
        }
    }
}

/// The cluster's name in the posture of `environment`, read with a context.
fn cluster_of(arguments: &Arguments, context: &str, environment: &str) -> Result<String, Failure> {
    let cluster = arguments.decider.postures.cluster.in_context(context);
    let read = PostureSourceFlags { posture_dir: None, cluster }.load();
    let name = read.and_then(|postures: LoadedPostures| {
        let posture = postures.set.environment(environment);
        let posture = posture.map_err(|error| Failure::Undetermined(error.to_string()))?;
        posture.cluster.clone().ok_or_else(|| {
            Failure::No(format!("its posture of {} names no cluster; set cluster in the posture", shown(environment)))
        })
    });
    let of_context = |why: String| format!("--other-context {}: {why}", shown(context));
    name.map_err(|failure| match failure {
        Failure::No(why) => Failure::No(of_context(why)),
        Failure::Misuse(why) => Failure::Misuse(of_context(why)),
        Failure::Undetermined(why) => Failure::Undetermined(of_context(why)),
    })
}

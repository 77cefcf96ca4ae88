//! The input of capability rules: the parts of a request that conditions can refer to.

use crate::kube::pod_spec::PodPath;

/// One request, as conditions see it. All texts borrow from the request.
#[derive(Default)]
pub(crate) struct RuleInput<'a> {
    /// `CREATE`, `UPDATE` or `DELETE`
    pub(crate) operation: &'a str,
    pub(crate) user: RuleUser<'a>,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) dry_run: bool,
    /// The API group of the object's kind; empty for the core API.
    pub(crate) group: &'a str,
    pub(crate) version: &'a str,
    pub(crate) kind: &'a str,
    /// The plural: `deployments`.
    pub(crate) resource: &'a str,
    pub(crate) sub_resource: &'a str,
    /// The object after the request; `None` for a deletion.
    pub(crate) object: Option<RuleObject<'a>>,
    /// The object before the request; `None` for a creation.
    pub(crate) old_object: Option<RuleObject<'a>>,
    /// Where objects of this kind have their Pod's spec; `None`: they have none.
    pub(crate) pod: Option<PodPath>,
}

/// The API user who sends the request.
#[derive(Default)]
pub(crate) struct RuleUser<'a> {
    pub(crate) username: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) groups: Vec<&'a str>,
}

/// An object. An empty field of its metadata counts as absent, as in the object that the API server stores.
#[derive(Default)]
pub(crate) struct RuleObject<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
    pub(crate) generate_name: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    /// The annotations of [`DOMAIN`](crate::vocabulary::DOMAIN) only.
    pub(crate) annotations: Vec<(&'a str, &'a str)>,
    /// The object's `spec`, as JSON.
    pub(crate) spec: Option<&'a str>,
}

//! An object that is read for a part of its metadata.
//!
//! Writers of objects must not decide how much memory the webhook takes, so everything else is skipped while it is parsed.

use std::borrow::Cow;
use std::marker::PhantomData;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

/// An object of kind `K` with the metadata that `M` reads, and nothing else.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Listed<M>", bound = "M: Default + Deserialize<'de> + Into<ObjectMeta>")]
pub struct MetadataOnly<K, M> {
    meta: ObjectMeta,
    of: PhantomData<fn() -> (K, M)>,
}

impl<K: Resource<DynamicType = ()>, M> Resource for MetadataOnly<K, M> {
    type DynamicType = ();
    type Scope = K::Scope;

    /// The API server then sends the metadata alone.
    fn metadata_api() -> bool {
        true
    }

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[derive(Deserialize)]
#[serde(bound = "M: Default + Deserialize<'de>")]
struct Listed<M> {
    #[serde(default)]
    metadata: M,
}

impl<K, M: Into<ObjectMeta>> From<Listed<M>> for MetadataOnly<K, M> {
    fn from(Listed { metadata }: Listed<M>) -> Self {
        Self { meta: metadata.into(), of: PhantomData }
    }
}

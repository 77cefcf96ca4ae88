//! The reviews: one that was captured from a real API server, with its object enlarged, changed and approved for each
//! case. The edits are on the text, so that the API server's order of fields is kept.

use std::fmt::Write as _;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

/// `kubectl apply` of a Deployment, with the fields in the API server's order and without white space, as it sends them.
const CAPTURED: &str = include_str!("fixtures/create-deployment.json");

/// A Deployment, as JSON text.
#[derive(Clone)]
pub(crate) struct Workload {
    object: String,
}

impl Workload {
    /// The captured object, with environment variables added until its spec has at least `spec_length` bytes.
    pub(crate) fn with_spec_of(spec_length: usize) -> anyhow::Result<Self> {
        let start = CAPTURED.find(OBJECT).context("the fixture has an object")? + OBJECT.len();
        let length = CAPTURED[start..].find(OLD_OBJECT).context("the fixture has an oldObject")?;
        let captured = Self { object: CAPTURED[start..start + length].to_owned() };
        let missing = spec_length.saturating_sub(captured.spec()?.len());
        let mut variables = String::with_capacity(missing + 128);
        let mut number = 0;
        while variables.len() < missing {
            number += 1;
            write!(
                variables,
                r#"{{"name":"SETTING_{number:05}","value":"https://{number:05}.internal.acme.example/v1?mode=steady&retries=3"}},"#
            )?;
        }
        captured.replaced(r#""env":["#, &format!(r#""env":[{variables}"#))
    }

    /// The workload with another image, and so with another spec hash.
    pub(crate) fn with_image(&self, image: &str) -> anyhow::Result<Self> {
        self.replaced(r#""image":"ghcr.io/acme/orders:1.4.2""#, &format!(r#""image":"{image}""#))
    }

    /// The workload with a label on the object itself, and so with the same spec hash.
    pub(crate) fn with_label(&self, name: &str, value: &str) -> anyhow::Result<Self> {
        self.replaced(r#""labels":{"#, &format!(r#""labels":{{"{name}":"{value}","#))
    }

    /// The workload with an approval attached.
    pub(crate) fn with_approval(&self, envelope: &str) -> anyhow::Result<Self> {
        let envelope = serde_json::to_string(envelope)?;
        self.replaced(r#""annotations":{"#, &format!(r#""annotations":{{"writgate.dev/approval":{envelope},"#))
    }

    /// The text of `.spec`.
    pub(crate) fn spec(&self) -> anyhow::Result<&str> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            spec: &'a RawValue,
        }
        Ok(serde_json::from_str::<Object>(&self.object)?.spec.get())
    }

    /// The AdmissionReview of its creation.
    pub(crate) fn create(&self) -> String {
        review(&self.object, "null")
    }

    /// The AdmissionReview of its change from `old`.
    pub(crate) fn update_from(&self, old: &Self) -> String {
        review(&self.object, &old.object).replacen(r#""operation":"CREATE""#, r#""operation":"UPDATE""#, 1).replacen(
            "CreateOptions",
            "UpdateOptions",
            1,
        )
    }

    pub(crate) fn replaced(&self, from: &str, to: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(self.object.contains(from), "the fixture has no {from}");
        Ok(Self { object: self.object.replacen(from, to, 1) })
    }
}

const OBJECT: &str = r#""object":"#;
const OLD_OBJECT: &str = r#","oldObject":null"#;

fn review(object: &str, old_object: &str) -> String {
    let (head, rest) = CAPTURED.trim_end().split_once(OBJECT).unwrap_or_default();
    let (_, tail) = rest.split_once(OLD_OBJECT).unwrap_or_default();
    format!(r#"{head}{OBJECT}{object},"oldObject":{old_object}{tail}"#)
}

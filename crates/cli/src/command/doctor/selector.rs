//! Label selectors: which objects one selects, and whether it selects everything that another one does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

/// One expression of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) key: String,
    operator: String,
    values: BTreeSet<String>,
}

/// All expressions of a label selector. Without one, it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Expression>);

impl Selector {
    /// Reads a `LabelSelector`. An absent selector selects everything.
    pub(super) fn of(selector: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let labels = selector["matchLabels"].as_object().into_iter().flatten().map(|(key, value)| Expression {
            key: key.clone(),
            operator: "In".to_owned(),
            values: [text(value)].into(),
        });
        let expressions = selector["matchExpressions"].as_array().into_iter().flatten().map(|expression| Expression {
            key: text(&expression["key"]),
            operator: text(&expression["operator"]),
            values: expression["values"].as_array().into_iter().flatten().map(text).collect(),
        });
        Self(labels.chain(expressions).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|expression| expression.selects(labels))
    }

    /// The expressions that can exclude something that `expected` selects.
    pub(super) fn narrower_than<'a>(&'a self, expected: &'a Self) -> impl Iterator<Item = &'a Expression> {
        self.0.iter().filter(|found| !expected.0.iter().any(|expected| expected.implies(found)))
    }
}

impl Expression {
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }

    fn implies(&self, other: &Self) -> bool {
        self.key == other.key
            && match (self.operator.as_str(), other.operator.as_str()) {
                ("In", "In") => self.values.is_subset(&other.values),
                ("NotIn", "NotIn") => other.values.is_subset(&self.values),
                ("DoesNotExist", "NotIn" | "DoesNotExist") | ("In" | "Exists", "Exists") => true,
                _ => false,
            }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, operator, values } = self;
        write!(f, "{key} {operator}")?;
        if values.is_empty() {
            return Ok(());
        }
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        write!(f, " [{}]", values.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selector(expressions: &Value) -> Selector {
        Selector::of(&json!({"matchExpressions": expressions}))
    }

    fn expected() -> Selector {
        selector(&json!([
            {"key": "environment", "operator": "Exists"},
            {"key": "name", "operator": "NotIn", "values": ["kube-system", "writgate-system"]},
        ]))
    }

    #[test]
    fn an_expression_that_excludes_more_is_narrower() {
        let equal = json!({"key": "name", "operator": "NotIn", "values": ["writgate-system", "kube-system"]});
        let fewer = json!({"key": "name", "operator": "NotIn", "values": ["kube-system"]});
        for wide in [json!([equal]), json!([fewer]), json!([])] {
            assert_eq!(selector(&wide).narrower_than(&expected()).count(), 0, "{wide}");
        }
        for narrow in [
            json!({"key": "name", "operator": "NotIn", "values": ["kube-system", "payments"]}),
            json!({"key": "environment", "operator": "In", "values": ["production"]}),
            json!({"key": "environment", "operator": "DoesNotExist"}),
            json!({"key": "control-plane", "operator": "DoesNotExist"}),
            json!({"key": "environment", "operator": "Unheard"}),
        ] {
            assert_eq!(selector(&json!([narrow])).narrower_than(&expected()).count(), 1, "{narrow}");
        }
        let everything = Selector::default();
        assert_eq!(expected().narrower_than(&everything).count(), 2);
        let one = Selector::of(&json!({"matchLabels": {"name": "a"}}));
        assert_eq!(one.narrower_than(&one).count(), 0);
    }

    #[test]
    fn selects_as_the_api_server_does() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let selects = |pairs: &[(&str, &str)]| expected().selects(&labels(pairs));
        assert!(selects(&[("environment", "production"), ("name", "payments")]));
        assert!(selects(&[("environment", "production")]), "NotIn selects objects without the label");
        assert!(!selects(&[("environment", "production"), ("name", "kube-system")]));
        assert!(!selects(&[("name", "payments")]));
        assert!(!selector(&json!([{"key": "a", "operator": "In", "values": ["b"]}])).selects(&labels(&[])));
        assert!(selector(&json!([{"key": "a", "operator": "DoesNotExist"}])).selects(&labels(&[])));
    }
}

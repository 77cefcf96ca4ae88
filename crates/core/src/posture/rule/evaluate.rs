//! Evaluates an expression for one request, within the limit of steps.

use std::rc::Rc;

use super::{
    expression::{Each, Macro, Node},
    fuel::{Fault, Fuel},
    json::Text,
    operators::{binary, index, unary},
    value::{List, Map, Value},
    variables::Variables,
};

/// The context in which an expression is evaluated.
pub(super) struct Evaluation<'e, 'v> {
    variables: &'e Variables<'v>,
    fuel: &'e Fuel,
    /// The current element of each enclosing macro, the outermost first.
    elements: Vec<Value<'v>>,
}

impl<'e, 'v> Evaluation<'e, 'v> {
    pub(super) fn new(variables: &'e Variables<'v>, fuel: &'e Fuel) -> Self {
        Self { variables, fuel, elements: Vec::new() }
    }

    /// The value of a condition.
    pub(super) fn bool(&mut self, node: &'v Node) -> Result<bool, Fault> {
        match self.value(node)? {
            Value::Bool(value) => Ok(value),
            other => Err(Fault::Error(format!("the condition is {}; expected a bool", other.type_name()))),
        }
    }

    fn value(&mut self, node: &'v Node) -> Result<Value<'v>, Fault> {
        self.fuel.spend(1)?;
        Ok(match node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Double(value) => Value::Double(*value),
            Node::Text(text) => Value::text(text),
            Node::List(nodes) => Value::list(nodes.iter().map(|node| self.value(node)).collect::<Result<_, _>>()?),
            Node::Map(entries) => self.map(entries)?,
            Node::Variable(variable) => self.variables.get(*variable)?,
            Node::Element(index) => self.element(*index)?,
            Node::Member(of, field) => self.member(of, field)?,
            Node::Has(of, field) => self.has(of, field)?,
            Node::Index(both) => self.index(both)?,
            Node::OptionalIndex(both) => self.optional_index(both)?,
            Node::And(both) => Value::Bool(self.unless(both, false)?),
            Node::Or(both) => Value::Bool(self.unless(both, true)?),
            Node::Conditional(parts) => {
                let [condition, one, other] = &**parts;
                let chosen = if self.bool(condition)? { one } else { other };
                self.value(chosen)?
            }
            Node::Unary(function, node) => unary(*function, &self.value(node)?, self.fuel)?,
            Node::Binary(function, both) => {
                let [one, other] = &**both;
                let one = self.value(one)?;
                binary(*function, &one, &self.value(other)?, self.fuel)?
            }
            Node::Matches(text, pattern) => match self.value(text)? {
                Value::Text(text) => {
                    // One step for each byte: matching may follow many states of the pattern at once.
                    self.fuel.spend(text.as_str().len())?;
                    Value::Bool(pattern.is_match(text.as_str()))
                }
                other => {
                    return Err(Fault::Error(format!(
                        "matches() is called on {}; expected a string",
                        other.type_name()
                    )));
                }
            },
            Node::OrValue(both) => self.or_value(both)?,
            Node::Each(each) => self.each(each)?,
        })
    }

    fn element(&self, index: usize) -> Result<Value<'v>, Fault> {
        self.elements.get(index).cloned().ok_or_else(|| Fault::error("an element is used outside its macro"))
    }

    fn map(&mut self, nodes: &'v [[Node; 2]]) -> Result<Value<'v>, Fault> {
        let mut entries: Vec<(Text<'v>, Value<'v>)> = Vec::new();
        for [key, value] in nodes {
            match self.value(key)? {
                Value::Text(key) if entries.iter().any(|(known, _)| known.as_str() == key.as_str()) => {
                    return Err(Fault::error("a key of the map appears twice"));
                }
                Value::Text(key) => entries.push((key, self.value(value)?)),
                other => {
                    return Err(Fault::Error(format!("a key of the map is {}; expected a string", other.type_name())));
                }
            }
        }
        Ok(Value::Map(Map::computed(entries)))
    }

    fn member(&mut self, of: &'v Node, field: &'v str) -> Result<Value<'v>, Fault> {
        match self.value(of)? {
            Value::Map(map) => map.get(field, self.fuel)?.ok_or_else(|| {
                Fault::Error(format!(
                    "field {field:?} is absent; check it with has() first, or write .?{field} and orValue()"
                ))
            }),
            // After one optional part of a path, the rest of the path is optional too.
            Value::Optional(of) => Ok(Value::Optional(self.present(of.as_deref(), field)?)),
            other => Err(Fault::Error(format!("field {field:?} is read from {}; expected a map", other.type_name()))),
        }
    }

    fn has(&mut self, of: &'v Node, field: &'v str) -> Result<Value<'v>, Fault> {
        match self.value(of)? {
            Value::Map(map) => Ok(Value::Bool(map.get(field, self.fuel)?.is_some())),
            Value::Optional(of) => Ok(Value::Bool(self.present(of.as_deref(), field)?.is_some())),
            other => Err(Fault::Error(format!("has() looks for {field:?} in {}; expected a map", other.type_name()))),
        }
    }

    fn index(&mut self, both: &'v [Node; 2]) -> Result<Value<'v>, Fault> {
        let [of, key] = both;
        let (of, at) = (self.value(of)?, self.value(key)?);
        match of {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(of)) => Ok(index(&of, &at, self.fuel)?.map_or(Value::Optional(None), Value::some)),
            of => index(&of, &at, self.fuel)?.ok_or_else(|| match key {
                Node::Text(key) => Fault::Error(format!("key {key:?} is absent; check it with in first")),
                _ => Fault::error("the index is outside the list, or the key is not in the map"),
            }),
        }
    }

    fn optional_index(&mut self, both: &'v [Node; 2]) -> Result<Value<'v>, Fault> {
        let [of, at] = both;
        let (of, at) = (self.value(of)?, self.value(at)?);
        let of = if let Value::Optional(of) = of { of } else { Some(Rc::new(of)) };
        let found = match of.as_deref() {
            // Null has no fields. For a creation, `oldObject` is null.
            None | Some(Value::Null) => None,
            Some(of) => index(of, &at, self.fuel)?,
        };
        Ok(found.map_or(Value::Optional(None), Value::some))
    }

    fn or_value(&mut self, both: &'v [Node; 2]) -> Result<Value<'v>, Fault> {
        let [of, other] = both;
        match self.value(of)? {
            Value::Optional(Some(value)) => Ok((*value).clone()),
            Value::Optional(None) => self.value(other),
            of => Err(Fault::Error(format!(
                "orValue() is called on {}; expected an optional value (a.?b)",
                of.type_name()
            ))),
        }
    }

    /// `decides` if one side has that value, even if the other side is an error.
    fn unless(&mut self, both: &'v [Node; 2], decides: bool) -> Result<bool, Fault> {
        let [one, other] = both;
        let one = self.bool(one);
        if one == Ok(decides) || one == Err(Fault::TooCostly) {
            return one;
        }
        let other = self.bool(other);
        if other == Ok(decides) || other == Err(Fault::TooCostly) { other } else { one.and(other) }
    }

    fn each(&mut self, each: &'v Each) -> Result<Value<'v>, Fault> {
        let items = match self.value(&each.over)? {
            Value::List(items) => items,
            Value::Map(map) => {
                self.fuel.spend(map.len())?;
                List::Computed(Rc::new(map.iter().map(|(key, _)| Value::Text(key)).collect()))
            }
            other => {
                return Err(Fault::Error(format!(
                    "a macro iterates over {}; expected a list or a map",
                    other.type_name()
                )));
            }
        };
        match each.what {
            Macro::All => self.any(&items, &each.body, false).map(Value::Bool),
            Macro::Exists => self.any(&items, &each.body, true).map(Value::Bool),
            Macro::ExistsOne => {
                let mut found = 0_usize;
                for item in items.iter() {
                    found += usize::from(self.at(&item, |this| this.bool(&each.body))?);
                }
                Ok(Value::Bool(found == 1))
            }
            Macro::Filter => self.kept(&items, Some(&each.body), |_, item| Ok(item.clone())),
            Macro::Map => self.kept(&items, each.condition.as_ref(), |this, _| this.value(&each.body)),
        }
    }

    /// Whether the body is `decides` for one element, even if it is an error for another.
    fn any(&mut self, items: &List<'v>, body: &'v Node, decides: bool) -> Result<bool, Fault> {
        let mut outcome = Ok(!decides);
        for item in items.iter() {
            match self.at(&item, |this| this.bool(body)) {
                Ok(value) if value == decides => return Ok(decides),
                Ok(_) => {}
                Err(Fault::TooCostly) => return Err(Fault::TooCostly),
                fault => outcome = outcome.and(fault),
            }
        }
        outcome
    }

    /// The results of `make` for the elements for which the condition is true.
    fn kept(
        &mut self,
        items: &List<'v>,
        condition: Option<&'v Node>,
        make: impl Fn(&mut Self, &Value<'v>) -> Result<Value<'v>, Fault>,
    ) -> Result<Value<'v>, Fault> {
        let mut list = Vec::new();
        for item in items.iter() {
            let value = self.at(&item, |this| match condition {
                Some(condition) if !this.bool(condition)? => Ok(None),
                _ => make(this, &item).map(Some),
            })?;
            list.extend(value);
        }
        Ok(Value::list(list))
    }

    fn at<T>(&mut self, item: &Value<'v>, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.fuel.spend(1)?;
        self.elements.push(item.clone());
        let result = work(self);
        self.elements.pop();
        result
    }

    /// The field of a map, if it exists.
    fn present(&self, of: Option<&Value<'v>>, field: &str) -> Result<Option<Rc<Value<'v>>>, Fault> {
        match of {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Map(map)) => Ok(map.get(field, self.fuel)?.map(Rc::new)),
            Some(other) => {
                Err(Fault::Error(format!("field {field:?} is read from {}; expected a map", other.type_name())))
            }
        }
    }
}

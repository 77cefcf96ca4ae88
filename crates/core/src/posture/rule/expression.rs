//! Compiled expressions: names are resolved and patterns are compiled. This file has all nodes, functions and macros of
//! CEL that a condition may use. `compile` makes them from a text, and `evaluate` gives them a value.

use cel::common::ast::operators;
use regex::Regex;

use super::variables::Variable;

/// A node of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<[Node; 2]>),
    Variable(Variable),
    /// The current element of an enclosing macro; 0 is the outermost macro.
    Element(usize),
    /// `a.b`
    Member(Box<Node>, String),
    /// `has(a.b)`
    Has(Box<Node>, String),
    /// `a[b]`
    Index(Box<[Node; 2]>),
    /// `a.?b`, `a[?b]`
    OptionalIndex(Box<[Node; 2]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Conditional(Box<[Node; 3]>),
    Unary(Unary, Box<Node>),
    Binary(Binary, Box<[Node; 2]>),
    Matches(Box<Node>, Regex),
    /// `a.orValue(b)`
    OrValue(Box<[Node; 2]>),
    Each(Box<Each>),
}

/// A macro over the elements of a list or the keys of a map.
#[derive(Clone, Debug)]
pub(super) struct Each {
    pub(super) what: Macro,
    pub(super) over: Node,
    /// The condition of a `map` with three arguments.
    pub(super) condition: Option<Node>,
    pub(super) body: Node,
}

/// What a macro does with the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A function or operator with one operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Negate,
    Size,
    LowerAscii,
    Int,
    Text,
    HasValue,
    Quantity,
    IsQuantity,
}

/// A function or operator with two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    StartsWith,
    EndsWith,
    Contains,
    IsGreaterThan,
    IsLessThan,
    CompareTo,
}

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `f(a)`, or an operator.
    Global,
    /// `a.f()`
    Receiver,
}

pub(super) const UNARY: [(&str, Style, Unary); 10] = [
    (operators::LOGICAL_NOT, Style::Global, Unary::Not),
    (operators::NEGATE, Style::Global, Unary::Negate),
    ("size", Style::Global, Unary::Size),
    ("size", Style::Receiver, Unary::Size),
    ("lowerAscii", Style::Receiver, Unary::LowerAscii),
    ("int", Style::Global, Unary::Int),
    ("string", Style::Global, Unary::Text),
    ("hasValue", Style::Receiver, Unary::HasValue),
    ("quantity", Style::Global, Unary::Quantity),
    ("isQuantity", Style::Global, Unary::IsQuantity),
];

pub(super) const BINARY: [(&str, Style, Binary); 18] = [
    (operators::ADD, Style::Global, Binary::Add),
    (operators::SUBSTRACT, Style::Global, Binary::Subtract),
    (operators::MULTIPLY, Style::Global, Binary::Multiply),
    (operators::DIVIDE, Style::Global, Binary::Divide),
    (operators::MODULO, Style::Global, Binary::Remainder),
    (operators::EQUALS, Style::Global, Binary::Equal),
    (operators::NOT_EQUALS, Style::Global, Binary::Unequal),
    (operators::LESS, Style::Global, Binary::Less),
    (operators::LESS_EQUALS, Style::Global, Binary::LessOrEqual),
    (operators::GREATER, Style::Global, Binary::Greater),
    (operators::GREATER_EQUALS, Style::Global, Binary::GreaterOrEqual),
    (operators::IN, Style::Global, Binary::In),
    ("startsWith", Style::Receiver, Binary::StartsWith),
    ("endsWith", Style::Receiver, Binary::EndsWith),
    ("contains", Style::Receiver, Binary::Contains),
    ("isGreaterThan", Style::Receiver, Binary::IsGreaterThan),
    ("isLessThan", Style::Receiver, Binary::IsLessThan),
    ("compareTo", Style::Receiver, Binary::CompareTo),
];

pub(super) const MACROS: [(&str, Macro); 6] = [
    (operators::ALL, Macro::All),
    (operators::EXISTS, Macro::Exists),
    (operators::EXISTS_ONE, Macro::ExistsOne),
    ("existsOne", Macro::ExistsOne),
    (operators::FILTER, Macro::Filter),
    (operators::MAP, Macro::Map),
];

impl Unary {
    /// The function as conditions write it, for messages.
    pub(super) fn name(self) -> String {
        display_name(UNARY.iter().find(|(.., function)| *function == self).map_or("", |(name, ..)| name))
    }
}

impl Binary {
    /// The function as conditions write it, for messages.
    pub(super) fn name(self) -> String {
        display_name(BINARY.iter().find(|(.., function)| *function == self).map_or("", |(name, ..)| name))
    }
}

/// The parser calls an operator `_+_` or `!_`, and `in` `@in`.
fn display_name(name: &str) -> String {
    let operator = name.trim_matches(['_', '@']);
    if operator == name { format!("{name}()") } else { operator.to_owned() }
}

impl Node {
    /// Whether the node can never have a bool as its value.
    pub(super) fn is_never_bool(&self) -> bool {
        match self {
            Self::Null
            | Self::Int(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::Variable(_)
            | Self::OptionalIndex(_) => true,
            Self::Bool(_)
            | Self::Element(_)
            | Self::Member(..)
            | Self::Has(..)
            | Self::Index(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Matches(..)
            | Self::OrValue(_) => false,
            Self::Conditional(parts) => {
                let [_, one, other] = &**parts;
                one.is_never_bool() || other.is_never_bool()
            }
            Self::Unary(function, _) => !matches!(function, Unary::Not | Unary::HasValue | Unary::IsQuantity),
            Self::Binary(function, _) => matches!(
                function,
                Binary::Add
                    | Binary::Subtract
                    | Binary::Multiply
                    | Binary::Divide
                    | Binary::Remainder
                    | Binary::CompareTo
            ),
            Self::Each(each) => matches!(each.what, Macro::Filter | Macro::Map),
        }
    }
}

//! An expression as it is evaluated: names resolved, functions known, patterns compiled. These are the nodes and the
//! names of CEL that there are; how they are found in a text is `compile`'s, what they mean `evaluate`'s.

use cel::common::ast::operators;
use regex::Regex;

use super::variables::Variable;

/// One step of an expression.
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
    /// The element that a macro is at; the outermost macro's is 0.
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
    /// Of `map` with three arguments.
    pub(super) condition: Option<Node>,
    pub(super) body: Node,
}

/// What a macro makes of its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Macro {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// What takes one value.
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

/// What takes two values.
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

/// How something is called.
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

impl Node {
    /// Whether its value, if it has one, is never a bool.
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

//! Compiles the text of a condition.
//!
//! The parser of the `cel` crate reads the grammar. Its interpreter is not used: nothing limits its cost, and a tenant
//! writes the objects that it would evaluate. What is wrong for every request is reported here, with its position.

use std::fmt::Display;

use cel::{
    Env, ParseError, ParseErrors,
    common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SourceInfo, operators},
};
use regex::RegexBuilder;

use super::{
    expression::{BINARY, Binary, Each, MACROS, Macro, Node, Style, UNARY, Unary},
    variables::{Variable, known_fields},
};
use crate::{kube::quantity::Quantity, vocabulary::DOMAIN};

/// The longest condition, in bytes.
const MAX_EXPRESSION: usize = 2048;
/// The deepest nesting of a condition. Evaluation recurses, so this protects the stack.
const MAX_DEPTH: usize = 64;
/// The largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 32 << 10;

/// Compiles a condition. The error says what is wrong, with line and column counted from 1.
pub(super) fn compile(text: &str) -> Result<Node, String> {
    if text.len() > MAX_EXPRESSION {
        return Err(format!("the condition has {} bytes; expected at most {MAX_EXPRESSION}", text.len()));
    }
    // No standard macros: the parser would expand them into loops, and messages could not name the macro.
    let parser = Env::default().parser().enable_optional_syntax(true);
    let (expression, source) = parser.parse_with_source_info(text).map_err(|errors| first_error(&errors))?;
    let mut compiler = Compiler { text, source: &source, elements: Vec::new(), depth: 0 };
    compiler.bool(&expression)
}

/// The first error of the parser. The others mostly follow from it.
fn first_error(errors: &ParseErrors) -> String {
    match errors.errors.first() {
        None => "the condition is not a CEL expression".to_owned(),
        Some(error) if error.msg.contains("Recursion limit") => "the condition is nested too deeply".to_owned(),
        Some(ParseError { pos: (line, column), msg, .. }) => {
            format!("line {line}, column {column}: {}", msg.strip_prefix("Syntax error: ").unwrap_or(msg))
        }
    }
}

struct Compiler<'t> {
    text: &'t str,
    source: &'t SourceInfo,
    /// The element's name in each enclosing macro, the outermost first.
    elements: Vec<String>,
    depth: usize,
}

impl Compiler<'_> {
    /// An error at the position of a node.
    fn fault<T>(&self, at: &IdedExpr, what: impl Display) -> Result<T, String> {
        let Some(offset) = self.source.offset_for(at.id).and_then(|(start, _)| usize::try_from(start).ok()) else {
            return Err(what.to_string());
        };
        let before = self.text.char_indices().take_while(|(at, _)| *at < offset);
        let (line, column) = before.fold((1, 1), |(line, column), (_, c)| match c {
            '\n' => (line + 1, 1),
            _ => (line, column + 1),
        });
        Err(format!("line {line}, column {column}: {what}"))
    }

    fn bool(&mut self, ast: &IdedExpr) -> Result<Node, String> {
        let node = self.node(ast)?;
        if node.is_never_bool() {
            self.fault(ast, "this expression is never a bool; expected a condition")
        } else {
            Ok(node)
        }
    }

    fn boxed(&mut self, ast: &IdedExpr) -> Result<Box<Node>, String> {
        self.node(ast).map(Box::new)
    }

    fn both(&mut self, one: &IdedExpr, other: &IdedExpr) -> Result<Box<[Node; 2]>, String> {
        Ok(Box::new([self.node(one)?, self.node(other)?]))
    }

    fn node(&mut self, ast: &IdedExpr) -> Result<Node, String> {
        if self.depth == MAX_DEPTH {
            return self.fault(ast, format_args!("the expression is nested deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let node = match &ast.expr {
            Expr::Literal(literal) => self.literal(ast, literal),
            Expr::Ident(name) => self.name(ast, name),
            Expr::List(list) => self.list(ast, list),
            Expr::Map(map) => self.map(ast, map),
            Expr::Select(select) => {
                self.check_field(ast, &select.operand, &select.field)?;
                Ok(Node::Member(self.boxed(&select.operand)?, select.field.clone()))
            }
            Expr::Call(call) => self.call(ast, call),
            Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {
                self.fault(ast, "a rule does not support messages")
            }
        };
        self.depth -= 1;
        node
    }

    fn literal(&self, ast: &IdedExpr, literal: &LiteralValue) -> Result<Node, String> {
        Ok(match literal {
            LiteralValue::Null => Node::Null,
            LiteralValue::Boolean(value) => Node::Bool(*value.inner()),
            LiteralValue::Int(value) => Node::Int(*value.inner()),
            LiteralValue::Double(value) => Node::Double(*value.inner()),
            LiteralValue::String(value) => Node::Text(value.inner().to_owned()),
            LiteralValue::UInt(_) | LiteralValue::Bytes(_) => {
                return self.fault(ast, "no value of a request equals this: JSON has no unsigned numbers and no bytes");
            }
        })
    }

    fn name(&self, ast: &IdedExpr, name: &str) -> Result<Node, String> {
        if let Some(index) = self.elements.iter().rposition(|element| element == name) {
            return Ok(Node::Element(index));
        }
        if let Some(variable) = Variable::ALL.into_iter().find(|variable| variable.name() == name) {
            return Ok(Node::Variable(variable));
        }
        let known: Vec<_> = Variable::ALL.into_iter().map(Variable::name).collect();
        self.fault(ast, format_args!("{name} is unknown; expected one of {}", known.join(", ")))
    }

    fn list(&mut self, ast: &IdedExpr, list: &ListExpr) -> Result<Node, String> {
        if !list.optional_indices.is_empty() {
            return self.fault(ast, "a rule does not support optional elements");
        }
        list.elements.iter().map(|element| self.node(element)).collect::<Result<_, _>>().map(Node::List)
    }

    fn map(&mut self, ast: &IdedExpr, map: &MapExpr) -> Result<Node, String> {
        let mut entries = Vec::new();
        for entry in &map.entries {
            match &entry.expr {
                EntryExpr::MapEntry(entry) if !entry.optional => {
                    entries.push([self.node(&entry.key)?, self.node(&entry.value)?]);
                }
                _ => return self.fault(ast, "a rule does not support optional entries"),
            }
        }
        Ok(Node::Map(entries))
    }

    /// The path, if the expression is only a path from a variable: `object.metadata`.
    fn path<'a>(&self, ast: &'a IdedExpr) -> Option<Vec<&'a str>> {
        match &ast.expr {
            Expr::Ident(name) if !self.elements.contains(name) => Some(vec![name]),
            Expr::Select(select) => {
                let mut path = self.path(&select.operand)?;
                path.push(&select.field);
                Some(path)
            }
            _ => None,
        }
    }

    /// Refuses a field that never exists: the condition would never be true or never have a value.
    fn check_field(&self, at: &IdedExpr, of: &IdedExpr, field: &str) -> Result<(), String> {
        let Some(path) = self.path(of) else { return Ok(()) };
        if field == "annotations" && matches!(*path, ["object" | "oldObject", "metadata"]) {
            return self.fault(
                at,
                format_args!(
                    "only annotations that begin with {DOMAIN} are read, so the condition must name one: \
                     '{DOMAIN}…' in object.metadata.annotations, or object.metadata.annotations['{DOMAIN}…']"
                ),
            );
        }
        match known_fields(&path) {
            Some(known) if !known.contains(&field) => self.fault(
                at,
                format_args!("{} has no field {field}; expected one of {}", path.join("."), known.join(", ")),
            ),
            _ => Ok(()),
        }
    }

    /// The map of a lookup. The object's annotations are permitted here if `key` is one of those that are read.
    fn keyed(&mut self, map: &IdedExpr, key: &IdedExpr) -> Result<Node, String> {
        if let Expr::Literal(LiteralValue::String(key)) = &key.expr
            && key.inner().starts_with(DOMAIN)
            && let Expr::Select(select) = &map.expr
            && select.field == "annotations"
        {
            return Ok(Node::Member(self.boxed(&select.operand)?, select.field.clone()));
        }
        self.node(map)
    }

    fn call(&mut self, ast: &IdedExpr, call: &CallExpr) -> Result<Node, String> {
        let name = call.func_name.as_str();
        Ok(match (name, call.target.as_deref(), &*call.args) {
            (operators::LOGICAL_AND, None, [one, other]) => Node::And(Box::new([self.bool(one)?, self.bool(other)?])),
            (operators::LOGICAL_OR, None, [one, other]) => Node::Or(Box::new([self.bool(one)?, self.bool(other)?])),
            (operators::LOGICAL_NOT, None, [value]) => Node::Unary(Unary::Not, Box::new(self.bool(value)?)),
            (operators::CONDITIONAL, None, [condition, one, other]) => {
                Node::Conditional(Box::new([self.bool(condition)?, self.node(one)?, self.node(other)?]))
            }
            (operators::INDEX, None, [of, at]) => Node::Index(Box::new([self.keyed(of, at)?, self.node(at)?])),
            (operators::OPT_INDEX, None, [of, at]) => {
                Node::OptionalIndex(Box::new([self.keyed(of, at)?, self.node(at)?]))
            }
            (operators::OPT_SELECT, None, [of, field]) => {
                if let Expr::Literal(LiteralValue::String(name)) = &field.expr {
                    self.check_field(ast, of, name.inner())?;
                }
                Node::OptionalIndex(self.both(of, field)?)
            }
            (operators::IN, None, [key, map]) => {
                Node::Binary(Binary::In, Box::new([self.node(key)?, self.keyed(map, key)?]))
            }
            (operators::HAS, None, [field]) => self.has(field)?,
            ("dyn", None, [value]) => self.node(value)?,
            ("orValue", Some(of), [other]) => Node::OrValue(self.both(of, other)?),
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => self.matches(text, pattern)?,
            (_, Some(over), [element, rest @ ..]) if MACROS.iter().any(|(known, _)| *known == name) => {
                self.each(ast, name, over, element, rest)?
            }
            _ => self.function(ast, call)?,
        })
    }

    fn has(&mut self, field: &IdedExpr) -> Result<Node, String> {
        let Expr::Select(select) = &field.expr else {
            return self.fault(field, "has() takes a field: has(a.b); for a key, write 'b' in a");
        };
        self.check_field(field, &select.operand, &select.field)?;
        Ok(Node::Has(self.boxed(&select.operand)?, select.field.clone()))
    }

    fn matches(&mut self, text: &IdedExpr, pattern: &IdedExpr) -> Result<Node, String> {
        let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            return self.fault(pattern, "the pattern must be a literal");
        };
        match RegexBuilder::new(literal.inner()).size_limit(MAX_PATTERN).build() {
            Ok(pattern) => Ok(Node::Matches(self.boxed(text)?, pattern)),
            // The last line of the error says what is wrong.
            Err(error) => {
                let error = error.to_string();
                self.fault(pattern, error.lines().last().unwrap_or_default().trim_start_matches("error: "))
            }
        }
    }

    fn each(
        &mut self,
        ast: &IdedExpr,
        name: &str,
        over: &IdedExpr,
        element: &IdedExpr,
        rest: &[IdedExpr],
    ) -> Result<Node, String> {
        let what = MACROS.iter().find(|(known, _)| *known == name).map(|(_, what)| *what);
        let (what, condition, body) = match (what, rest) {
            (Some(what), [body]) => (what, None, body),
            (Some(Macro::Map), [condition, body]) => (Macro::Map, Some(condition), body),
            _ => return self.fault(ast, format_args!("{name} takes a name and a condition: {name}(x, …)")),
        };
        let Expr::Ident(variable) = &element.expr else {
            return self.fault(element, format_args!("the first argument of {name} must be a name for the element"));
        };
        if Variable::ALL.into_iter().any(|known| known.name() == variable) {
            return self.fault(element, format_args!("{variable} is the name of a variable; use another name"));
        }
        let over = self.node(over)?;
        self.elements.push(variable.clone());
        let condition = condition.map(|condition| self.bool(condition)).transpose()?;
        let body = if what == Macro::Map { self.node(body)? } else { self.bool(body)? };
        self.elements.pop();
        Ok(Node::Each(Box::new(Each { what, over, condition, body })))
    }

    fn function(&mut self, ast: &IdedExpr, call: &CallExpr) -> Result<Node, String> {
        let style = if call.target.is_some() { Style::Receiver } else { Style::Global };
        let is = |name: &str, known_style: Style| name == call.func_name && known_style == style;
        let arguments: Vec<_> = call.target.as_deref().into_iter().chain(&call.args).collect();
        match *arguments {
            [value] if let Some((.., function)) = UNARY.into_iter().find(|(name, style, _)| is(name, *style)) => {
                let node = self.boxed(value)?;
                if let (Unary::Quantity, Node::Text(text)) = (function, &*node)
                    && let Err(error) = Quantity::parse(text)
                {
                    return self.fault(value, error);
                }
                Ok(Node::Unary(function, node))
            }
            [one, other] if let Some((.., function)) = BINARY.into_iter().find(|(name, style, _)| is(name, *style)) => {
                Ok(Node::Binary(function, self.both(one, other)?))
            }
            _ => self.fault(ast, format_args!("{}() is unknown or does not take these arguments", call.func_name)),
        }
    }
}

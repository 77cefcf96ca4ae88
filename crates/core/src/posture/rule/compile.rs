//! From the text of an expression to its nodes.
//!
//! The grammar, its escapes and its limits are the `cel` crate's parser. Its interpreter is not used: nothing bounds
//! what that may cost, and a tenant writes what it would go through. What is surely wrong whatever the request is told
//! here, with its place in the text.

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

/// The longest text of an expression, in bytes.
const MAX_EXPRESSION: usize = 2048;
/// How deep an expression may be nested, so that no stack ends before it does.
const MAX_DEPTH: usize = 64;
/// What a compiled pattern may take, in bytes.
const MAX_PATTERN: usize = 32 << 10;

/// Reads an expression that must be a bool. The error has a place, counted from 1, and what is wrong there.
pub(super) fn compile(text: &str) -> Result<Node, String> {
    if text.len() > MAX_EXPRESSION {
        return Err(format!("has {} bytes, more than {MAX_EXPRESSION}", text.len()));
    }
    // Without the standard library's macros, which the parser would expand into loops that nobody could read again.
    let parser = Env::default().parser().enable_optional_syntax(true);
    let (expression, places) = parser.parse_with_source_info(text).map_err(|errors| told(&errors))?;
    let mut compiler = Compiler { text, places: &places, elements: Vec::new(), depth: 0 };
    compiler.bool(&expression)
}

/// The first of the parser's errors; the others mostly follow from it.
fn told(errors: &ParseErrors) -> String {
    match errors.errors.first() {
        None => "is not CEL".to_owned(),
        Some(error) if error.msg.contains("Recursion limit") => "is nested too deep".to_owned(),
        Some(ParseError { pos: (line, column), msg, .. }) => {
            format!("line {line}, column {column}: {}", msg.strip_prefix("Syntax error: ").unwrap_or(msg))
        }
    }
}

struct Compiler<'t> {
    text: &'t str,
    places: &'t SourceInfo,
    /// What the macros around call their element, the outermost first.
    elements: Vec<String>,
    depth: usize,
}

impl Compiler<'_> {
    /// What is wrong, and where.
    fn fault<T>(&self, at: &IdedExpr, what: impl Display) -> Result<T, String> {
        let Some(offset) = self.places.offset_for(at.id).and_then(|(start, _)| usize::try_from(start).ok()) else {
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
        if node.is_never_bool() { self.fault(ast, "this is never a bool; expected a condition") } else { Ok(node) }
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
                self.fault(ast, "messages are not supported in a rule")
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
                return self.fault(ast, "JSON has no unsigned numbers and no bytes, so nothing would equal this");
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
        self.fault(ast, format_args!("{name} is not known; there are {}", known.join(", ")))
    }

    fn list(&mut self, ast: &IdedExpr, list: &ListExpr) -> Result<Node, String> {
        if !list.optional_indices.is_empty() {
            return self.fault(ast, "optional elements are not supported in a rule");
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
                _ => return self.fault(ast, "optional entries are not supported in a rule"),
            }
        }
        Ok(Node::Map(entries))
    }

    /// The names that lead from a variable to this, if that is all it is: `object.metadata`.
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

    /// A field that is never there would make a rule that never holds, or never has a value.
    fn check_field(&self, at: &IdedExpr, of: &IdedExpr, field: &str) -> Result<(), String> {
        let Some(path) = self.path(of) else { return Ok(()) };
        if field == "annotations" && matches!(*path, ["object" | "oldObject", "metadata"]) {
            return self.fault(
                at,
                format_args!(
                    "of the object's annotations only those of {DOMAIN} are read, so a rule must name one: \
                     '{DOMAIN}…' in object.metadata.annotations, or object.metadata.annotations['{DOMAIN}…']"
                ),
            );
        }
        match known_fields(&path) {
            Some(known) if !known.contains(&field) => {
                self.fault(at, format_args!("{} has no {field}; there are {}", path.join("."), known.join(", ")))
            }
            _ => Ok(()),
        }
    }

    /// A map that is asked for `key`: the object's annotations may be, if the key is one of those that are read.
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
            return self.fault(field, "has() asks for a field: has(a.b); for a key, write 'b' in a");
        };
        self.check_field(field, &select.operand, &select.field)?;
        Ok(Node::Has(self.boxed(&select.operand)?, select.field.clone()))
    }

    fn matches(&mut self, text: &IdedExpr, pattern: &IdedExpr) -> Result<Node, String> {
        let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
            return self.fault(pattern, "a pattern must be a literal, so that it is compiled once");
        };
        match RegexBuilder::new(literal.inner()).size_limit(MAX_PATTERN).build() {
            Ok(pattern) => Ok(Node::Matches(self.boxed(text)?, pattern)),
            // Of several lines, the last says what is wrong.
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
            return self.fault(element, format_args!("the first argument of {name} is a name for the element"));
        };
        if Variable::ALL.into_iter().any(|known| known.name() == variable) {
            return self.fault(element, format_args!("{variable} is a variable already; take another name"));
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
            _ => self.fault(ast, format_args!("{}() is not known here with these arguments", call.func_name)),
        }
    }
}

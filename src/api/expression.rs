//! The filter language of selectors, messages and logs: one parser, bounded in length and depth.
//!
//! ```text
//! name ~ "*van*" && (position.speed > 80 || engine.ignition.status == true) && !blocked
//! ```
//!
//! | form | meaning |
//! |---|---|
//! | `a.b.c` | a field; dots go into objects. A name with dots of its own is tried first |
//! | `==` `!=` | equal, not equal; values of different types are not equal; a missing field is `null` |
//! | `<` `<=` `>` `>=` | two numbers, or two texts; anything else is false |
//! | `~` `!~` | a text (or a number's digits) fits a pattern with `*` and `?` |
//! | `&&` `\|\|` `!` `( )` | as in C; `&&` binds closer than `\|\|` |
//! | `field` alone | it is there and neither false, 0, empty nor null |
//!
//! It knows nothing of items or messages: whoever filters says how a field is looked up.

use serde_json::Value;

/// The longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 4096;
/// How deep brackets and negations may nest.
pub const EXPRESSION_DEPTH_MAX: usize = 32;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(Node);

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Longer than [`EXPRESSION_BYTES_MAX`].
    #[error("expression is longer than 4096 bytes")]
    TooLong,
    /// Nested deeper than [`EXPRESSION_DEPTH_MAX`].
    #[error("expression nests deeper than 32 levels")]
    TooDeep,
    /// Something else should stand there.
    #[error("expected {expected} at character {at}")]
    Expected {
        /// What should stand there.
        expected: &'static str,
        /// Where, in characters from 0.
        at: usize,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Truth(Operand),
    Compare(Operand, Comparison, Operand),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Field(String),
    Literal(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Fits,
    FitsNot,
}

impl Expression {
    /// Reads `text`.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLong);
        }
        let mut parser = Parser {
            text,
            at: 0,
            depth: 0,
        };
        let node = parser.any()?;
        parser.blanks();
        if parser.at < text.len() {
            return Err(parser.expected("an operator or the end"));
        }
        Ok(Self(node))
    }

    /// Does it hold where `field` looks fields up?
    pub fn holds(&self, field: &dyn Fn(&str) -> Option<Value>) -> bool {
        self.0.holds(field)
    }

    /// Does it hold for a JSON object? See [`look_up`].
    pub fn holds_for(&self, object: &Value) -> bool {
        self.holds(&|name| look_up(object, name).cloned())
    }
}

/// The field `name` of `object`: first as one name (message parameters have dots of their own),
/// then dot by dot into objects.
pub fn look_up<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    name.match_indices('.').find_map(|(at, _)| {
        let (head, tail) = (name.get(..at)?, name.get(at + 1..)?);
        look_up(object.get(head)?, tail)
    })
}

/// Does `text` fit `pattern`, in which `*` stands for any characters and `?` for one?
pub fn fits_pattern(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    let (mut t, mut p) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == text.get(t) => {
                t += 1;
                p += 1;
            }
            _ => match star {
                // the last star takes one more character
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

impl Node {
    fn holds(&self, field: &dyn Fn(&str) -> Option<Value>) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(field)),
            Self::All(nodes) => nodes.iter().all(|node| node.holds(field)),
            Self::Not(node) => !node.holds(field),
            Self::Truth(operand) => is_true(&operand.value(field)),
            Self::Compare(left, comparison, right) => {
                comparison.holds(&left.value(field), &right.value(field))
            }
        }
    }
}

impl Operand {
    fn value(&self, field: &dyn Fn(&str) -> Option<Value>) -> Value {
        match self {
            Self::Field(name) => field(name).unwrap_or(Value::Null),
            Self::Literal(value) => value.clone(),
        }
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

impl Comparison {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = order(left, right);
        match self {
            Self::Equal => equal(left, right),
            Self::NotEqual => !equal(left, right),
            Self::Less => order == Some(Less),
            Self::LessOrEqual => matches!(order, Some(Less | Equal)),
            Self::Greater => order == Some(Greater),
            Self::GreaterOrEqual => matches!(order, Some(Greater | Equal)),
            Self::Fits => fits(left, right),
            Self::FitsNot => !fits(left, right),
        }
    }
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => {
            order(left, right) == Some(std::cmp::Ordering::Equal)
        }
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Option<std::cmp::Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn fits(left: &Value, pattern: &Value) -> bool {
    let Value::String(pattern) = pattern else {
        return equal(left, pattern);
    };
    match left {
        Value::String(text) => fits_pattern(text, pattern),
        Value::Number(number) => fits_pattern(&number.to_string(), pattern),
        _ => false,
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.blanks();
        let there = self.rest().starts_with(token);
        if there {
            self.at += token.len();
        }
        there
    }

    fn expected(&self, expected: &'static str) -> ExpressionError {
        let before = self.text.get(..self.at).unwrap_or_default();
        ExpressionError::Expected {
            expected,
            at: before.chars().count(),
        }
    }

    fn any(&mut self) -> Result<Node, ExpressionError> {
        let mut nodes = vec![self.all()?];
        while self.take("||") {
            nodes.push(self.all()?);
        }
        Ok(if nodes.len() == 1 {
            nodes.remove(0)
        } else {
            Node::Any(nodes)
        })
    }

    fn all(&mut self) -> Result<Node, ExpressionError> {
        let mut nodes = vec![self.unary()?];
        while self.take("&&") {
            nodes.push(self.unary()?);
        }
        Ok(if nodes.len() == 1 {
            nodes.remove(0)
        } else {
            Node::All(nodes)
        })
    }

    fn unary(&mut self) -> Result<Node, ExpressionError> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(ExpressionError::TooDeep);
        }
        let node = if self.take("!") {
            Node::Not(Box::new(self.unary()?))
        } else if self.take("(") {
            let node = self.any()?;
            if !self.take(")") {
                return Err(self.expected("a closing bracket"));
            }
            node
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node, ExpressionError> {
        const COMPARISONS: [(&str, Comparison); 9] = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("!~", Comparison::FitsNot),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
            ("~", Comparison::Fits),
            ("=", Comparison::Equal),
        ];
        let left = self.operand()?;
        let found = COMPARISONS.iter().find(|(token, _)| self.take(token));
        match found {
            Some((_, comparison)) => Ok(Node::Compare(left, *comparison, self.operand()?)),
            None => Ok(Node::Truth(left)),
        }
    }

    fn operand(&mut self) -> Result<Operand, ExpressionError> {
        self.blanks();
        let rest = self.rest();
        match rest.chars().next() {
            Some('"' | '\'') => self
                .text_literal()
                .map(|text| Operand::Literal(text.into())),
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => self.number(),
            Some(c) if c.is_alphabetic() || matches!(c, '_' | '$') => {
                let fits =
                    |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '#' | '-');
                let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
                let (name, _) = rest.split_at(end);
                self.at += end;
                Ok(match name {
                    "true" => Operand::Literal(true.into()),
                    "false" => Operand::Literal(false.into()),
                    "null" => Operand::Literal(Value::Null),
                    _ => Operand::Field(name.to_owned()),
                })
            }
            _ => Err(self.expected("a field or a value")),
        }
    }

    fn number(&mut self) -> Result<Operand, ExpressionError> {
        let rest = self.rest();
        let fits = |(at, c): (usize, char)| {
            let sign = matches!(c, '-' | '+')
                && (at == 0 || rest.get(..at).is_some_and(|s| s.ends_with(['e', 'E'])));
            !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || sign)
        };
        let end = rest
            .char_indices()
            .find(|c| fits(*c))
            .map_or(rest.len(), |(at, _)| at);
        let digits = rest.get(..end).unwrap_or_default().trim_start_matches('+');
        let value = digits
            .parse::<i64>()
            .map(Value::from)
            .ok()
            .or_else(|| {
                digits
                    .parse::<f64>()
                    .ok()
                    .filter(|f| f.is_finite())
                    .map(Value::from)
            })
            .ok_or_else(|| self.expected("a number"))?;
        self.at += end;
        Ok(Operand::Literal(value))
    }

    fn text_literal(&mut self) -> Result<String, ExpressionError> {
        let mut chars = self.rest().char_indices();
        let Some((_, quote)) = chars.next() else {
            return Err(self.expected("a text"));
        };
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in chars {
            match c {
                _ if escaped => {
                    escaped = false;
                    text.push(c);
                }
                '\\' => escaped = true,
                _ if c == quote => {
                    self.at += at + c.len_utf8();
                    return Ok(text);
                }
                _ => text.push(c),
            }
        }
        Err(self.expected("a closing quote"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_hold_or_not() {
        let object = json!({
            "id": 5, "cid": 7, "name": "Blue van 2", "blocked": 0, "enabled": true,
            "configuration": { "ident": "352625333222111" },
            "position.speed": 81.5, "din.1": true,
        });
        for line in r#"
            name ~ "*van*"                                  yes
            name ~ "van*"                                   no
            name !~ "van*"                                  yes
            name ~ "Blue ?an *"                             yes
            id == 5 && cid == 7                             yes
            id==5&&cid!=7                                   no
            id == 5.0                                       yes
            id == "5"                                       no
            id < 6 && id >= 5 && id <= 5 && id > 4          yes
            configuration.ident == "352625333222111"        yes
            configuration.ident ~ "3526*"                   yes
            position.speed > 80                             yes
            position.speed > "80"                           no
            din.1                                           yes
            blocked                                         no
            !blocked                                        yes
            missing == null                                 yes
            missing != 3                                    yes
            missing < 3                                     no
            enabled == true || missing                      yes
            (id == 4 || id == 5) && !(cid == 8)             yes
            id == 4 || id == 5 && cid == 8                  no
            name == 'Blue van 2'                            yes
            id == -5                                        no
        "#
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        {
            let (text, outcome) = line.rsplit_once(' ').expect("an outcome");
            let expression = Expression::parse(text).expect(text);
            assert_eq!(expression.holds_for(&object), outcome == "yes", "{text}");
        }
    }

    #[test]
    fn wrong_expressions_say_where() {
        for (text, at) in [
            ("", 0),
            ("a ==", 4),
            ("(a", 2),
            ("a b", 2),
            ("a == \"x", 5),
            ("a && ", 5),
            ("é == )", 5),
        ] {
            let error = Expression::parse(text).expect_err(text);
            assert!(
                matches!(error, ExpressionError::Expected { at: found, .. } if found == at),
                "{text}: {error}"
            );
        }
        assert_eq!(
            Expression::parse(&"a".repeat(5000)),
            Err(ExpressionError::TooLong)
        );
        assert_eq!(
            Expression::parse(&"(".repeat(40)),
            Err(ExpressionError::TooDeep)
        );
        assert_eq!(
            Expression::parse(&"!".repeat(40)),
            Err(ExpressionError::TooDeep)
        );
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let text = "a".repeat(2000);
        assert!(!fits_pattern(
            &text,
            &"a*".repeat(100).replace("a*a*", "a*b*")
        ));
    }
}

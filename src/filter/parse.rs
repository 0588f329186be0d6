//! Filters as text, read: `lang = "en" and 1900 <= year < 2000 and not (draft = true)`.
//!
//! ```text
//! filter     = all *( "or" all )
//! all        = one *( "and" one )
//! one        = "not" one / "(" filter ")" / "true" / "false" / "exists" "(" field ")"
//!            / "contains" "(" field "," value ")" / "starts_with" "(" field "," "text" ")"
//!            / "id" ( "=" / "!=" ) id
//!            / "id" [ "not" ] "in" ( "(" [ id *( "," id ) ] ")" / "[" [ id *( "," id ) ] "]" )
//!            / field ( "=" / "!=" / "<" / "<=" / ">" / ">=" ) value
//!            / field "is" [ "not" ] "null"
//!            / value ( "<" / "<=" / ">" / ">=" ) field [ the same direction, value ]
//!            / field [ "not" ] "in" ( "(" [ value *( "," value ) ] ")" / "[" ... "]" )
//! field      = a name of letters, digits and _ . - / that begins with a letter or _, and is no
//!              keyword and not "id"; any other between backquotes
//! id         = "text" as in JSON / integer, the id of a record
//! value      = "text" as in JSON / integer / float / true / false / null
//!            / 2024-01-31 / 2024-01-31T10:00:00Z / @microseconds since 1970
//! ```
//! Keywords may be in capitals. `contains` is `=` by another name, which says that the field is a
//! list; `is null` is `= null`.

use std::str::FromStr;

use super::lexer::{Token, syntax, tokens};
use super::predicate::check_comparison;
use super::{DEPTH_MAX, Filter, FilterError};
use crate::record::{RecordId, Value, check_field_name};

pub(super) const KEYWORDS: [&str; 8] =
    ["and", "or", "not", "in", "exists", "true", "false", "null"];

impl FromStr for Filter {
    type Err = FilterError;

    /// Reads the text of a filter, in the syntax that its `Display` writes.
    ///
    /// # Errors
    /// [`FilterError::Syntax`] with the place; [`FilterError::Refused`] with the place, for
    /// [`FilterError::Field`], [`FilterError::List`], [`FilterError::Bounds`] and
    /// [`FilterError::TooDeep`].
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut parser = Parser { text, tokens: tokens(text)?, next: 0 };
        let filter = parser.any(0)?;
        match parser.peek() {
            Token::End => Ok(filter),
            _ => Err(parser.expected("\"and\", \"or\" or the end")),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<(usize, Token)>,
    next: usize,
}

/// How a value and a field compare.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Below { equal: bool },
    Above { equal: bool },
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// The byte at which the next token begins.
    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn expected(&self, what: &'static str) -> FilterError {
        let at = self.place();
        syntax(at, what, self.text.get(at..).unwrap_or_default())
    }

    /// The keyword that comes next, in small letters.
    fn keyword(&self) -> Option<&'static str> {
        let Token::Word(word) = self.peek() else { return None };
        KEYWORDS.into_iter().find(|keyword| word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, wanted: &str) -> bool {
        let is_next = self.keyword() == Some(wanted);
        self.next += usize::from(is_next);
        is_next
    }

    fn take_symbol(&mut self, wanted: &str) -> bool {
        let is_next = matches!(self.peek(), Token::Symbol(symbol) if *symbol == wanted);
        self.next += usize::from(is_next);
        is_next
    }

    fn any(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let first = self.all(depth)?;
        if self.keyword() != Some("or") {
            return Ok(first);
        }
        let mut any = vec![first];
        while self.take_keyword("or") {
            any.push(self.all(depth)?);
        }
        Ok(Filter::Or(any))
    }

    fn all(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let first = self.one(depth)?;
        if self.keyword() != Some("and") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.take_keyword("and") {
            all.push(self.one(depth)?);
        }
        Ok(Filter::And(all))
    }

    fn one(&mut self, depth: usize) -> Result<Filter, FilterError> {
        // Each bracket makes an "and" within an "or".
        if depth * 2 >= DEPTH_MAX {
            return Err(refused(self.place(), FilterError::TooDeep));
        }
        if self.take_keyword("not") {
            return Ok(self.one(depth + 1)?.negate());
        }
        if self.take_symbol("(") {
            let inner = self.any(depth + 1)?;
            return if self.take_symbol(")") { Ok(inner) } else { Err(self.expected("\")\"")) };
        }
        if self.take_keyword("exists") {
            return self.exists();
        }
        if let Some(call) = self.call() {
            return self.called(call);
        }
        if self.is_word("id", 0) {
            return self.of_id();
        }
        let at = self.place();
        let filter = match self.field()? {
            Some(field) => self.of_field(field)?,
            None => self.of_value()?,
        };
        check_comparison(&filter).map_err(|error| refused(at, error))?;
        Ok(filter)
    }

    fn exists(&mut self) -> Result<Filter, FilterError> {
        if !self.take_symbol("(") {
            return Err(self.expected("\"(\" and a field"));
        }
        let field = self.field()?.ok_or_else(|| self.expected("a field"))?;
        if self.take_symbol(")") { Ok(Filter::Exists(field)) } else { Err(self.expected("\")\"")) }
    }

    /// Whether a bare word comes after so many tokens.
    fn is_word(&self, wanted: &str, after: usize) -> bool {
        let token = self.tokens.get(self.next + after);
        matches!(token, Some((_, Token::Word(word))) if word.eq_ignore_ascii_case(wanted))
    }

    fn is_symbol(&self, wanted: &str, after: usize) -> bool {
        let token = self.tokens.get(self.next + after);
        matches!(token, Some((_, Token::Symbol(symbol))) if *symbol == wanted)
    }

    /// The function whose arguments come next. A field may have its name.
    fn call(&self) -> Option<&'static str> {
        let is_called = |name: &&str| self.is_word(name, 0) && self.is_symbol("(", 1);
        ["contains", "starts_with"].into_iter().find(is_called)
    }

    fn called(&mut self, name: &str) -> Result<Filter, FilterError> {
        // The name and the bracket.
        self.next += 2;
        let field = self.field()?.ok_or_else(|| self.expected("a field"))?;
        if !self.take_symbol(",") {
            return Err(self.expected("\",\" and a value"));
        }
        let filter = match (name, self.peek()) {
            ("contains", _) => Filter::Eq(field.clone(), self.operand(&field)?),
            (_, Token::Value(Value::Text(begin))) => {
                let begin = begin.clone();
                self.next += 1;
                Filter::StartsWith(field, begin)
            }
            _ => return Err(self.expected("a text in quotes")),
        };
        if self.take_symbol(")") { Ok(filter) } else { Err(self.expected("\")\"")) }
    }

    /// What follows `id`, the id of the record.
    fn of_id(&mut self) -> Result<Filter, FilterError> {
        self.next += 1;
        if self.take_symbol("=") || self.take_symbol("==") {
            return Ok(Filter::Ids(vec![self.id()?]));
        }
        if self.take_symbol("!=") {
            return Ok(Filter::Ids(vec![self.id()?]).negate());
        }
        let negated = self.take_keyword("not");
        if !self.take_keyword("in") {
            return Err(self.expected(match negated {
                true => "\"in\"",
                false => "=, != or \"in\" after id, or a field named id in backquotes",
            }));
        }
        let filter = Filter::Ids(self.ids()?);
        Ok(if negated { filter.negate() } else { filter })
    }

    fn ids(&mut self) -> Result<Vec<RecordId>, FilterError> {
        self.list("\"(\" and ids", Self::id)
    }

    fn id(&mut self) -> Result<RecordId, FilterError> {
        let id = match self.peek() {
            Token::Value(Value::Int(number)) => RecordId::Int(*number),
            Token::Value(Value::Text(text)) => RecordId::Text(text.clone()),
            _ => return Err(self.expected("an id: a text in quotes or an integer")),
        };
        self.next += 1;
        Ok(id)
    }

    /// The field that comes next, if one does.
    fn field(&mut self) -> Result<Option<String>, FilterError> {
        if self.is_word("id", 0) {
            return Err(self.expected("a field, one named id in backquotes"));
        }
        let field = match self.peek() {
            Token::Name(name) => name.clone(),
            Token::Word(word) if self.keyword().is_none() => word.clone(),
            _ => return Ok(None),
        };
        check_field_name(&field).map_err(|error| refused(self.place(), error.into()))?;
        self.next += 1;
        Ok(Some(field))
    }

    /// What follows a field.
    fn of_field(&mut self, field: String) -> Result<Filter, FilterError> {
        if self.take_keyword("in") {
            return Ok(Filter::In(field, self.values()?));
        }
        if self.take_keyword("not") {
            if self.take_keyword("in") {
                return Ok(Filter::In(field, self.values()?).negate());
            }
            return Err(self.expected("\"in\""));
        }
        if self.is_word("is", 0) {
            self.next += 1;
            let negated = self.take_keyword("not");
            if !self.take_keyword("null") {
                return Err(self.expected("\"null\" or \"not null\""));
            }
            let filter = Filter::is_null(field);
            return Ok(if negated { filter.negate() } else { filter });
        }
        if self.take_symbol("=") || self.take_symbol("==") {
            let value = self.operand(&field)?;
            return Ok(Filter::Eq(field, value));
        }
        if self.take_symbol("!=") {
            let value = self.operand(&field)?;
            return Ok(Filter::ne(field, value));
        }
        let order =
            self.order().ok_or_else(|| self.expected("=, !=, <, <=, >, >=, \"in\" or \"is\""))?;
        let value = self.operand(&field)?;
        Ok(match order {
            Order::Below { equal } => range(field, None, Some((value, equal))),
            Order::Above { equal } => range(field, Some((value, equal)), None),
        })
    }

    /// A value first: bounds on one side or both, or a constant.
    fn of_value(&mut self) -> Result<Filter, FilterError> {
        let constant = match self.keyword() {
            Some("true") => Some(Filter::And(Vec::new())),
            Some("false") => Some(Filter::Or(Vec::new())),
            _ => None,
        };
        let first = self.value_or("a field, a value, \"not\", \"exists\" or \"(\"")?;
        let order = match (self.order(), constant) {
            (Some(order), _) => order,
            (None, Some(constant)) => return Ok(constant),
            (None, None) => return Err(self.expected("<, <=, > or >= and a field")),
        };
        let field = self.field()?.ok_or_else(|| self.expected("a field"))?;
        let before = self.next;
        let second = match self.order() {
            None => None,
            Some(again) => match (order, again) {
                (Order::Below { .. }, Order::Below { equal })
                | (Order::Above { .. }, Order::Above { equal }) => Some((self.value()?, equal)),
                _ => {
                    self.next = before;
                    return Err(self.expected("a second bound in the same direction"));
                }
            },
        };
        Ok(match order {
            Order::Below { equal } => range(field, Some((first, equal)), second),
            Order::Above { equal } => range(field, second, Some((first, equal))),
        })
    }

    fn order(&mut self) -> Option<Order> {
        let Token::Symbol(symbol) = self.peek() else { return None };
        let order = match *symbol {
            "<" => Order::Below { equal: false },
            "<=" => Order::Below { equal: true },
            ">" => Order::Above { equal: false },
            ">=" => Order::Above { equal: true },
            _ => return None,
        };
        self.next += 1;
        Some(order)
    }

    fn values(&mut self) -> Result<Vec<Value>, FilterError> {
        self.list("\"[\" and values", Self::value)
    }

    /// What stands between brackets of one kind.
    fn list<T>(
        &mut self,
        what: &'static str,
        one: fn(&mut Self) -> Result<T, FilterError>,
    ) -> Result<Vec<T>, FilterError> {
        let (close, separator) = match self.peek() {
            Token::Symbol("(") => (")", "\",\" or \")\""),
            Token::Symbol("[") => ("]", "\",\" or \"]\""),
            _ => return Err(self.expected(what)),
        };
        self.next += 1;
        let mut items = Vec::new();
        while !self.take_symbol(close) {
            if !items.is_empty() && !self.take_symbol(",") {
                return Err(self.expected(separator));
            }
            items.push(one(self)?);
        }
        Ok(items)
    }

    /// The value that a field is compared with.
    fn operand(&mut self, field: &str) -> Result<Value, FilterError> {
        if self.is_symbol("[", 0) {
            let error = FilterError::List { field: field.to_owned() };
            return Err(refused(self.place(), error));
        }
        self.value()
    }

    fn value(&mut self) -> Result<Value, FilterError> {
        self.value_or("a value: a text in quotes, a number, a date, true, false or null")
    }

    fn value_or(&mut self, otherwise: &'static str) -> Result<Value, FilterError> {
        let value = match (self.peek(), self.keyword()) {
            (Token::Value(_), _) => None,
            (_, Some("true")) => Some(Value::Bool(true)),
            (_, Some("false")) => Some(Value::Bool(false)),
            (_, Some("null")) => Some(Value::Null),
            _ => return Err(self.expected(otherwise)),
        };
        match (self.take(), value) {
            (_, Some(value)) | (Token::Value(value), None) => Ok(value),
            _ => Err(self.expected(otherwise)),
        }
    }
}

fn range(field: String, lower: Option<(Value, bool)>, upper: Option<(Value, bool)>) -> Filter {
    Filter::Range { field, lower, upper }
}

fn refused(at: usize, error: FilterError) -> FilterError {
    FilterError::Refused { at, error: Box::new(error) }
}

//! Values of simple constant expressions: integers, byte strings, arithmetic, names of other
//! constants. What it does not know is `None`, never a guess.

/// What a constant expression is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Integer(i128),
    Bytes(Vec<u8>),
}

/// Evaluates `text`; `lookup` gives the values of names.
pub fn evaluate(text: &str, lookup: &dyn Fn(&str) -> Option<Value>) -> Option<Value> {
    let text = text.trim();
    let literal = text.trim_start_matches(['*', '&', 'b']);
    if let Some(inside) = literal.strip_prefix('"') {
        return unescape(inside.strip_suffix('"')?).map(Value::Bytes);
    }
    if let Some(name) = single_name(text) {
        return lookup(name);
    }
    let mut parser = Parser { tokens: tokens(text)?, at: 0, lookup };
    let value = parser.sum(0)?;
    (parser.at == parser.tokens.len()).then_some(Value::Integer(value))
}

fn single_name(text: &str) -> Option<&str> {
    let is_name = text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    is_name.then_some(text)
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => match rest.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let digits = [rest.next()?, rest.next()?];
                    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
                }
                other => other,
            },
            other => other,
        });
    }
    Some(bytes)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Integer(i128),
    Name(String),
    Operator(&'static str),
}

/// Longest first, so that `<<` is not read as something else.
const OPERATORS: [&str; 10] = ["<<", ">>", "+", "-", "*", "/", "%", "|", "(", ")"];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        if end > 0 {
            let word = &rest[..end];
            found.push(match word.starts_with(|c: char| c.is_ascii_digit()) {
                true => Token::Integer(integer(word)?),
                false => Token::Name(word.to_string()),
            });
            rest = rest[end..].trim_start();
        } else {
            let operator = OPERATORS.into_iter().find(|operator| rest.starts_with(operator))?;
            found.push(Token::Operator(operator));
            rest = rest[operator.len()..].trim_start();
        }
    }
    Some(found)
}

/// An integer literal with its underscores, radix prefix and type suffix.
fn integer(word: &str) -> Option<i128> {
    let plain = word.replace('_', "");
    let (digits, radix) = match plain.get(..2) {
        Some("0x") => (&plain[2..], 16),
        Some("0o") => (&plain[2..], 8),
        Some("0b") => (&plain[2..], 2),
        _ => (plain.as_str(), 10),
    };
    const SUFFIXES: [&str; 12] =
        ["usize", "isize", "u128", "i128", "u64", "i64", "u32", "i32", "u16", "i16", "u8", "i8"];
    let suffix = SUFFIXES.into_iter().find_map(|suffix| digits.strip_suffix(suffix));
    i128::from_str_radix(suffix.unwrap_or(digits), radix).ok()
}

/// Precedence climbing over Rust's integer operators; `as type` is skipped.
struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    lookup: &'a dyn Fn(&str) -> Option<Value>,
}

impl Parser<'_> {
    fn operator(&self) -> Option<&'static str> {
        match self.tokens.get(self.at) {
            Some(Token::Operator(operator)) => Some(operator),
            _ => None,
        }
    }

    fn sum(&mut self, weakest: u8) -> Option<i128> {
        let mut left = self.atom()?;
        while let Some(operator) = self.operator() {
            let strength = match operator {
                "|" => 1,
                "<<" | ">>" => 2,
                "+" | "-" => 3,
                "*" | "/" | "%" => 4,
                _ => break,
            };
            if strength <= weakest {
                break;
            }
            self.at += 1;
            let right = self.sum(strength)?;
            left = apply(operator, left, right)?;
        }
        Some(left)
    }

    fn atom(&mut self) -> Option<i128> {
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        let value = match token {
            Token::Integer(value) => value,
            Token::Name(name) => match (self.lookup)(&name)? {
                Value::Integer(value) => value,
                Value::Bytes(_) => return None,
            },
            Token::Operator("-") => self.atom()?.checked_neg()?,
            Token::Operator("(") => {
                let value = self.sum(0)?;
                (self.operator() == Some(")")).then_some(())?;
                self.at += 1;
                value
            }
            Token::Operator(_) => return None,
        };
        if self.tokens.get(self.at) == Some(&Token::Name("as".to_string())) {
            self.at += 2;
        }
        Some(value)
    }
}

fn apply(operator: &str, left: i128, right: i128) -> Option<i128> {
    match operator {
        "+" => left.checked_add(right),
        "-" => left.checked_sub(right),
        "*" => left.checked_mul(right),
        "/" => left.checked_div(right),
        "%" => left.checked_rem(right),
        "|" => Some(left | right),
        "<<" => left.checked_mul(1i128.checked_shl(u32::try_from(right).ok()?)?),
        ">>" => left.checked_shr(u32::try_from(right).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_arithmetic_have_their_rust_values() {
        let lookup = |name: &str| (name == "PAGE").then_some(Value::Integer(4096));
        let integer = |text: &str| match evaluate(text, &lookup) {
            Some(Value::Integer(value)) => Some(value),
            _ => None,
        };
        assert_eq!(integer("0x5054_4c4e"), Some(0x5054_4c4e));
        assert_eq!(integer("256 * PAGE - 16"), Some(1_048_560));
        assert_eq!(integer("1 << 20"), Some(1 << 20));
        assert_eq!(integer("(2 + 3) * 4u32 as usize"), Some(20));
        assert_eq!(integer("10 - 3 - 2"), Some(5));
        assert_eq!(integer("PAGE"), Some(4096));
        assert_eq!(integer("0b1010_u8"), Some(10));
        for unknown in ["OTHER", "1 +", "size_of::<u8>()", "1.5", "u32::MAX", "(1"] {
            assert_eq!(integer(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn byte_strings_are_compared_by_content() {
        let none = |_: &str| None;
        let expected = Some(Value::Bytes(b"PT\x00\n".to_vec()));
        for text in ["*b\"PT\\x00\\n\"", "b\"PT\\0\\n\"", "\"PT\\x00\\n\""] {
            assert_eq!(evaluate(text, &none), expected, "{text}");
        }
    }
}

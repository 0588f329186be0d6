//! The dict in the header of a NumPy `.npy` file: parse and write. Eval layer; text in, facts out,
//! no I/O and no sizes trusted. Source: NEP 1, "A Simple File Format for NumPy Arrays".
//!
//! It is a Python dict literal with the keys `descr`, `fortran_order` and `shape`; the bytes around
//! it belong to `vector_file`.

use super::error::VectorProblem;

/// What a header says, not yet held against the file size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NpyHeader {
    /// The element type, such as `<f4`.
    pub(super) descr: String,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<u64>,
}

/// The dict for `rows` x `dim` little-endian f32 in C order; at most 100 bytes.
pub(super) fn f32_dict(rows: usize, dim: usize) -> String {
    format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}")
}

/// Parses the dict, which may be followed by white space only.
pub(super) fn parse_dict(text: &str) -> Result<NpyHeader, VectorProblem> {
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    let mut cursor = Cursor { rest: text };
    cursor.expect('{', "header is not a dict")?;
    while !cursor.accept('}') {
        let key = cursor.string()?;
        cursor.expect(':', "key without a value")?;
        let duplicate = match key {
            "descr" => descr.replace(cursor.string()?).is_some(),
            "fortran_order" => fortran_order.replace(cursor.boolean()?).is_some(),
            "shape" => shape.replace(cursor.tuple()?).is_some(),
            _ => return bad("unknown key"),
        };
        if duplicate {
            return bad("a key occurs twice");
        }
        if !cursor.accept(',') {
            cursor.expect('}', "dict is not closed")?;
            break;
        }
    }
    if !cursor.rest.trim().is_empty() {
        return bad("text after the dict");
    }
    match (descr, fortran_order, shape) {
        (Some(descr), Some(fortran_order), Some(shape)) => {
            Ok(NpyHeader { descr: descr.to_string(), fortran_order, shape })
        }
        _ => bad("descr, fortran_order or shape is missing"),
    }
}

pub(super) fn malformed(reason: &'static str) -> VectorProblem {
    VectorProblem::BadHeader { reason }
}

fn bad<T>(reason: &'static str) -> Result<T, VectorProblem> {
    Err(malformed(reason))
}

/// Reads the few Python literals a header may hold.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn accept(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char, reason: &'static str) -> Result<(), VectorProblem> {
        if self.accept(wanted) { Ok(()) } else { bad(reason) }
    }

    fn string(&mut self) -> Result<&'a str, VectorProblem> {
        let quote = if self.accept('\'') {
            '\''
        } else {
            self.expect('"', "expected a string")?;
            '"'
        };
        let split = self.rest.split_once(quote);
        let (text, rest) = split.ok_or(malformed("string is not closed"))?;
        self.rest = rest;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, VectorProblem> {
        let text = self.rest.trim_start();
        let (value, rest) = if let Some(rest) = text.strip_prefix("True") {
            (true, rest)
        } else if let Some(rest) = text.strip_prefix("False") {
            (false, rest)
        } else {
            return bad("fortran_order is not True or False");
        };
        self.rest = rest;
        Ok(value)
    }

    fn tuple(&mut self) -> Result<Vec<u64>, VectorProblem> {
        self.expect('(', "shape is not a tuple")?;
        let mut items = Vec::new();
        while !self.accept(')') {
            items.push(self.integer()?);
            if !self.accept(',') {
                self.expect(')', "shape is not closed")?;
                break;
            }
        }
        Ok(items)
    }

    fn integer(&mut self) -> Result<u64, VectorProblem> {
        let text = self.rest.trim_start();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        self.rest = rest;
        digits.parse().map_err(|_| malformed("shape holds something other than 64-bit integers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_written_dict_is_short_and_parses_back() {
        for (rows, dim) in [(0, 1), (600, 384), (usize::MAX, usize::MAX)] {
            let dict = f32_dict(rows, dim);
            let header = parse_dict(&dict).unwrap();
            assert!(dict.len() <= 100);
            assert_eq!(header.shape, [rows as u64, dim as u64]);
            assert_eq!((header.descr.as_str(), header.fortran_order), ("<f4", false));
        }
    }

    #[test]
    fn every_malformed_dict_is_refused_with_its_reason() {
        let integers = "shape holds something other than 64-bit integers";
        let cases = [
            ("", "header is not a dict"),
            ("{", "expected a string"),
            ("{'descr': '<f4'", "dict is not closed"),
            ("{'descr' '<f4'}", "key without a value"),
            ("{'descr': '<f4}", "string is not closed"),
            ("{'descr': '<f4', 'descr': '<f4'}", "a key occurs twice"),
            ("{'color': 1}", "unknown key"),
            ("{'shape': 5}", "shape is not a tuple"),
            ("{'shape': (5, 3}", "shape is not closed"),
            ("{'shape': (-1, 3)}", integers),
            ("{'shape': (99999999999999999999,)}", integers),
            ("{'fortran_order': 0}", "fortran_order is not True or False"),
            ("{'descr': '<f4'}", "descr, fortran_order or shape is missing"),
            ("{} x", "text after the dict"),
        ];
        for (dict, reason) in cases {
            assert_eq!(parse_dict(dict), Err(malformed(reason)), "{dict}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*", tail in "[{}(),:'\"a-z0-9 ]*") {
            let _ = parse_dict(&text);
            let _ = parse_dict(&format!("{{{tail}"));
        }
    }
}

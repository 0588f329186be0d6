//! A Rust file as the rules see it: its lines, and copies with comments, strings and test modules
//! blanked out. A lexer for exactly that, not a parser.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One Rust file. All texts have the same length and the same line breaks.
pub struct Source {
    /// Path from the repository root, with `/`.
    pub path: String,
    /// The file as it is; invalid UTF-8 replaced.
    pub raw: String,
    /// Comments blanked.
    pub uncommented: String,
    /// Comments and the insides of string and character literals blanked.
    pub code: String,
    /// As `code`, items behind `#[cfg(test)]` blanked too.
    pub live: String,
}

impl Source {
    pub fn new(path: String, raw: String) -> Self {
        let (uncommented, code) = blank(&raw);
        let live = without_tests(&code);
        Self { path, raw, uncommented, code, live }
    }

    /// The line of byte `at`, counted from 1.
    pub fn line_of(&self, at: usize) -> usize {
        self.raw.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// A violation at byte `at`.
    pub fn at(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.line_of(at))
    }
}

/// All Rust files under the given folders of `root`, in path order; absent folders are empty.
pub fn rust_files(root: &Path, folders: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let load = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().components();
        let name: Vec<_> = name.map(|part| part.as_os_str().to_string_lossy()).collect();
        let raw = String::from_utf8_lossy(&fs::read(&path).unwrap()).replace('\r', " ");
        Source::new(name.join("/"), raw)
    };
    paths.into_iter().map(load).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Byte offsets at which `word` stands as a whole identifier.
pub fn words(text: &str, word: &str) -> Vec<usize> {
    let part = |byte: Option<&u8>| byte.is_some_and(|&b| b == b'_' || b.is_ascii_alphanumeric());
    let bytes = text.as_bytes();
    let alone = |at: &usize| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !part(before) && !part(bytes.get(at + word.len()))
    };
    text.match_indices(word).map(|(at, _)| at).filter(alone).collect()
}

/// The offset behind the bracket that closes the one at `open`, or the end of the text.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// The items behind a test-only attribute: from the attribute to their `;` or closing brace.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut items = Vec::new();
    for form in ["#[cfg(test)]", "#[cfg(all(test"] {
        items.extend(code.match_indices(form).map(|(at, _)| at..item_end(code, at)));
    }
    items
}

fn item_end(code: &str, attribute: usize) -> usize {
    let mut at = attribute;
    while let Some(byte) = code.as_bytes().get(at) {
        match byte {
            b'(' | b'[' => at = closing(code, at),
            b'{' => return closing(code, at),
            b';' => return at + 1,
            b'}' => return at,
            b',' if is_field(&code[attribute..at]) => return at,
            _ => at += 1,
        }
    }
    code.len()
}

/// A field, variant or match arm ends at a comma; an item may hold commas in its generics.
fn is_field(text: &str) -> bool {
    const ITEMS: [&str; 10] =
        ["fn", "impl", "struct", "enum", "trait", "mod", "use", "const", "static", "type"];
    ITEMS.iter().all(|keyword| words(text, keyword).is_empty())
}

fn without_tests(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for item in test_items(code) {
        erase(&mut bytes[item]);
    }
    String::from_utf8(bytes).unwrap()
}

fn erase(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
}

/// The text without comments, and also without the insides of literals.
fn blank(raw: &str) -> (String, String) {
    let (mut uncommented, mut code) = (raw.as_bytes().to_vec(), raw.as_bytes().to_vec());
    let mut at = 0;
    while at < raw.len() {
        if let Some(end) = comment_end(raw, at) {
            erase(&mut uncommented[at..end]);
            erase(&mut code[at..end]);
            at = end;
        } else if let Some(inside) = literal(raw, at) {
            at = (inside.end + 1).max(at + 1);
            erase(&mut code[inside]);
        } else {
            at += 1;
        }
    }
    (String::from_utf8(uncommented).unwrap(), String::from_utf8(code).unwrap())
}

fn comment_end(raw: &str, at: usize) -> Option<usize> {
    let rest = raw.as_bytes().get(at..)?;
    if rest.starts_with(b"//") {
        return Some(raw[at..].find('\n').map_or(raw.len(), |end| at + end));
    }
    if !rest.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut offset) = (0usize, 0);
    while offset < rest.len() {
        let step = match &rest[offset..] {
            [b'/', b'*', ..] => 1isize,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth = depth.saturating_add_signed(step);
        offset += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            return Some(at + offset);
        }
    }
    Some(raw.len())
}

/// The inside of the string or character literal whose opening quote (or raw prefix) is at `at`.
fn literal(raw: &str, at: usize) -> Option<Range<usize>> {
    let bytes = raw.as_bytes();
    let quote = *bytes.get(at)?;
    if quote == b'r' && !preceded_by_identifier(bytes, at) {
        let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
        let open = at + 1 + hashes;
        if bytes.get(open) == Some(&b'"') {
            let terminator = format!("\"{}", "#".repeat(hashes));
            let end = raw[open + 1..].find(&terminator).map_or(raw.len(), |end| open + 1 + end);
            return Some(open + 1..end);
        }
        return None;
    }
    let is_char = quote == b'\'' && is_character(raw, at);
    (quote == b'"' || is_char).then(|| at + 1..escaped_end(bytes, at + 1, quote))
}

/// Whether the byte before belongs to an identifier other than the `b` of a byte string.
fn preceded_by_identifier(bytes: &[u8], at: usize) -> bool {
    let part = |byte: &u8| *byte == b'_' || byte.is_ascii_alphanumeric();
    let before = |n: usize| at.checked_sub(n).and_then(|before| bytes.get(before));
    match before(1) {
        Some(b'b' | b'c') => before(2).is_some_and(part),
        other => other.is_some_and(part),
    }
}

/// Tells `'x'` and `'\n'` from a lifetime.
fn is_character(raw: &str, at: usize) -> bool {
    let mut characters = raw[at + 1..].chars();
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

fn escaped_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_offsets_kept() {
        let raw = "a // x\n\"b//c\\\"\" 'd' b'\\'' &'e f /* g /* h */ */ r#\"i\"j\"# br\"k\" l";
        let source = Source::new(String::new(), raw.to_string());
        assert_eq!(source.code.len(), raw.len());
        let kept: String = source.code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(kept, "a \" \" ' ' b' ' &'e f r#\" \"# br\" \" l");
        assert!(source.uncommented.contains("b//c") && !source.uncommented.contains("// x"));
    }

    #[test]
    fn test_items_end_at_their_brace_or_semicolon() {
        let raw = "a;\n#[cfg(test)]\n#[allow(x)]\nmod t { fn f() {} }\nb; #[cfg(test)] use c::d; e";
        let source = Source::new(String::new(), raw.to_string());
        assert_eq!(source.live.split_whitespace().collect::<Vec<_>>(), ["a;", "b;", "e"]);
        assert_eq!(source.line_of(raw.find("b;").unwrap()), 5);
        let raw = "struct S { #[cfg(test)] a: [u8; 2], b: u8, #[cfg(test)] c: u8 } fn f() { d }";
        let source = Source::new(String::new(), raw.to_string());
        let expected = "struct S { , b: u8, } fn f() { d }";
        assert_eq!(source.live.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn words_are_whole_identifiers() {
        assert_eq!(words("unsafe unsafe_code x_unsafe (unsafe)", "unsafe"), [0, 29]);
    }
}

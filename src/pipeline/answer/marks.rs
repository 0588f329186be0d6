//! Markers of citations, such as `[1]` and `[2, 3]`, in a text that comes in pieces. Markers of
//! passages that are not there are taken out. Pure.

/// Longest marker that is known as one, in bytes.
const LONGEST: usize = 1024;
/// Words that models put beside the numbers.
const WORDS: [&str; 10] = [
    "and",
    "passage",
    "passages",
    "source",
    "sources",
    "document",
    "documents",
    "doc",
    "docs",
    "ref",
];
const OPENING: [char; 2] = ['[', '\u{3010}'];
const CLOSING: [char; 2] = [']', '\u{3011}'];
const BLANK: [char; 2] = [' ', '\t'];

/// A part of an answer, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Words without markers.
    Text(String),
    /// A marker of passages that are there.
    Marker {
        /// As it stands in the answer.
        text: String,
        /// Each once, in its order, from 1.
        numbers: Vec<usize>,
    },
    /// A marker that names a passage that is not there, as the model wrote it; whatever else it
    /// names comes as a marker before it.
    Unknown(String),
}

/// Finds markers of passages numbered from 1 to `known`. What may be the beginning of a marker is
/// held back until it is settled, so the parts do not depend on how the text is cut.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    known: usize,
    held: String,
    /// Whether what was given out ends in a bracket that a marker could still be made of.
    open: bool,
}

/// What an opening bracket turns out to be.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// A marker of so many bytes.
    Marker(usize),
    /// A bracket like any other.
    Text,
    /// It is not to be told yet.
    More,
}

impl Marks {
    pub(super) fn new(known: usize) -> Self {
        Self { known, held: String::new(), open: false }
    }

    /// Takes the next piece and gives what it settles.
    pub(super) fn push(&mut self, piece: &str) -> Vec<Part> {
        self.held.push_str(piece);
        self.settle(false)
    }

    /// What is left at the end of the text.
    pub(super) fn end(&mut self) -> Vec<Part> {
        self.settle(true)
    }

    fn settle(&mut self, is_last: bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_str();
        while let Some(at) = rest.find(OPENING) {
            let (before, from) = rest.split_at(at);
            let text = before.trim_end_matches(BLANK);
            match look(from) {
                Look::More if !is_last => {
                    self.give(&mut parts, text);
                    let blanks = before.len() - text.len();
                    self.held = format!("{}{from}", &before[before.len() - blanks..]);
                    return parts;
                }
                Look::More | Look::Text => {
                    let (bracket, after) = first(from);
                    self.give(&mut parts, before);
                    self.give(&mut parts, bracket);
                    self.open = true;
                    rest = after;
                }
                Look::Marker(length) => {
                    let (marker, after) = from.split_at(length);
                    self.mark(&mut parts, before, text, marker);
                    rest = after;
                }
            }
        }
        // A marker that is taken out takes the blanks before it along.
        let settled = if is_last { rest } else { rest.trim_end_matches(BLANK) };
        self.give(&mut parts, settled);
        self.held = rest[settled.len()..].to_owned();
        parts
    }

    fn mark(&mut self, parts: &mut Vec<Part>, before: &str, text: &str, marker: &str) {
        let (known, has_unknown) = numbers(marker, self.known);
        if known.is_empty() {
            self.give(parts, text);
            if self.open {
                // Nothing but this keeps what stands around it from being a marker now.
                self.give(parts, "?");
            }
        } else {
            self.give(parts, before);
            let listed: Vec<String> = known.iter().map(usize::to_string).collect();
            let shown =
                if has_unknown { format!("[{}]", listed.join(", ")) } else { marker.to_owned() };
            parts.push(Part::Marker { text: shown, numbers: known });
            self.open = false;
        }
        if has_unknown {
            parts.push(Part::Unknown(marker.to_owned()));
        }
    }

    fn give(&mut self, parts: &mut Vec<Part>, text: &str) {
        if text.is_empty() {
            return;
        }
        self.open &= text.chars().all(may_be_inside);
        match parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ => parts.push(Part::Text(text.to_owned())),
        }
    }
}

/// A text in which no marker is left: their brackets become parentheses.
pub(super) fn disarmed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPENING) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        rest = match look(from) {
            Look::Marker(length) => {
                let (marker, after) = from.split_at(length);
                out.push('(');
                out.push_str(marker.trim_start_matches(OPENING).trim_end_matches(CLOSING));
                out.push(')');
                after
            }
            _ => {
                let (bracket, after) = first(from);
                out.push_str(bracket);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

fn first(text: &str) -> (&str, &str) {
    text.split_at(text.chars().next().map_or(0, char::len_utf8))
}

fn may_be_inside(c: char) -> bool {
    c.is_ascii_alphanumeric() || BLANK.contains(&c) || ",;-\u{2013}&^#:".contains(c)
}

/// What the bracket at the beginning of `from` is: a marker holds numbers, at least one, words of
/// [`WORDS`], and what may stand between them.
fn look(from: &str) -> Look {
    let (mut begun, mut has_number): (Option<usize>, bool) = (None, false);
    for (at, c) in from.char_indices().skip(1) {
        if at > LONGEST {
            return Look::Text;
        }
        if c.is_ascii_alphanumeric() {
            begun.get_or_insert(at);
            continue;
        }
        if let Some(token) = begun.take().and_then(|begin| from.get(begin..at)) {
            let is_number = token.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(token)) {
                return Look::Text;
            }
            has_number |= is_number;
        }
        if CLOSING.contains(&c) {
            return if has_number { Look::Marker(at + c.len_utf8()) } else { Look::Text };
        }
        if !may_be_inside(c) {
            return Look::Text;
        }
    }
    let word = begun.and_then(|begin| from.get(begin..)).unwrap_or_default();
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let begins = |known: &&str| {
        known.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    };
    if is_number || WORDS.iter().any(begins) { Look::More } else { Look::Text }
}

/// The numbers of a marker that are known, and whether it has others. `2-4` are three numbers if
/// both ends are known.
fn numbers(marker: &str, known: usize) -> (Vec<usize>, bool) {
    let (mut found, mut has_unknown): (Vec<usize>, bool) = (Vec::new(), false);
    let mut before = None;
    let mut between = "";
    let mut rest = marker;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        between = if before.is_some() { &rest[..at] } else { between };
        let digits = &rest[at..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let number = digits[..end].parse().ok().filter(|number| (1..=known).contains(number));
        match (before.flatten(), number) {
            (Some(begin), Some(number)) if begin < number && is_range(between) => {
                found.extend(begin..=number);
            }
            (_, Some(number)) => found.push(number),
            (_, None) => has_unknown = true,
        }
        before = Some(number);
        rest = &digits[end..];
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|&number| seen.insert(number));
    (found, has_unknown)
}

fn is_range(between: &str) -> bool {
    matches!(between.trim_matches(BLANK), "-" | "\u{2013}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The text of an answer, the numbers cited with their places, and what was taken out.
    type Read = (String, Vec<(usize, usize, Vec<usize>)>, Vec<String>);

    fn read(parts: Vec<Part>) -> Read {
        let mut read: Read = Default::default();
        for part in parts {
            match part {
                Part::Text(text) => read.0.push_str(&text),
                Part::Marker { text, numbers } => {
                    let begin = read.0.len();
                    read.0.push_str(&text);
                    read.1.push((begin, read.0.len(), numbers));
                }
                Part::Unknown(marker) => read.2.push(marker),
            }
        }
        read
    }

    fn whole(text: &str, known: usize) -> Read {
        let mut marks = Marks::new(known);
        let mut parts = marks.push(text);
        parts.extend(marks.end());
        read(parts)
    }

    fn cited(text: &str, known: usize) -> (String, Vec<usize>, Vec<String>) {
        let (text, markers, unknown) = whole(text, known);
        (text, markers.into_iter().flat_map(|marker| marker.2).collect(), unknown)
    }

    #[test]
    fn markers_of_many_forms_are_read() {
        for (text, numbers) in [
            ("a [1].", vec![1]),
            ("a [1][3]", vec![1, 3]),
            ("a [1, 3;2]", vec![1, 3, 2]),
            ("a [2-4] b", vec![2, 3, 4]),
            ("a [4-2]", vec![4, 2]),
            ("a [1\u{2013}3]", vec![1, 2, 3]),
            ("a [^2]", vec![2]),
            ("a [Passage 2]", vec![2]),
            ("a [passages 2 and 3]", vec![2, 3]),
            ("a [Source #1, source #2]", vec![1, 2]),
            ("a \u{3010}2\u{3011}", vec![2]),
            ("a [ 2 ]", vec![2]),
            ("a [2, 2]", vec![2]),
            ("a [[2]]", vec![2]),
            ("[001]", vec![1]),
        ] {
            assert_eq!(cited(text, 4), (text.to_owned(), numbers, vec![]), "{text}");
        }
    }

    #[test]
    fn other_brackets_are_text() {
        for text in ["a []", "a [-]", "a [1a]", "a [x]", "[see 1]", "a [1.2]", "a [1", "[", "a]"] {
            assert_eq!(cited(text, 4), (text.to_owned(), vec![], vec![]), "{text}");
        }
    }

    #[test]
    fn markers_of_passages_that_are_not_there_are_taken_out_and_told() {
        for (text, left, numbers, unknown) in [
            ("a [9].", "a.", vec![], vec!["[9]"]),
            ("a [0] b", "a b", vec![], vec!["[0]"]),
            ("a [1, 9].", "a [1].", vec![1], vec!["[1, 9]"]),
            ("a [1-9]", "a [1]", vec![1], vec!["[1-9]"]),
            ("a  [9] [8].", "a.", vec![], vec!["[9]", "[8]"]),
            ("a[99999999999999999999999]", "a", vec![], vec!["[99999999999999999999999]"]),
            // Nothing that was taken out leaves a marker behind.
            ("[[9]1]", "[?1]", vec![], vec!["[9]"]),
            ("[do [9]c 1]", "[do?c 1]", vec![], vec!["[9]"]),
        ] {
            let unknown: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
            assert_eq!(cited(text, 4), (left.to_owned(), numbers, unknown), "{text}");
        }
    }

    #[test]
    fn only_what_may_become_a_marker_is_held_back() {
        let mut marks = Marks::new(4);
        assert_eq!(marks.push("a [pass"), vec![Part::Text("a".to_owned())]);
        assert_eq!(marks.push("word "), vec![Part::Text(" [password".to_owned())]);
        assert_eq!(marks.push("1] \n"), vec![Part::Text(" 1] \n".to_owned())]);
        assert_eq!(marks.push("[1"), vec![]);
        let numbers = vec![1];
        assert_eq!(marks.push("]"), vec![Part::Marker { text: "[1]".to_owned(), numbers }]);
    }

    proptest! {
        #[test]
        fn the_parts_do_not_depend_on_how_the_text_is_cut(
            text in "(\\[|\\]|[0-9, ]|passage|do|c|\u{3010}|\u{e9}|-|\\?|x ){0,24}",
            sizes in prop::collection::vec(1_usize..5, 1..8),
        ) {
            let mut marks = Marks::new(3);
            let (mut parts, mut rest) = (Vec::new(), text.chars().peekable());
            let mut sizes = sizes.into_iter().cycle();
            while rest.peek().is_some() {
                let piece: String = rest.by_ref().take(sizes.next().unwrap_or(1)).collect();
                parts.extend(marks.push(&piece));
            }
            parts.extend(marks.end());
            prop_assert_eq!(read(parts), whole(&text, 3));
        }

        #[test]
        fn what_is_left_holds_the_told_markers_and_no_others(
            text in "(\\[|\\]|[0-9, ]|passage|do|c|\u{3010}|\u{e9}|-|\\?|x ){0,24}",
        ) {
            let (left, markers, _) = whole(&text, 3);
            let again = whole(&left, 3);
            prop_assert_eq!(again, (left, markers, vec![]));
        }

        #[test]
        fn a_disarmed_text_has_no_marker(
            text in "(\\[|\\]|[0-9, ]|passage|do|c|\u{3010}|\u{e9}|-|\\?|x ){0,24}",
        ) {
            let (_, markers, unknown) = whole(&disarmed(&text), 3);
            prop_assert!(markers.is_empty() && unknown.is_empty());
        }
    }
}

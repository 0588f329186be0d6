//! Models that think aloud put it between `<think>` tags at the beginning of their content: taken
//! apart here, for a whole text and for one that comes in pieces. Layer: leaf of `nim::chat`; pure.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A text as thoughts and answer. A missing opening tag is one that the chat template wrote into
/// the prompt; without a closing tag all is thought, as when the answer was cut for its length.
pub(crate) fn split(content: &str) -> (Option<String>, String) {
    let text = content.trim_start();
    let (opened, text) = match text.strip_prefix(OPEN) {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    match text.split_once(CLOSE) {
        Some((thought, answer)) if opened || !thought.contains(OPEN) => {
            (some(thought), answer.trim_start().to_owned())
        }
        None if opened => (some(text), String::new()),
        _ => (None, content.to_owned()),
    }
}

fn some(thought: &str) -> Option<String> {
    Some(thought.trim()).filter(|thought| !thought.is_empty()).map(str::to_owned)
}

/// A part of a stream's content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Thought(String),
    Text(String),
}

/// Takes a text apart as it comes. Knows an opening tag only at the beginning.
#[derive(Debug, Default)]
pub(crate) struct ThinkSplitter {
    state: State,
    /// What may be the beginning of a tag.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Start,
    Thinking,
    /// Between the closing tag and the first word.
    Gap,
    Text,
}

impl ThinkSplitter {
    /// Takes the next piece and gives what it settles.
    pub(crate) fn push(&mut self, piece: &str) -> Vec<Part> {
        self.held.push_str(piece);
        let mut parts = Vec::new();
        while self.step(&mut parts) {}
        parts
    }

    /// What is left at the end.
    pub(crate) fn end(&mut self) -> Option<Part> {
        let held = std::mem::take(&mut self.held);
        match self.state {
            _ if held.is_empty() => None,
            State::Thinking => Some(Part::Thought(held)),
            _ => Some(Part::Text(held)),
        }
    }

    /// True when the state has changed and there may be more to settle.
    fn step(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Start => {
                let text = self.held.trim_start();
                if let Some(rest) = text.strip_prefix(OPEN) {
                    self.held = rest.to_owned();
                    self.state = State::Thinking;
                    return true;
                }
                if !OPEN.starts_with(text) {
                    self.state = State::Text;
                    return true;
                }
            }
            State::Thinking => {
                if let Some((thought, rest)) = self.held.split_once(CLOSE) {
                    parts.extend(full(thought).map(Part::Thought));
                    self.held = rest.to_owned();
                    self.state = State::Gap;
                    return true;
                }
                let settled = self.held.len().saturating_sub(tag_begun(&self.held));
                let rest = self.held.split_off(settled);
                let thought = std::mem::replace(&mut self.held, rest);
                parts.extend(full(&thought).map(Part::Thought));
            }
            State::Gap => {
                self.held = self.held.trim_start().to_owned();
                if !self.held.is_empty() {
                    self.state = State::Text;
                    return true;
                }
            }
            State::Text => parts.extend(full(&std::mem::take(&mut self.held)).map(Part::Text)),
        }
        false
    }
}

fn full(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Bytes at the end of a text with which a closing tag may begin.
fn tag_begun(text: &str) -> usize {
    let begins = |length: &usize| CLOSE.get(..*length).is_some_and(|tag| text.ends_with(tag));
    (1..CLOSE.len()).rev().find(begins).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thoughts and text of a stream cut into pieces of `size` characters.
    fn streamed(content: &str, size: usize) -> (String, String) {
        let mut splitter = ThinkSplitter::default();
        let chars: Vec<char> = content.chars().collect();
        let mut parts: Vec<Part> = Vec::new();
        for piece in chars.chunks(size) {
            parts.extend(splitter.push(&piece.iter().collect::<String>()));
        }
        parts.extend(splitter.end());
        let mut found = (String::new(), String::new());
        for part in parts {
            match part {
                Part::Thought(text) => found.0.push_str(&text),
                Part::Text(text) => found.1.push_str(&text),
            }
        }
        found
    }

    #[test]
    fn thoughts_at_the_beginning_are_split_off() {
        let cases = [
            ("plain", None, "plain"),
            ("", None, ""),
            (" <think>\na < b </b>\n</think>\n\nyes", Some("a < b </b>"), "yes"),
            ("<think>no end", Some("no end"), ""),
            ("<think></think>yes", None, "yes"),
            ("a</think> b", Some("a"), "b"),
            ("see <think> and </think>", None, "see <think> and </think>"),
            ("<thin", None, "<thin"),
        ];
        for (content, thought, text) in cases {
            let expected = (thought.map(str::to_owned), text.to_owned());
            assert_eq!(split(content), expected, "{content}");
        }
    }

    #[test]
    fn a_stream_gives_the_same_whatever_its_pieces() {
        let content = " <think>\u{e9} < </thin </think>\n\n<b>yes</think>";
        for size in 1..=content.len() {
            let (thought, text) = streamed(content, size);
            let expected = ("\u{e9} < </thin ".to_owned(), "<b>yes</think>".to_owned());
            assert_eq!((thought, text), expected, "{size}");
            assert_eq!(streamed(" <b>", size).1, " <b>");
            assert_eq!(streamed("<thin", size).1, "<thin");
            assert_eq!(streamed("<think>x</thi", size).0, "x</thi");
        }
    }
}

//! Server-sent events as the WHATWG HTML standard defines them (section 9.2.6), as far as model
//! servers use them: the data of each event. Not their meaning (see `chat`). Layer: leaf of `nim`;
//! no I/O. Works on bytes, so that a character may be split between two reads.

use std::collections::VecDeque;
use std::mem;

/// Most bytes of an event that is not complete yet.
pub(crate) const EVENT_LIMIT: usize = 1 << 20;

/// An event, or a line, longer than the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// Takes bytes as they come and gives the data of each complete event.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    line: Vec<u8>,
    /// Data of the event so far, its lines joined by a line feed; none before the first.
    data: Option<Vec<u8>>,
    /// The last byte was a carriage return: a line feed after it ends no second line.
    after_return: bool,
    past_first_line: bool,
}

impl EventParser {
    /// Takes the next bytes and appends the data of each event they complete.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        events: &mut VecDeque<Vec<u8>>,
    ) -> Result<(), EventTooLarge> {
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let after_return = mem::take(&mut self.after_return);
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            if after_return && text.is_empty() && end == Some(b'\n') {
                continue;
            }
            let held = self.data.as_ref().map_or(0, Vec::len);
            if self.line.len().saturating_add(text.len()).saturating_add(held) > EVENT_LIMIT {
                return Err(EventTooLarge);
            }
            self.line.extend_from_slice(text);
            if end.is_some() {
                self.after_return = end == Some(b'\r');
                events.extend(self.end_line());
            }
        }
        Ok(())
    }

    /// The data of an event that the end of the stream leaves without its empty line. The standard
    /// drops it; some servers end `data: [DONE]` so.
    pub(crate) fn end(&mut self) -> Option<Vec<u8>> {
        self.end_line().or_else(|| self.data.take())
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = mem::take(&mut self.line);
        let first = !mem::replace(&mut self.past_first_line, true);
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| first).unwrap_or(&line);
        if line.is_empty() {
            return self.data.take();
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[][..],
            Some([b':', b' ', value @ ..] | [b':', value @ ..]) => value,
            // A comment, another field, or no field at all.
            _ => return None,
        };
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(parts: &[&[u8]]) -> Vec<String> {
        let mut parser = EventParser::default();
        let mut found = VecDeque::new();
        for part in parts {
            parser.push(part, &mut found).expect("small events");
        }
        found.extend(parser.end());
        found.into_iter().map(|data| String::from_utf8(data).expect("utf-8")).collect()
    }

    #[test]
    fn lines_end_in_any_of_three_ways_and_other_fields_are_passed_over() {
        let text = "\u{feff}data: a\n\n: note\r\nevent: x\r\nid\r\ndata:b\r\ndata\r\rdata:  c\n\n";
        assert_eq!(events(&[text.as_bytes()]), ["a", "b\n", " c"]);
        assert_eq!(events(&[b"\n\n\n\rdatabase: 1\n\n retry: 1\n\n"]), [""; 0]);
    }

    #[test]
    fn any_cut_gives_the_same_events() {
        let text = "data: \u{e9}\u{1f600}\r\n\r\ndata: x\r\ndata: y\n\ndata: [DONE]\n\n".as_bytes();
        let whole = events(&[text]);
        assert_eq!(whole, ["\u{e9}\u{1f600}", "x\ny", "[DONE]"]);
        for cut in 0..=text.len() {
            let (a, b) = text.split_at(cut);
            assert_eq!(events(&[a, b]), whole, "{cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(events(&bytes), whole);
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        assert_eq!(events(&[b"data: a\n\ndata: [DONE]"]), ["a", "[DONE]"]);
        assert_eq!(events(&[b"data: a\n"]), ["a"]);
        assert_eq!(events(&[b""]), [""; 0]);
    }

    #[test]
    fn endless_lines_and_endless_events_are_refused() {
        let mut found = VecDeque::new();
        let long = vec![b'x'; EVENT_LIMIT];
        let mut parser = EventParser::default();
        assert_eq!(parser.push(&long, &mut found), Ok(()));
        assert_eq!(parser.push(b"x", &mut found), Err(EventTooLarge));
        let mut parser = EventParser::default();
        let line = [b"data: ".as_slice(), &[b'x'; 1_000], b"\n"].concat();
        let fed = (0..2_000).position(|_| parser.push(&line, &mut found).is_err());
        assert!(fed.is_some_and(|lines| (1_040..1_060).contains(&lines)), "{fed:?}");
        assert!(found.is_empty());
    }
}

//! The API key and other secrets: held, sent, and taken out of any text that a server sends back.
//! Not the reading of the environment. Layer: above `error` and `target`.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::fault::ConfigFault;
use super::target::Service;

/// What stands in a text where the key stood.
const REDACTED: &str = "[redacted]";
/// How NVIDIA's keys begin.
const PREFIX: &str = "nvapi-";
/// Least bytes of the rest that make a word a key, and of a secret that is taken out of texts:
/// servers without keys are given such as `EMPTY`, which is a word of answers too.
const LEAST: usize = 8;
/// Least bytes of a part of a secret that is taken out of errors: servers that cut long words show
/// the beginning of a key, or its end.
const LEAST_PART: usize = 12;

/// A key that can stand in a header. Neither `Display` nor `Serialize`; wiped from memory on drop.
pub(super) struct ApiKey {
    text: SecretString,
    setting: &'static str,
}

impl ApiKey {
    /// Takes a key; one of white space alone counts as none.
    fn new(key: &SecretString, setting: &'static str) -> Result<Option<Self>, ConfigFault> {
        let text = key.expose_secret().trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConfigFault::KeyCharacters { setting });
        }
        Ok(Some(Self { text: SecretString::from(text), setting }))
    }

    /// `Bearer ...`, marked so that the HTTP client prints it nowhere.
    pub(super) fn header(&self) -> Result<HeaderValue, ConfigFault> {
        let text = format!("Bearer {}", self.text.expose_secret());
        let wrong = |_| ConfigFault::KeyCharacters { setting: self.setting };
        let mut value = HeaderValue::try_from(text).map_err(wrong)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The key of each service.
#[derive(Debug)]
pub(super) struct Keys {
    embed: Option<ApiKey>,
    rerank: Option<ApiKey>,
    chat: Option<ApiKey>,
}

impl Keys {
    /// The key of all services, but for those with one of their own: embedding, ranking, chat.
    pub(super) fn new(
        all: Option<&SecretString>,
        own: [Option<&SecretString>; 3],
    ) -> Result<Self, ConfigFault> {
        let of = |own: Option<&SecretString>, setting| match (own, all) {
            (Some(key), _) => ApiKey::new(key, setting),
            (None, Some(key)) => ApiKey::new(key, "api_key"),
            (None, None) => Ok(None),
        };
        let [embed, rerank, chat] = own;
        Ok(Self {
            embed: of(embed, "embed_key")?,
            rerank: of(rerank, "rerank_key")?,
            chat: of(chat, "chat_key")?,
        })
    }

    pub(super) fn of(&self, service: Service) -> Option<&ApiKey> {
        match service {
            Service::Embedding => self.embed.as_ref(),
            Service::Ranking => self.rerank.as_ref(),
            Service::Chat => self.chat.as_ref(),
        }
    }

    pub(super) fn has_any(&self) -> bool {
        self.embed.is_some() || self.rerank.is_some() || self.chat.is_some()
    }
}

/// What is taken out of texts: the keys, values of the caller's headers, the login of a proxy.
#[derive(Default)]
pub(super) struct Secrets(Vec<Secret>);

struct Secret {
    text: SecretString,
    /// A key, of which parts tell something; other values may have common words in them.
    in_parts: bool,
}

impl Secrets {
    /// Adds those that are long enough to be told from a word.
    pub(super) fn extend<'s>(&mut self, secrets: impl IntoIterator<Item = &'s SecretString>) {
        self.add(secrets, false);
    }

    /// Adds keys, in ASCII, which are taken out of errors in parts as well.
    pub(super) fn extend_keys<'s>(&mut self, keys: impl IntoIterator<Item = &'s SecretString>) {
        self.add(keys, true);
    }

    fn add<'s>(&mut self, secrets: impl IntoIterator<Item = &'s SecretString>, in_parts: bool) {
        let texts = secrets.into_iter().map(|secret| secret.expose_secret().trim());
        let long = texts.filter(|text| text.len() >= LEAST);
        self.0.extend(long.map(|text| Secret { text: SecretString::from(text), in_parts }));
        // One may hold another: the whole goes first.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.text.expose_secret().len()));
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|secret| secret.text.expose_secret())
    }

    /// The beginning of a text, at most so many bytes, without an end that may be the beginning of
    /// a secret.
    pub(super) fn beginning<'t>(&self, text: &'t str, most: usize) -> &'t str {
        if text.len() <= most {
            return text;
        }
        let text = first(text, most);
        text.get(..self.open_end(text)).unwrap_or_default()
    }

    /// The text without secrets.
    pub(super) fn take_out(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in self.texts() {
            if clean.contains(secret) {
                clean = clean.replace(secret, REDACTED);
            }
        }
        clean
    }

    /// Where secrets, or long parts of them, stand in a text, and words that look like one of
    /// NVIDIA's keys; in order, none within another.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for secret in self.texts() {
            places.extend(text.match_indices(secret).map(|(at, found)| at..at + found.len()));
        }
        let keys = self.0.iter().filter(|secret| secret.in_parts);
        let parts = keys.flat_map(|key| key.text.expose_secret().as_bytes().windows(LEAST_PART));
        let parts: HashSet<&[u8]> = parts.collect();
        if !parts.is_empty() {
            // Parts that follow on one another overlap, and become one place.
            let windows = text.as_bytes().windows(LEAST_PART).enumerate();
            let found = windows.filter(|(_, window)| parts.contains(window));
            places.extend(found.map(|(at, window)| at..at + window.len()));
        }
        for (at, prefix) in text.match_indices(PREFIX) {
            let begin = at + prefix.len();
            let word = text.get(begin..).unwrap_or_default();
            let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
            let end = end.unwrap_or(word.len());
            if end >= LEAST {
                places.push(at..begin + end);
            }
        }
        places.sort_unstable_by_key(|place| (place.start, place.end));
        places.dedup_by(|next, before| {
            let is_one = next.start < before.end;
            if is_one {
                before.end = before.end.max(next.end);
            }
            is_one
        });
        places
    }

    /// Where the end of a text begins that may be the beginning of a secret; its length if none.
    pub(super) fn open_end(&self, text: &str) -> usize {
        let longest = self.texts().map(str::len).max().unwrap_or(0);
        let from = text.len().saturating_sub(longest.saturating_sub(1));
        let begins = |at: &usize| {
            text.get(*at..).is_some_and(|end| {
                self.texts().any(|secret| secret.len() > end.len() && secret.starts_with(end))
            })
        };
        (from..text.len()).find(begins).unwrap_or(text.len())
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The text without secrets, and without any word that looks like one of NVIDIA's keys: a server
/// may echo a part of it, or another's. Also without those that are written with the escapes of
/// JSON, whether or not the whole text is JSON.
pub(super) fn redact(text: &str, secrets: &Secrets) -> String {
    let mut clean = without(text, &secrets.places(text), |at| at);
    for level in 1..=ESCAPE_LEVELS {
        if !clean.contains('\\') {
            break;
        }
        let mut read = Unescaped::of(&clean);
        for _ in 0..level {
            let Some(next) = read.again() else { return clean };
            read = next;
        }
        clean = without(&clean, &secrets.places(&read.text), |at| read.start(at));
    }
    clean
}

/// A text without what stands at these places, which begin and end where `start` says.
fn without(text: &str, places: &[Range<usize>], start: impl Fn(usize) -> usize) -> String {
    let (mut clean, mut kept) = (String::new(), 0);
    for place in places {
        clean.push_str(text.get(kept..start(place.start)).unwrap_or_default());
        clean.push_str(REDACTED);
        kept = start(place.end);
    }
    clean.push_str(text.get(kept..).unwrap_or_default());
    clean
}

/// JSON in JSON in JSON: a gateway's words about a server's words.
const ESCAPE_LEVELS: usize = 3;

/// A text read without the escapes of JSON, and where each of its bytes stood.
struct Unescaped {
    text: String,
    /// As many as bytes of the text, and the end.
    starts: Vec<usize>,
}

impl Unescaped {
    /// A text as it is.
    fn of(text: &str) -> Self {
        Self { text: text.to_owned(), starts: (0..=text.len()).collect() }
    }

    fn start(&self, at: usize) -> usize {
        self.starts.get(at).copied().unwrap_or(usize::MAX)
    }

    /// The text with its escapes read; none if it has none.
    fn again(&self) -> Option<Self> {
        if !self.text.contains('\\') {
            return None;
        }
        let (mut text, mut starts, mut at) = (String::new(), Vec::new(), 0);
        while let Some(rest) = self.text.get(at..).filter(|rest| !rest.is_empty()) {
            let (c, bytes) = unescaped(rest);
            starts.extend(std::iter::repeat_n(self.start(at), c.len_utf8()));
            text.push(c);
            at += bytes;
        }
        starts.push(self.start(at));
        (text.len() < self.text.len()).then_some(Self { text, starts })
    }
}

/// The first character of a text, be it written as an escape, and the bytes that it takes.
fn unescaped(text: &str) -> (char, usize) {
    let first = text.chars().next().unwrap_or_default();
    let hex = |digits: &str| {
        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| is_hex).and_then(char::from_u32)
    };
    match text.as_bytes() {
        [b'\\', b'u', ..] => match text.get(2..6).and_then(hex) {
            Some(c) => (c, 6),
            None => (first, 1),
        },
        [b'\\', mark @ (b'"' | b'\\' | b'/'), ..] => (char::from(*mark), 2),
        _ => (first, first.len_utf8().max(1)),
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The whole characters among the first bytes of a text.
pub(super) fn first(text: &str, bytes: usize) -> &str {
    let most = bytes.min(text.len());
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Option<ApiKey>, ConfigFault> {
        ApiKey::new(&SecretString::from(text), "api_key")
    }

    #[test]
    fn the_key_is_trimmed_sent_and_shown_nowhere() {
        let key = key(" nvapi-canary\n").expect("a legal key").expect("a key");
        let header = key.header().expect("a legal header");
        assert_eq!(header.to_str().expect("ascii"), "Bearer nvapi-canary");
        assert_eq!(format!("{header:?} {key:?}"), "Sensitive [redacted]");
    }

    #[test]
    fn words_that_look_like_a_key_are_taken_out_too() {
        let cases = [
            ("nvapi-abcdefgh", "[redacted]"),
            ("a nvapi-abc_efgh-1, nvapi-abcdefgh2!", "a [redacted], [redacted]!"),
            ("keys begin with nvapi-", "keys begin with nvapi-"),
            ("nvapi-short nvapi-nvapi-abcdef", "nvapi-short [redacted]"),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(text, &Secrets::default()), clean);
        }
    }

    #[test]
    fn secrets_that_are_written_with_escapes_are_taken_out_of_any_text() {
        let mut secrets = Secrets::default();
        secrets.extend(&["canary-of-\\header/", "header/and-more"].map(SecretString::from));
        let key = r"\u006evapi-\u0063anary-0123456789";
        let twice = key.replace('\\', r"\\");
        let cases = [
            (format!(r#"{{"error":"bad {key}"#), r#"{"error":"bad [redacted]"#),
            (
                format!(r#"data: {{"error":"{twice}"}} \n \u00zz \"#),
                r#"data: {"error":"[redacted]"} \n \u00zz \"#,
            ),
            (r"\u00e9 canary-of-\\header\/ \u00e9".to_owned(), r"\u00e9 [redacted] \u00e9"),
            (r"canary-of-\header/and-more".to_owned(), "[redacted]"),
            (r"\u00e9\u006eo".to_owned(), r"\u00e9\u006eo"),
            ("\u{e9}\\\u{e9}".to_owned(), "\u{e9}\\\u{e9}"),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(&text, &secrets), clean);
        }
    }

    #[test]
    fn long_parts_of_a_secret_are_taken_out_of_errors() {
        let mut secrets = Secrets::default();
        secrets.extend_keys(&["sk-0123456789-abcdefghij"].map(SecretString::from));
        secrets.extend(&["application/json; v=2"].map(SecretString::from));
        let cases = [
            ("bad key sk-0123456789-abc...", "bad key [redacted]..."),
            ("ends in 789-abcdefghij", "ends in [redacted]"),
            ("sk-01234567 is short", "sk-01234567 is short"),
            ("sk-0123456789-abcdefghijk", "[redacted]k"),
            ("no application/json here", "no application/json here"),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(text, &secrets), clean);
        }
    }

    #[test]
    fn a_beginning_does_not_end_within_a_secret() {
        let mut secrets = Secrets::default();
        secrets.extend(&["canary-0123"].map(SecretString::from));
        for (text, most, begin) in [
            ("short", 9, "short"),
            ("a canary-0123", 9, "a "),
            ("a canary-0123", 13, "a canary-0123"),
            ("\u{e4}\u{e4}", 3, "\u{e4}"),
        ] {
            assert_eq!(secrets.beginning(text, most), begin);
        }
    }

    #[test]
    fn secrets_of_eight_bytes_are_taken_out_and_shorter_ones_are_words() {
        let mut secrets = Secrets::default();
        let given = ["EMPTY", " eightby8\n", "eightby8-and-more", "seven-7"];
        let given = given.map(SecretString::from);
        secrets.extend(&given);
        let text = "EMPTY seven-7 eightby8-and-more eightby8!";
        assert_eq!(redact(text, &secrets), "EMPTY seven-7 [redacted] [redacted]!");
        assert_eq!(format!("{secrets:?}"), "[redacted]");
    }

    #[test]
    fn an_end_that_may_go_on_as_a_secret_is_found_at_its_earliest() {
        let mut secrets = Secrets::default();
        assert_eq!(secrets.open_end("EMPTY"), 5);
        secrets.extend(&["aba-ababab", "secret-2"].map(SecretString::from));
        for (text, at) in [
            ("", 0),
            ("x", 1),
            ("x aba-aba", 2),
            ("x aba-ababab", 10),
            ("\u{e4}s", 2),
            ("secret-", 0),
            ("secret-2", 8),
        ] {
            assert_eq!(secrets.open_end(text), at, "{text}");
        }
    }

    #[test]
    fn a_blank_key_is_none_and_one_with_controls_is_refused() {
        assert!(key(" \n").expect("no fault").is_none());
        let setting = "api_key";
        assert_eq!(key("a\r\nX: y").err(), Some(ConfigFault::KeyCharacters { setting }));
    }
}

//! The API key and other secrets: held, sent, and taken out of any text that a server sends back.
//! Not the reading of the environment. Layer: above `error` and `target`.

use std::fmt;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::ConfigFault;
use super::target::Service;

/// What stands in a text where the key stood.
const REDACTED: &str = "[redacted]";
/// How NVIDIA's keys begin.
const PREFIX: &str = "nvapi-";
/// Least bytes of the rest that make a word a key, and of a secret that is taken out of texts:
/// servers without keys are given such as `EMPTY`, which is a word of answers too.
const LEAST: usize = 8;

/// A key that can stand in a header. Neither `Display` nor `Serialize`; wiped from memory on drop.
pub(super) struct ApiKey(SecretString);

impl ApiKey {
    /// Takes a key; one of white space alone counts as none.
    pub(super) fn new(key: &SecretString) -> Result<Option<Self>, ConfigFault> {
        let text = key.expose_secret().trim();
        if text.is_empty() {
            return Ok(None);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ConfigFault::KeyCharacters);
        }
        Ok(Some(Self(SecretString::from(text))))
    }

    /// `Bearer ...`, marked so that the HTTP client prints it nowhere.
    pub(super) fn header(&self) -> Result<HeaderValue, ConfigFault> {
        let text = format!("Bearer {}", self.0.expose_secret());
        let mut value = HeaderValue::try_from(text).map_err(|_| ConfigFault::KeyCharacters)?;
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
        let of = |own: Option<&SecretString>| match own.or(all) {
            Some(key) => ApiKey::new(key),
            None => Ok(None),
        };
        let [embed, rerank, chat] = own;
        Ok(Self { embed: of(embed)?, rerank: of(rerank)?, chat: of(chat)? })
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

/// What is taken out of texts: the keys, and values of the caller's headers.
#[derive(Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Adds those that are long enough to be told from a word.
    pub(super) fn extend<'s>(&mut self, secrets: impl IntoIterator<Item = &'s SecretString>) {
        let texts = secrets.into_iter().map(|secret| secret.expose_secret().trim());
        self.0.extend(texts.filter(|text| text.len() >= LEAST).map(SecretString::from));
        // One may hold another: the whole goes first.
        self.0.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
    }

    /// The text without secrets.
    pub(super) fn take_out(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in self.0.iter().map(SecretString::expose_secret) {
            if clean.contains(secret) {
                clean = clean.replace(secret, REDACTED);
            }
        }
        clean
    }

    /// Where the end of a text begins that may be the beginning of a secret; its length if none.
    pub(super) fn open_end(&self, text: &str) -> usize {
        let secrets = || self.0.iter().map(SecretString::expose_secret);
        let longest = secrets().map(str::len).max().unwrap_or(0);
        let from = text.len().saturating_sub(longest.saturating_sub(1));
        let begins = |at: &usize| {
            text.get(*at..).is_some_and(|end| {
                secrets().any(|secret| secret.len() > end.len() && secret.starts_with(end))
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
/// may echo a part of it, or another's.
pub(super) fn redact(text: &str, secrets: &Secrets) -> String {
    let text = secrets.take_out(text);
    let mut clean = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(PREFIX) {
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        let (word, tail) = after.split_at(end.unwrap_or(after.len()));
        clean.push_str(before);
        if word.len() >= LEAST {
            clean.push_str(REDACTED);
        } else {
            clean.push_str(PREFIX);
            clean.push_str(word);
        }
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Option<ApiKey>, ConfigFault> {
        ApiKey::new(&SecretString::from(text))
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
        assert_eq!(key("a\r\nX: y").err(), Some(ConfigFault::KeyCharacters));
    }
}

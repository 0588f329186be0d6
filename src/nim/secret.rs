//! The API key: held, sent, and taken out of any text that a server sends back.
//! Not the reading of the environment. Layer: above `error`.

use std::fmt;

use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

use super::error::ConfigFault;

/// What stands in a text where the key stood.
const REDACTED: &str = "[redacted]";

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

    /// The text without the key.
    pub(super) fn redact(&self, text: &str) -> String {
        text.replace(self.0.expose_secret(), REDACTED)
    }
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
        assert_eq!(key.redact("bad key nvapi-canary!"), "bad key [redacted]!");
    }

    #[test]
    fn a_blank_key_is_none_and_one_with_controls_is_refused() {
        assert!(key(" \n").expect("no fault").is_none());
        assert_eq!(key("a\r\nX: y").err(), Some(ConfigFault::KeyCharacters));
    }
}

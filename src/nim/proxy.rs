//! The proxy that requests go through, if one is set: its address, and whom it lets pass. Not what
//! is sent through it. Layer: above `endpoint`.

use reqwest::{Proxy, Url};
use secrecy::SecretString;

use super::base64;
use super::endpoint::checked_url;
use super::fault::ConfigFault;

/// Bytes that a name has at least that stands for a token.
const LEAST_TOKEN: usize = 16;

/// A proxy from its URL, which may hold a user name and a password (RFC 9110, section 11.7). It
/// sees requests to http addresses as they are, and of others the host alone; a password goes to it
/// as it is, unless its own address is one of https. What another machine would see must be
/// allowed.
pub(super) fn proxy(url: &str, https_only: bool, insecure: bool) -> Result<Proxy, ConfigFault> {
    let setting = "proxy";
    let wrong = |()| ConfigFault::UrlSyntax { setting };
    let mut bare = Url::parse(url.trim()).map_err(|_| wrong(()))?;
    let (name, password) = (bare.username().to_owned(), bare.password().map(str::to_owned));
    bare.set_username("").and_then(|()| bare.set_password(None)).map_err(wrong)?;
    let has_login = !name.is_empty() || password.is_some();
    let mut checked = checked_url(bare.as_str(), setting, insecure || https_only && !has_login)?;
    if has_login {
        // As they came, with what is escaped in them.
        checked.set_username(&name).map_err(wrong)?;
        checked.set_password(password.as_deref()).map_err(wrong)?;
    }
    Proxy::all(checked).map_err(|_| wrong(()))
}

/// What the URL of a proxy holds of a login: the password as it stands there and as it is meant,
/// and what is sent, in base64. Without a password the name is a token, unless it is so short that
/// it can only be a name.
pub(super) fn logins(url: &str) -> Vec<SecretString> {
    let Ok(url) = Url::parse(url.trim()) else { return Vec::new() };
    let password = url.password().unwrap_or_default();
    if url.username().is_empty() && password.is_empty() {
        return Vec::new();
    }
    let secret = if password.is_empty() { url.username() } else { password };
    let login = [&unescaped(url.username())[..], b":", &unescaped(password)].concat();
    let mut sent = String::new();
    base64::encode_into(&mut sent, &login);
    let meant = String::from_utf8_lossy(&unescaped(secret)).into_owned();
    let is_secret = !password.is_empty() || meant.len() >= LEAST_TOKEN;
    let plain = is_secret.then(|| [secret.to_owned(), meant]);
    plain.into_iter().flatten().chain([sent]).map(SecretString::from).collect()
}

/// Bytes that a part of a URL stands for (RFC 3986, section 2.1).
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let byte = byte.filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = tail.get(if byte.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_login_is_known_in_every_form_that_may_be_echoed() {
        let of = |url| -> Vec<String> {
            logins(url).iter().map(|secret| secret.expose_secret().to_owned()).collect()
        };
        // "user:p@ss %1" in base64.
        assert_eq!(
            of("http://user:p%40ss%20%251@p:1"),
            ["p%40ss%20%251", "p@ss %1", "dXNlcjpwQHNzICUx"]
        );
        // A token in place of the name, "t ken-1234567890:" in base64; a shorter name alone is
        // none, and may be any word of an answer.
        for url in ["http://t%20ken-1234567890@p:1", "http://t%20ken-1234567890:@p:1"] {
            let forms = ["t%20ken-1234567890", "t ken-1234567890", "dCBrZW4tMTIzNDU2Nzg5MDo="];
            assert_eq!(of(url), forms);
        }
        assert_eq!(of("http://engineering@p:1"), ["ZW5naW5lZXJpbmc6"]);
        assert_eq!(of("http://user@p:1"), ["dXNlcjo="]);
        assert_eq!(of("http://p:1"), [""; 0]);
        assert_eq!(of("p"), [""; 0]);
    }

    #[test]
    fn a_login_is_taken_unless_another_machine_would_see_it_unasked() {
        let fault = |url, https_only, insecure| proxy(url, https_only, insecure).err();
        let setting = "proxy";
        assert_eq!(fault("http://user:canary@127.0.0.1:3128", false, false), None);
        assert_eq!(fault("https://user:canary@p:3128", false, false), None);
        assert_eq!(fault("http://p:3128", true, false), None);
        let seen = Some(ConfigFault::InsecureHttp { setting });
        assert_eq!(fault("http://user:canary@p:3128", true, false), seen);
        assert_eq!(fault("http://user@p:3128", true, false), seen);
        assert_eq!(fault("http://user:canary@p:3128", true, true), None);
        assert_eq!(fault("socks5://p:1", true, true), Some(ConfigFault::UrlScheme { setting }));
        assert_eq!(fault("mailto:p", true, true), Some(ConfigFault::UrlSyntax { setting }));
        assert_eq!(fault("p", true, true), Some(ConfigFault::UrlSyntax { setting }));
    }
}

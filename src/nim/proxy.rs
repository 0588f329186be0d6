//! The proxy that requests go through, if one is set: its address, and whom it lets pass. Not what
//! is sent through it. Layer: above `endpoint`.

use reqwest::{Proxy, Url};
use secrecy::SecretString;

use super::endpoint::checked_url;
use super::fault::ConfigFault;

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

/// The password in the URL of a proxy.
pub(super) fn password(url: &str) -> Option<SecretString> {
    let url = Url::parse(url.trim()).ok()?;
    url.password().map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

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

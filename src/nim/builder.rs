//! Set-up of the client: addresses, key, limits, TLS. Sends nothing and opens no socket.
//! Layer: top of `nim`, next to `client`.

use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use secrecy::{ExposeSecret, SecretString};

use super::api::Api;
use super::breaker::{Breakers, CircuitBreaker};
use super::budget::{Bucket, RetryBudget};
use super::client::{Inner, Nim};
use super::endpoint::{Endpoint, HOSTED_BASE, HOSTED_POLL, Reading, checked_url};
use super::error::NimError;
use super::fault::ConfigFault;
use super::pace::Pace;
use super::proxy::{logins, proxy};
use super::retry::RetryPolicy;
use super::secret::{Keys, Secrets};
use super::target::Service;
use super::tls;
use super::transport::{Meter, Transport};

/// How long idle connections are kept.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// Configuration of a [`Nim`].
///
/// Fixed: no redirects, no proxy unless one is set here, no referer, HTTP/1.1, TLS 1.2 or later
/// with the Mozilla root certificates and those added here.
#[derive(Clone)]
#[must_use]
pub struct NimBuilder {
    key: Option<SecretString>,
    embed_key: Option<SecretString>,
    rerank_key: Option<SecretString>,
    chat_key: Option<SecretString>,
    base_url: Option<String>,
    embed_url: Option<String>,
    rerank_url: Option<String>,
    chat_url: Option<String>,
    poll_url: Option<String>,
    proxy: Option<String>,
    embed_api: Option<Api>,
    rerank_api: Option<Api>,
    append_version: Option<bool>,
    headers: Vec<(String, SecretString)>,
    allow_insecure_http: bool,
    connect_timeout: Duration,
    read_timeout: Duration,
    attempt_timeout: Duration,
    retry: RetryPolicy,
    budget: RetryBudget,
    breaker: CircuitBreaker,
    pace: Arc<Pace>,
    hold: Duration,
    trace_texts: bool,
    roots_pem: Vec<u8>,
}

impl NimBuilder {
    pub(super) fn new() -> Self {
        Self {
            key: None,
            embed_key: None,
            rerank_key: None,
            chat_key: None,
            base_url: None,
            embed_url: None,
            rerank_url: None,
            chat_url: None,
            poll_url: None,
            proxy: None,
            embed_api: None,
            rerank_api: None,
            append_version: None,
            headers: Vec::new(),
            allow_insecure_http: false,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(60),
            retry: RetryPolicy::new(),
            budget: RetryBudget::new(),
            breaker: CircuitBreaker::new(),
            pace: Arc::new(Pace::new(None)),
            hold: Duration::from_secs(10),
            trace_texts: false,
            roots_pem: Vec::new(),
        }
    }

    /// Takes the key from `NVIDIA_API_KEY` and the base URL from `NVIDIA_BASE_URL`, as far as they
    /// are not set yet. Blank variables count as absent. `NVIDIA_APPEND_API_VERSION` of `false` or
    /// `0` is [`append_version(false)`](Self::append_version).
    ///
    /// # Errors
    ///
    /// [`ConfigFault::EnvironmentText`] for a variable that is not UTF-8.
    pub fn env(self) -> Result<Self, NimError> {
        self.env_from(|name| std::env::var_os(name))
    }

    fn env_from(mut self, read: impl Fn(&str) -> Option<OsString>) -> Result<Self, NimError> {
        let read = |name: &'static str| match read(name).map(OsString::into_string) {
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
            Some(Err(_)) => Err(ConfigFault::EnvironmentText { name }),
            None => Ok(None),
        };
        if self.key.is_none() {
            self.key = read("NVIDIA_API_KEY")?.map(SecretString::from);
        }
        if self.base_url.is_none() {
            self.base_url = read("NVIDIA_BASE_URL")?;
        }
        if self.append_version.is_none() {
            let text = read("NVIDIA_APPEND_API_VERSION")?;
            self.append_version = text.map(|text| !matches!(&*text, "false" | "False" | "0"));
        }
        Ok(self)
    }

    /// The key, sent as a Bearer header to every address of this client but those of services with
    /// a key of their own. Blank counts as none.
    pub fn api_key(mut self, key: impl Into<SecretString>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The key of the embedding service where it differs; blank for one that is to get none.
    pub fn embed_key(mut self, key: impl Into<SecretString>) -> Self {
        self.embed_key = Some(key.into());
        self
    }

    /// The key of the ranking service where it differs; blank for one that is to get none.
    pub fn rerank_key(mut self, key: impl Into<SecretString>) -> Self {
        self.rerank_key = Some(key.into());
        self
    }

    /// The key of the chat service where it differs; blank for one that is to get none.
    pub fn chat_key(mut self, key: impl Into<SecretString>) -> Self {
        self.chat_key = Some(key.into());
        self
    }

    /// Base URL of all services, with or without `/v1`, or the full URL of one endpoint; default
    /// `https://integrate.api.nvidia.com/v1`. A query and a fragment are dropped.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// URL of the embedding service where it differs, with or without `/v1/embeddings`.
    pub fn embed_url(mut self, url: impl Into<String>) -> Self {
        self.embed_url = Some(url.into());
        self
    }

    /// URL of the ranking service where it differs, with or without `/v1/ranking`.
    pub fn rerank_url(mut self, url: impl Into<String>) -> Self {
        self.rerank_url = Some(url.into());
        self
    }

    /// URL of the chat service where it differs, with or without `/v1/chat/completions`.
    pub fn chat_url(mut self, url: impl Into<String>) -> Self {
        self.chat_url = Some(url.into());
        self
    }

    /// Sends all requests through this proxy, `http://user:password@host:3128` where it asks for a
    /// login. None is used unless set here: `HTTP_PROXY` and the like are not read. Of requests to
    /// https addresses it sees only the host. A login for a proxy of plain http on another machine
    /// takes [`allow_insecure_http`](Self::allow_insecure_http).
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(url.into());
        self
    }

    /// Where to ask for requests answered with status 202; needed only for a gateway that stands in
    /// for the hosted catalog, whose own status address is known.
    pub fn poll_url(mut self, url: impl Into<String>) -> Self {
        self.poll_url = Some(url.into());
        self
    }

    /// The family of servers that answers, for both services; a NIM unless set, except that a
    /// ranking URL ending in `/rerank` speaks [`Api::Cohere`].
    pub fn api(self, api: Api) -> Self {
        self.embed_api(api).rerank_api(api)
    }

    /// The family of the embedding server, where it differs.
    pub fn embed_api(mut self, api: Api) -> Self {
        self.embed_api = Some(api);
        self
    }

    /// The family of the ranking server, where it differs.
    pub fn rerank_api(mut self, api: Api) -> Self {
        self.rerank_api = Some(api);
        self
    }

    /// Whether `/v1` is added to a base URL that does not end in it; yes unless set.
    pub fn append_version(mut self, append: bool) -> Self {
        self.append_version = Some(append);
        self
    }

    /// Sends this header with every request, but for those to NVIDIA's own status address. Its
    /// value is kept as a secret: from 8 bytes on it is taken out of what servers send back, as
    /// the key is. Headers that the client sets itself, such as `Authorization` with a key, take
    /// precedence.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Allows plain http to other machines, which sends texts and the key unencrypted; for a
    /// trusted network only. Plain http to this machine is always allowed.
    pub fn allow_insecure_http(mut self, allow: bool) -> Self {
        self.allow_insecure_http = allow;
        self
    }

    /// Bound of connecting, TLS included; 5 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Bound of the wait for the next bytes; 30 s unless set.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Bound of one try from its start to its last byte; 60 s unless set.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// When and how often to try again.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How many retries all calls together may make.
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.budget = budget;
        self
    }

    /// When an address that keeps failing is left alone.
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.breaker = breaker;
        self
    }

    /// Most requests in any 60 s, retries included, of all clients of this builder and its later
    /// clones; calls wait for their turn, or fail with [`NimError::Paced`] when it comes after
    /// their deadline. None unless set, 0 is none. The hosted trial is said to allow 40.
    pub fn requests_per_minute(mut self, requests: u32) -> Self {
        self.pace = Arc::new(Pace::new(Some(requests)));
        self
    }

    /// How long the hosted gateway is asked to hold a request before it answers 202 (header
    /// `NVCF-POLL-SECONDS`), in whole seconds; 10 s unless set, zero sends no header. Keep it below
    /// the read timeout.
    pub fn poll_hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Lets `tracing` events carry the texts of requests and answers (level TRACE, at most 4 KiB
    /// each), never the key; without it they carry sizes and ids alone.
    pub fn trace_texts(mut self, trace: bool) -> Self {
        self.trace_texts = trace;
        self
    }

    /// Trusts the certificates of this PEM text too, for a service with a private authority.
    pub fn add_root_certificates(mut self, pem: &[u8]) -> Self {
        self.roots_pem.extend_from_slice(pem);
        self.roots_pem.push(b'\n');
        self
    }

    /// Checks everything and makes the client.
    ///
    /// # Errors
    ///
    /// [`NimError::Config`] for a setting that cannot be used. [`NimError::MissingKey`] when all
    /// services are hosted and there is no key; when only some are, their calls give that error.
    pub fn build(self) -> Result<Nim, NimError> {
        let own = [&self.embed_key, &self.rerank_key, &self.chat_key];
        let keys = Keys::new(self.key.as_ref(), own.map(Option::as_ref))?;
        let embed = self.endpoint(self.embed_url.as_deref(), "embed_url", Service::Embedding)?;
        let rank = self.endpoint(self.rerank_url.as_deref(), "rerank_url", Service::Ranking)?;
        let chat = self.endpoint(self.chat_url.as_deref(), "chat_url", Service::Chat)?;
        let poll = self.poll_url.as_deref();
        let poll = poll.map(|url| checked_url(url, "poll_url", self.allow_insecure_http));
        let poll = poll.transpose()?;
        let services = [&embed, &rank, &chat];
        if !keys.has_any() && services.iter().all(|service| service.is_hosted()) {
            return Err(NimError::MissingKey { url: HOSTED_BASE.to_owned() });
        }
        let poll_is_https = poll.as_ref().is_none_or(|url| url.scheme() == "https");
        let all_https = services.iter().all(|service| service.is_https()) && poll_is_https;
        let (http, extra) = (self.http(all_https)?, self.extra_headers()?);
        let mut secrets = Secrets::default();
        secrets.extend_keys(self.all_keys());
        secrets.extend(self.headers.iter().map(|(_, value)| value));
        secrets.extend(&self.proxy.as_deref().map(logins).unwrap_or_default());
        let hosted_poll = Url::parse(HOSTED_POLL).map_err(|_| ConfigFault::HttpClient)?;
        let transport = Transport {
            http,
            keys,
            extra,
            secrets,
            retry: self.retry,
            attempt: self.attempt_timeout,
            poll,
            hosted_poll,
            hold: self.hold.as_secs(),
            bucket: Bucket::new(self.budget, Instant::now()),
            breakers: Breakers::new(self.breaker),
            pace: Arc::clone(&self.pace),
            meter: Meter::default(),
            trace_texts: self.trace_texts,
        };
        let defaults = Mutex::default();
        Ok(Nim::new(Inner { transport, embed, rank, chat, defaults }))
    }

    fn all_keys(&self) -> impl Iterator<Item = &SecretString> {
        let keys = [&self.key, &self.embed_key, &self.rerank_key, &self.chat_key];
        keys.into_iter().flatten()
    }

    fn endpoint(
        &self,
        own: Option<&str>,
        setting: &'static str,
        service: Service,
    ) -> Result<Endpoint, ConfigFault> {
        let how = Reading {
            setting: if own.is_some() { setting } else { "base_url" },
            service,
            general: own.is_none(),
            insecure: self.allow_insecure_http,
            api: match service {
                Service::Embedding => self.embed_api,
                Service::Ranking => self.rerank_api,
                Service::Chat => None,
            },
            append_version: self.append_version.unwrap_or(true),
        };
        Endpoint::parse(own.or(self.base_url.as_deref()).unwrap_or(HOSTED_BASE), &how)
    }

    fn http(&self, https_only: bool) -> Result<Client, ConfigFault> {
        let builder = Client::builder().no_proxy();
        let builder = match &self.proxy {
            Some(url) => builder.proxy(proxy(url, https_only, self.allow_insecure_http)?),
            None => builder,
        };
        builder
            .user_agent(concat!("portolan/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .https_only(https_only)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.read_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .tls_backend_preconfigured(tls::config(&self.roots_pem)?)
            .build()
            .map_err(|_| ConfigFault::HttpClient)
    }

    fn extra_headers(&self) -> Result<HeaderMap, ConfigFault> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).map_err(|_| ConfigFault::Header)?;
            let value = HeaderValue::try_from(value.expose_secret());
            let mut value = value.map_err(|_| ConfigFault::Header)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

impl fmt::Debug for NimBuilder {
    /// Shows no URL, since none has been checked for a password yet, and never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NimBuilder")
            .field("has_key", &self.all_keys().next().is_some())
            .field("allow_insecure_http", &self.allow_insecure_http)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &'static [(&str, &str)]) -> Result<Nim, NimError> {
        let read = |name: &str| pairs.iter().find(|p| p.0 == name).map(|p| OsString::from(p.1));
        Nim::builder().env_from(read)?.build()
    }

    #[test]
    fn the_environment_gives_key_and_base_url() {
        let missing = env(&[("NVIDIA_API_KEY", " ")]).expect_err("hosted without a key");
        assert!(matches!(missing, NimError::MissingKey { .. }));
        assert!(missing.to_string().contains("set NVIDIA_API_KEY"));

        let hosted = env(&[("NVIDIA_API_KEY", "nvapi-canary")]).expect("a hosted client");
        let shown = format!("{hosted:?}");
        assert!(shown.contains("integrate.api.nvidia.com") && shown.contains("has_key: true"));
        assert!(!shown.contains("canary"));

        let local = env(&[("NVIDIA_BASE_URL", "http://localhost:8000")]).expect("a local client");
        assert!(format!("{local:?}").contains("has_key: false"));
    }

    #[test]
    fn what_is_set_comes_before_the_environment() {
        let read = |name: &str| match name {
            "NVIDIA_API_KEY" => Some(OsString::from("a\nb")),
            "NVIDIA_BASE_URL" => Some(OsString::from("nonsense")),
            _ => None,
        };
        let set = Nim::builder().api_key("key").base_url("http://localhost:8000");
        let nim = set.env_from(read).expect("readable").build().expect("the builder's values");
        assert!(format!("{nim:?}").contains("http://localhost:8000/v1"));
    }

    #[test]
    fn the_environment_can_keep_the_version_off_the_base_url() {
        let root = |value: &'static str| {
            let read = |name: &str| match name {
                "NVIDIA_BASE_URL" => Some(OsString::from("http://localhost:8000/path")),
                "NVIDIA_APPEND_API_VERSION" => Some(OsString::from(value)),
                _ => None,
            };
            let nim = Nim::builder().env_from(read).expect("readable").build().expect("a client");
            format!("{nim:?}").contains("/path/v1")
        };
        assert_eq!(["false", "False", "0"].map(root), [false; 3]);
        assert_eq!(["", "true", "1", "no", "FALSE"].map(root), [true; 5]);
    }

    #[test]
    fn settings_that_cannot_be_used_fail_before_any_request() {
        let local = || Nim::builder().base_url("http://localhost:8000");
        let fault = |builder: NimBuilder| match builder.build() {
            Err(NimError::Config(fault)) => fault,
            other => panic!("{other:?}"),
        };
        let setting = "api_key";
        assert_eq!(fault(local().api_key("a\nb")), ConfigFault::KeyCharacters { setting });
        let setting = "chat_key";
        assert_eq!(fault(local().chat_key("a\nb")), ConfigFault::KeyCharacters { setting });
        assert_eq!(fault(local().add_root_certificates(b"x")), ConfigFault::Certificates);
        let setting = "poll_url";
        let remote = local().poll_url("http://example.com");
        assert_eq!(fault(remote), ConfigFault::InsecureHttp { setting });
        let setting = "proxy";
        let remote = local().proxy("http://example.com:3128");
        assert_eq!(fault(remote), ConfigFault::InsecureHttp { setting });
        let encrypted = Nim::builder().base_url("https://example.com").proxy("http://p:3128");
        assert!(encrypted.build().is_ok());
    }

    #[test]
    fn debug_of_a_builder_shows_neither_key_nor_address() {
        let builder = Nim::builder().api_key("nvapi-canary").base_url("https://u:canary@h");
        let shown = format!("{builder:?}");
        assert!(shown.contains("has_key: true") && !shown.contains("canary"));
    }
}

//! From what a user writes as a base URL to the addresses that are called. Not the calling itself.
//! Layer: above `error`; knows the hosted catalog's URL rules, opens no socket.

use std::net::IpAddr;

use reqwest::Url;

use super::api::Api;
use super::fault::ConfigFault;
use super::target::{Service, Target, is_hosted, push_segments};

/// Base URL of NVIDIA's hosted catalog.
pub(super) const HOSTED_BASE: &str = "https://integrate.api.nvidia.com/v1";
/// Where the hosted catalog serves retrieval models that have an address of their own.
const HOSTED_RETRIEVAL: &str = "https://ai.api.nvidia.com/v1/retrieval";
/// Where a request that was answered with 202 can be asked for.
pub(super) const HOSTED_POLL: &str = "https://api.nvcf.nvidia.com/v2/nvcf/pexec/status";

/// NVIDIA's gateway that speaks Cohere's rerank.
const GATEWAY: &str = "inference-api.nvidia.com";

/// Last segments of the endpoints that any of the families serves.
const ENDPOINTS: [&str; 6] =
    ["embeddings", "embed", "ranking", "reranking", "rerank", "completions"];

/// How a URL is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Setting that holds the URL, for errors.
    pub(super) setting: &'static str,
    pub(super) service: Service,
    /// The text is the base URL of both services, so that it may end in the endpoint of the other.
    pub(super) general: bool,
    /// Plain http to other machines is allowed.
    pub(super) insecure: bool,
    /// Family of the server, where the caller named one.
    pub(super) api: Option<Api>,
    /// Whether `/v1` is added where it is missing.
    pub(super) append_version: bool,
}

/// Where one service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    service: Service,
    api: Api,
    /// Base with the API version, `.../v1`, for families that have one.
    root: Url,
    /// Full address, where the user gave one.
    exact: Option<Url>,
}

impl Endpoint {
    /// Reads the URL of one service.
    pub(super) fn parse(text: &str, how: &Reading) -> Result<Self, ConfigFault> {
        let Reading { setting, service, general, .. } = *how;
        let mut url = checked_url(text, setting, how.insecure)?;
        let last = last_segment(&url);
        let api = how.api.unwrap_or_else(|| guessed(&url, &last, service));
        let is_own = api.owns(service, &last);
        let is_endpoint = ENDPOINTS.contains(&last.as_str());
        if last == "rankings" || (is_endpoint && !is_own && !general) {
            return Err(ConfigFault::WrongEndpoint { setting });
        }
        let exact = is_own.then(|| url.clone());
        if is_endpoint {
            pop_segment(&mut url);
        }
        if last == "completions" && last_segment(&url) == "chat" {
            pop_segment(&mut url);
        }
        if api == Api::Ollama && last_segment(&url) == "api" {
            pop_segment(&mut url);
        }
        let version = last_segment(&url);
        if is_hosted(&url) {
            url = fixed(HOSTED_BASE)?;
        } else if !api.is_versioned() {
            if version == "v1" {
                pop_segment(&mut url);
            }
        } else if !is_version(&version) && how.append_version {
            push_segments(&mut url, &["v1"]);
        }
        Ok(Self { service, api, root: url, exact })
    }

    /// The address that serves `model`.
    pub(super) fn target(&self, model: &str) -> Result<Target, ConfigFault> {
        check_model(model, self.api == Api::Nim && is_hosted(&self.root))?;
        if let Some(url) = &self.exact {
            return Ok(Target::new(url.clone(), self.service));
        }
        if self.api == Api::Nim
            && is_hosted(&self.root)
            && let Some(url) = catalog_url(self.service, model)?
        {
            return Ok(Target::new(url, self.service));
        }
        let missing = match self.service {
            Service::Embedding => "embeddings",
            Service::Ranking => "ranking",
            Service::Chat => "chat",
        };
        let path = self.api.path(self.service);
        let path = path.ok_or(ConfigFault::Unsupported { api: self.api.name(), setting: missing });
        Ok(self.under(path?))
    }

    /// The address whose status tells whether the server is ready.
    pub(super) fn health(&self) -> Target {
        let (path, below_version) = self.api.health();
        let mut url = self.root.clone();
        if !below_version && is_version(&last_segment(&url)) {
            pop_segment(&mut url);
        }
        push_segments(&mut url, path);
        Target::new(url, self.service)
    }

    /// The address that names the models served.
    pub(super) fn models(&self) -> Target {
        self.under(self.api.models())
    }

    pub(super) fn api(&self) -> Api {
        self.api
    }

    /// An address below the base, such as `models`.
    pub(super) fn under(&self, segments: &[&str]) -> Target {
        let mut url = self.root.clone();
        push_segments(&mut url, segments);
        Target::new(url, self.service)
    }

    /// Base with the API version.
    pub(super) fn root(&self) -> &str {
        self.root.as_str()
    }

    pub(super) fn is_hosted(&self) -> bool {
        is_hosted(self.exact.as_ref().unwrap_or(&self.root))
    }

    pub(super) fn is_https(&self) -> bool {
        self.root.scheme() == "https"
            && self.exact.as_ref().is_none_or(|url| url.scheme() == "https")
    }
}

/// An absolute http(s) URL without user info, query and fragment, and without slashes at its end.
pub(super) fn checked_url(
    text: &str,
    setting: &'static str,
    insecure: bool,
) -> Result<Url, ConfigFault> {
    let mut url = Url::parse(text.trim()).map_err(|_| ConfigFault::UrlSyntax { setting })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ConfigFault::UrlScheme { setting });
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConfigFault::UrlUserInfo { setting });
    }
    if url.scheme() == "http" && !insecure && !is_loopback(&url) {
        return Err(ConfigFault::InsecureHttp { setting });
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn catalog_url(service: Service, model: &str) -> Result<Option<Url>, ConfigFault> {
    let (org, name) = model.split_once('/').unwrap_or(("nvidia", model));
    let path = match service {
        Service::Embedding => match name {
            "NV-Embed-QA" | "embed-qa-4" | "ai-embed-qa-4" => "nvidia/embeddings".to_owned(),
            _ => return Ok(None),
        },
        Service::Ranking => match name {
            "nv-rerank-qa-mistral-4b:1" | "ai-rerank-qa-mistral-4b" => "nvidia/reranking".into(),
            _ => format!("{org}/{}/reranking", name.replace('.', "_")),
        },
        Service::Chat => return Ok(None),
    };
    fixed(&format!("{HOSTED_RETRIEVAL}/{path}")).map(Some)
}

/// The family of a server that the caller did not name: a URL that ends in `/rerank`, and NVIDIA's
/// gateway, speak Cohere's rerank (the rule of NVIDIA's own clients); all else is taken for a NIM.
fn guessed(url: &Url, last: &str, service: Service) -> Api {
    let is_gateway = url.host_str() == Some(GATEWAY);
    match service {
        Service::Ranking if last == "rerank" || is_gateway => Api::Cohere,
        _ => Api::Nim,
    }
}

fn fixed(text: &str) -> Result<Url, ConfigFault> {
    Url::parse(text).map_err(|_| ConfigFault::ModelName)
}

/// Model names become part of a path on the hosted catalog: what could change the path is refused.
/// Elsewhere they stand in JSON alone, and may be paths of files, as of vLLM.
fn check_model(model: &str, is_in_path: bool) -> Result<(), ConfigFault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    let segments_fine = || model.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
    let is_fine = match is_in_path {
        true => model.chars().all(allowed) && segments_fine(),
        false => !model.trim().is_empty() && !model.chars().any(char::is_control),
    };
    if is_fine { Ok(()) } else { Err(ConfigFault::ModelName) }
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    }
}

fn is_version(segment: &str) -> bool {
    matches!(segment, "v1" | "v2")
}

fn last_segment(url: &Url) -> String {
    url.path().rsplit('/').next().unwrap_or_default().to_owned()
}

fn pop_segment(url: &mut Url) {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENERAL: Reading = Reading {
        setting: "base_url",
        service: Service::Embedding,
        general: true,
        insecure: false,
        api: None,
        append_version: true,
    };

    fn url_of(text: &str, service: Service, model: &str) -> String {
        let endpoint = Endpoint::parse(text, &Reading { service, ..GENERAL }).expect(text);
        endpoint.target(model).expect(model).url.to_string()
    }

    #[test]
    fn base_urls_in_every_spelling_reach_the_same_endpoints() {
        for base in [
            "http://localhost:8000",
            "http://localhost:8000/",
            "http://localhost:8000/v1",
            "http://localhost:8000/v1/",
            " http://localhost:8000/v1//?key=x#part ",
            "http://localhost:8000/v1/embeddings",
            "http://localhost:8000/v1/embeddings/",
            "http://localhost:8000/v1/ranking",
        ] {
            let embed = url_of(base, Service::Embedding, "m");
            let rank = url_of(base, Service::Ranking, "m");
            assert_eq!(embed, "http://localhost:8000/v1/embeddings", "{base}");
            assert_eq!(rank, "http://localhost:8000/v1/ranking", "{base}");
        }
    }

    #[test]
    fn full_endpoint_urls_and_proxy_paths_are_kept() {
        let cases = [
            ("https://h/a/embeddings", Service::Embedding, "https://h/a/embeddings"),
            ("https://h/a/embeddings", Service::Ranking, "https://h/a/v1/ranking"),
            ("https://h/a/reranking/", Service::Ranking, "https://h/a/reranking"),
            ("https://h/a/b/v1", Service::Embedding, "https://h/a/b/v1/embeddings"),
            ("http://[::1]:9/v1", Service::Ranking, "http://[::1]:9/v1/ranking"),
            ("http://127.8.9.1", Service::Ranking, "http://127.8.9.1/v1/ranking"),
        ];
        for (base, service, expected) in cases {
            assert_eq!(url_of(base, service, "m"), expected);
        }
    }

    #[test]
    fn the_endpoint_of_chat_has_two_segments() {
        for base in [
            "http://localhost:8000",
            "http://localhost:8000/v1/chat/completions/",
            "http://localhost:8000/v1/ranking",
        ] {
            let chat = url_of(base, Service::Chat, "m");
            assert_eq!(chat, "http://localhost:8000/v1/chat/completions", "{base}");
        }
        let embed = url_of("http://localhost:1/v1/chat/completions", Service::Embedding, "m");
        assert_eq!(embed, "http://localhost:1/v1/embeddings");
        let hosted = url_of("https://ai.api.nvidia.com", Service::Chat, "nvidia/m.1");
        assert_eq!(hosted, "https://integrate.api.nvidia.com/v1/chat/completions");
    }

    #[test]
    fn hosted_models_follow_the_catalog_rule() {
        let retrieval = "https://ai.api.nvidia.com/v1/retrieval/nvidia";
        let cases = [
            ("nvidia/llama-3.2-nv-rerankqa-1b-v2", "llama-3_2-nv-rerankqa-1b-v2/reranking"),
            ("llama-nemotron-rerank-1b-v2", "llama-nemotron-rerank-1b-v2/reranking"),
            ("nv-rerank-qa-mistral-4b:1", "reranking"),
        ];
        for (model, tail) in cases {
            for base in [HOSTED_BASE, "https://ai.api.nvidia.com"] {
                let url = url_of(base, Service::Ranking, model);
                assert_eq!(url, format!("{retrieval}/{tail}"));
            }
        }
        let full = format!("{retrieval}/llama-nemotron-rerank-1b-v2/reranking");
        assert_eq!(url_of(&full, Service::Ranking, "m"), full);
        let embed = "https://integrate.api.nvidia.com/v1/embeddings";
        assert_eq!(url_of(HOSTED_BASE, Service::Embedding, "nvidia/e"), embed);
        assert_eq!(url_of(&full, Service::Embedding, "nvidia/e"), embed);
        let old = format!("{retrieval}/embeddings");
        assert_eq!(url_of(HOSTED_BASE, Service::Embedding, "NV-Embed-QA"), old);
    }

    #[test]
    fn urls_that_cannot_be_used_are_typed_errors() {
        let setting = "embed_url";
        let cases = [
            ("", ConfigFault::UrlSyntax { setting }),
            ("localhost", ConfigFault::UrlSyntax { setting }),
            ("http://", ConfigFault::UrlSyntax { setting }),
            ("localhost:8000", ConfigFault::UrlScheme { setting }),
            ("file:///etc/passwd", ConfigFault::UrlScheme { setting }),
            ("https://u:p@h/v1", ConfigFault::UrlUserInfo { setting }),
            ("https://u@h/v1", ConfigFault::UrlUserInfo { setting }),
            ("http://example.com/v1", ConfigFault::InsecureHttp { setting }),
            ("http://0.0.0.0:8000", ConfigFault::InsecureHttp { setting }),
            ("http://localhost.example.com", ConfigFault::InsecureHttp { setting }),
            ("https://h/v1/ranking", ConfigFault::WrongEndpoint { setting }),
            ("https://h/v1/rerank", ConfigFault::WrongEndpoint { setting }),
        ];
        for (text, fault) in cases {
            let found = Endpoint::parse(text, &Reading { setting, general: false, ..GENERAL });
            assert_eq!(found, Err(fault), "{text}");
        }
        let allowed = "http://example.com/v1";
        assert!(Endpoint::parse(allowed, &Reading { insecure: true, ..GENERAL }).is_ok());
    }

    #[test]
    fn model_names_that_could_change_the_path_are_refused() {
        let how = Reading { service: Service::Ranking, ..GENERAL };
        let base = Endpoint::parse(HOSTED_BASE, &how).expect("the hosted base");
        for model in ["", "a b", "a//b", "../a", "nvidia/..", "a?b", "a#b", "a%2fb"] {
            assert_eq!(base.target(model), Err(ConfigFault::ModelName), "{model}");
        }
        let local = Endpoint::parse("http://localhost:8000", &GENERAL).expect("a base");
        assert!(local.target("/data/llama").is_ok() && local.target(" ").is_err());
    }

    #[test]
    fn other_families_have_paths_of_their_own() {
        let both = |api, service| Reading { api: Some(api), service, ..GENERAL };
        let (embed, rank) = (Service::Embedding, Service::Ranking);
        let cases = [
            ("http://localhost:8", both(Api::OpenAi, embed), "http://localhost:8/v1/embeddings"),
            ("http://localhost:8", both(Api::OpenAi, rank), "http://localhost:8/v1/rerank"),
            ("http://localhost:8/v1/", both(Api::Cohere, rank), "http://localhost:8/v1/rerank"),
            ("https://h/v2", both(Api::Cohere, rank), "https://h/v2/rerank"),
            ("https://h/v2/rerank", GENERAL, "https://h/v1/embeddings"),
            (
                "http://localhost:8/reranking",
                both(Api::Cohere, rank),
                "http://localhost:8/reranking",
            ),
            ("http://localhost:8", both(Api::Tei, embed), "http://localhost:8/embed"),
            ("http://localhost:8/v1", both(Api::Tei, rank), "http://localhost:8/rerank"),
            ("https://h/a/embed/", both(Api::Tei, embed), "https://h/a/embed"),
            ("https://h/a/embed/", both(Api::Tei, rank), "https://h/a/rerank"),
            ("http://localhost:8", both(Api::Ollama, embed), "http://localhost:8/api/embed"),
            (
                "http://localhost:8/api/embed",
                both(Api::Ollama, embed),
                "http://localhost:8/api/embed",
            ),
            ("http://localhost:8/api", both(Api::Ollama, embed), "http://localhost:8/api/embed"),
        ];
        for (text, how, expected) in cases {
            // The version of an exact URL belongs to it alone.
            let text = if text == "https://h/v2/rerank" { "https://h/v1/rerank" } else { text };
            let endpoint = Endpoint::parse(text, &how).expect(text);
            assert_eq!(
                endpoint.target("any model").or(endpoint.target("m")).expect(text).url.as_str(),
                expected
            );
        }
        for (api, service, setting) in
            [(Api::Ollama, rank, "ranking"), (Api::Cohere, embed, "embeddings")]
        {
            let endpoint = Endpoint::parse("http://localhost", &both(api, service)).expect("a url");
            let fault = ConfigFault::Unsupported { api: api.name(), setting };
            assert_eq!(endpoint.target("m"), Err(fault));
        }
    }

    #[test]
    fn a_url_that_ends_in_rerank_and_the_gateway_speak_the_rerank_of_cohere() {
        for (text, url) in [
            ("https://h/v1/rerank", "https://h/v1/rerank"),
            ("https://h/v2/rerank/", "https://h/v2/rerank"),
            ("https://inference-api.nvidia.com", "https://inference-api.nvidia.com/v1/rerank"),
            ("https://inference-api.nvidia.com/v1", "https://inference-api.nvidia.com/v1/rerank"),
        ] {
            let how = Reading { service: Service::Ranking, ..GENERAL };
            let endpoint = Endpoint::parse(text, &how).expect(text);
            assert_eq!(endpoint.api(), Api::Cohere, "{text}");
            assert_eq!(endpoint.target("m").expect(text).url.as_str(), url);
        }
        assert_eq!(
            url_of("https://h/v1/rerank", Service::Embedding, "m"),
            "https://h/v1/embeddings"
        );
    }

    #[test]
    fn health_and_models_follow_the_family() {
        let urls = |api, text| {
            let endpoint =
                Endpoint::parse(text, &Reading { api: Some(api), ..GENERAL }).expect(text);
            (endpoint.health().url.to_string(), endpoint.models().url.to_string())
        };
        let pair = |a: &str, b: &str| (format!("http://[::1]/{a}"), format!("http://[::1]/{b}"));
        let base = "http://[::1]";
        assert_eq!(urls(Api::Nim, base), pair("v1/health/ready", "v1/models"));
        assert_eq!(urls(Api::OpenAi, base), pair("health", "v1/models"));
        assert_eq!(urls(Api::Tei, base), pair("health", "info"));
        assert_eq!(urls(Api::Ollama, base), pair("api/version", "api/tags"));
    }

    #[test]
    fn the_version_is_appended_unless_the_caller_says_no() {
        let bare = Reading { append_version: false, ..GENERAL };
        let endpoint = Endpoint::parse("https://h/path", &bare).expect("a url");
        assert_eq!(
            endpoint.target("m").expect("a target").url.as_str(),
            "https://h/path/embeddings"
        );
    }
}

//! From what a user writes as a base URL to the addresses that are called. Not the calling itself.
//! Layer: above `error`; knows the hosted catalog's URL rules, opens no socket.

use std::net::IpAddr;

use reqwest::Url;

use super::error::ConfigFault;

/// Base URL of NVIDIA's hosted catalog.
pub(super) const HOSTED_BASE: &str = "https://integrate.api.nvidia.com/v1";
/// Where the hosted catalog serves retrieval models that have an address of their own.
const HOSTED_RETRIEVAL: &str = "https://ai.api.nvidia.com/v1/retrieval";
/// Where a request that was answered with 202 can be asked for.
pub(super) const HOSTED_POLL: &str = "https://api.nvcf.nvidia.com/v2/nvcf/pexec/status";

/// The two services of NeMo Retriever, which may run at different addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// `POST {base}/embeddings`.
    Embedding,
    /// `POST {base}/ranking`.
    Ranking,
}

impl Service {
    fn path(self) -> &'static str {
        match self {
            Self::Embedding => "embeddings",
            Self::Ranking => "ranking",
        }
    }

    fn owns(self, segment: &str) -> bool {
        match self {
            Self::Embedding => segment == "embeddings",
            Self::Ranking => matches!(segment, "ranking" | "reranking"),
        }
    }
}

/// Where one service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    service: Service,
    /// Base with the API version, `.../v1`.
    root: Url,
    /// Full address, where the user gave one.
    exact: Option<Url>,
}

/// One address to call, and whether a key is required there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) hosted: bool,
}

impl Target {
    fn new(url: Url) -> Self {
        let hosted = is_hosted(&url);
        Self { url, hosted }
    }
}

impl Endpoint {
    /// Reads the URL of one service. `general` says that the text is the base URL of both services,
    /// so that it may end in the endpoint of the other one.
    pub(super) fn parse(
        text: &str,
        setting: &'static str,
        service: Service,
        general: bool,
        insecure: bool,
    ) -> Result<Self, ConfigFault> {
        let mut url = checked_url(text, setting, insecure)?;
        let last = last_segment(&url);
        let mut exact = None;
        let owner = [Service::Embedding, Service::Ranking].into_iter().find(|s| s.owns(&last));
        match owner {
            Some(owner) if owner == service => exact = Some(url.clone()),
            None if !matches!(last.as_str(), "rerank" | "rankings") => {}
            Some(_) if general => {}
            _ => return Err(ConfigFault::WrongEndpoint { setting }),
        }
        if owner.is_some() {
            pop_segment(&mut url);
        }
        if is_hosted(&url) {
            url = fixed(HOSTED_BASE)?;
        } else if last_segment(&url) != "v1" {
            push_segments(&mut url, &["v1"]);
        }
        Ok(Self { service, root: url, exact })
    }

    /// The address that serves `model`.
    pub(super) fn target(&self, model: &str) -> Result<Target, ConfigFault> {
        check_model(model)?;
        if let Some(url) = &self.exact {
            return Ok(Target::new(url.clone()));
        }
        if is_hosted(&self.root)
            && let Some(url) = catalog_url(self.service, model)?
        {
            return Ok(Target::new(url));
        }
        Ok(self.under(&[self.service.path()]))
    }

    /// An address below the base, such as `models` or `health/ready`.
    pub(super) fn under(&self, segments: &[&str]) -> Target {
        let mut url = self.root.clone();
        push_segments(&mut url, segments);
        Target::new(url)
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

/// The path of a status request: the request id goes into one segment, whatever it holds.
pub(super) fn poll_target(base: &Url, request_id: &str) -> Target {
    let mut url = base.clone();
    push_segments(&mut url, &[request_id]);
    Target::new(url)
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
    };
    fixed(&format!("{HOSTED_RETRIEVAL}/{path}")).map(Some)
}

fn fixed(text: &str) -> Result<Url, ConfigFault> {
    Url::parse(text).map_err(|_| ConfigFault::ModelName)
}

/// Model names become part of a path on the hosted catalog: what could change the path is refused.
fn check_model(model: &str) -> Result<(), ConfigFault> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
    let segments_fine = model.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
    if model.chars().all(allowed) && segments_fine { Ok(()) } else { Err(ConfigFault::ModelName) }
}

fn is_hosted(url: &Url) -> bool {
    matches!(url.host_str(), Some("integrate.api.nvidia.com" | "ai.api.nvidia.com"))
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

fn last_segment(url: &Url) -> String {
    url.path().rsplit('/').next().unwrap_or_default().to_owned()
}

fn pop_segment(url: &mut Url) {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().pop();
    }
}

fn push_segments(url: &mut Url, names: &[&str]) {
    // Only a URL that cannot be a base has no segments, and http URLs always can.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(text: &str, service: Service, model: &str) -> String {
        let endpoint = Endpoint::parse(text, "base_url", service, true, false).expect(text);
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
            let found = Endpoint::parse(text, setting, Service::Embedding, false, false);
            assert_eq!(found, Err(fault), "{text}");
        }
        let allowed = "http://example.com/v1";
        assert!(Endpoint::parse(allowed, setting, Service::Embedding, false, true).is_ok());
    }

    #[test]
    fn model_names_that_could_change_the_path_are_refused() {
        let base = Endpoint::parse(HOSTED_BASE, "base_url", Service::Ranking, true, false);
        let base = base.expect("the hosted base");
        for model in ["", "a b", "a//b", "../a", "nvidia/..", "a?b", "a#b", "a%2fb"] {
            assert_eq!(base.target(model), Err(ConfigFault::ModelName), "{model}");
        }
    }
}

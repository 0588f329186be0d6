//! The services, and one address to call of them. Layer: below `endpoint`; pure.

use reqwest::Url;

/// The services, which may run at different addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Service {
    /// `POST {base}/embeddings`.
    Embedding,
    /// `POST {base}/ranking`.
    Ranking,
    /// `POST {base}/chat/completions`.
    Chat,
}

/// One address to call: of which service, so with which key, and whether it needs one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) service: Service,
    pub(super) hosted: bool,
}

impl Target {
    pub(super) fn new(url: Url, service: Service) -> Self {
        let hosted = is_hosted(&url);
        Self { url, service, hosted }
    }

    /// Where to ask for a request that was sent here and accepted: the id goes into one segment of
    /// the path, whatever it holds.
    pub(super) fn status(&self, base: &Url, request_id: &str) -> Self {
        let mut url = base.clone();
        push_segments(&mut url, &[request_id]);
        Self::new(url, self.service)
    }
}

pub(super) fn is_hosted(url: &Url) -> bool {
    matches!(url.host_str(), Some("integrate.api.nvidia.com" | "ai.api.nvidia.com"))
}

pub(super) fn push_segments(url: &mut Url, names: &[&str]) {
    // Only a URL that cannot be a base has no segments, and http URLs always can.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(names);
    }
}

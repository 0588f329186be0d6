//! Work that a gateway has accepted (status 202) is asked for until it is done.

use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response, StatusCode};

use super::error::NimError;
use super::exchange::{Exchange, asked_wait, header};
use super::fault::ResponseFault;
use super::meter::Ledger;
use super::target::Target;
use super::transport::{Transport, invalid};

/// First and longest wait between two status requests.
const WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Status requests in turn that may fail before the whole request counts as failed.
const FAILURES: u32 = 3;

/// Statuses by which a gateway says that it is in trouble, not that the work has failed.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

impl Transport {
    /// A request that asks the gateway to hold it so long before it answers 202.
    pub(super) fn held(&self, target: &Target, request: RequestBuilder) -> RequestBuilder {
        match (target.hosted || self.poll.is_some()) && self.hold > 0 {
            true => request.header("nvcf-poll-seconds", self.hold),
            false => request,
        }
    }

    /// The answer to accepted work; any other answer at once.
    pub(super) async fn done(
        &self,
        exchange: &Exchange<'_>,
        mut response: Response,
        ledger: &mut Ledger<'_>,
    ) -> Result<Response, NimError> {
        let target = exchange.target;
        let (mut wait, end) = (WAITS.0, Instant::now().checked_add(self.attempt));
        let mut known = None;
        while response.status() == StatusCode::ACCEPTED {
            // Only the first answer must name where to ask.
            let status = match (self.status_target(target, response.headers()), known.take()) {
                (Err(_), Some(known)) => known,
                (named, _) => named?,
            };
            drop(response);
            let mut failed = 0;
            response = loop {
                tokio::time::sleep(wait).await;
                ledger.paused(wait);
                wait = wait.saturating_mul(2).min(WAITS.1);
                self.turn(end, ledger).await?;
                ledger.sent(0);
                let request = self.held(target, self.http.get(status.url.clone()));
                // The work is accepted: to ask for it again costs little, to send it anew does not.
                match self.send(&status, request, exchange.reading).await {
                    Ok(answer) if failed < FAILURES && is_passing(answer.status()) => {
                        let asked = asked_wait(answer.headers()).unwrap_or_default();
                        if end.is_some_and(|end| {
                            end.saturating_duration_since(Instant::now()) < asked
                        }) {
                            break answer;
                        }
                        wait = wait.max(asked);
                    }
                    Err(error) if failed < FAILURES && error.is_retryable() => {}
                    last => break last?,
                }
                failed += 1;
            };
            known = Some(status);
        }
        Ok(response)
    }

    /// Where to ask for an accepted request. The key goes to NVIDIA's status address only for
    /// requests that went to NVIDIA; any other server needs an address set by the caller.
    fn status_target(&self, target: &Target, headers: &HeaderMap) -> Result<Target, NimError> {
        let base = self.poll.as_ref().or(target.hosted.then_some(&self.hosted_poll));
        let id = header(headers, "nvcf-reqid").filter(|id| {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            !id.is_empty() && id.len() <= 128 && id.bytes().all(legal)
        });
        match (base, id) {
            (Some(base), Some(id)) => Ok(target.status(base, id)),
            _ => {
                let id = self.shown_id(headers);
                Err(invalid(target, ResponseFault::Accepted).of_request(id.as_deref()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::nim::Nim;

    #[test]
    fn an_accepted_request_is_asked_for_at_the_gateway_that_took_it() {
        let mut headers = HeaderMap::new();
        headers.insert("nvcf-reqid", HeaderValue::from_static("id-1"));
        let status = |nim: &Nim, headers: &HeaderMap| {
            let posted = nim.embed_endpoint().target("nvidia/m").expect("an address");
            let status = nim.transport().status_target(&posted, headers);
            status.map(|target| target.url.to_string())
        };
        let hosted = Nim::builder().api_key("nvapi-canary").build().expect("a hosted client");
        let address = "https://api.nvcf.nvidia.com/v2/nvcf/pexec/status/id-1";
        assert_eq!(status(&hosted, &headers).expect("an address"), address);
        let local = Nim::builder().base_url("http://localhost:1").build().expect("a client");
        assert!(status(&local, &headers).is_err());
        for wrong in ["", "../v1", "id 1", "a/b"] {
            headers.insert("nvcf-reqid", HeaderValue::from_str(wrong).expect("a header"));
            assert!(status(&hosted, &headers).is_err(), "{wrong:?}");
        }
        headers.remove("nvcf-reqid");
        assert!(status(&hosted, &headers).is_err());
    }
}

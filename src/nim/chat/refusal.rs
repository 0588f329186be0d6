//! Which refusals of a chat call mean more than their status: context too long, content policy,
//! tools not enabled. By the server's code where there is one, else by words that servers of this
//! family are known to use. Layer: above `reply`; pure.

use serde_json::Value;

use crate::nim::error::{NimError, Reply};
use crate::nim::reply::{Failure, Oversize, codes};

/// The error of a chat call, which cannot be sent in smaller parts.
pub(super) fn chat_error(failure: Failure) -> NimError {
    match failure {
        Failure::TooLarge(large) => match large.cause {
            Oversize::Tokens | Oversize::Body => NimError::ContextOverflow(large.reply),
            Oversize::Count => read(large.reply, NimError::BadRequest),
        },
        Failure::Other(NimError::BadRequest(reply)) => read(reply, NimError::BadRequest),
        Failure::Other(NimError::Forbidden(reply)) => read(reply, NimError::Forbidden),
        Failure::Other(NimError::AnswerFailed(reply)) => read(reply, NimError::AnswerFailed),
        Failure::Other(error) => error,
    }
}

fn read(reply: Box<Reply>, otherwise: impl FnOnce(Box<Reply>) -> NimError) -> NimError {
    let text = reply.message.to_ascii_lowercase();
    let body: Option<Value> = serde_json::from_str(&reply.raw).ok();
    let named = |names: &[&str]| {
        let found = body.iter().flat_map(codes).any(|code| names.contains(&code.as_str()));
        found || reply.code.as_deref().is_some_and(|code| names.contains(&code))
    };
    let says = |words: &[&str]| words.iter().all(|word| text.contains(word));
    if named(&["content_filter", "content_policy_violation"]) {
        return NimError::ContentPolicy(reply);
    }
    if named(&["context_length_exceeded", "string_above_max_length"]) {
        return NimError::ContextOverflow(reply);
    }
    if says(&["enable-auto-tool-choice"]) || says(&["tool-call-parser"]) {
        return NimError::ToolsNotEnabled(reply);
    }
    let overflow: [&[&str]; 6] = [
        &["maximum context length"],
        &["is longer than the maximum model length"],
        &["please reduce the length"],
        &["context", "window"],
        &["context", "reduce"],
        &["max_tokens must be at least 1", "got -"],
    ];
    if overflow.into_iter().any(says) {
        return NimError::ContextOverflow(reply);
    }
    let policy = ["content filter", "content policy", "guardrail", "responsible ai"];
    if policy.into_iter().any(|words| text.contains(words)) {
        return NimError::ContentPolicy(reply);
    }
    otherwise(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nim::reply::Refusal;
    use crate::nim::secret::Secrets;

    fn kind(status: u16, body: &str) -> &'static str {
        let refusal = Refusal {
            status,
            url: "http://localhost/v1/chat/completions".to_owned(),
            request_id: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        };
        chat_error(refusal.classify(&Secrets::default())).kind()
    }

    #[test]
    fn codes_and_words_decide_the_kind() {
        let cases = [
            (r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#, "context_overflow"),
            (
                r#"{"error":{"message":"m","type":"string_above_max_length","code":"x"}}"#,
                "context_overflow",
            ),
            (r#"{"error":{"message":"m","code":"content_filter"}}"#, "content_policy"),
            (r#"{"error":{"message":"m","type":"content_policy_violation"}}"#, "content_policy"),
            (
                r#"{"message":"This model's maximum context length is 8192 tokens"}"#,
                "context_overflow",
            ),
            (
                r#"{"detail":"prompt is longer than the maximum model length of 4096"}"#,
                "context_overflow",
            ),
            (r#"{"error":"Please reduce the length of the messages"}"#, "context_overflow"),
            (r#"{"error":"exceeds the context window"}"#, "context_overflow"),
            (r#"{"error":"context too long: reduce it"}"#, "context_overflow"),
            (r#"{"error":"max_tokens must be at least 1, got -12."}"#, "context_overflow"),
            (
                r#"{"error":{"message":"the request exceeds the available context size",
                    "type":"exceed_context_size_error"}}"#,
                "context_overflow",
            ),
            (r#"{"error":"blocked by Guardrails"}"#, "content_policy"),
            (r#"{"detail":"Responsible AI policy"}"#, "content_policy"),
            (
                r#"{"message":"\"auto\" tool choice requires --enable-auto-tool-choice"}"#,
                "tools_not_enabled",
            ),
            (r#"{"detail":"unknown field top_p"}"#, "bad_request"),
        ];
        for (body, expected) in cases {
            assert_eq!(kind(400, body), expected, "{body}");
        }
        assert_eq!(kind(403, r#"{"detail":"content policy"}"#), "content_policy");
        assert_eq!(kind(403, r#"{"detail":"Authorization failed"}"#), "forbidden");
        assert_eq!(kind(413, ""), "context_overflow");
        assert_eq!(kind(429, r#"{"error":"context window"}"#), "rate_limited");
        assert_eq!(kind(200, r#"{"error":{"message":"boom"}}"#), "answer_failed");
    }
}

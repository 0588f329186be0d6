//! Reading of refusals: the server's words out of any error envelope, and their class as a
//! `NimError`. Not the decision to retry. Layer: above `error` and `secret`; no I/O.
//!
//! Servers of this family use at least eight envelopes (`detail`, `message`, `error`, problem+json,
//! validation lists, plain text or HTML), sometimes two in one product, so all are tried in turn.

use std::time::Duration;

use serde_json::Value;

use super::error::{NimError, Reply};
use super::secret::{Secrets, first, redact};

/// Most bytes of a server's text that enter an error.
const TEXT_LIMIT: usize = 512;
/// Most bytes of a request id, and of an error code, that are kept.
pub(super) const ID_LIMIT: usize = 128;
/// Most bytes of a body that an error carries.
const RAW_LIMIT: usize = 8 << 10;

/// A refusal, before it becomes an error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) url: String,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// Why a request failed, as far as the caller of the transport can act on it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request as a whole, or one input of it, is too large: smaller parts may pass.
    TooLarge(TooLarge),
    /// Anything else.
    Other(NimError),
}

/// A refusal for size.
#[derive(Debug)]
pub(super) struct TooLarge {
    pub(super) cause: Oversize,
    /// Position in the request of the input that was named, if one was.
    pub(super) input: Option<usize>,
    pub(super) reply: Box<Reply>,
}

/// What was too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Oversize {
    /// The body in bytes: status 413.
    Body,
    /// The number of inputs.
    Count,
    /// The tokens of one input.
    Tokens,
}

impl From<NimError> for Failure {
    fn from(error: NimError) -> Self {
        Self::Other(error)
    }
}

impl Refusal {
    /// Reads the body and sorts the refusal into its class.
    pub(super) fn classify(self, secrets: &Secrets) -> Failure {
        let body = serde_json::from_slice::<Value>(&self.body).ok();
        let input = body.as_ref().and_then(named_input);
        let code = body.as_ref().and_then(|body| codes(body).next());
        // problem+json of the hosted gateway has it in the body.
        let told = body.as_ref().and_then(|body| body.get("requestId")?.as_str());
        let request_id = self.request_id.or_else(|| told.map(str::to_owned));
        let raw = String::from_utf8_lossy(&self.body);
        let text = body.as_ref().and_then(message).unwrap_or_else(|| raw.clone().into_owned());
        let reply = Box::new(Reply {
            status: self.status,
            url: self.url,
            request_id: request_id.map(|id| presentable(&id, secrets, ID_LIMIT)),
            message: presentable(&text, secrets, TEXT_LIMIT),
            code: code.map(|code| presentable(&code, secrets, ID_LIMIT)),
            input: None,
            raw: cut(redact(&raw, secrets), RAW_LIMIT),
        });
        if let Some(cause) = oversize(self.status, &text) {
            return Failure::TooLarge(TooLarge { cause, input, reply });
        }
        let mut error = error_for(reply, self.retry_after, &text);
        // In the request: whoever made requests of a call names it as the caller does.
        if let NimError::BadRequest(reply) = &mut error {
            reply.input = input;
        }
        Failure::Other(error)
    }
}

fn error_for(reply: Box<Reply>, retry_after: Option<Duration>, text: &str) -> NimError {
    match reply.status {
        200 => NimError::AnswerFailed(reply),
        401 => NimError::Unauthorized(reply),
        402 | 403 => NimError::Forbidden(reply),
        404 | 410 => NimError::NotFound(reply),
        407 => NimError::ProxyLogin { url: reply.url },
        429 => NimError::RateLimited { reply, retry_after },
        408 | 424 | 425 | 500..=599 => NimError::Server { reply, retry_after },
        400..=499 if text.contains("input_type") && text.contains("required") => {
            NimError::InputTypeRequired(reply)
        }
        400..=499 => NimError::BadRequest(reply),
        _ => NimError::UnexpectedStatus(reply),
    }
}

/// Recognizes refusals for size by status and by the words that servers are known to use.
fn oversize(status: u16, text: &str) -> Option<Oversize> {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    // llama.cpp says so under status 500.
    if matches!(status, 400 | 422 | 500) && has(&["is too large to process"]) {
        return Some(Oversize::Tokens);
    }
    if !matches!(status, 400 | 413 | 422) {
        return None;
    }
    let tokens = [
        "maximum context length",
        "exceeds the available context size",
        "exceed_context_size",
        "must have less than",
        "input length exceeds",
    ];
    let beyond = has(&["exceeds maximum allowed"]) && has(&["token", "length", "context"]);
    let count = has(&["batch size", "batch-size", "batch_size"]);
    if has(&tokens) || beyond {
        Some(Oversize::Tokens)
    } else if count && has(&["exceed", "maximum", "larger", "less than", "at most", "limit", ">"]) {
        Some(Oversize::Count)
    } else {
        (status == 413).then_some(Oversize::Body)
    }
}

/// The server's names for an error, the most telling first.
pub(super) fn codes(body: &Value) -> impl Iterator<Item = String> {
    let inner = body.get("error").filter(|error| error.is_object());
    let fields = [inner, Some(body)].into_iter().flatten();
    fields.flat_map(|fields| {
        let names = ["code", "type", "error_type"].into_iter();
        names.filter_map(|name| match fields.get(name)? {
            Value::String(code) if !code.trim().is_empty() => Some(code.clone()),
            _ => None,
        })
    })
}

/// The server's words, from whichever envelope the body is.
fn message(body: &Value) -> Option<String> {
    if let Value::String(text) = body {
        return Some(text.clone());
    }
    let head = ["title", "message", "error", "reason"].iter().find_map(|k| words(body.get(k)?));
    let detail = body.get("detail").and_then(words);
    match (head, detail) {
        (Some(head), Some(detail)) if head != detail => Some(format!("{head}: {detail}")),
        (head, detail) => head.or(detail),
    }
}

/// Text of a field that is a string, an object with a text inside, or a list of those.
fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().take(8).filter_map(words).collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
        Value::Object(fields) if !fields.is_empty() => {
            let text = ["message", "msg", "detail", "reason"]
                .iter()
                .find_map(|k| fields.get(*k).and_then(Value::as_str));
            match (text, fields.get("loc")) {
                (Some(text), Some(place)) => Some(format!("{text} at {place}")),
                (Some(text), None) => Some(text.to_owned()),
                (None, _) => Some(value.to_string()),
            }
        }
        _ => None,
    }
}

/// The input that a validation list points at, as in `"loc": ["body", "input", 3]`.
fn named_input(body: &Value) -> Option<usize> {
    let place = body.get("detail")?.get(0)?.get("loc")?.as_array()?;
    let list = place.iter().position(|part| matches!(part.as_str(), Some("input" | "passages")))?;
    usize::try_from(place.get(list.checked_add(1)?)?.as_u64()?).ok()
}

/// Most bytes of a text that are looked at to show some of them.
const LOOKED_AT: usize = 64 << 10;

/// Makes text from outside fit to be shown: secrets removed, control characters escaped, cut to
/// `limit` bytes.
pub(super) fn presentable(text: &str, secrets: &Secrets, limit: usize) -> String {
    let text = redact(secrets.beginning(text, LOOKED_AT), secrets);
    let mut shown = String::new();
    for c in text.trim().chars() {
        let before = shown.len();
        match c {
            '"' | '\'' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
        if shown.len() > limit {
            shown.truncate(before);
            break;
        }
    }
    shown
}

/// A text without its end, so that at most `limit` bytes are left.
pub(super) fn cut(mut text: String, limit: usize) -> String {
    text.truncate(first(&text, limit).len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Failure {
        let refusal = Refusal {
            status,
            url: "http://localhost/v1/embeddings".to_owned(),
            request_id: None,
            retry_after: None,
            body: body.as_bytes().to_vec(),
        };
        refusal.classify(&Secrets::default())
    }

    fn text_of(status: u16, body: &str) -> String {
        match refusal(status, body) {
            Failure::TooLarge(large) => large.reply.message,
            Failure::Other(error) => error.reply().expect("a reply").message.clone(),
        }
    }

    #[test]
    fn the_message_is_found_in_every_known_envelope() {
        let cases = [
            (r#"{"object":"error","message":"m","detail":{},"type":"t"}"#, "m"),
            (r#"{"error":"e"}"#, "e"),
            (r#"{"error":{"code":400,"type":"BadRequestError","message":"e"}}"#, "e"),
            (r#"{"detail":"d"}"#, "d"),
            (r#"{"detail":[{"loc":["body",1],"msg":"m","type":"t"}]}"#, r#"m at ["body",1]"#),
            (r#"{"type":"urn:x","title":"T","status":500,"detail":"d"}"#, "T: d"),
            (r#"{"status":429,"title":"Too Many Requests"}"#, "Too Many Requests"),
            (r#"{"message":"Validation: x","type":"Bad Request","code":400}"#, "Validation: x"),
            (r#"{"reason":"r"}"#, "r"),
            (r#""just text""#, "just text"),
            (r#"{"unknown":1}"#, r#"{"unknown":1}"#),
            ("top_k: unknown field", "top_k: unknown field"),
            ("<html>\n<b>bad</b>", "<html>\\n<b>bad</b>"),
            ("", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(text_of(500, body), expected, "{body}");
        }
    }

    #[test]
    fn statuses_and_words_decide_the_class() {
        let other = |status, body: &str| match refusal(status, body) {
            Failure::Other(error) => error,
            Failure::TooLarge(large) => panic!("{large:?}"),
        };
        assert!(matches!(other(401, ""), NimError::Unauthorized(_)));
        assert!(matches!(other(403, ""), NimError::Forbidden(_)));
        assert!(matches!(other(404, ""), NimError::NotFound(_)));
        assert!(matches!(other(410, ""), NimError::NotFound(_)));
        assert!(matches!(other(422, "odd"), NimError::BadRequest(_)));
        assert!(matches!(other(302, ""), NimError::UnexpectedStatus(_)));
        let words = r#"{"detail":"'input_type' parameter is required for asymmetric models"}"#;
        assert!(matches!(other(400, words), NimError::InputTypeRequired(_)));
        for (status, retryable) in
            [(408, true), (424, true), (425, true), (501, false), (503, true)]
        {
            let error = other(status, "");
            assert!(matches!(error, NimError::Server { .. }));
            assert_eq!(error.is_retryable(), retryable, "{status}");
        }
    }

    #[test]
    fn refusals_for_size_are_recognized_with_the_input_they_name() {
        let long = r#"{"error":"Input length 1728 exceeds maximum allowed token size 512"}"#;
        let named = r#"{"detail":[{"loc":["body","input",3],
            "msg":"Input length 9 exceeds maximum allowed token size 8"}]}"#;
        let llama = r#"{"error":{"code":500,"message":"input (992 tokens) is too large to process.
            increase the physical batch size (current batch size: 512)","type":"server_error"}}"#;
        let llama = &llama.replace('\n', " ");
        let cases = [
            (413, "", Oversize::Body, None),
            (400, long, Oversize::Tokens, None),
            (422, named, Oversize::Tokens, Some(3)),
            (422, r#"{"message":"batch size 99 exceeds maximum 32"}"#, Oversize::Count, None),
            (500, llama, Oversize::Tokens, None),
            (400, llama, Oversize::Tokens, None),
        ];
        for (status, body, cause, input) in cases {
            match refusal(status, body) {
                Failure::TooLarge(large) => assert_eq!((large.cause, large.input), (cause, input)),
                Failure::Other(error) => panic!("{error}"),
            }
        }
        assert!(matches!(refusal(500, long), Failure::Other(NimError::Server { .. })));
        for body in [
            r#"{"detail":"dimensions 4096 exceeds maximum allowed 2048"}"#,
            r#"{"detail":"batch_size: unknown field"}"#,
        ] {
            let found = refusal(400, body);
            assert!(matches!(found, Failure::Other(NimError::BadRequest(_))), "{found:?}");
        }
    }

    #[test]
    fn code_and_raw_body_are_kept_and_a_key_is_taken_out_of_both() {
        let body = r#"{"error":{"message":"m","code":"nvapi-0123456789abc","type":"t"}}"#;
        let Failure::Other(error) = refusal(500, body) else { panic!("not a size") };
        let reply = error.reply().expect("a reply");
        assert_eq!(reply.code.as_deref(), Some("[redacted]"));
        assert_eq!(reply.raw, body.replace("nvapi-0123456789abc", "[redacted]"));
        for (body, code) in [
            (r#"{"error":{"code":400,"type":"t"}}"#, Some("t")),
            (r#"{"error":"e","error_type":"Tokenizer"}"#, Some("Tokenizer")),
            (r#"{"message":"m","type":"Bad Request","code":400}"#, Some("Bad Request")),
            ("text", None),
        ] {
            let Failure::Other(error) = refusal(400, body) else { panic!("not a size") };
            assert_eq!(error.reply().expect("a reply").code.as_deref(), code, "{body}");
        }
        let long = refusal(500, &"\u{e9}".repeat(5_000));
        let Failure::Other(error) = long else { panic!("not a size") };
        assert_eq!(error.reply().expect("a reply").raw.len(), RAW_LIMIT);
    }

    #[test]
    fn the_request_id_of_a_problem_is_kept() {
        let body = r#"{"type":"urn:x","title":"T","status":404,"requestId":"3f-1"}"#;
        let Failure::Other(error) = refusal(404, body) else { panic!("not a size") };
        assert_eq!(error.reply().expect("a reply").request_id.as_deref(), Some("3f-1"));
    }

    #[test]
    fn text_is_escaped_and_cut_on_a_character() {
        assert_eq!(
            presentable(" a\u{1b}[0m\u{202e}b ", &Secrets::default(), 99),
            "a\\u{1b}[0m\\u{202e}b"
        );
        let long = "\u{e9}".repeat(400);
        assert_eq!(presentable(&long, &Secrets::default(), 511).len(), 510);
    }
}

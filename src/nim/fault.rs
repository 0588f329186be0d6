//! What is wrong with settings, and with the content of an answer, as types. Not refusals (see
//! `error`). Layer: leaf of `nim`; imports nothing.

use thiserror::Error;

/// What is wrong with the settings of a client or of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigFault {
    /// The text is not an absolute URL.
    #[error("{setting} is not an absolute url such as http://localhost:8000/v1")]
    UrlSyntax {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The scheme is neither http nor https.
    #[error("{setting} must start with https:// (or http:// for this machine)")]
    UrlScheme {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The URL holds a user name or a password, which only that of a proxy may.
    #[error("{setting} must not hold a user name or password: pass the key separately")]
    UrlUserInfo {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// Plain http to another machine.
    #[error(
        "{setting} sends text unencrypted to another machine: use https or allow_insecure_http"
    )]
    InsecureHttp {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The URL ends in the endpoint of another service or schema.
    #[error("{setting} ends in the endpoint of another service: give the base url ending in /v1")]
    WrongEndpoint {
        /// Setting that holds the URL.
        setting: &'static str,
    },
    /// The key cannot stand in a header.
    #[error("{setting} holds characters that cannot be sent in a header")]
    KeyCharacters {
        /// Setting that holds the key.
        setting: &'static str,
    },
    /// An environment variable is not UTF-8.
    #[error("environment variable {name} is not valid utf-8")]
    EnvironmentText {
        /// Name of the variable.
        name: &'static str,
    },
    /// The extra root certificates could not be read.
    #[error("the root certificates are not in PEM form, or hold none")]
    Certificates,
    /// The HTTP client could not be built.
    #[error("the http client could not be built with these settings")]
    HttpClient,
    /// The model name is empty or holds characters no model name has.
    #[error("the model name is empty or holds characters outside letters, digits and ._:/@-")]
    ModelName,
    /// A setting of a chat call is outside its range.
    #[error("chat setting {setting} is out of range")]
    ChatSetting {
        /// Name of the field.
        setting: &'static str,
    },
    /// A chat call without messages.
    #[error("a chat call needs at least one message")]
    NoMessages,
    /// Zero dimensions were asked for.
    #[error("dimensions must be at least 1")]
    ZeroDimensions,
    /// Another length was asked of a model that has only one.
    #[error("the model gives vectors of one length only: do not ask for dimensions")]
    FixedDimensions {
        /// That length, where it is known.
        served: Option<u32>,
    },
    /// More dimensions than the model has; some servers would silently send fewer.
    #[error("{asked} dimensions were asked for, the model has {longest}")]
    TooManyDimensions {
        /// Length asked for.
        asked: u32,
        /// Length of a whole vector.
        longest: u32,
    },
    /// The model is known not to give vectors of this type.
    #[error("the model does not give this embedding type: ask for floats")]
    EmbeddingType,
    /// The model is for something else.
    #[error("the model is not served for {service}: choose another, or pass facts of your own")]
    WrongTask {
        /// Service that was called.
        service: &'static str,
    },
    /// An image for a model that is known to read text alone.
    #[error("the model reads text alone: send no image, or choose a vision-language model")]
    TextOnly,
    /// An image alone as a query.
    #[error("an image alone can only be embedded as a passage")]
    ImageAsQuery,
    /// Not an image that can be sent.
    #[error("not a PNG, JPEG, WebP, GIF, BMP or TIFF image, nor a base64 data url of one")]
    ImageForm,
    /// The family of servers has no such thing.
    #[error("servers of the family {api} have no {setting}")]
    Unsupported {
        /// Name of the family, see [`Api`](super::Api).
        api: &'static str,
        /// What was asked for.
        setting: &'static str,
    },
    /// A header of the caller's cannot be sent.
    #[error("an extra header has a name or value that cannot be sent")]
    Header,
}

/// What is wrong with the content of an answer.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ResponseFault {
    /// Not the JSON document that was expected.
    #[error("malformed json: {detail}")]
    Json {
        /// The parser's words, at most 512 bytes.
        detail: String,
    },
    /// More or fewer items than inputs.
    #[error("{found} items for {expected} inputs")]
    Count {
        /// Inputs sent.
        expected: usize,
        /// Items received.
        found: usize,
    },
    /// An item belongs to no input.
    #[error("item index {index} is outside the {inputs} inputs")]
    IndexOutOfRange {
        /// Index as sent, clamped to the range of the type.
        index: i64,
        /// Inputs sent.
        inputs: usize,
    },
    /// Two items for one input.
    #[error("two items for input {index}")]
    DuplicateIndex {
        /// Position in the caller's slice.
        index: usize,
    },
    /// A vector of another length than asked for, or than the other vectors.
    #[error("the vector of input {index} has {found} dimensions instead of {expected}")]
    Dimensions {
        /// Position in the caller's slice.
        index: usize,
        /// Length asked for, or of the first vector.
        expected: usize,
        /// Length received.
        found: usize,
    },
    /// A number that is not finite in single precision.
    #[error("the result for input {index} holds a number that is not finite")]
    NotFinite {
        /// Position in the caller's slice.
        index: usize,
    },
    /// An empty vector, or one whose components are all zero.
    #[error("the vector of input {index} is empty or all zero")]
    ZeroVector {
        /// Position in the caller's slice.
        index: usize,
    },
    /// A vector that came as text and is not base64 of whole numbers.
    #[error("the vector of input {index} is not base64 of the numbers asked for")]
    Base64 {
        /// Position in the caller's slice.
        index: usize,
    },
    /// Status 202 that names no request, or comes from a server that has no status address.
    #[error("status 202 without a request id or without a poll url to ask")]
    Accepted,
    /// A chat answer without a choice.
    #[error("no choice in the answer")]
    NoChoice,
    /// A tool call without a name, or more of them than any answer should have.
    #[error("a tool call without a name, or too many tool calls")]
    ToolCall,
    /// A stream that ended before it said that it was done.
    #[error("the stream ended before its end mark")]
    StreamEnded,
    /// A line of a stream, or an event, longer than any right one could be.
    #[error("an event of the stream is larger than {limit} bytes")]
    EventTooLarge {
        /// Size limit of an event in bytes.
        limit: usize,
    },
}

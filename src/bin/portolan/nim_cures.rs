//! What to do about each fault that `portolan nim doctor` can find, in plain words. Finds nothing
//! itself.

use portolan::nim::NimError;

/// What is odd, or wrong, though every request was answered.
#[derive(Debug, Clone, Copy)]
pub enum Problem {
    OtherModel,
    Symmetric,
    Dimensions(usize),
    AnotherModel,
    OtherRoles,
    Deprecated,
    OtherLength,
    Order,
    NoToolCall,
    NotReady,
    NotListed,
}

impl Problem {
    pub fn cure(self) -> String {
        match self {
            Self::OtherModel => {
                "check the model name: the server picked one, or has another name for it".into()
            }
            Self::Symmetric => {
                "fine for a symmetric model; for any other it means that the server ignores \
                 input_type, which costs recall: use a NIM, or --query-prefix and --passage-prefix"
                    .into()
            }
            Self::Dimensions(dimensions) => format!(
                "ask for --embed-dim {dimensions} if the model offers several, or make a new \
                 collection for this model"
            ),
            Self::AnotherModel => {
                "vectors of different models cannot be compared: use that model, or make a new \
                 collection and ingest again"
                    .into()
            }
            Self::OtherRoles => {
                "give the --query-prefix and --passage-prefix that it was filled with, or none, \
                 and the same kind of server"
                    .into()
            }
            Self::Deprecated => {
                "it works for now: take another for what you begin anew (vectors of another \
                 embedding model need a new collection)"
                    .into()
            }
            Self::OtherLength => {
                "check that the server runs the model that its name says, or tell its length with \
                 --embed-dim"
                    .into()
            }
            Self::Order => "check that this is a ranking model".into(),
            Self::NoToolCall => {
                "try once more; if it never calls one, the model or its tool call parser is not \
                 made for tools"
                    .into()
            }
            Self::NotReady => {
                "the hosted catalog and many other servers have no health address: ignore this \
                 there; a local NIM that is not ready is still loading its model: wait, and look \
                 at its log"
                    .into()
            }
            Self::NotListed => {
                "the next lines tell whether it works all the same; if not, take a name of the list"
                    .into()
            }
        }
    }
}

/// The cure of a failed request.
pub fn cure(error: &NimError) -> String {
    let words = match error {
        NimError::Connect { reason, .. } => match network(reason) {
            Network::Name => "the host name cannot be resolved: check its spelling and the network",
            Network::Refused => {
                "nothing listens there: start the container (docker run ... -p 8000:8000) or \
                 other server, or check host and port"
            }
            Network::Other => "check host and port, the network, and firewalls in between",
        },
        NimError::Tls { .. } => {
            "the certificate is not trusted, or the server speaks no TLS: use http:// for a local \
             container, or name its authority with --ca-file"
        }
        NimError::Timeout { .. } | NimError::DeadlineExceeded => {
            "it accepts connections but does not answer: it may still be loading, or be \
             overloaded; raise --timeout-ms or wait"
        }
        NimError::Disconnected { .. } => {
            "what listens there speaks no HTTP, or gave up: check the port (8000 unless mapped) \
             and whether it wants https://"
        }
        NimError::MissingKey { .. } => {
            "get a key at build.nvidia.com and set NVIDIA_API_KEY, or set NVIDIA_BASE_URL to a \
             local container"
        }
        NimError::Unauthorized(_) => {
            "no key was sent, or it is wrong, cut off or expired: make one where the service is \
             (NVIDIA's at build.nvidia.com) and set NVIDIA_API_KEY, or the variable that \
             --embed-key-env, --rerank-key-env or --chat-key-env names, to all of it, without \
             quotes"
        }
        NimError::Forbidden(_) => {
            "the key lacks the scope \"Public API Endpoints\", the account has no credits left, or \
             the model is not offered to it"
        }
        NimError::NotFound(_) => {
            "either the model name is wrong, withdrawn or not enabled for this account, or the \
             url is, which ends in /v1; of another kind of server it is said by --embed-api (tei, \
             ollama, openai) and --rerank-api (tei, cohere)"
        }
        NimError::RateLimited { .. } => {
            "too many requests; the trial is said to allow 40 a minute: wait, and set \
             --requests-per-minute"
        }
        NimError::InputTypeRequired(_) | NimError::InputTooLong { .. } => {
            "this is no embedding model of a NIM, or a gateway in between drops fields: name \
             another kind of server with --embed-api"
        }
        NimError::BadRequest(reply) if reply.message.contains("dimensions") => {
            "this model does not offer that length: leave --embed-dim out"
        }
        NimError::BadRequest(_) => {
            "the server says what it refuses: check the model's kind, and the server's, which \
             --embed-api or --rerank-api names"
        }
        NimError::ToolsNotEnabled(_) => {
            "start the container with NIM_ENABLE_AUTO_TOOL_CHOICE=1 and NIM_TOOL_CALL_PARSER, or \
             pass both flags by NIM_PASSTHROUGH_ARGS; vLLM takes --enable-auto-tool-choice and \
             --tool-call-parser, llama.cpp --jinja"
        }
        NimError::Server { .. } => {
            "the server is loading, overloaded or broken: wait, then look at its log"
        }
        NimError::UnexpectedStatus(_) => {
            "something else answers there, such as a login page: check the base url"
        }
        NimError::InvalidResponse { .. } => {
            "what answers there is not this service, or not of this kind: check url and model, \
             and --embed-api or --rerank-api for servers that are no NIMs"
        }
        NimError::ProxyLogin { .. } => {
            "give the login with --proxy http://user:password@host:port, each part escaped as in \
             URLs"
        }
        NimError::Config(_) => "change the setting that it names",
        _ => "see the message",
    };
    words.to_owned()
}

enum Network {
    Name,
    Refused,
    Other,
}

fn network(reason: &str) -> Network {
    let reason = reason.to_ascii_lowercase();
    if reason.contains("dns") || reason.contains("lookup") || reason.contains("resolve") {
        Network::Name
    } else if reason.contains("refused") {
        Network::Refused
    } else {
        Network::Other
    }
}

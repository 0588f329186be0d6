//! A NIM in the test process, as strict as the real ones are known to be: 1.x containers, 2.x
//! containers, and the hosted gateway. Answers are computed from what is sent.

use serde_json::{Value, json};

use crate::chat;
use crate::server::{Request, Server, Step, answer, ok};

pub const EMBED: &str = "nvidia/llama-nemotron-embed-1b-v2";
pub const RANK: &str = "nvidia/llama-nemotron-rerank-1b-v2";
pub const EMBED_VL: &str = "nvidia/llama-nemotron-embed-vl-1b-v2";
pub const RANK_VL: &str = "nvidia/llama-nemotron-rerank-vl-1b-v2";
pub const KEY: &str = "nvapi-contract";
/// Where the hosted catalog ranks, by the model's name.
const HOSTED_RANK: &str = "/v1/retrieval/nvidia/llama-nemotron-rerank-1b-v2/reranking";
/// Longest input of both models, a word being a token here.
pub const MAX_TOKENS: usize = 8192;
const DIMENSIONS: u64 = 2048;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Generation {
    V1,
    V2,
    Hosted,
}

pub const ALL: [Generation; 3] = [Generation::V1, Generation::V2, Generation::Hosted];

impl Generation {
    pub async fn start(self) -> Server {
        Server::start(move |_, request| self.serve(request)).await
    }

    /// A client with what this generation needs.
    pub fn client(self, server: &Server) -> portolan::nim::Nim {
        let builder = server.builder();
        let builder = match self {
            Self::Hosted => {
                let rank = format!("{}{HOSTED_RANK}", server.url);
                builder.api_key(KEY).rerank_url(rank)
            }
            _ => builder,
        };
        builder.build().expect("a client")
    }

    fn serve(self, request: &Request) -> Step {
        let bearer = request.header("authorization");
        if self == Self::Hosted && bearer != Some("Bearer nvapi-contract") {
            let body = json!({"type": "urn:x", "title": "Unauthorized", "status": 401});
            return answer(401, "content-type: application/problem+json\r\n", body.to_string());
        }
        let path = request.line.strip_prefix("POST ").and_then(|l| l.strip_suffix(" HTTP/1.1"));
        let done = match path.unwrap_or_default() {
            "/v1/embeddings" => self.embed(&request.json()),
            "/v1/ranking" if self != Self::Hosted => self.rank(&request.json()),
            HOSTED_RANK if self == Self::Hosted => self.rank(&request.json()),
            "/v1/chat/completions" => return chat::serve(self, &request.json()),
            _ => Err(answer(404, "", r#"{"detail":"Not Found"}"#)),
        };
        done.map_or_else(|refusal| refusal, |body| ok(&body))
    }

    fn embed(self, body: &Value) -> Result<Value, Step> {
        let known = [
            "model",
            "input",
            "input_type",
            "encoding_format",
            "embedding_type",
            "truncate",
            "dimensions",
            "modality",
            "user",
        ];
        self.only(body, &known)?;
        self.served(body, &[EMBED, EMBED_VL])?;
        match body["input_type"].as_str() {
            Some("query" | "passage") => {}
            None if self == Self::V2 => {}
            _ => {
                return Err(self.refuse("'input_type' parameter is required for asymmetric models"));
            }
        }
        let truncate = body["truncate"].as_str().unwrap_or("NONE");
        let inputs = texts(&body["input"]).ok_or_else(|| self.refuse("input: not strings"))?;
        self.modality(body, &inputs)?;
        self.fit(inputs.iter().map(|text| words(text)), truncate)?;
        let length = match &body["dimensions"] {
            Value::Null => DIMENSIONS,
            asked => match asked.as_u64().filter(|asked| *asked > 0) {
                // More than there are is clamped, as the hosted models do.
                Some(asked) => asked.min(DIMENSIONS),
                None => return Err(self.refuse("dimensions: must be positive")),
            },
        };
        let kind = body["embedding_type"].as_str().unwrap_or("float");
        if !["float", "int8", "uint8", "binary", "ubinary"].contains(&kind) {
            return Err(self.refuse("embedding_type: unknown variant"));
        }
        let is_query = body["input_type"] == "query";
        let items = inputs.iter().enumerate().map(|(index, text)| {
            let numbers = vector(text, truncate, is_query, length);
            let embedding = match body["encoding_format"].as_str() {
                _ if kind != "float" => json!(quantized(&numbers, kind)),
                Some("base64") => json!(base64(&numbers)),
                _ => json!(numbers),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        });
        let mut data: Vec<Value> = items.collect();
        if self != Self::V1 {
            data.reverse();
        }
        let usage = json!({"prompt_tokens": data.len(), "total_tokens": data.len()});
        Ok(match self {
            Self::V1 => json!({"data": data}),
            _ => json!({"object": "list", "data": data, "model": EMBED, "usage": usage}),
        })
    }

    fn rank(self, body: &Value) -> Result<Value, Step> {
        self.only(body, &["model", "query", "passages", "truncate"])?;
        self.served(body, &[RANK, RANK_VL])?;
        let query = body["query"]["text"].as_str().filter(|text| !text.is_empty());
        let query = query.ok_or_else(|| self.refuse("query: empty"))?;
        let passages = body["passages"].as_array().cloned().unwrap_or_default();
        if passages.is_empty() || passages.len() > 512 {
            return Err(self.refuse("passages: 1 to 512 are allowed"));
        }
        let truncate = body["truncate"].as_str().unwrap_or("NONE");
        if !matches!(truncate, "NONE" | "END") {
            return Err(self.refuse("truncate: unknown variant, expected NONE or END"));
        }
        let texts: Vec<&str> = passages.iter().map(|p| p["text"].as_str().unwrap_or("")).collect();
        for passage in &passages {
            self.only(
                passage,
                if body["model"] == RANK_VL { &["text", "image"] } else { &["text"] },
            )?;
            let is_image = |image: &Value| image.as_str().is_some_and(is_image);
            match (&passage["text"], &passage["image"]) {
                (Value::Null, image) if is_image(image) => {}
                (Value::String(text), Value::Null) if !text.is_empty() => {}
                (Value::String(text), image) if !text.is_empty() && is_image(image) => {}
                _ => return Err(self.refuse("passages: a filled text, an image, or both")),
            }
        }
        self.fit(texts.iter().map(|text| words(text) + words(query)), truncate)?;
        let logit = |text: &str| {
            let held: Vec<&str> = text.split_whitespace().collect();
            let shared = query.split_whitespace().filter(|word| held.contains(word)).count();
            shared as f64 - held.len() as f64 / 64.0
        };
        let mut rankings: Vec<(usize, f64)> =
            texts.iter().enumerate().map(|(index, text)| (index, logit(text))).collect();
        // 1.x is made to answer unsorted here, which the contract allows.
        if self != Self::V1 {
            rankings.sort_by(|a, b| b.1.total_cmp(&a.1));
        }
        let rankings: Vec<Value> = rankings
            .into_iter()
            .map(|(index, logit)| json!({"index": index, "logit": logit}))
            .collect();
        Ok(match self {
            Self::V1 => json!({"rankings": rankings}),
            _ => json!({"rankings": rankings, "usage": {"prompt_tokens": 7, "total_tokens": 7}}),
        })
    }

    /// Refuses a field that the service does not know, in the words of each generation.
    pub fn only(self, body: &Value, known: &[&str]) -> Result<(), Step> {
        let fields = body.as_object().expect("an object");
        if let Some(null) = fields.iter().find(|(_, value)| value.is_null()) {
            panic!("the field {} is null instead of absent", null.0);
        }
        let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        Err(match self {
            Self::V1 => {
                let item = json!({"loc": ["body", unknown], "msg": "extra fields not permitted",
                    "type": "value_error.extra"});
                answer(422, "", json!({"detail": [item]}).to_string())
            }
            Self::V2 => {
                let text =
                    format!("{unknown}: unknown field, expected one of {}", known.join(", "));
                answer(400, "", text)
            }
            Self::Hosted => answer(
                400,
                "",
                format!(
                    "Your request cannot be validated, it is incorrect. detail={{'type': \
                     'extra_forbidden', 'loc': ('body', '{unknown}')}}"
                ),
            ),
        })
    }

    pub fn served(self, body: &Value, models: &[&str]) -> Result<(), Step> {
        if models.iter().any(|model| body["model"] == *model) {
            return Ok(());
        }
        let detail = "Function '0': Not found for account 'x'";
        let body = json!({"status": 404, "title": "Not Found", "detail": detail});
        Err(answer(404, "", body.to_string()))
    }

    /// Only models that read images may be told what inputs are, and then it must be true; a text
    /// with an image in it is taken for both.
    fn modality(self, body: &Value, inputs: &[String]) -> Result<(), Step> {
        let kind = |text: &String| match text.find("data:image/") {
            Some(0) => "image",
            Some(_) => "text_image",
            None => "text",
        };
        let is_vl = body["model"] == EMBED_VL;
        let told: Vec<&str> = match &body["modality"] {
            Value::Null if inputs.iter().all(|text| kind(text) == "text") => return Ok(()),
            Value::String(one) if is_vl => vec![one.as_str(); inputs.len()],
            Value::Array(each) if is_vl && each.len() == inputs.len() => {
                each.iter().filter_map(Value::as_str).collect()
            }
            _ => return Err(self.refuse("modality: one for all inputs or one for each")),
        };
        // A text may hold what looks like an image, if it is told to be text.
        let fits = |(told, text): (&&str, &String)| *told == "text" || *told == kind(text);
        let has_image = told.iter().any(|told| *told != "text");
        if told.len() != inputs.len() || !told.iter().zip(inputs).all(fits) {
            return Err(self.refuse("modality: not what the inputs are"));
        }
        if has_image && body["input_type"] == "query" {
            return Err(self.refuse("input_type: images are passages"));
        }
        Ok(())
    }

    /// Refuses the whole request for one input that is too long.
    fn fit(self, tokens: impl Iterator<Item = usize>, truncate: &str) -> Result<(), Step> {
        let longest = tokens.max().unwrap_or(0);
        if truncate != "NONE" || longest <= MAX_TOKENS {
            return Ok(());
        }
        let text =
            format!("Input length {longest} exceeds maximum allowed token size {MAX_TOKENS}");
        Err(match self {
            Self::V1 => self.refuse(&text),
            Self::V2 => {
                let body = json!({"object": "error", "message": text, "detail": {}, "type": "t"});
                answer(422, "", body.to_string())
            }
            Self::Hosted => answer(400, "", json!({"error": text}).to_string()),
        })
    }

    pub fn refuse(self, text: &str) -> Step {
        let body = match self {
            Self::V1 => json!({"object": "error", "message": text, "detail": {}, "type": "t"}),
            Self::V2 => return answer(400, "", text),
            Self::Hosted => json!({"detail": text}),
        };
        answer(400, "", body.to_string())
    }
}

fn texts(input: &Value) -> Option<Vec<String>> {
    let list = input.as_array()?;
    list.iter().map(|text| text.as_str().filter(|t| !t.is_empty()).map(str::to_owned)).collect()
}

fn is_image(url: &str) -> bool {
    url.strip_prefix("data:image/").is_some_and(|rest| rest.contains(";base64,"))
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Numbers that tell text, truncation and role apart: the first word that was read, the last one,
/// and the role, each as its length; ones to the end.
pub fn vector(text: &str, truncate: &str, is_query: bool, length: u64) -> Vec<f32> {
    let all: Vec<&str> = text.split_whitespace().collect();
    let cut = all.len().saturating_sub(MAX_TOKENS);
    let read = match truncate {
        "START" => &all[cut..],
        "END" => &all[..all.len() - cut],
        _ => &all[..],
    };
    let first = read.first().map_or(0, |word| word.len()) as f32;
    let last = read.last().map_or(0, |word| word.len()) as f32;
    let mut numbers = vec![1.0; usize::try_from(length).expect("a length")];
    for (at, number) in [first, last, f32::from(u8::from(is_query))].into_iter().enumerate() {
        if let Some(place) = numbers.get_mut(at) {
            *place = number;
        }
    }
    numbers
}

/// Numbers as whole ones of a type; of bits, which tell whether a number is above zero, eight are
/// one number, the first dimension the highest bit.
pub fn quantized(numbers: &[f32], kind: &str) -> Vec<i64> {
    let byte = |bits: &[f32]| {
        let set = |(at, number): (usize, &f32)| u8::from(*number > 0.0) << (7 - at);
        bits.iter().enumerate().map(set).fold(0, |byte, bit| byte | bit)
    };
    let (whole, bytes) = (numbers.iter(), numbers.chunks(8).map(byte));
    match kind {
        "int8" => whole.map(|number| i64::from(*number as i8)).collect(),
        "uint8" => whole.map(|number| i64::from(*number as u8)).collect(),
        "binary" => bytes.map(|byte| i64::from(byte.cast_signed())).collect(),
        _ => bytes.map(i64::from).collect(),
    }
}

/// Little-endian floats as base64.
pub fn base64(numbers: &[f32]) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(*chunk.get(at).unwrap_or(&0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=chunk.len() {
            text.push(char::from(letters[(bits >> (18 - 6 * at) & 63) as usize]));
        }
        text.push_str(&"=="[..3 - chunk.len()]);
    }
    text
}

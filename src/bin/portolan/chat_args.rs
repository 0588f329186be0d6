//! Options that name a chat model: where it is, which it is, how it answers. And the client they
//! make.

use std::time::Duration;

use clap::Args;
use portolan::nim::Chat;

use crate::args::count;
use crate::failure::{Failure, Result};
use crate::model_args::ReachArgs;
use crate::models::key_of;
use crate::timing::parse_millis;

/// The chat service: NIMs for language models, and any server of OpenAI's form.
#[derive(Args)]
pub struct ChatArgs {
    /// URL of the chat service, such as http://localhost:8000/v1; without it NVIDIA_BASE_URL or
    /// the hosted catalog
    #[arg(long, value_name = "URL", requires = "chat_model")]
    pub chat_url: Option<String>,
    /// Chat model, such as nvidia/llama-3.3-nemotron-super-49b-v1.5
    #[arg(long, value_name = "MODEL")]
    pub chat_model: Option<String>,
    /// Variable of the environment that holds the key of the chat service, or "none" to send none
    /// [default: NVIDIA_API_KEY]
    #[arg(long, value_name = "NAME", requires = "chat_model")]
    pub chat_key_env: Option<String>,
    /// Sampling temperature; 0 for the likeliest words [default: the server's]
    #[arg(long, value_name = "T", requires = "chat_model")]
    pub chat_temperature: Option<f32>,
    /// Most tokens of an answer, thoughts included [default: the server's]
    #[arg(long, value_name = "N", requires = "chat_model", value_parser = count)]
    pub chat_max_tokens: Option<usize>,
    /// How much a reasoning model thinks: low, medium, high, or what else the server knows
    #[arg(long, value_name = "EFFORT", requires = "chat_model")]
    pub chat_effort: Option<String>,
    /// Time for each request that answers whole, and longest silence of one that streams
    #[arg(long, value_name = "N", default_value = "120000", value_parser = parse_millis)]
    pub chat_timeout_ms: u64,
}

/// The chat model that a command cannot do without. Sends nothing. Key and base URL come from the
/// environment, as far as the options leave them open.
pub fn chat(args: &ChatArgs, reach: &ReachArgs) -> Result<Chat> {
    let Some(model) = &args.chat_model else {
        return Err(Failure::Usage("--chat-model is missing".to_owned()));
    };
    // A client of its own: its requests take longer than those of embedding and reranking, and a
    // server that answers whole is silent until it has thought.
    let builder = reach.builder()?;
    let patience = Duration::from_millis(args.chat_timeout_ms);
    let mut builder = builder.attempt_timeout(patience).read_timeout(patience);
    if let Some(url) = &args.chat_url {
        builder = builder.chat_url(url);
    }
    if let Some(key) = key_of("--chat-key-env", args.chat_key_env.as_deref())? {
        builder = builder.chat_key(key);
    }
    let mut chat = builder.build()?.chat(model);
    if let Some(temperature) = args.chat_temperature {
        chat = chat.temperature(temperature);
    }
    if let Some(tokens) = args.chat_max_tokens.and_then(|tokens| u32::try_from(tokens).ok()) {
        chat = chat.max_tokens(tokens);
    }
    if let Some(effort) = &args.chat_effort {
        chat = chat.reasoning_effort(effort);
    }
    Ok(chat)
}

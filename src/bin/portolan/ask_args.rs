//! The options of `portolan ask`. Does no work.

use std::path::PathBuf;

use clap::Args;

use crate::args::{FILTER_HELP, count};
use crate::chat_args::ChatArgs;
use crate::find_args::FindArgs;

#[derive(Args)]
#[command(after_help = FILTER_HELP)]
pub struct AskArgs {
    /// The database file
    pub db: PathBuf,
    /// The question
    pub question: String,
    /// Hits that the model may read
    #[arg(short, value_name = "K", default_value = "10", value_parser = count)]
    pub k: usize,
    /// Most tokens of all passages together, by estimate
    #[arg(long, value_name = "N", default_value = "3000", value_parser = count)]
    pub context_tokens: usize,
    /// Leave a passage out that does not fit, instead of cutting it
    #[arg(long)]
    pub whole_passages: bool,
    /// File with the instructions, which may be empty, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    pub system_prompt: Option<PathBuf>,
    /// File with the message, in which {passages} and {question} stand for both
    #[arg(long, value_name = "FILE")]
    pub user_prompt: Option<PathBuf>,
    /// Wait for the whole answer, for services that do not stream
    #[arg(long)]
    pub no_stream: bool,
    #[command(flatten)]
    pub find: FindArgs,
    #[command(flatten)]
    pub chat: ChatArgs,
}

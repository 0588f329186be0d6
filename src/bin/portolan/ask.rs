//! `portolan ask`: a question to an answer by a chat model, with its sources.

use std::fmt::Write as _;
use std::path::Path;

use portolan::nim::{ChatUsage, FinishReason};
use portolan::{
    AnswerDelta, AnswerOutcome, AnswerPrompt, Ask, CitedAnswer, LeftOutReason, OnOverlong, Source,
};
use serde::Serialize;

use crate::ask_args::AskArgs;
use crate::chat_args::chat;
use crate::failure::{Failure, Result};
use crate::models::runtime;
use crate::output::{Output, printable, snippet};
use crate::question::Question;
use crate::stages::{Stage, stages, stages_line};
use crate::timing::millis;

#[derive(Serialize)]
struct Answered {
    answer: String,
    outcome: &'static str,
    /// Why the model stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    finish: Option<String>,
    /// Whether the limit of tokens cut it off.
    cut: bool,
    citations: Vec<Cited>,
    /// Markers of passages that were not given, which were taken out.
    unknown_citations: Vec<Unknown>,
    /// Sentences that cite nothing.
    uncited: Vec<Span>,
    sources: Vec<Read>,
    left_out: Vec<LeftOut>,
    context_tokens: usize,
    prompt_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    stages: Vec<Stage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_words_ms: Option<f64>,
    took_ms: f64,
}

/// Bytes of the answer.
#[derive(Serialize)]
struct Span {
    start: usize,
    end: usize,
}

#[derive(Serialize)]
struct Cited {
    #[serde(flatten)]
    span: Span,
    number: usize,
    id: String,
    rank: usize,
}

#[derive(Serialize)]
struct Unknown {
    at: usize,
    marker: String,
}

#[derive(Serialize)]
struct Read {
    number: usize,
    rank: usize,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    text: String,
    /// Whether it is only the beginning of the passage.
    cut: bool,
    cited: bool,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank_score: Option<f32>,
}

#[derive(Serialize)]
struct LeftOut {
    rank: usize,
    id: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

/// Asks, prints the words as they come, then the sources.
pub fn run(args: &AskArgs, out: &Output) -> Result<()> {
    if args.question.trim().is_empty() {
        return Err(Failure::Usage("QUESTION is empty".to_owned()));
    }
    let prompt = prompt(args)?;
    let chat = chat(&args.chat, &args.find.embed.reach)?;
    let question = Question::new(&args.db, Some(&args.question), &args.find)?;
    let mut ask = question.query()?.limit(args.k).answer(&chat).prompt(prompt);
    ask = ask.context_tokens(args.context_tokens);
    if args.whole_passages {
        ask = ask.on_overlong(OnOverlong::LeaveOut);
    }
    let answer = runtime()?.block_on(async {
        if args.no_stream || out.is_json() {
            whole(ask, out).await
        } else {
            streamed(ask, out).await
        }
    })?;
    let is_ended = warn(&answer, out)?;
    let text = sources(&answer, is_ended);
    out.result(&answered(answer), |answered| text + &stages_line(&answered.stages))
}

async fn whole(ask: Ask<'_>, out: &Output) -> Result<CitedAnswer> {
    let answer = ask.run().await?;
    out.piece(&answer.text)?;
    Ok(answer)
}

async fn streamed(ask: Ask<'_>, out: &Output) -> Result<CitedAnswer> {
    let mut stream = ask.stream().await?;
    loop {
        match stream.next().await {
            Ok(Some(AnswerDelta::Text(text) | AnswerDelta::Citation { marker: text, .. })) => {
                out.piece(&text)?;
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(stream.finish().await?),
            Err(error) => {
                // The message is not to stand at the end of a sentence.
                if !stream.so_far().text.is_empty() {
                    out.piece("\n")?;
                }
                return Err(error.into());
            }
        }
    }
}

fn prompt(args: &AskArgs) -> Result<AnswerPrompt> {
    let text = |path: Option<&Path>, default: &str| match path {
        Some(path) => std::fs::read_to_string(path).map_err(|error| Failure::of_file(path, &error)),
        None => Ok(default.to_owned()),
    };
    let system = text(args.system_prompt.as_deref(), AnswerPrompt::SYSTEM)?;
    let user = text(args.user_prompt.as_deref(), AnswerPrompt::USER)?;
    AnswerPrompt::new(&system, &user)
        .map_err(|error| Failure::Usage(format!("the prompt: {error}")))
}

/// Tells people what an answer lacks, on lines of their own. Whether its last line is ended now.
fn warn(answer: &CitedAnswer, out: &Output) -> Result<bool> {
    let warnings = warnings(answer);
    let is_ended = answer.text.is_empty() || answer.text.ends_with('\n');
    if !warnings.is_empty() && !is_ended {
        out.piece("\n")?;
    }
    warnings.iter().for_each(|warning| out.warning(warning));
    Ok(is_ended || !warnings.is_empty())
}

fn warnings(answer: &CitedAnswer) -> Vec<String> {
    let mut warnings = Vec::new();
    if answer.outcome == AnswerOutcome::Answered {
        if answer.text.trim().is_empty() {
            warnings.push("the model answered with no words".to_owned());
        }
        warnings.extend(ended(answer.finish.clone()));
    }
    if !answer.unknown.is_empty() {
        let markers: Vec<&str> = answer.unknown.iter().map(|of| of.marker.as_str()).collect();
        let markers = markers.join(" ");
        warnings.push(format!("citations of passages that were not given, left out: {markers}"));
    }
    let uncited = answer.uncited_sentences().len();
    if uncited > 0 {
        warnings.push(format!("sentences that cite nothing: {uncited}"));
    }
    warnings
}

/// What is to be said of an end that is not the model's own.
fn ended(reason: Option<FinishReason>) -> Option<String> {
    match reason {
        Some(FinishReason::Stop) => None,
        Some(FinishReason::Length) => {
            Some("the limit of tokens was reached: the end of the answer is missing".to_owned())
        }
        Some(FinishReason::ContentFilter) => {
            Some("a content filter stopped the model: the answer may lack its end".to_owned())
        }
        Some(reason) => {
            let reason = finish(reason);
            Some(format!("the model stopped for {reason:?}: the answer may lack its end"))
        }
        None => Some("nobody told why the model stopped: the answer may lack its end".to_owned()),
    }
}

/// What is printed behind the answer.
fn sources(answer: &CitedAnswer, is_ended: bool) -> String {
    let mut text = match answer.outcome {
        AnswerOutcome::NothingFound => "nothing found: no model was asked\n".to_owned(),
        AnswerOutcome::NothingFits => {
            "no passage fits into --context-tokens: no model was asked\n".to_owned()
        }
        _ if is_ended => "\n".to_owned(),
        _ => "\n\n".to_owned(),
    };
    let cited: Vec<&Source> = answer.cited().collect();
    for source in &cited {
        let title = source.title.as_deref().unwrap_or_default();
        let (id, title) = (printable(&source.id.to_string()), snippet(title, 80));
        // writing to a string cannot fail
        let _ = writeln!(text, "[{}]  {id}  {title}", source.number);
        let _ = writeln!(text, "     {}", snippet(&source.text, 160));
    }
    let others = answer.sources.iter().filter(|source| !cited.contains(source));
    let others = others.map(|of| format!("[{}] {}", of.number, printable(&of.id.to_string())));
    let others: Vec<String> = others.collect();
    if !others.is_empty() {
        let _ = writeln!(text, "not cited: {}", others.join(", "));
    }
    text
}

fn answered(answer: CitedAnswer) -> Answered {
    let cited: Vec<usize> = answer.cited().map(|source| source.number).collect();
    let uncited = answer.uncited_sentences().into_iter();
    let citations = answer.citations.iter().map(|of| Cited {
        span: Span { start: of.span.start, end: of.span.end },
        number: of.number,
        id: of.id.to_string(),
        rank: of.rank,
    });
    let left_out = answer.report.left_out.iter().map(|of| LeftOut {
        rank: of.rank,
        id: of.id.to_string(),
        reason: if of.reason == LeftOutReason::Empty { "empty" } else { "budget" },
    });
    let unknown = answer.unknown.iter();
    Answered {
        outcome: match answer.outcome {
            AnswerOutcome::Answered => "answered",
            AnswerOutcome::NothingFound => "nothing_found",
            AnswerOutcome::NothingFits => "nothing_fits",
            _ => "unknown",
        },
        cut: answer.is_cut(),
        uncited: uncited.map(|of| Span { start: of.start, end: of.end }).collect(),
        citations: citations.collect(),
        unknown_citations: unknown
            .map(|of| Unknown { at: of.at, marker: of.marker.clone() })
            .collect(),
        left_out: left_out.collect(),
        sources: answer.sources.into_iter().map(|of| read(of, &cited)).collect(),
        answer: answer.text,
        finish: answer.finish.map(finish),
        context_tokens: answer.report.context_tokens,
        prompt_tokens: answer.report.prompt_tokens,
        usage: answer.report.usage.map(usage),
        stages: stages(answer.report.query.stages),
        first_words_ms: answer.report.first_words.map(millis),
        took_ms: millis(answer.report.took),
    }
}

fn read(source: Source, cited: &[usize]) -> Read {
    Read {
        cited: cited.contains(&source.number),
        number: source.number,
        rank: source.rank,
        id: source.id.to_string(),
        title: source.title,
        text: source.text,
        cut: source.is_cut,
        score: source.score,
        rerank_score: source.rerank_score,
    }
}

fn finish(reason: FinishReason) -> String {
    let name = match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(reason) => return reason,
        _ => "unknown",
    };
    name.to_owned()
}

fn usage(of: ChatUsage) -> Usage {
    Usage {
        prompt_tokens: of.prompt_tokens,
        completion_tokens: of.completion_tokens,
        total_tokens: of.total_tokens,
    }
}

//! `portolan nim doctor`: asks the services what a first use would ask, one thing after the other,
//! and says in plain words what is wrong and how to cure it. Changes nothing.

use std::fmt;
use std::time::Duration;

use portolan::nim::{
    CallOptions, ChatRequest, InputType, Message, ModelFacts, Nim, NimError, RetryPolicy, Service,
    Tool, ToolChoice,
};
use portolan::{Database, Embedder, ModelContract};
use serde::Serialize;
use serde_json::json;

use crate::failure::{Failure, Result, in_commands};
use crate::models::{builder, embedder, key_of, prefixed, runtime};
use crate::nim_args::{DoctorArgs, NimArgs, NimCommand};
use crate::nim_cures::{Problem, cure};
use crate::output::{Output, printable};

/// Time for each request, unless it is set.
const PATIENCE: Duration = Duration::from_secs(30);

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    /// Worth knowing, no reason to stop.
    Note,
    Failed,
}

#[derive(Serialize)]
struct Check {
    service: &'static str,
    check: &'static str,
    outcome: Outcome,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

impl Check {
    fn fault(service: &'static str, check: &'static str, error: &NimError) -> Self {
        let (outcome, kind, cure) = (Outcome::Failed, Some(error.kind()), Some(cure(error)));
        Self { service, check, outcome, found: in_commands(&error.to_string()), kind, cure }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let mark = match check.outcome {
                Outcome::Ok => "ok    ",
                Outcome::Note => "note  ",
                Outcome::Failed => "FAILED",
            };
            writeln!(f, "{mark}  {} {}: {}", check.service, check.check, printable(&check.found))?;
            if let Some(cure) = &check.cure {
                writeln!(f, "        -> {cure}")?;
            }
        }
        let words = if self.ok { "all is well" } else { "not all is well" };
        f.write_str(words)
    }
}

/// What is being checked, and what was found so far.
struct Doctor {
    nim: Nim,
    /// Of each check.
    patience: Duration,
    checks: Vec<Check>,
}

pub fn run(args: &NimArgs, out: &Output) -> Result<()> {
    let NimCommand::Doctor(args) = &args.command;
    let expected = expected(args)?;
    let checks = match client(args)? {
        Ok(nim) => {
            let mut doctor = Doctor { nim, patience: patience(args), checks: Vec::new() };
            runtime()?.block_on(doctor.all(args, expected.as_ref()));
            doctor.checks
        }
        Err(error) => vec![Check::fault("client", "settings", &error)],
    };
    let failed = checks.iter().filter(|check| check.outcome == Outcome::Failed).count();
    let report = Report { ok: failed == 0, checks };
    out.result(&report, |report| report.to_string())?;
    match failed {
        0 => Ok(()),
        1 => Err(Failure::new("1 check failed")),
        _ => Err(Failure::new(format!("{failed} checks failed"))),
    }
}

/// Dimensions of the collection, and the model it was filled with.
fn expected(args: &DoctorArgs) -> Result<Option<(usize, Option<ModelContract>)>> {
    let Some(path) = &args.db else {
        return Ok(None);
    };
    let db = Database::open_read_only(path)?;
    let collection = db.collection(&args.collection)?;
    Ok(Some((collection.dimensions(), collection.model()?)))
}

fn patience(args: &DoctorArgs) -> Duration {
    args.embed.reach.timeout().unwrap_or(PATIENCE)
}

/// The client, or what is wrong with its settings.
fn client(args: &DoctorArgs) -> Result<std::result::Result<Nim, NimError>> {
    let builder = builder(&args.embed, Some(&args.rerank))?;
    let mut builder = builder.attempt_timeout(patience(args)).read_timeout(patience(args));
    builder = builder.retry(RetryPolicy::new().tries(2));
    if let Some(url) = &args.chat_url {
        builder = builder.chat_url(url);
    }
    if let Some(key) = key_of("--chat-key-env", args.chat_key_env.as_deref())? {
        builder = builder.chat_key(key);
    }
    Ok(builder.build())
}

impl Doctor {
    async fn all(&mut self, args: &DoctorArgs, expected: Option<&(usize, Option<ModelContract>)>) {
        if let Some(model) = &args.embed.embed_model {
            self.embedding(model, args, expected).await;
        }
        if let Some(model) = &args.rerank.rerank_model {
            self.ranking(model).await;
        }
        if let Some(model) = &args.chat_model {
            self.chat(model).await;
        }
    }

    async fn embedding(
        &mut self,
        model: &str,
        args: &DoctorArgs,
        expected: Option<&(usize, Option<ModelContract>)>,
    ) {
        if !self.reached(Service::Embedding, "embedding", model).await {
            return;
        }
        let embedder = embedder(self.nim.embedder(model), &args.embed);
        let contract = expected.and_then(|(_, contract)| contract.as_ref());
        let embedder = prefixed(embedder, &args.embed, contract);
        self.deprecation("embedding", embedder.known());
        let (service, options) = ("embedding", self.options());
        let query = embedder.embed_with(&["which way?"], InputType::Query, options).await;
        let query = match query {
            Ok(found) => found,
            Err(error) => return self.fault(service, "a query", &error),
        };
        let vector = query.vectors.first().map(Vec::as_slice).unwrap_or_default();
        let norm = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
        let unit = if (norm - 1.0).abs() < 1e-2 { "unit length" } else { "not of unit length" };
        self.ok(service, "a query", format!("{} dimensions, norm {norm:.4}, {unit}", vector.len()));
        if let Some(known) = embedder.known().dimensions.filter(|_| args.embed.embed_dim.is_none())
            && usize::try_from(known) != Ok(vector.len())
        {
            let found = format!("{known} dimensions are documented, it gave {}", vector.len());
            self.note(service, "the model", found, Problem::OtherLength);
        }
        if let Some(other) = &query.served_model {
            let found = format!("{model} was asked for, {other} answered");
            self.note(service, "served model", found, Problem::OtherModel);
        }
        let passage =
            embedder.embed_with(&["which way?"], InputType::Passage, self.options()).await;
        match passage {
            Ok(found) if found.vectors == query.vectors => self.note(
                service,
                "a passage",
                "the same vector as for the query".to_owned(),
                Problem::Symmetric,
            ),
            Ok(_) => self.ok(service, "a passage", "another vector than the query's".to_owned()),
            Err(error) => self.fault(service, "a passage", &error),
        }
        if let Some((dimensions, contract)) = expected {
            // An alias, or a name with a role, is sent and noted under another name.
            self.fits(&embedder.contract(), vector.len(), *dimensions, contract.as_ref());
        }
    }

    fn deprecation(&mut self, service: &'static str, facts: ModelFacts) {
        if facts.deprecated {
            let by = facts.replacement.map(|by| format!("; {by} takes its place"));
            let words = format!("it is deprecated{}", by.unwrap_or_default());
            self.note(service, "the model", words, Problem::Deprecated);
        }
    }

    fn fits(
        &mut self,
        own: &ModelContract,
        found: usize,
        dimensions: usize,
        contract: Option<&ModelContract>,
    ) {
        let service = "embedding";
        if found != dimensions {
            let words =
                format!("the model gives {found} dimensions, the collection has {dimensions}");
            self.problem(service, "the collection", words, Problem::Dimensions(dimensions));
        } else if let Some(other) = contract.filter(|other| other.model != own.model) {
            let words = format!("the collection was filled by {}", other.model);
            self.problem(service, "the collection", words, Problem::AnotherModel);
        } else if let Some(other) = contract.filter(|other| other.roles != own.roles) {
            let words = format!("it was filled with {}, now there are {}", other.roles, own.roles);
            self.problem(service, "the collection", words, Problem::OtherRoles);
        } else {
            self.ok(service, "the collection", format!("{dimensions} dimensions, they fit"));
        }
    }

    async fn ranking(&mut self, model: &str) {
        if !self.reached(Service::Ranking, "ranking", model).await {
            return;
        }
        let passages = ["Paris is the capital of France.", "Bread is made of flour."];
        let ranker = self.nim.reranker(model);
        self.deprecation("ranking", ranker.known());
        let query = "What is the capital of France?";
        match ranker.rank_with(query, &passages, self.options()).await {
            Ok(found) if found.scores.first().is_some_and(|best| best.index == 0) => {
                self.ok("ranking", "two passages", "the right one is first".to_owned());
            }
            Ok(_) => self.note(
                "ranking",
                "two passages",
                "the wrong one is first".to_owned(),
                Problem::Order,
            ),
            Err(error) => self.fault("ranking", "two passages", &error),
        }
    }

    async fn chat(&mut self, model: &str) {
        if !self.reached(Service::Chat, "chat", model).await {
            return;
        }
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}},
            "required": ["city"]});
        let tools = [Tool::new("capital", "Notes the name of a capital", schema)];
        let messages = [Message::user("Note the capital of France with the tool.")];
        let choice = ToolChoice::Auto;
        let request = ChatRequest::new(&messages).tools(&tools).tool_choice(&choice);
        let chat = self.nim.chat(model).max_tokens(512);
        match chat.complete_with(request, self.options()).await {
            Ok(found) if !found.tool_calls.is_empty() => {
                self.ok("chat", "a tool call", format!("it called {}", found.tool_calls[0].name));
            }
            Ok(found) => {
                let words = format!("no tool was called, it ended with {:?}", found.finish);
                self.note("chat", "a tool call", words, Problem::NoToolCall);
            }
            Err(error) => self.fault("chat", "a tool call", &error),
        }
    }

    /// Address, key, readiness and list of models. False when the rest would fail the same way.
    async fn reached(&mut self, service: Service, name: &'static str, model: &str) -> bool {
        match self.nim.check_key(service, model).await {
            Ok(()) => self.ok(name, "address and key", "it answers and refuses no key".to_owned()),
            Err(error) => {
                self.fault(name, "address and key", &error);
                return false;
            }
        }
        match self.nim.health_ready(service).await {
            Ok(true) => self.ok(name, "health", "ready".to_owned()),
            // The hosted catalog has no such address, nor have other servers.
            Ok(false) => {
                self.note(
                    name,
                    "health",
                    "it does not say that it is ready".to_owned(),
                    Problem::NotReady,
                );
            }
            Err(error) => self.fault(name, "health", &error),
        }
        // An old name is sent as the one that took its place.
        let model = &match service {
            Service::Embedding => self.nim.embedder(model).model().to_owned(),
            Service::Ranking => self.nim.reranker(model).model().to_owned(),
            _ => model.to_owned(),
        };
        match self.nim.models(service).await {
            Ok(models) if models.iter().any(|listed| listed == model) => {
                self.ok(name, "models", format!("{model} is listed"));
            }
            Ok(models) => {
                let mut some = models.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                if models.len() > 5 {
                    some.push_str(", ...");
                }
                let found = format!("{model} is not among the {} listed: {some}", models.len());
                self.note(name, "models", found, Problem::NotListed);
            }
            Err(error) => {
                let found = format!("no list: {}", in_commands(&error.to_string()));
                self.note(name, "models", found, Problem::NotListed);
            }
        }
        true
    }

    fn options(&self) -> CallOptions {
        CallOptions::new().timeout(self.patience)
    }

    fn ok(&mut self, service: &'static str, check: &'static str, found: String) {
        let outcome = Outcome::Ok;
        self.checks.push(Check { service, check, outcome, found, kind: None, cure: None });
    }

    fn note(&mut self, service: &'static str, check: &'static str, found: String, of: Problem) {
        let (outcome, cure) = (Outcome::Note, Some(of.cure()));
        self.checks.push(Check { service, check, outcome, found, kind: None, cure });
    }

    fn problem(&mut self, service: &'static str, check: &'static str, found: String, of: Problem) {
        let (outcome, cure) = (Outcome::Failed, Some(of.cure()));
        self.checks.push(Check { service, check, outcome, found, kind: None, cure });
    }

    fn fault(&mut self, service: &'static str, check: &'static str, error: &NimError) {
        self.checks.push(Check::fault(service, check, error));
    }
}

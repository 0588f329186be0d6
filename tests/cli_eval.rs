//! `portolan eval` over sets that are made here: rows, tables, exclusions, comparisons, exported
//! runs, the page, and what it refuses.

#![cfg(feature = "cli")]

#[path = "common/command.rs"]
mod command;
#[path = "nim_client/server.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod server;

use std::process::Command;

use command::{json_of, portolan, text};
use portolan::eval::measure::{Measure, mean};
use portolan::eval::vector_file::write_npy_f32;
use portolan::eval::{beir, trec_run};
use portolan::{CollectionOptions, Database, Language, Metric, Record, TextIndex};
use serde_json::{Value, json};
use server::{Server, answer, ok};
use tempfile::TempDir;

/// Documents of the collection.
const DOCUMENTS: usize = 130;

struct Set {
    dir: TempDir,
    db: String,
}

impl Set {
    /// Documents `d0` to `d129`, each with a word of its own and the word `chart`, on an arc: `d0`
    /// is nearest to the vector (1, 0), then `d1`, and so on.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = dir.path().join("kb.portolan").display().to_string();
        let file = Database::create(&db).unwrap();
        let options = CollectionOptions::new(2, Metric::Cosine);
        let docs = file.create_collection("docs", options).unwrap();
        let mut batch = docs.batch();
        for at in 0..DOCUMENTS {
            let angle = at as f32 * 0.01;
            let record = Record::new(format!("d{at}")).text(format!("chart word{at}"));
            batch.upsert(record.vector([angle.cos(), angle.sin()])).unwrap();
        }
        batch.commit().unwrap();
        docs.index_text(&TextIndex::new(Language::English)).unwrap();
        Self { dir, db }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.dir.path().join(name), content).unwrap();
        self.path(name)
    }

    /// A vector file with (1, 0) for each query.
    fn vectors(&self, queries: usize) -> String {
        let path = self.path("queries.npy");
        write_npy_f32(&path, &[1.0, 0.0].repeat(queries), 2).unwrap();
        path
    }

    /// Three queries whose words name what is relevant, whose vectors do not.
    fn beir(&self) -> [String; 6] {
        let line = |id: &str, text: &str| json!({"_id": id, "text": text}).to_string();
        let hostile = "word40 <script>alert('x')</script> & \"more\"";
        let lines = [line("q a", "word20"), line("q%b", hostile), line("q3", "word60 word0")];
        let queries = self.write("queries.jsonl", &lines.join("\n"));
        let qrels = self.write(
            "qrels.tsv",
            "query-id\tcorpus-id\tscore\nq a\td20\t1\nq a\td0\t2\nq%b\td40\t1\nq3\td60\t1\n",
        );
        let [one, two, three] = ["--queries", "--qrels", "--query-vectors"].map(str::to_owned);
        [one, queries, two, qrels, three, self.vectors(3)]
    }
}

fn shown(args: &[&str]) -> (String, String) {
    let output = portolan(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {message}");
    (text(&output.stdout), message)
}

fn refusal(code: i32, args: &[&str]) -> String {
    let output = portolan(args);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert_eq!(text(&output.stdout), "", "{args:?}");
    message
}

fn figure(mode: &Value, key: &str) -> f64 {
    mode[key].as_f64().unwrap_or_else(|| panic!("{key} of {mode}"))
}

#[test]
fn excluded_documents_leave_the_results_before_these_are_cut() {
    let set = Set::new();
    let excluded: Vec<String> = (0..100).map(|at| format!("d{at}")).collect();
    let line = |id: &str, excluded: &[String]| {
        let gold = ["d100"];
        json!({"id": id, "query": "chart", "gold_ids": gold, "excluded_ids": excluded})
    };
    let lines = format!(
        "{}\n{}",
        line("q", &excluded),
        line("free", std::slice::from_ref(&"N/A".to_owned()))
    );
    let (queries, vectors) = (set.write("examples.jsonl", &lines), set.vectors(2));
    let runs = set.path("runs");
    let args = ["eval", &set.db, "--queries", &queries, "--query-vectors", &vectors];
    let modes = ["--modes", "dense,lexical,hybrid,exact", "--runs", &runs];
    let report = json_of(&[&args[..], &modes].concat());
    assert_eq!(report["form"], "bright");
    // One of two queries finds its document, as the nearest of those that are left; among the first
    // hundred of all it is not.
    for mode in [0, 3] {
        let mode = &report["modes"][mode];
        assert_eq!((figure(mode, "mrr@10"), figure(mode, "recall@100")), (0.5, 0.5), "{mode}");
    }
    for mode in ["dense", "lexical", "hybrid", "exact"] {
        let run = trec_run::read(set.dir.path().join(format!("runs/{mode}.run"))).unwrap();
        assert_eq!((run["q"].len(), run["free"].len()), (DOCUMENTS - 100, 100), "{mode}");
        assert!(run["q"].iter().all(|(id, _)| !excluded.contains(id)), "{mode}");
    }
}

#[test]
fn the_document_of_the_query_itself_can_be_left_out() {
    let set = Set::new();
    let queries = set.write("q.jsonl", "{\"_id\":\"d0\",\"text\":\"chart\"}\n");
    let (qrels, vectors) = (set.write("r.tsv", "d0\td1\t1\n"), set.vectors(1));
    let args = ["eval", &set.db, "--queries", &queries, "--qrels", &qrels];
    let args = [&args[..], &["--query-vectors", &vectors, "--metrics", "mrr@3,p@2"]].concat();
    let with = json_of(&args);
    assert_eq!(
        (figure(&with["modes"][0], "mrr@3"), with["modes"][0]["ndcg@10"].is_null()),
        (0.5, true)
    );
    let without = json_of(&[&args[..], &["--exclude-self"]].concat());
    let mode = &without["modes"][0];
    assert_eq!((figure(mode, "mrr@3"), figure(mode, "p@2")), (1.0, 0.5));
}

#[test]
fn a_query_of_vidore_that_is_not_asked_scores_zero_and_languages_are_told_apart() {
    let set = Set::new();
    let queries = set.write(
        "q.jsonl",
        "{\"query_id\":1,\"query\":\"word7\",\"language\":\"english\"}\n\
         {\"query_id\":2,\"query\":\"word8\",\"language\":\"french\"}\n",
    );
    let qrels = set.write(
        "r.jsonl",
        "{\"query_id\":1,\"corpus_id\":\"d7\",\"score\":2}\n\
         {\"query_id\":2,\"corpus_id\":\"d8\",\"score\":1}\n\
         {\"query_id\":3,\"corpus_id\":\"d9\",\"score\":1}\n",
    );
    let args = ["eval", &set.db, "--queries", &queries, "--qrels", &qrels, "--modes", "lexical"];
    let report = json_of(&args);
    assert_eq!((&report["form"], &report["modes"][0]["queries"]), (&json!("vidore"), &json!(3)));
    assert!((figure(&report["modes"][0], "ndcg@10") - 2.0 / 3.0).abs() < 1e-12, "{report}");
    let (_, message) = shown(&args);
    assert!(message.contains("warning: 1 judged queries have no question, each scores 0: \"3\""));
    let french = json_of(&[&args[..], &["--language", "french"]].concat());
    let french = &french["modes"][0];
    assert_eq!((&french["queries"], figure(french, "ndcg@10")), (&json!(1), 1.0));
    let first = json_of(&[&args[..], &["--first", "1"]].concat());
    assert_eq!(
        (&first["modes"][0]["queries"], figure(&first["modes"][0], "p@10")),
        (&json!(1), 0.1)
    );
}

#[test]
fn tables_show_quality_cost_and_each_difference() {
    let set = Set::new();
    let beir = set.beir();
    let beir: Vec<&str> = beir.iter().map(String::as_str).collect();
    let args = [&["eval", &set.db][..], &beir, &["--modes", "dense,lexical", "--compare=mrr@10"]];
    let (out, _) = shown(&args.concat());
    let quality =
        "mode     ndcg@10  recall@10  recall@100  mrr@10  map@100    p@10  queries\ndense ";
    assert!(out.starts_with(quality), "{out}");
    assert!(out.contains("\nmode     ms/query  median ms  p90 ms  searches\ndense "), "{out}");
    assert!(out.contains("\nlexical - dense   mrr@10"), "{out}");
    assert!(out.contains("seed 0, not corrected"), "{out}");
    assert!(out.contains("lexical: all 4 choices of signs"), "{out}");
    // The first query finds d0 by vector and d20 by words.
    assert!(out.contains("largest gains of lexical over dense\n+"), "{out}");
    let report = json_of(&args.concat());
    let pair = &report["comparisons"][0];
    assert_eq!((&pair["wins"], &pair["losses"], &pair["ties"]), (&json!(2), &json!(0), &json!(1)));
    assert_eq!((&pair["p"], &pair["permutations"]), (&json!(0.5), &json!(4)));
    assert_eq!(report["modes"][0]["searches"], 1.0);
    assert_eq!(report["modes"][0]["tokens"], Value::Null);
    // The same without --mode: a row for each that can be had, and no comparison.
    let report = json_of(&[&["eval", &set.db][..], &beir].concat());
    let names = |report: &Value| {
        let modes = report["modes"].as_array().unwrap().iter();
        modes.map(|mode| mode["mode"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&report), ["dense", "lexical", "hybrid"]);
    let by_words = json_of(&[&["eval", &set.db][..], &beir[..4]].concat());
    assert_eq!(names(&by_words), ["lexical"]);
    assert!(report.get("comparisons").is_none() && report.get("ef_curve").is_none());
}

#[test]
fn exported_runs_have_the_figures_that_were_reported() {
    let set = Set::new();
    let beir_args = set.beir();
    let beir_args: Vec<&str> = beir_args.iter().map(String::as_str).collect();
    let runs = set.path("new/runs");
    let modes = ["--modes", "dense,lexical,hybrid", "--runs", &runs];
    let report = json_of(&[&["eval", &set.db][..], &beir_args, &modes].concat());
    let folder = set.dir.path().join("new/runs");
    let qrels = beir::qrels(folder.join("qrels.txt")).unwrap();
    // Ids with a blank and a percent sign are one word, in both files the same.
    assert_eq!(qrels.keys().collect::<Vec<_>>(), ["q%20a", "q%25b", "q3"]);
    for mode in report["modes"].as_array().unwrap() {
        let name = mode["mode"].as_str().unwrap();
        let path = folder.join(format!("{name}.run"));
        let lines = std::fs::read_to_string(&path).unwrap();
        assert!(lines.lines().all(|line| line.split(' ').count() == 6), "{lines}");
        assert!(lines.contains(&format!(" portolan-{name}\n")));
        let run = trec_run::read(&path).unwrap();
        let ids = |listed: Vec<(String, f32)>| listed.into_iter().map(|(id, _)| id).collect();
        let run = run
            .into_iter()
            .map(|(query, listed)| (trec_run::escape(&query).into_owned(), ids(listed)));
        let run = run.collect();
        for measure in Measure::defaults() {
            let read = mean(&measure.per_query(&qrels, &run));
            assert_eq!(read, figure(mode, &measure.to_string()), "{measure} of {name}");
        }
    }
}

#[test]
fn the_page_is_one_file_and_nothing_of_the_set_is_markup_in_it() {
    let set = Set::new();
    let beir = set.beir();
    let beir: Vec<&str> = beir.iter().map(String::as_str).collect();
    let path = set.path("a <b> page.html");
    let options = ["--modes", "dense,lexical,hybrid", "--report", &path, "--ef-curve=10,20"];
    let report = json_of(&[&["eval", &set.db][..], &beir, &options].concat());
    // The page compares; the output does so only if it was asked to.
    assert!(report.get("comparisons").is_none());
    let curve = report["ef_curve"].as_array().unwrap();
    assert_eq!(curve.iter().map(|point| &point["ef"]).collect::<Vec<_>>(), [10, 20]);
    assert!(curve.iter().all(|point| figure(point, "neighbors@10") == 1.0), "{curve:?}");

    let page = std::fs::read_to_string(&path).unwrap();
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
    assert!(
        page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;more&quot;")
    );
    assert!(page.contains("--report &#39;") && page.contains("a &lt;b&gt; page.html"));
    for outside in ["src=", "@import", "url(", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    let titles = [
        "What is found",
        "What it costs",
        "Quality against time",
        "Query by query",
        "Recall against ef",
        "Scores of relevant and of other hits",
        "How it was made",
    ];
    for title in titles {
        assert!(page.contains(&format!("<h2>{title}</h2>")), "{title}");
    }
    // Quality, the curve, two comparisons, three histograms.
    assert_eq!((page.matches("<svg ").count(), page.matches("</svg>").count()), (7, 7));
    assert!(page.contains("130 records in the collection &quot;docs&quot;; 3 judged queries"));
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[tokio::test]
async fn reranked_rows_count_calls_passages_and_tokens() {
    let server = Server::start(|_, request| match request.line.as_str() {
        "POST /v1/embeddings HTTP/1.1" => ok(&json!({
            "data": [{"index": 0, "embedding": [1.0, 0.0]}], "model": "e",
            "usage": {"prompt_tokens": 3, "total_tokens": 3},
        })),
        "POST /v1/ranking HTTP/1.1" => {
            // The last is the best.
            let passages = request.json()["passages"].as_array().map_or(0, Vec::len);
            let ranked = (0..passages).rev().map(|at| json!({"index": at, "logit": at}));
            let usage = json!({"prompt_tokens": 40, "total_tokens": 40});
            ok(&json!({"rankings": ranked.collect::<Vec<_>>(), "usage": usage}))
        }
        other => answer(404, "", other),
    })
    .await;
    let set = Set::new();
    let queries = set.write(
        "q.jsonl",
        "{\"_id\":\"a\",\"text\":\"word4\"}\n{\"_id\":\"b\",\"text\":\"word3\"}\n",
    );
    let qrels = set.write("r.tsv", "a\td4\t1\nb\td50\t1\n");
    let (db, url) = (set.db.clone(), server.url.clone());
    let run = move |more: &'static [&'static str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.env("NVIDIA_BASE_URL", &url).env("NVIDIA_API_KEY", "nvapi-canary");
        command.args(["eval", &db, "--queries", &queries, "--qrels", &qrels]);
        command.args(["--embed-model", "e", "--rerank-model", "r", "--candidates", "5", "--json"]);
        command.args(more);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let output = run(&["--modes", "dense,lexical,reranked", "--metrics", "mrr@10,recall@100"]);
    let output = output.await.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [dense, lexical, reranked] = report["modes"].as_array().unwrap().as_slice() else {
        panic!("{report}")
    };
    let keys = ["searches", "embed_calls", "rerank_calls", "rerank_passages", "tokens"];
    let cost = |mode: &Value| keys.map(|key| mode[key].as_f64());
    assert_eq!(cost(dense), [1.0, 1.0, 0.0, 0.0, 3.0].map(Some));
    assert_eq!(cost(lexical), [Some(1.0), Some(0.0), Some(0.0), Some(0.0), None]);
    assert_eq!(cost(reranked), [1.0, 1.0, 1.0, 5.0, 43.0].map(Some));
    // What was not reranked stands behind what was.
    assert_eq!(
        (figure(reranked, "recall@100"), reranked["mode"].as_str()),
        (1.0, Some("reranked"))
    );
    // Two rankings of five passages each, and each question embedded once for all rows.
    let requests = server.requests();
    let asked = |line: &str| requests.iter().filter(|one| one.line.contains(line)).count();
    assert_eq!((asked("/embeddings"), asked("/ranking")), (2, 2));
}

/// The ids of the documents that a conversation shows, in order.
fn shown_ids(body: &Value) -> Vec<String> {
    let messages = body["messages"].as_array().unwrap().iter();
    let contents = messages.filter_map(|message| message["content"].as_str());
    let lines = contents.flat_map(str::lines).filter(|line| line.starts_with("{\"id\""));
    let id =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().map(str::to_owned);
    lines.filter_map(id).collect()
}

#[tokio::test]
async fn agentic_rows_count_searches_calls_tokens_and_what_went_wrong() {
    let server = Server::start(|_, request| {
        let body = request.json();
        if request.line.contains("/ranking") {
            let passages = body["passages"].as_array().map_or(0, Vec::len);
            let ranked = (0..passages).map(|at| json!({"index": at, "logit": 0.5}));
            let usage = json!({"prompt_tokens": 7, "total_tokens": 7});
            return ok(&json!({"rankings": ranked.collect::<Vec<_>>(), "usage": usage}));
        }
        let count = body["messages"].as_array().map_or(0, Vec::len);
        let asked = body["messages"][1]["content"].as_str().unwrap_or_default();
        if asked.contains("word3") {
            return answer(401, "", "{}");
        }
        let (name, arguments) = match count {
            2 => ("retrieve", json!({"query": "word60"})),
            _ => {
                let ids = shown_ids(&body);
                let done = json!({"doc_ids": ids, "message": "m", "search_successful": "true"});
                ("final_results", done)
            }
        };
        let function = json!({"name": name, "arguments": arguments.to_string()});
        let call = json!({"id": "c", "type": "function", "function": function});
        let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
        ok(&json!({"id": "c", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}}))
    })
    .await;
    let set = Set::new();
    let lines = [
        json!({"id": "a", "query": "word4", "gold_ids": ["d60"], "excluded_ids": ["d4"]}),
        json!({"id": "b", "query": "word3", "gold_ids": ["d3"], "excluded_ids": ["N/A"]}),
    ];
    let queries = set.write("q.jsonl", &lines.map(|line| line.to_string()).join("\n"));
    let (db, url) = (set.db.clone(), format!("{}/v1", server.url));
    let root = server.url.clone();
    let run = async |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command.env("NVIDIA_API_KEY", "nvapi-canary").env("NVIDIA_BASE_URL", &root);
        command.args(["eval", &db, "--queries", &queries, "--json", "--chat-url", &url]);
        command.args(["--chat-model", "m", "--metrics", "mrr@10"]).args(more);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{message}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let report = run(&["--modes", "lexical,agentic"]).await;
    let figures = |mode: usize| {
        let keys = ["mrr@10", "searches", "chat_calls", "tokens", "fallbacks", "failed"];
        keys.map(|key| report["modes"][mode][key].as_f64())
    };
    assert_eq!(figures(0), [Some(0.5), Some(1.0), Some(0.0), None, Some(0.0), Some(0.0)]);
    // The agent finds what the words of the first question do not; the second question breaks off,
    // and counts with what its first search found.
    assert_eq!(figures(1)[..2], [Some(1.0), Some(1.5)], "{report}");
    assert_eq!(figures(1)[3..], [Some(110.0), Some(1.0), Some(1.0)], "{report}");
    assert_eq!(report["modes"][1]["mode"], "agentic");
    // What is excluded is never shown.
    let conversations: Vec<Value> = server.requests().iter().map(|one| one.json()).collect();
    assert!(conversations.iter().all(|body| !shown_ids(body).contains(&"d4".to_owned())));
    assert!(shown_ids(&conversations[1]).contains(&"d60".to_owned()));
    // Its searches are reranked and fused as those of the other rows, and traced with that.
    let traces = set.path("traces");
    let more = ["--modes", "agentic", "--rerank-model", "r", "--candidates", "5"];
    let more = [&more[..], &["--fusion", "minmax", "--traces", &traces]].concat();
    let (ef, recall) = ([&more[..], &["--ef", "64"]].concat(), ["--recall", "0.9"]);
    let asked = |line: &str| server.requests().iter().filter(|one| one.line.contains(line)).count();
    let (chats, before) = (asked("/chat"), figures(1));
    let reranked = run(&ef).await;
    let row = &reranked["modes"][0];
    assert_eq!((figure(row, "mrr@10"), figure(row, "searches")), (1.0, 1.5), "{reranked}");
    // The first search of the first question finds what is excluded and no more: nothing to rerank.
    assert_eq!((figure(row, "rerank_calls"), figure(row, "rerank_passages")), (1.0, 1.0));
    assert_eq!((asked("/ranking"), Some(figure(row, "chat_calls"))), (2, before[2]));
    // All but the query that broke off comes from the traces, under the same options alone.
    let calls = asked("/chat");
    let rankings = asked("/ranking");
    let again = run(&ef).await;
    assert_eq!((asked("/chat"), figure(&again["modes"][0], "mrr@10")), (calls + 1, 1.0));
    assert_eq!(asked("/ranking"), rankings + 1);
    // What was not asked again counts as it did: 220 tokens of the chat model and 2 rankings.
    for mode in [row, &again["modes"][0]] {
        let keys = ["searches", "embed_calls", "rerank_calls", "rerank_passages", "chat_calls"];
        assert_eq!(keys.map(|key| figure(mode, key)), [1.5, 0.0, 1.0, 1.0, 1.5], "{mode}");
        assert_eq!(figure(mode, "tokens"), (220.0 + 2.0 * 7.0) / 2.0, "{mode}");
    }
    run(&[&more[..], &recall].concat()).await;
    assert_eq!(asked("/chat") - calls - 1, calls - chats);
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let set = Set::new();
    let beir = set.beir();
    let beir: Vec<&str> = beir.iter().map(String::as_str).collect();
    let args = [&["eval", &set.db][..], &beir].concat();
    let with = |more: &[&str]| refusal(2, &[&args[..], more].concat());
    assert!(with(&["--modes", "reranked"]).contains("--rerank-model is missing"));
    assert!(with(&["--modes", "agentic"]).contains("--chat-model is missing"));
    assert!(with(&["--modes", "magic"]).contains("magic"));
    assert!(with(&["--metrics", "ndcg@0"]).contains("use ndcg@K"));
    assert!(with(&["--form", "csv"]).contains("use beir, bright or vidore"));
    let message = refusal(1, &["eval", &set.db, "--queries", beir[1], "--modes", "lexical"]);
    assert!(message.contains("beir form has its judgments in another file"), "{message}");
    let both = set.write(
        "x.jsonl",
        "{\"id\":1,\"query\":\"q\",\"gold_ids\":[\"a\"],\"excluded_ids\":[\"a\"]}\n",
    );
    let message = refusal(1, &["eval", &set.db, "--queries", &both, "--modes", "lexical"]);
    assert!(message.contains("x.jsonl:1: document `a` is in `gold_ids`"), "{message}");
}

#[test]
fn files_that_cannot_be_made_are_refused_before_the_first_query() {
    let set = Set::new();
    let beir = set.beir();
    let beir: Vec<&str> = beir.iter().map(String::as_str).collect();
    let args = [&["eval", &set.db][..], &beir].concat();
    // Below a file there is no folder.
    let page = format!("{}/below/a.html", set.db);
    let message = refusal(1, &[&args[..], &["--report", &page]].concat());
    assert!(message.contains(&page), "{message}");
    std::fs::create_dir_all(set.path("runs/lexical.run")).unwrap();
    let (runs, page) = (set.path("runs"), set.path("new/a.html"));
    let more = ["--modes", "dense,lexical", "--runs", &runs, "--report", &page];
    let message = refusal(1, &[&args[..], &more].concat());
    assert!(message.contains("lexical.run"), "{message}");
    // No query was run.
    assert_eq!(std::fs::read_to_string(set.path("runs/dense.run")).unwrap(), "");
}

#[cfg(target_os = "linux")]
#[test]
fn figures_are_shown_also_if_a_file_cannot_be_written_at_the_end() {
    let set = Set::new();
    let beir = set.beir();
    let beir: Vec<&str> = beir.iter().map(String::as_str).collect();
    let runs = set.path("runs");
    let more = ["--report", "/dev/full", "--runs", &runs, "--json"];
    let output = portolan(&[&["eval", &set.db][..], &beir, &more].concat());
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot access /dev/full"), "{message}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["modes"][0]["queries"], 3);
    assert_eq!(trec_run::read(set.path("runs/dense.run")).unwrap().len(), 3);
}

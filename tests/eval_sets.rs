//! Sets in the form of BEIR, BRIGHT and ViDoRe through the public reader: how a form is told, what
//! each reads, and errors down to file and line.

use std::path::PathBuf;

use portolan::eval::measure::{Measure, mean};
use portolan::eval::set::{EvalSet, SetForm};
use portolan::eval::{EvalError, LineProblem, SetProblem};
use proptest::prelude::*;
use tempfile::TempDir;

struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

const BEIR: &str = "{\"_id\":\"q1\",\"text\":\"one\"}\n{\"_id\":\"q2\",\"text\":\"two\"}\n";
const VIDORE: &str = "\
{\"query_id\":1,\"query\":\"one\",\"language\":\"english\"}
{\"query_id\":2,\"query\":\"deux\",\"language\":\"french\"}
";

#[test]
fn the_form_is_told_by_the_first_query() {
    let files = Files::new();
    let (beir, vidore) = (files.write("b.jsonl", BEIR), files.write("v.jsonl", VIDORE));
    let tsv = files.write("r.tsv", "query-id\tcorpus-id\tscore\nq1\td\t2\n");
    let set = EvalSet::reader(beir).qrels(tsv).read().unwrap();
    assert_eq!((set.form, set.queries.len(), set.qrels["q1"].grade("d")), (SetForm::Beir, 2, 2));

    let line = r#"{"id":"0","query":"why?","gold_ids":["a"],"excluded_ids":["N/A"]}"#;
    let set = EvalSet::reader(files.write("x.jsonl", line)).read().unwrap();
    assert_eq!((set.form, set.qrels["0"].grade("a")), (SetForm::Bright, 1));
    assert!(set.excluded.is_empty());

    let graded = "{\"query_id\":1,\"corpus_id\":7,\"score\":2}\n\n\
                  {\"query_id\":2,\"corpus_id\":8,\"score\":1}\n";
    let set = EvalSet::reader(vidore).qrels(files.write("r.jsonl", graded)).read().unwrap();
    assert_eq!((set.form, set.qrels["1"].grade("7")), (SetForm::Vidore, 2));
    assert_eq!(set.queries[1].text, "deux");

    let odd = files.write("odd.jsonl", "\n{\"question\":\"one\"}\n");
    match EvalSet::reader(&odd).read().unwrap_err() {
        EvalError::Line { path, line: 2, source: LineProblem::UnknownForm } => {
            assert_eq!(path, odd);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_language_keeps_its_queries_and_their_judgments_alone() {
    let files = Files::new();
    let queries = files.write("v.jsonl", VIDORE);
    let qrels = files.write("r.tsv", "query-id\tcorpus-id\tscore\n1\ta\t1\n2\tb\t1\n3\tc\t1\n");
    let reader = EvalSet::reader(&queries).qrels(&qrels);
    let set = reader.clone().language("french").read().unwrap();
    // What has no question has no language.
    assert_eq!(set.qrels.keys().collect::<Vec<_>>(), ["2"]);
    assert!(set.unasked.is_empty());
    // The rows of a file of vectors belong to all of them.
    assert_eq!(set.queries.len(), 2);
    let error = reader.language("german").read().unwrap_err();
    let EvalError::Set { source: SetProblem::NoSuchLanguage { found, .. }, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(found, &["english", "french"]);
}

#[test]
fn a_query_of_vidore_without_an_answer_scores_zero_and_is_no_error() {
    let files = Files::new();
    let queries = files.write("v.jsonl", VIDORE);
    let qrels = files.write("r.tsv", "1\ta\t1\n2\tb\t1\n3\tc\t1\n4\td\t1\n");
    let set = EvalSet::reader(queries).qrels(&qrels).read().unwrap();
    assert_eq!(set.unasked, ["3", "4"]);
    // One of four is answered, and rightly.
    let runs = [("1".to_owned(), vec!["a".to_owned()])].into_iter().collect();
    for measure in Measure::defaults().into_iter().take(5) {
        assert_eq!(mean(&measure.per_query(&set.qrels, &runs)), 0.25, "{measure}");
    }
    // In a set in BEIR's form it is a mistake.
    let beir = files.write("b.jsonl", BEIR);
    let error = EvalSet::reader(beir).qrels(qrels).read().unwrap_err();
    assert!(error.to_string().contains("query \"1\" is judged in"), "{error}");
}

#[test]
fn errors_name_file_and_line() {
    let files = Files::new();
    let shown = |name: &str, content: &str, qrels: Option<&str>| {
        let mut reader = EvalSet::reader(files.write(name, content));
        if let Some(qrels) = qrels {
            reader = reader.qrels(files.write("qrels", qrels));
        }
        reader.read().unwrap_err().to_string()
    };
    let gold = "{\"id\":1,\"query\":\"q\",\"gold_ids\":[\"a\"]}\n\
                {\"id\":2,\"query\":\"q\",\"gold_ids\":[\"a\"],\"excluded_ids\":[\"b\",\"a\"]}\n";
    let message = shown("x.jsonl", gold, None);
    assert!(message.contains("x.jsonl:2: document `a` is in `gold_ids` and"), "{message}");
    let twice = "{\"id\":1,\"query\":\"q\",\"gold_ids\":[\"a\"]}\n".repeat(2);
    assert!(shown("x.jsonl", &twice, None).contains("x.jsonl:2: id `1` occurs twice"));
    let message = shown("v.jsonl", VIDORE, Some("{\"query_id\":1,\"corpus_id\":2,\"score\":1.5}"));
    assert!(message.contains("qrels:1: score `1.5`"), "{message}");
    let twice = "{\"query_id\":1,\"corpus_id\":2,\"score\":1}\n\
                 {\"query_id\":1,\"corpus_id\":2,\"score\":0}";
    assert!(
        shown("v.jsonl", VIDORE, Some(twice)).contains("qrels:2: document `2` is judged twice")
    );
    assert!(shown("b.jsonl", BEIR, Some("q1\t\t1\n")).contains("qrels:1: the id of"));
    assert!(shown("b.jsonl", BEIR, None).contains("beir form has its judgments in another file"));
    assert!(shown("b.jsonl", BEIR, Some("\n")).contains("no judgment for any query"));
    let message = shown("x.jsonl", gold.lines().next().unwrap(), Some(""));
    assert!(message.contains("bright form has its judgments with the queries"), "{message}");
}

#[test]
fn the_first_judged_queries_are_kept_in_the_order_of_the_file() {
    let files = Files::new();
    let queries = "{\"_id\":\"c\",\"text\":\"\"}\n{\"_id\":\"x\",\"text\":\"\"}\n\
                   {\"_id\":\"b\",\"text\":\"\"}\n{\"_id\":\"a\",\"text\":\"\"}\n";
    let qrels = files.write("r.tsv", "a\td\t1\nb\td\t1\nc\td\t1\n");
    let mut set = EvalSet::reader(files.write("q.jsonl", queries)).qrels(qrels).read().unwrap();
    set.keep_first(2);
    assert_eq!(set.qrels.keys().collect::<Vec<_>>(), ["b", "c"]);
}

proptest! {
    #[test]
    fn no_files_make_the_reader_panic(
        queries in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            concat!(
                "(\\{\"(id|_id|query_id|query|text|gold_ids|excluded_ids)\":",
                "(1|\"a\"|\\[\"a\"\\]|null)\\}\n?){0,4}"
            )
            .prop_map(String::into_bytes),
        ],
        qrels in proptest::collection::vec(any::<u8>(), 0..200),
        form in 0..4_usize,
    ) {
        let files = Files::new();
        let reader = EvalSet::reader(files.write("q", &queries));
        let mut reader = reader.qrels(files.write("r", &qrels));
        if let Some(form) = [SetForm::Beir, SetForm::Bright, SetForm::Vidore].get(form) {
            reader = reader.form(*form);
        }
        let _ = reader.read();
        let _ = EvalSet::reader(files.dir.path().join("q")).read();
    }
}

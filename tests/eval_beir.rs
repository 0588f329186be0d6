//! BEIR and TREC files through the public readers: the forms that are tolerated, and the errors of
//! the ones that are not, down to file and line.

use std::fs;
use std::path::PathBuf;

use portolan::eval::beir::{self, Document};
use portolan::eval::{EvalError, LineProblem};
use serde_json::json;
use tempfile::TempDir;

fn file(content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("set.txt");
    fs::write(&path, content).unwrap();
    (folder, path)
}

fn documents(content: impl AsRef<[u8]>) -> Vec<Result<Document, EvalError>> {
    let (_folder, path) = file(content);
    beir::documents(path).unwrap().collect()
}

/// The line number and the cause of an error that must be about a line.
fn line_problem<T: std::fmt::Debug>(result: Result<T, EvalError>) -> (u64, LineProblem) {
    match result {
        Err(EvalError::Line { line, source, .. }) => (line, source),
        other => panic!("expected an error about a line, got {other:?}"),
    }
}

#[test]
fn documents_tolerate_byte_order_mark_crlf_and_blank_lines() {
    let content = "\u{feff}{\"_id\":\"a\",\"title\":\"T\",\"text\":\"x\"}\r\n\r\n  \n\
                   {\"_id\":12,\"text\":\"y\",\"year\":2020}";
    let found: Vec<Document> = documents(content).into_iter().map(Result::unwrap).collect();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].id.as_str(), found[0].title.as_str()), ("a", "T"));
    assert!(found[0].metadata.is_empty());
    assert_eq!((found[1].id.as_str(), found[1].title.as_str()), ("12", ""));
    assert_eq!(found[1].metadata["year"], json!(2020));
}

#[test]
fn a_wrong_document_line_names_its_line_and_the_next_one_is_still_read() {
    let mut found =
        documents("{\"_id\":\"a\",\"text\":\"x\"}\n\n{oops\n{\"_id\":\"b\",\"text\":\"\"}");
    assert_eq!(found.pop().unwrap().unwrap().id, "b");
    let error = found.pop().unwrap().unwrap_err();
    assert!(error.to_string().contains("set.txt:3: invalid JSON"), "{error}");
    assert!(matches!(line_problem::<()>(Err(error)), (3, LineProblem::Json(_))));
}

#[test]
fn each_document_fault_has_its_own_problem() {
    let problem = |line: &str| line_problem(documents(line).remove(0)).1;
    let missing = |line: &str| match problem(line) {
        LineProblem::MissingField { field } => field,
        other => panic!("{other:?}"),
    };
    let wrong = |line: &str| match problem(line) {
        LineProblem::WrongType { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(r#"{"text":"x"}"#), "_id");
    assert_eq!(missing(r#"{"_id":"a"}"#), "text");
    assert_eq!(wrong(r#"{"_id":1.5,"text":"x"}"#), "_id");
    assert_eq!(wrong(r#"{"_id":"","text":"x"}"#), "_id");
    assert_eq!(wrong(r#"{"_id":"a","text":null}"#), "text");
    assert_eq!(wrong(r#"{"_id":"a","text":"x","title":[]}"#), "title");
    assert_eq!(wrong(r#"{"_id":"a","text":"x","metadata":"m"}"#), "metadata");
    assert!(matches!(problem("[1]"), LineProblem::NotAnObject));
    let bytes = documents(b"{\"_id\":\"\xff\"}".as_slice()).remove(0);
    assert!(matches!(line_problem(bytes).1, LineProblem::NotUtf8));
}

#[test]
fn queries_keep_file_order_and_refuse_a_repeated_id() {
    let (_folder, path) = file("{\"_id\":\"9\",\"text\":\"q9\"}\n{\"_id\":3,\"text\":\"q3\"}\n");
    let ids: Vec<String> = beir::queries(path).unwrap().into_iter().map(|q| q.id).collect();
    assert_eq!(ids, ["9", "3"]);
    let (_folder, path) = file("{\"_id\":\"3\",\"text\":\"\"}\n\n{\"_id\":3,\"text\":\"\"}\n");
    let (line, problem) = line_problem(beir::queries(path));
    assert!(matches!(problem, LineProblem::DuplicateId { id } if id == "3"));
    assert_eq!(line, 3);
}

#[test]
fn beir_and_trec_judgments_read_to_the_same_qrels() {
    let forms = [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n",
        "\u{feff}q1\td1\t2\r\n\r\nq1\td2\t0\r\nq2\td1\t-1\r\n",
        "q1 0 d1 2\nq1 0 d2 0\nq2 Q0 d1 -1",
        "q1\t0\td1\t2\nq1\t0\td2\t0\nq1\t0\td2\t0\nq2\t0\td1\t-1\n",
    ];
    for form in forms {
        let (_folder, path) = file(form);
        let qrels = beir::qrels(path).unwrap();
        assert_eq!(qrels.keys().collect::<Vec<_>>(), ["q1", "q2"]);
        assert_eq!((qrels["q1"].grade("d1"), qrels["q1"].len()), (2, 2));
        assert_eq!((qrels["q2"].grade("d1"), qrels["q2"].relevant()), (-1, 0));
    }
}

#[test]
fn each_judgment_fault_names_its_line() {
    let fault = |content: &str| {
        let (_folder, path) = file(content);
        line_problem(beir::qrels(path))
    };
    let (line, problem) = fault("q\td\t1\nq\td\n");
    assert!(matches!((line, problem), (2, LineProblem::Columns { found: 2 })));
    let (line, problem) = fault("q\td\t0.5\n");
    assert!(matches!(problem, LineProblem::BadScore { found } if found == "0.5"));
    assert_eq!(line, 1);
    let (line, problem) = fault("q\td\t1\nq\td\t2\n");
    assert!(
        matches!(problem, LineProblem::ConflictingJudgment { document, .. } if document == "d")
    );
    assert_eq!(line, 2);
}

#[test]
fn a_missing_file_is_an_io_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let error = beir::queries(folder.path().join("absent.jsonl")).unwrap_err();
    assert!(matches!(&error, EvalError::Io { path, .. } if path.ends_with("absent.jsonl")));
}

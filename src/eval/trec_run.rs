//! Runs and judgments as files that trec_eval reads: `query Q0 document rank score tag`, and
//! `query 0 document grade`. Eval layer.
//!
//! trec_eval does not look at ranks: it sorts by score, and equal scores by id. So scores are
//! written that decrease from line to line: one that is not below the one before it becomes the
//! next lower `f32`. Then every tool reads the order the run has.
//!
//! Ids are words in these files. White space, control characters, U+FEFF and `%` in an id are
//! written as
//! `%` and two hexadecimal digits for each byte of UTF-8, in runs and judgments alike.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::error::{EvalError, LineProblem};
use super::lines::Lines;
use super::metrics::Qrels;

/// Scores are written within these bounds; beyond them is room for many lower ones.
const SCORE_MAX: f32 = 1e30;

/// Documents with their scores by query id.
pub type Run = BTreeMap<String, Vec<(String, f32)>>;

/// Writes a run in the order of its queries, each with its documents as they are listed, best
/// first; a document that is listed again is left out. `tag` names the run.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: impl AsRef<Path>, run: &Run, tag: &str) -> Result<(), EvalError> {
    let tag = escape(tag);
    to_file(path.as_ref(), |out| {
        for (query, documents) in run {
            let query = escape(query);
            let mut seen = HashSet::new();
            let listed = documents.iter().filter(|(id, _)| seen.insert(id.as_str()));
            let (mut rank, mut last) = (0_usize, None);
            for (id, score) in listed {
                rank += 1;
                let score = below(last, *score);
                last = Some(score);
                writeln!(out, "{query} Q0 {} {rank} {score:?} {tag}", escape(id))?;
            }
        }
        Ok(())
    })
}

/// Writes judgments, in the order of queries and documents.
///
/// # Errors
/// When the file cannot be written.
pub fn write_qrels(path: impl AsRef<Path>, qrels: &Qrels) -> Result<(), EvalError> {
    to_file(path.as_ref(), |out| {
        for (query, judgments) in qrels {
            let mut judged: Vec<(&str, i32)> = judgments.iter().collect();
            judged.sort_unstable();
            for (document, grade) in judged {
                writeln!(out, "{} 0 {} {grade}", escape(query), escape(document))?;
            }
        }
        Ok(())
    })
}

/// Reads a run in the order that trec_eval gives it: by score, the higher first; of equal scores
/// the higher id first.
///
/// # Errors
/// When the file cannot be read, a line has not six columns, a score is no finite number, an id has
/// a wrong escape, or a query lists a document twice.
pub fn read(path: impl AsRef<Path>) -> Result<Run, EvalError> {
    let mut lines = Lines::open(path.as_ref())?;
    let mut run = Run::new();
    let mut seen: HashSet<(String, String)> = HashSet::new();
    while let Some(entry) = lines.next_parsed(entry) {
        let (query, document, score) = entry?;
        if !seen.insert((query.clone(), document.clone())) {
            return Err(lines.error(LineProblem::ListedTwice { query, document }));
        }
        run.entry(query).or_default().push((document, score));
    }
    for documents in run.values_mut() {
        documents.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
    }
    Ok(run)
}

/// An id as one word.
#[must_use]
pub fn escape(id: &str) -> Cow<'_, str> {
    // At the begin of a file U+FEFF is a byte order mark, and part of no id.
    let is_plain =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '%' | '\u{feff}');
    if id.chars().all(is_plain) {
        return Cow::Borrowed(id);
    }
    let mut out = String::with_capacity(id.len() + 8);
    for c in id.chars() {
        if is_plain(c) {
            out.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // writing to a string cannot fail
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Cow::Owned(out)
}

/// The id that a word stands for.
///
/// # Errors
/// When a `%` does not stand for a byte, or the bytes are not UTF-8.
pub fn unescape(word: &str) -> Result<String, LineProblem> {
    let wrong = || LineProblem::BadEscape { found: word.to_owned() };
    let mut parts = word.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn entry(line: &str) -> Result<(String, String, f32), LineProblem> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let [query, _, document, _, score, _] = columns.as_slice() else {
        return Err(LineProblem::RunColumns { found: columns.len() });
    };
    let number = score.parse::<f32>().ok().filter(|score| score.is_finite());
    let number = number.ok_or_else(|| LineProblem::RunNumber { found: (*score).to_owned() })?;
    Ok((unescape(query)?, unescape(document)?, number))
}

/// `score`, or the next number below `last` if it is not below.
fn below(last: Option<f32>, score: f32) -> f32 {
    let score = if score.is_nan() { -SCORE_MAX } else { score.clamp(-SCORE_MAX, SCORE_MAX) };
    match last {
        Some(last) if score >= last => {
            let next = last.next_down();
            // Some tools read numbers that are nearly 0 as 0.
            if next.abs() < f32::MIN_POSITIVE { -f32::MIN_POSITIVE } else { next }
        }
        _ => score,
    }
}

fn to_file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<(), EvalError> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        fill(&mut out)?;
        out.flush()
    };
    write().map_err(|source| EvalError::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.run");
        (dir, path)
    }

    #[test]
    fn equal_and_rising_scores_are_written_so_that_the_order_stays() {
        let (_dir, path) = file();
        let ids = ["b", "a", "c", "d", "e"];
        let scores = [0.5, 0.5, 0.7, -1.0, f32::NAN];
        let listed: Vec<(String, f32)> = ids.map(str::to_owned).into_iter().zip(scores).collect();
        write(&path, &Run::from([("q".to_owned(), listed)]), "t").unwrap();
        let found = read(&path).unwrap();
        let order: Vec<&str> = found["q"].iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(order, ids);
        assert!(found["q"].is_sorted_by(|a, b| a.1 > b.1));
        assert_eq!((found["q"][0].1, found["q"][3].1), (0.5, -1.0));
    }

    #[test]
    fn a_wrong_line_names_its_place_and_cause() {
        let problem = |content: &str| {
            let (_dir, path) = file();
            std::fs::write(&path, content).unwrap();
            match read(&path) {
                Err(EvalError::Line { line, source, .. }) => (line, source),
                other => panic!("{other:?}"),
            }
        };
        let good = "q Q0 d 1 0.5 t\n";
        let (line, cause) = problem(&format!("{good}q Q0 d 2 0.4\n"));
        assert!(matches!((line, cause), (2, LineProblem::RunColumns { found: 5 })));
        let (line, cause) = problem(&format!("{good}q Q0 e 2 nan t\n"));
        assert!(matches!((line, cause), (2, LineProblem::RunNumber { .. })));
        let (line, cause) = problem(&format!("{good}\nq Q0 d 2 0.4 t\n"));
        assert!(matches!((line, cause), (3, LineProblem::ListedTwice { .. })));
        for word in ["%", "%2", "%2g", "%FF", "%+1", "a%\u{e9}"] {
            let (_, cause) = problem(&format!("q Q0 {word} 1 0.4 t\n"));
            assert!(matches!(cause, LineProblem::BadEscape { .. }), "{word}");
        }
    }

    proptest! {
        #[test]
        fn a_run_is_read_as_it_was_written(
            queries in proptest::collection::btree_map(
                ".{1,6}",
                proptest::collection::vec((".{1,6}", any::<f32>()), 1..20),
                1..5,
            ),
        ) {
            let (_dir, path) = file();
            write(&path, &queries, "a tag").unwrap();
            let found = read(&path).unwrap();
            prop_assert_eq!(found.len(), queries.len());
            for (query, listed) in &queries {
                let mut seen = HashSet::new();
                let expected: Vec<&String> =
                    listed.iter().map(|(id, _)| id).filter(|id| seen.insert(*id)).collect();
                let order: Vec<&String> = found[query].iter().map(|(id, _)| id).collect();
                prop_assert_eq!(order, expected);
            }
        }

        #[test]
        fn an_id_is_one_word_and_comes_back(id in ".*") {
            let word = escape(&id);
            prop_assert!(word.split_whitespace().count() <= 1);
            prop_assert_eq!(unescape(&word).unwrap(), id);
        }

        #[test]
        fn no_line_makes_the_reader_panic(line in ".*") {
            let _ = entry(&line);
            let _ = unescape(&line);
        }
    }
}

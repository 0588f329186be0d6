//! What is done with a file that may be hostile, and how it may end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use portolan::{
    Database, DatabaseOptions, Error, Filter, Maintenance, Record, RecordId, Result, SearchPath,
    TextError, Verify,
};

use super::children;
use crate::common::questions::{Answers, Questions, has_failed, is_typed, lie};
use crate::common::samples::SAMPLES;
use crate::common::{Rng, quick_dir, try_everything};

/// How a trial ended, if nothing is wrong with the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The file was not opened.
    Refused,
    /// It was opened, and some answers were errors.
    Failed,
    /// Every answer was right.
    Right,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Right => "right",
        })
    }
}

/// The end, or what is wrong with the library.
pub type Outcome = std::result::Result<End, String>;

/// Ends in the words of a child, of which those that are wrong say so.
pub fn in_words(ends: impl IntoIterator<Item = Outcome>) -> String {
    let words = ends.into_iter().map(|end| match end {
        Ok(end) => end.to_string(),
        Err(wrong) => format!("WRONG {wrong}"),
    });
    words.collect::<Vec<_>>().join("|")
}

/// The place of an end among the three, from its word.
pub fn place_of(word: &str) -> usize {
    let ends = [End::Refused, End::Failed, End::Right];
    ends.iter().position(|end| end.to_string() == word).expect("an end")
}

/// What may be told of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faith {
    /// It was damaged: what is answered must be what the whole file says.
    Damaged,
    /// It is a lie with the right checksums: any answer will do, and any error.
    Lie,
}

/// A whole file, and what it answers before each of the changes that are tried, and after them.
pub struct Base {
    pub bytes: Vec<u8>,
    pub questions: Questions,
    pub expected: Answers,
    contents: Vec<Answers>,
}

impl Base {
    pub fn sample(name: &str) -> Self {
        let (_, make) = SAMPLES.iter().find(|(of, _)| *of == name).expect("a sample");
        let dir = quick_dir();
        let path = dir.path().join("f.portolan");
        make(&path);
        Self::of(std::fs::read(&path).expect("the file"), true)
    }

    /// The base of those bytes; without `changes` it is for reading only.
    pub fn of(bytes: Vec<u8>, changes: bool) -> Self {
        let open = || DatabaseOptions::new().verify(Verify::Full).from_bytes(bytes.clone());
        let db = open().expect("a whole file");
        let questions = Questions::of(&db);
        let expected = questions.ask(&db);
        assert!(!has_failed(&expected));
        let mut base = Self { bytes, questions, expected, contents: Vec::new() };
        if changes {
            let dir = quick_dir();
            let path = dir.path().join("f.portolan");
            std::fs::write(&path, &base.bytes).expect("the file");
            let db = open_writable(&path).expect("a whole file");
            base.contents.push(base.questions.ask_content(&db));
            for change in CHANGES {
                change(&db).expect("a change");
                base.contents.push(base.questions.ask_content(&db));
            }
        }
        base
    }

    /// Asks a file that was opened for reading, if it was.
    pub fn read(&self, opened: Result<Database>, faith: Faith) -> Outcome {
        let db = match opened {
            Ok(db) => db,
            Err(error) => return refused(&error, faith),
        };
        let answers = self.questions.ask(&db);
        let verified = db.verify();
        self.judge(&answers, &self.expected, faith)?;
        match verified {
            Ok(_) if !has_failed(&answers) => Ok(End::Right),
            Err(error) if !may_fail(&error, faith) => Err(format!("verify: {error:?}")),
            _ => Ok(End::Failed),
        }
    }

    /// As [`Base::read`], without the check of structure: only that nothing breaks.
    pub fn read_unchecked(&self, opened: Result<Database>) -> Outcome {
        let db = match opened {
            Ok(db) => db,
            Err(error) => return refused(&error, Faith::Lie),
        };
        let answers = self.questions.ask(&db);
        let failed = db.verify().is_err() || has_failed(&answers);
        let mut errors =
            answers.iter().filter_map(|(what, answer)| Some((what, answer.as_ref().err()?)));
        // Whatever is read, it is never the caller's fault.
        let odd = errors.find(|(_, error)| {
            (error.is_invalid_input() && !is_of_a_query(error)) || error.is_retryable()
        });
        match odd {
            Some((what, error)) => Err(format!("{what:?}: {error:?}")),
            None if failed => Ok(End::Failed),
            None => Ok(End::Right),
        }
    }

    /// Copies a file that was opened for reading, if it was, and asks the copy.
    pub fn copy(&self, opened: Result<Database>, target: &Path, faith: Faith) -> Outcome {
        let db = match opened {
            Ok(db) => db,
            Err(error) => return refused(&error, faith),
        };
        let _ = std::fs::remove_file(target);
        match db.compact_to(target) {
            Ok(_) => {}
            Err(error) if may_fail(&error, faith) => return Ok(End::Failed),
            Err(error) => return Err(format!("copy: {error:?}")),
        }
        drop(db);
        // Pages, keys and seals are made anew; whatever else was damaged is so in the copy.
        let db = match DatabaseOptions::new().verify(Verify::Touched).open_read_only(target) {
            Ok(db) => db,
            Err(error) => return Err(format!("the copy is not whole: {error:?}")),
        };
        let answers = self.questions.ask_content(&db);
        self.judge(&answers, &self.contents[0], faith)?;
        let failed = has_failed(&answers) || db.verify().is_err();
        Ok(if failed { End::Failed } else { End::Right })
    }

    /// Opens a file for writing, asks it, changes it, and asks it again, through LMDB and after.
    pub fn write(&self, path: &Path, faith: Faith) -> Outcome {
        let db = match open_writable(path) {
            Ok(db) => db,
            Err(error) => return refused(&error, faith),
        };
        let answers = self.questions.ask(&db);
        self.judge(&answers, &self.expected, faith)?;
        let mut failed = has_failed(&answers);
        let mut note = |result: Result<()>| match result {
            Ok(()) => Ok(true),
            Err(error) if may_fail(&error, faith) => {
                failed = true;
                Ok(false)
            }
            Err(error) => Err(format!("{error:?}")),
        };
        note(db.verify().map(|_| ()))?;
        let mut done = 0;
        for change in CHANGES {
            if !note(change(&db))? {
                break;
            }
            done += 1;
        }
        let answers = self.questions.ask_content(&db);
        failed |= has_failed(&answers);
        self.judge(&answers, &self.contents[done], faith)?;
        drop(db);
        // What LMDB has written must be whole as well.
        let db = match DatabaseOptions::new().verify(Verify::Touched).open_read_only(path) {
            Ok(db) => db,
            Err(error) if failed && may_fail(&error, faith) => return Ok(End::Failed),
            Err(error) => return Err(format!("what was written is not whole: {error:?}")),
        };
        let answers = self.questions.ask_content(&db);
        self.judge(&answers, &self.contents[done], faith)?;
        if failed || has_failed(&answers) || db.verify().is_err() {
            Ok(End::Failed)
        } else {
            Ok(End::Right)
        }
    }

    /// Surveys a file and repairs it. What a repair makes is whole whatever it was made of; and
    /// where it says that nothing was lost of a file that was damaged, it has every record.
    pub fn repair(&self, path: &Path, target: &Path, faith: Faith) -> Outcome {
        let _ = std::fs::remove_file(target);
        let surveyed = children::searching(|| Database::damage(path));
        let repaired = match (children::searching(|| Database::repair(path, target)), surveyed) {
            (Ok(repaired), Ok(damage)) if repaired.damage.starts_with(&damage) => repaired,
            (Err(error), _) if target.exists() => {
                return Err(format!("a repair left a file behind: {error:?}"));
            }
            (Err(error), Err(_)) => return refused(&error, faith),
            (Err(error), Ok(_)) if may_fail(&error, faith) => return Ok(End::Failed),
            (repaired, surveyed) => {
                return Err(format!("repair: {repaired:?} after {surveyed:?}"));
            }
        };
        let not_whole = |error: Error| format!("the repaired file is not whole: {error:?}");
        let db = Database::open_read_only(target).map_err(not_whole)?;
        db.verify().map_err(not_whole)?;
        if faith == Faith::Damaged && repaired.is_complete() {
            let whole = Database::from_bytes(self.bytes.clone());
            let expected = whole.and_then(|db| records(&db)).expect("a whole file");
            let found = records(&db).map_err(not_whole)?;
            if found != expected {
                return Err(format!("a repair lost something in silence: {:?}", repaired.damage));
            }
        }
        Ok(if repaired.damage.is_empty() { End::Right } else { End::Failed })
    }

    fn judge(
        &self,
        found: &Answers,
        expected: &Answers,
        faith: Faith,
    ) -> std::result::Result<(), String> {
        match faith {
            Faith::Lie => Ok(()),
            Faith::Damaged => {
                lie(found, expected).map_or(Ok(()), |lie| Err(format!("a lie: {lie}")))
            }
        }
    }
}

/// A lie about dimensions, if it is believed, makes a query of another length a wrong one; and a
/// setting whose key was changed reads like one that is not there.
fn is_of_a_query(error: &Error) -> bool {
    let absent =
        matches!(error, Error::Text(TextError::NoIndex { .. }) | Error::VectorFieldNotFound { .. });
    absent || matches!(error, Error::Vector { id: None, .. } | Error::NamedVector { id: None, .. })
}

fn may_fail(error: &Error, faith: Faith) -> bool {
    faith == Faith::Lie || is_typed(error)
}

fn refused(error: &Error, faith: Faith) -> Outcome {
    if may_fail(error, faith) { Ok(End::Refused) } else { Err(format!("open: {error:?}")) }
}

/// The records of each collection, by name.
fn records(db: &Database) -> Result<Vec<(String, Vec<Record>)>> {
    let mut all = Vec::new();
    for name in db.collections()? {
        let records = try_everything(&db.collection(&name)?, 97)?;
        all.push((name, records));
    }
    Ok(all)
}

/// What no file may make of a trial.
pub fn caught(trial: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(trial)).unwrap_or_else(|_| Err("a panic".to_owned()))
}

fn open_writable(path: &Path) -> Result<Database> {
    let options = DatabaseOptions::new().must_exist().initial_map(1 << 20);
    options.verify(Verify::Touched).maintenance(Maintenance::Manual).open(path)
}

/// The changes that are tried, in order.
const CHANGES: [fn(&Database) -> Result<()>; 3] = [upsert, delete, maintain];

fn upsert(db: &Database) -> Result<()> {
    let docs = db.collection("docs")?;
    let mut rng = Rng::new(51);
    let mut batch = docs.batch();
    // Keys of the greatest length are among them.
    let long = (0..5).map(|at| RecordId::from(format!("{at}{}", "s".repeat(479))));
    for id in long.chain([RecordId::from("stranger"), RecordId::from(7), RecordId::from(8)]) {
        let record = Record::new(id).text("u".repeat(5_000)).field("number", 7).field("tag", "t1");
        // A lie about the dimensions is no reason not to write.
        batch.upsert(record.vector(rng.vector(docs.dimensions().min(4_096))))?;
    }
    batch.commit().map(|_| ())
}

fn delete(db: &Database) -> Result<()> {
    let docs = db.collection("docs")?;
    let mut batch = docs.batch();
    (20..24).for_each(|id| batch.delete(id));
    batch.commit().map(|_| ())
}

fn maintain(db: &Database) -> Result<()> {
    db.collection("docs")?.maintain().graph_min_rows(16).run().map(|_| ())
}

#[test]
fn a_graph_of_the_samples_is_walked_by_what_is_asked() {
    let db = DatabaseOptions::new().from_bytes(Base::sample("walked").bytes);
    let docs = db.expect("a whole file").collection("docs").expect("a collection");
    let walk = || docs.search(&[0.5; 6]).ef(1).limit(1);
    for search in [walk(), walk().filter(Filter::gte("number", 2))] {
        let paths = search.run().expect("a hit").report.paths;
        assert_eq!(paths, [SearchPath::MaskedWalk]);
    }
}

//! A set to evaluate on: queries, judgments, and what must not be found, in the form of BEIR,
//! BRIGHT or ViDoRe. Eval layer; reads files, runs nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::beir::{self, Query};
use super::bright;
use super::error::{EvalError, LineProblem, SetProblem};
use super::lines::{Lines, object};
use super::metrics::Qrels;
use super::vidore;

/// How a set is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetForm {
    /// Queries with `_id` and `text`; judgments in three columns, or TREC's four.
    Beir,
    /// Queries with `id`, `query`, `gold_ids` and `excluded_ids`, which are the judgments.
    Bright,
    /// Queries with `query_id`, `query` and `language`; graded judgments as JSON lines or columns.
    Vidore,
}

impl SetForm {
    /// `beir`, `bright` or `vidore`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Beir => "beir",
            Self::Bright => "bright",
            Self::Vidore => "vidore",
        }
    }
}

impl fmt::Display for SetForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SetForm {
    type Err = ParseSetFormError;

    fn from_str(text: &str) -> Result<Self, ParseSetFormError> {
        let forms = [Self::Beir, Self::Bright, Self::Vidore];
        let found = forms.into_iter().find(|form| form.name() == text);
        found.ok_or_else(|| ParseSetFormError { text: text.to_owned() })
    }
}

/// A text that names no [`SetForm`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("{text:?} is no form of a set: use beir, bright or vidore")]
pub struct ParseSetFormError {
    /// The text.
    pub text: String,
}

/// Queries with their judgments.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EvalSet {
    /// The form that was read.
    pub form: SetForm,
    /// All queries of the file, in its order: the order of a file of query vectors. Those without
    /// judgments, and those of another language, are among them.
    pub queries: Vec<Query>,
    /// What is judged. Never empty.
    pub qrels: Qrels,
    /// Documents that are taken out of the results of a query before these are cut.
    pub excluded: BTreeMap<String, BTreeSet<String>>,
    /// Judged queries that are not among the queries: each scores 0, as the evaluator of ViDoRe
    /// has it. Empty where a language is asked for, as theirs is not known, and in the other forms,
    /// where such a query is an error.
    pub unasked: Vec<String>,
}

impl EvalSet {
    /// The set whose queries are in this file.
    pub fn reader(queries: impl Into<PathBuf>) -> SetReader {
        SetReader { queries: queries.into(), qrels: None, form: None, language: None }
    }

    /// Keeps the first `most` judged queries, in the order of the file, and no others.
    pub fn keep_first(&mut self, most: usize) {
        let judged = self.queries.iter().filter(|query| self.qrels.contains_key(&query.id));
        let kept: HashSet<&str> = judged.take(most).map(|query| query.id.as_str()).collect();
        self.qrels.retain(|id, _| kept.contains(id.as_str()));
        self.unasked.clear();
    }
}

/// Reads an [`EvalSet`].
///
/// ```
/// use portolan::eval::set::{EvalSet, SetForm};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("examples.jsonl");
/// let line = r#"{"id":"0","query":"why?","gold_ids":["a"],"excluded_ids":["b"]}"#;
/// # std::fs::write(&path, line).unwrap();
/// let set = EvalSet::reader(&path).read()?;
/// assert_eq!(set.form, SetForm::Bright);
/// assert_eq!(set.qrels["0"].grade("a"), 1);
/// assert!(set.excluded["0"].contains("b"));
/// # Ok::<(), portolan::eval::EvalError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct SetReader {
    queries: PathBuf,
    qrels: Option<PathBuf>,
    form: Option<SetForm>,
    language: Option<String>,
}

impl SetReader {
    /// The file of the judgments, in all forms but BRIGHT's.
    pub fn qrels(mut self, path: impl Into<PathBuf>) -> Self {
        self.qrels = Some(path.into());
        self
    }

    /// The form, instead of the one that the first query looks like.
    pub fn form(mut self, form: SetForm) -> Self {
        self.form = Some(form);
        self
    }

    /// Judges only the queries of this language, such as `english`; of sets in the form of ViDoRe.
    pub fn language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Reads all queries and judgments into memory.
    ///
    /// # Errors
    /// When a file cannot be read, or a line is not in form; the error names file and line. When
    /// there is no judgment at all, a judged query is missing (but see [`EvalSet::unasked`]), or no
    /// query is in the language that was asked for.
    pub fn read(&self) -> Result<EvalSet, EvalError> {
        let form = match self.form {
            Some(form) => form,
            None => form_of(&self.queries)?,
        };
        let set = match form {
            SetForm::Beir => self.beir(),
            SetForm::Bright => self.bright(),
            SetForm::Vidore => self.vidore(),
        }?;
        match set.qrels.is_empty() {
            true => {
                let path = self.qrels.as_ref().unwrap_or(&self.queries);
                Err(EvalError::set(path, SetProblem::NoJudgments))
            }
            false => Ok(set),
        }
    }

    fn judgments_file(&self, form: SetForm) -> Result<&Path, EvalError> {
        let missing = SetProblem::NoJudgmentsFile { form: form.name() };
        self.qrels.as_deref().ok_or_else(|| EvalError::set(&self.queries, missing))
    }

    fn beir(&self) -> Result<EvalSet, EvalError> {
        let form = SetForm::Beir;
        let judgments = self.judgments_file(form)?;
        let queries = beir::queries(&self.queries)?;
        self.check_language()?;
        let qrels = qrels(judgments)?;
        let known: HashSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
        if let Some(query) = qrels.keys().find(|id| !known.contains(id.as_str())) {
            let (query, judgments) = (query.clone(), judgments.to_path_buf());
            let problem = SetProblem::UnknownQuery { query, judgments };
            return Err(EvalError::set(&self.queries, problem));
        }
        Ok(EvalSet { form, queries, qrels, excluded: BTreeMap::new(), unasked: Vec::new() })
    }

    fn bright(&self) -> Result<EvalSet, EvalError> {
        let form = SetForm::Bright;
        if let Some(given) = self.qrels.clone() {
            let problem = SetProblem::JudgmentsTwice { form: form.name(), given };
            return Err(EvalError::set(&self.queries, problem));
        }
        let mut lines = Lines::open(&self.queries)?;
        let (mut queries, mut qrels) = (Vec::new(), Qrels::new());
        let mut excluded = BTreeMap::new();
        while let Some(example) = lines.next_parsed(bright::example) {
            let example = example?;
            let id = example.query.id.clone();
            let judgments = example.gold.into_iter().map(|document| (document, 1)).collect();
            if qrels.insert(id.clone(), judgments).is_some() {
                return Err(lines.error(LineProblem::DuplicateId { id }));
            }
            if !example.excluded.is_empty() {
                excluded.insert(id, example.excluded);
            }
            queries.push(example.query);
        }
        self.check_language()?;
        Ok(EvalSet { form, queries, qrels, excluded, unasked: Vec::new() })
    }

    fn vidore(&self) -> Result<EvalSet, EvalError> {
        let form = SetForm::Vidore;
        let judgments = self.judgments_file(form)?;
        let mut lines = Lines::open(&self.queries)?;
        let (mut queries, mut kept) = (Vec::new(), HashSet::new());
        let mut languages = BTreeMap::new();
        while let Some(query) = lines.next_parsed(vidore::query) {
            let (query, language) = query?;
            let id = query.id.clone();
            if languages.insert(id.clone(), language.clone()).is_some() {
                return Err(lines.error(LineProblem::DuplicateId { id }));
            }
            if self.language.is_none() || self.language == language {
                kept.insert(id);
            }
            queries.push(query);
        }
        if kept.is_empty() && !queries.is_empty() {
            return Err(self.no_such_language(languages.into_values().flatten().collect()));
        }
        let mut qrels = qrels(judgments)?;
        // Nobody tells the language of a query that is not there: it belongs to all of them alone.
        qrels.retain(|id, _| self.language.is_none() || kept.contains(id));
        let unasked = qrels.keys().filter(|id| !languages.contains_key(*id)).cloned().collect();
        Ok(EvalSet { form, queries, qrels, excluded: BTreeMap::new(), unasked })
    }

    /// Refuses a language where queries do not tell theirs.
    fn check_language(&self) -> Result<(), EvalError> {
        match self.language {
            Some(_) => Err(self.no_such_language(BTreeSet::new())),
            None => Ok(()),
        }
    }

    fn no_such_language(&self, found: BTreeSet<String>) -> EvalError {
        let wanted = self.language.clone().unwrap_or_default();
        let found = found.into_iter().collect();
        EvalError::set(&self.queries, SetProblem::NoSuchLanguage { wanted, found })
    }
}

/// The form of the first query; BEIR's if there is none.
fn form_of(path: &Path) -> Result<SetForm, EvalError> {
    let mut lines = Lines::open(path)?;
    let form = lines.next_parsed(|line| {
        let object = object(line)?;
        if object.contains_key("gold_ids") {
            Ok(SetForm::Bright)
        } else if object.contains_key("_id") || object.contains_key("text") {
            Ok(SetForm::Beir)
        } else if vidore::is_query(&object) {
            Ok(SetForm::Vidore)
        } else {
            Err(LineProblem::UnknownForm)
        }
    });
    form.unwrap_or(Ok(SetForm::Beir))
}

/// Judgments as JSON lines if the first line begins an object, else in columns.
fn qrels(path: &Path) -> Result<Qrels, EvalError> {
    let mut lines = Lines::open(path)?;
    let is_json = lines.next_parsed(|line| Ok(line.trim_start().starts_with('{')));
    if !is_json.transpose()?.unwrap_or(false) {
        return beir::qrels(path);
    }
    let mut lines = Lines::open(path)?;
    let mut qrels = Qrels::new();
    while let Some(judgment) = lines.next_parsed(vidore::judgment) {
        let (query, document, grade) = judgment?;
        beir::judge(&mut qrels, query, document, grade).map_err(|problem| lines.error(problem))?;
    }
    Ok(qrels)
}

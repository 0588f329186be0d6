//! What the children do: ten kinds of work, each a sequence of steps that its number and a seed
//! determine.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Maintenance, Metric, Record,
};

use super::{ACKNOWLEDGED, DATABASE};
use crate::common::Rng;
use crate::common::numbered::{Batches, Expected, Model, collection, last_batch};
use crate::common::process;

/// What a database holds, in the order in which it comes about; then batch 0 and so on.
pub const NOTHING: i64 = -3;
/// The file is a database.
pub const OPENED: i64 = -2;
/// The collection is there.
pub const MADE: i64 = -1;

pub const KINDS: usize = 10;
const ROLE: &str = "workload";
const KIND: &str = "PORTOLAN_TEST_KIND";
const SEED: &str = "PORTOLAN_TEST_SEED";
const STEPS: &str = "PORTOLAN_TEST_STEPS";
const DIRECTORY: &str = "PORTOLAN_TEST_DIRECTORY";

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    Batch,
    /// Folds everything; segments above so many rows get a graph.
    Maintain {
        graph_min_rows: u32,
        rebuild: bool,
    },
    /// Folds what is due.
    Due,
    /// Closes, and compacts in place.
    Compact,
    /// Closes; the next step opens again.
    Reopen,
    /// Makes another collection, fills it and deletes it.
    Scratch,
}

/// A sequence of steps.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    pub kind: usize,
    pub seed: u64,
    /// Batches at most.
    pub length: usize,
}

impl Workload {
    pub fn name(&self) -> &'static str {
        let names: [&str; KINDS] = [
            "small commits",
            "long texts",
            "deletes",
            "segments",
            "graphs",
            "graphs made anew",
            "compaction",
            "opening again",
            "other collections",
            "a bit of all",
        ];
        names[self.kind]
    }

    pub fn batches(&self) -> Batches {
        let usual =
            Batches { seed: self.seed, ids: 60, usual: 8, large: 30, deletes: 4, long_texts: 60 };
        match self.kind {
            0 | 7 => Batches { usual: 2, large: 5, ..usual },
            1 => Batches { long_texts: 2, ..usual },
            2 => Batches { deletes: 2, ids: 40, ..usual },
            4 | 5 => Batches { ids: 150, usual: 25, large: 50, deletes: 8, ..usual },
            _ => usual,
        }
    }

    /// Unsealed vectors that set off maintenance on commit, if it is automatic.
    fn threshold(&self) -> Option<u32> {
        match self.kind {
            3 => Some(12),
            9 => Some(25),
            _ => None,
        }
    }

    pub fn steps(&self) -> Vec<Step> {
        let mut rng = Rng::new(self.seed ^ 0x57E9);
        let mut steps = Vec::new();
        for number in 0..self.length {
            steps.push(Step::Batch);
            let graph = |rebuild| Step::Maintain { graph_min_rows: 20, rebuild };
            match self.kind {
                4 if number % 2 == 1 => steps.push(graph(false)),
                5 if number % 3 == 1 => steps.push(graph(rng.once_in(2))),
                6 if number % 2 == 0 => steps.push(Step::Compact),
                7 => steps.push(Step::Reopen),
                8 => steps.push(Step::Scratch),
                9 => steps.extend(match rng.below(7) {
                    0 => Some(graph(false)),
                    1 => Some(graph(true)),
                    2 => Some(Step::Due),
                    3 => Some(Step::Compact),
                    4 => Some(Step::Reopen),
                    5 => Some(Step::Scratch),
                    _ => None,
                }),
                _ => {}
            }
        }
        steps
    }

    /// What the database holds after each batch up to and with `last`.
    pub fn expected(&self, last: i64) -> Vec<Expected> {
        let mut model = Model::new();
        let batches = self.batches();
        let mut after = |number| {
            batches.apply(&mut model, number);
            Expected::of(&model)
        };
        (0..=last).map(&mut after).collect()
    }

    /// The command that plays the workload in a directory, in the test of that name.
    pub fn command(&self, test: &str, directory: &Path) -> Command {
        let mut command = process::command(test, ROLE);
        command.env(KIND, self.kind.to_string()).env(SEED, self.seed.to_string());
        command.env(STEPS, self.length.to_string()).env(DIRECTORY, directory);
        // The same calls in the same order each time.
        command.env("RAYON_NUM_THREADS", "1");
        command
    }
}

/// What the parent asked this process to do; none if it is no child.
pub fn asked() -> Option<(Workload, PathBuf)> {
    if !process::is(ROLE) {
        return None;
    }
    let variable = |name| std::env::var(name).expect("a variable of the parent");
    let number = |name| variable(name).parse().expect("a number");
    let workload = Workload {
        kind: number(KIND) as usize,
        seed: number(SEED),
        length: number(STEPS) as usize,
    };
    Some((workload, PathBuf::from(variable(DIRECTORY))))
}

/// A child at work.
pub struct Player {
    workload: Workload,
    path: PathBuf,
    acknowledged: File,
    open: Option<(Database, Collection)>,
    /// Number of the next batch, once it is known.
    next: Option<i64>,
}

impl Player {
    pub fn new(workload: Workload, directory: &Path) -> Self {
        let acknowledged = File::options()
            .create(true)
            .append(true)
            .open(directory.join(ACKNOWLEDGED))
            .expect("a file for the parent");
        Self { workload, path: directory.join(DATABASE), acknowledged, open: None, next: None }
    }

    fn acknowledge(&mut self, state: i64) {
        self.acknowledged.write_all(&state.to_le_bytes()).expect("a parent that reads");
    }

    fn close(&mut self) {
        self.open = None;
    }

    fn collection(&mut self) -> portolan::Result<Collection> {
        if self.open.is_none() {
            let options = DatabaseOptions::new().initial_map(64 * 1024);
            let maintenance = match self.workload.threshold() {
                Some(threshold) => Maintenance::Inline { threshold },
                None => Maintenance::Manual,
            };
            let db = options.maintenance(maintenance).open(&self.path)?;
            self.acknowledge(OPENED);
            let docs = collection(&db)?;
            self.acknowledge(MADE);
            self.open = Some((db, docs));
        }
        let docs = self.open.as_ref().map(|(_, docs)| docs.clone()).expect("an open database");
        if self.next.is_none() {
            self.next = Some(last_batch(&docs)? + 1);
        }
        Ok(docs)
    }

    /// Does a step. After an error it can be done again.
    ///
    /// # Errors
    /// What the library says.
    pub fn play(&mut self, step: Step) -> portolan::Result<()> {
        match step {
            Step::Batch => {
                let docs = self.collection()?;
                let number = self.next.unwrap_or_default();
                self.workload.batches().commit(&docs, number)?;
                self.acknowledge(number);
                self.next = Some(number + 1);
            }
            Step::Maintain { graph_min_rows, rebuild } => {
                let docs = self.collection()?;
                let maintain = docs.maintain().graph_min_rows(graph_min_rows);
                if rebuild {
                    maintain.rebuild().run()?
                } else {
                    maintain.run()?
                };
            }
            Step::Due => drop(self.collection()?.maintain().only_due().run()?),
            Step::Compact => {
                self.close();
                Database::compact(&self.path)?;
            }
            Step::Reopen => self.close(),
            Step::Scratch => {
                self.collection()?;
                let (db, _) = self.open.as_ref().expect("an open database");
                let options = CollectionOptions::new(2, Metric::Cosine);
                let scratch = db.collection_or_create("scratch", options)?;
                scratch.upsert(Record::new("one").text("of many").vector([1.0, 0.5]))?;
                db.delete_collection("scratch")?;
            }
        }
        Ok(())
    }

    /// Plays all steps as an application would while calls fail: it tries again, then opens the
    /// file again, and gives up only if calls fail `for_good`.
    pub fn play_stubbornly(&mut self, for_good: bool) {
        for step in self.workload.steps() {
            let Err(first) = self.play(step) else { continue };
            self.expect_sense(step, &first);
            // Once more with the same handle, which may be of no use any more.
            let Err(second) = self.play(step) else { continue };
            self.expect_sense(step, &second);
            self.close();
            // Other work first: the same again would write the same pages.
            match self.play(Step::Scratch).and_then(|()| self.play(step)) {
                Ok(()) => {}
                Err(third) if for_good => return self.expect_sense(step, &third),
                Err(third) => panic!("{step:?} fails for good: {first}; {second}; {third}"),
            }
        }
    }

    /// A fault of the system is not taken for damage of the file, nor for a mistake of the caller,
    /// and what can be read is whole.
    fn expect_sense(&self, step: Step, error: &portolan::Error) {
        assert!(!error.is_corruption() && !error.is_invalid_input(), "{step:?}: {error:?}");
        if let Some(Err(error)) = self.open.as_ref().map(|(db, _)| db.verify()) {
            assert!(!error.is_corruption(), "after {step:?}: {error:?}");
        }
    }
}

//! An embedder whose every call is decided by a closure, and that tells how it was called.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use portolan::{BoxFuture, Cost, Embedded, Embedder, ModelContract, Role, StageError};

use super::models::bag_of_words;

/// What the call of a number and with these texts gets: nothing is an answer.
type Script = Box<dyn Fn(usize, &[&str]) -> Result<(), StageError> + Send + Sync>;
/// Whether the call of that number may answer, given how many have begun.
type Wait = Box<dyn Fn(usize, usize) -> bool + Send + Sync>;

pub struct Scripted {
    script: Script,
    wait: Wait,
    begun: AtomicUsize,
    /// Calls, and bytes of their texts, that are under way; and the most there were.
    under_way: Mutex<[(usize, usize); 2]>,
    /// Texts that were embedded, in the order of the answers.
    pub embedded: Mutex<Vec<String>>,
    /// Deadlines that were given.
    pub deadlines: Mutex<Vec<Option<Instant>>>,
    /// The name under which it answers, if it cuts a text of each call.
    cutting: Option<&'static str>,
}

impl Scripted {
    pub fn new(
        script: impl Fn(usize, &[&str]) -> Result<(), StageError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            script: Box::new(script),
            wait: Box::new(|_, _| false),
            begun: AtomicUsize::new(0),
            under_way: Mutex::default(),
            embedded: Mutex::default(),
            deadlines: Mutex::default(),
            cutting: None,
        }
    }

    /// Answers under another name, and tells that one text of each call was cut.
    pub fn cutting(mut self, model: &'static str) -> Self {
        self.cutting = Some(model);
        self
    }

    /// Answers the call of a number only when this is false; it gets how many have begun.
    pub fn while_(mut self, wait: impl Fn(usize, usize) -> bool + Send + Sync + 'static) -> Self {
        self.wait = Box::new(wait);
        self
    }

    pub fn calls(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Most calls at once, and most bytes at once.
    pub fn most(&self) -> (usize, usize) {
        self.under_way.lock().expect("the counts")[1]
    }

    pub fn times(&self, text: &str) -> usize {
        self.embedded.lock().expect("the log").iter().filter(|seen| *seen == text).count()
    }
}

impl Embedder for Scripted {
    fn contract(&self) -> ModelContract {
        ModelContract::new("test/scripted")
    }

    fn embed<'a>(
        &'a self,
        texts: &'a [&'a str],
        _role: Role,
        deadline: Option<Instant>,
    ) -> BoxFuture<'a, Result<Embedded, StageError>> {
        Box::pin(async move {
            let call = self.begun.fetch_add(1, Ordering::SeqCst);
            self.deadlines.lock().expect("the log").push(deadline);
            let bytes: usize = texts.iter().map(|text| text.len()).sum();
            {
                let mut counts = self.under_way.lock().expect("the counts");
                counts[0] = (counts[0].0 + 1, counts[0].1 + bytes);
                counts[1] = (counts[1].0.max(counts[0].0), counts[1].1.max(counts[0].1));
            }
            while (self.wait)(call, self.calls()) {
                tokio::task::yield_now().await;
            }
            {
                let mut counts = self.under_way.lock().expect("the counts");
                counts[0] = (counts[0].0 - 1, counts[0].1 - bytes);
            }
            (self.script)(call, texts)?;
            let seen = texts.iter().map(|text| (*text).to_owned());
            self.embedded.lock().expect("the log").extend(seen);
            let vectors = texts.iter().map(|text| bag_of_words(text)).collect();
            let cost = Cost::new().requests(2, 1).tokens(texts.len() as u64).bytes(10, 20);
            let served = self.cutting.map(str::to_owned);
            let cut = usize::from(served.is_some());
            Ok(Embedded::new(vectors).cost(cost).likely_truncated(cut).served_model(served))
        })
    }

    fn batch_size(&self) -> usize {
        8
    }
}

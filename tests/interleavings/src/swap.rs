//! The views of `src/db/views.rs`: searches take that of their version, while commits publish
//! others, drop what is kept of the ones before, and move the map.

use std::convert::Infallible;

use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use shuttle::sync::{Arc, Mutex, Weak};
use shuttle::thread::{self, JoinHandle};

use super::gate::{Gate, Ticket};
use super::queue::Queue;
use super::views::Views;
use super::{Notes, check, join};

/// A version of the file, as a search has it open.
struct Snapshot {
    version: u64,
    /// How often the map had moved then.
    moves: usize,
    _ticket: Ticket,
}

/// A view of a space, which keeps its version open.
struct View {
    space: u32,
    snapshot: Arc<Snapshot>,
}

/// A file that is open: a version that is the newest, and a map that moves.
#[derive(Default)]
struct File {
    gate: Arc<Gate>,
    views: Arc<Views<View>>,
    /// Held by the one who writes.
    writer: Mutex<()>,
    newest: AtomicU64,
    moving: AtomicBool,
    moves: AtomicUsize,
    /// Whether each commit finds the map full.
    is_full: bool,
    /// Whether views are to be copied.
    is_copied: bool,
    queue: Queue<Weak<View>>,
    threads: Notes<JoinHandle<()>>,
    opened: Notes<Weak<Snapshot>>,
    /// Space and version of each view that was built, and of each that was kept, in turn.
    built: Notes<(u32, u64)>,
    kept: Notes<(u32, u64)>,
}

impl File {
    fn open(self) -> Arc<Self> {
        let views = Arc::clone(&self.views);
        self.gate.on_evict(Box::new(move || views.clear()));
        Arc::new(self)
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        let ticket = self.gate.enter();
        let (version, moves) = (self.newest.load(SeqCst), self.moves.load(SeqCst));
        let snapshot = Arc::new(Snapshot { version, moves, _ticket: ticket });
        self.opened.lock().unwrap().push(Arc::downgrade(&snapshot));
        snapshot
    }

    /// A search of a space.
    fn search(self: &Arc<Self>, space: u32) {
        let snapshot = self.snapshot();
        self.read(&snapshot);
        let view = self.view(space, &snapshot);
        let found = (view.space, view.snapshot.version);
        assert_eq!(found, (space, snapshot.version), "the view of another version or space");
        // From here on it is the view that keeps the map where it is.
        drop(snapshot);
        self.read(&view.snapshot);
        self.read(&view.snapshot);
    }

    fn view(self: &Arc<Self>, space: u32, snapshot: &Arc<Snapshot>) -> Arc<View> {
        let at = (space, snapshot.version);
        let build = || {
            self.read(snapshot);
            self.built.lock().unwrap().push(at);
            Ok::<_, Infallible>(View { space, snapshot: Arc::clone(snapshot) })
        };
        let attend = |view: &Arc<View>| {
            self.kept.lock().unwrap().push(at);
            if self.is_copied {
                self.queue.line_up(space, Arc::downgrade(view), || self.start());
            }
        };
        self.views.get(space, snapshot.version, build, attend).unwrap()
    }

    /// Reads what is open; others have a turn before each half of it.
    fn read(&self, snapshot: &Snapshot) {
        assert!(!self.moving.load(SeqCst), "the map moves under a reader");
        assert_eq!(self.moves.load(SeqCst), snapshot.moves, "the map moved under a reader");
    }

    /// Starts the thread that copies views.
    fn start(self: &Arc<Self>) -> bool {
        let file = Arc::clone(self);
        let thread = thread::spawn(move || {
            while let Some((_, view)) = file.queue.take() {
                if let Some(view) = view.upgrade() {
                    file.read(&view.snapshot);
                }
            }
        });
        self.threads.lock().unwrap().push(thread);
        true
    }

    /// A commit: others that write wait, and what is kept of the version before goes.
    fn commit(&self) {
        let writing = self.writer.lock().unwrap();
        if self.is_full {
            let closed = self.gate.close();
            assert!(!self.moving.swap(true, SeqCst), "two move the map at once");
            self.moves.fetch_add(1, SeqCst);
            self.moving.store(false, SeqCst);
            drop(closed);
        }
        self.newest.fetch_add(1, SeqCst);
        drop(writing);
        self.views.clear();
    }

    /// The versions that anybody has open.
    fn versions(&self) -> Vec<u64> {
        let opened = self.opened.lock().unwrap();
        opened.iter().filter_map(Weak::upgrade).map(|snapshot| snapshot.version).collect()
    }

    /// After a search of the newest version, by the only thread that is left, nothing keeps an
    /// older one open, whatever the space; once the file is closed, nothing is open.
    fn end(self: &Arc<Self>) {
        self.search(0);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        join(threads);
        assert!(!self.queue.is_busy() && self.queue.waiting().is_empty());
        let newest = self.newest.load(SeqCst);
        let versions = self.versions();
        assert!(!versions.is_empty(), "the view of the newest version is not kept");
        assert!(versions.iter().all(|version| *version == newest), "an older version is kept");
        drop(self.gate.close());
        assert!(self.versions().is_empty(), "a view is kept of a file that is closed");
    }
}

/// Threads of which each searches these spaces in turn, and threads that commit.
fn run(file: File, searches: &[&'static [u32]], commits: usize) {
    let file = file.open();
    let mut threads = Vec::new();
    for spaces in searches.iter().copied() {
        let file = Arc::clone(&file);
        threads.push(thread::spawn(move || spaces.iter().for_each(|space| file.search(*space))));
    }
    for _ in 0..commits {
        let file = Arc::clone(&file);
        threads.push(thread::spawn(move || file.commit()));
    }
    join(threads);
    assert_eq!(file.newest.load(SeqCst), commits as u64);
    file.end();
}

#[test]
fn a_search_gets_the_view_of_its_version_whatever_is_published_meanwhile() {
    check(|| run(File::default(), &[&[0, 0], &[0], &[1]], 2));
}

#[test]
fn the_map_does_not_move_under_a_view_that_is_searched_and_everybody_ends() {
    check(|| run(File { is_full: true, ..File::default() }, &[&[0, 1], &[1, 0]], 2));
}

#[test]
fn the_map_does_not_move_under_a_view_that_is_copied_and_everybody_ends() {
    check(|| {
        let file = File { is_full: true, is_copied: true, ..File::default() };
        run(file, &[&[0, 1], &[1]], 1);
    });
}

#[test]
fn searches_of_the_newest_version_share_one_view_that_no_late_one_replaces() {
    check(|| {
        let file = File::default().open();
        let mut threads = Vec::new();
        for _ in 0..3 {
            let file = Arc::clone(&file);
            threads.push(thread::spawn(move || (0..2).for_each(|_| file.search(0))));
        }
        // Another process commits: nobody drops the views of this one.
        for _ in 0..2 {
            file.newest.fetch_add(1, SeqCst);
        }
        join(threads);
        file.end();
        let kept = file.kept.lock().unwrap();
        assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "replaced by a late one: {kept:?}");
        let built = file.built.lock().unwrap();
        let newest = built.iter().filter(|(_, version)| *version == 2).count();
        assert_eq!(newest, 1, "views of one version were built more than once");
    });
}

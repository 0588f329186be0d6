//! The gate of `src/storage/gate.rs`: the map must not move under a reader, and nobody may wait for
//! ever.

use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::check;
use super::gate::{Gate, Ticket};

/// A map that moves, the view that queries keep of it, and the gate between.
#[derive(Default)]
struct Map {
    gate: Arc<Gate>,
    view: Arc<Mutex<Option<Arc<Ticket>>>>,
    moving: AtomicBool,
    moves: AtomicUsize,
}

impl Map {
    fn new() -> Arc<Self> {
        let map = Self::default();
        let view = Arc::clone(&map.view);
        map.gate.on_evict(Box::new(move || drop(view.lock().unwrap().take())));
        Arc::new(map)
    }

    /// A query: it reads the map through the view, or makes one, and keeps it for the next.
    fn query(&self) {
        let kept = self.view.lock().unwrap().clone();
        let view = match kept {
            Some(view) => view,
            None => Arc::new(self.gate.enter()),
        };
        let before = self.moves.load(SeqCst);
        assert!(!self.moving.load(SeqCst), "the map moves under a reader");
        *self.view.lock().unwrap() = Some(Arc::clone(&view));
        thread::yield_now();
        assert!(!self.moving.load(SeqCst), "the map moves under a reader");
        assert_eq!(self.moves.load(SeqCst), before, "the map moved under a reader");
        drop(view);
    }

    /// What a writer does whose map is full.
    fn grow(&self) {
        let closed = self.gate.close();
        assert!(!self.moving.swap(true, SeqCst), "two move the map at once");
        thread::yield_now();
        self.moves.fetch_add(1, SeqCst);
        self.moving.store(false, SeqCst);
        drop(closed);
    }
}

/// So many threads that query twice, and that grow once.
fn run(queries: usize, grows: usize) {
    let map = Map::new();
    let mut threads = Vec::new();
    for _ in 0..queries {
        let map = Arc::clone(&map);
        threads.push(thread::spawn(move || (0..2).for_each(|_| map.query())));
    }
    for _ in 0..grows {
        let map = Arc::clone(&map);
        threads.push(thread::spawn(move || map.grow()));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(map.moves.load(SeqCst), grows);
}

#[test]
fn the_map_does_not_move_under_queries_that_share_a_view() {
    check(|| run(3, 1));
}

#[test]
fn two_that_move_the_map_take_turns_and_everybody_ends() {
    check(|| run(2, 2));
}

#[test]
fn a_reader_waits_at_a_closed_gate_and_is_let_in() {
    check(|| {
        let map = Map::new();
        let closed = map.gate.close();
        let reader = thread::spawn({
            let map = Arc::clone(&map);
            move || map.query()
        });
        thread::yield_now();
        map.moves.fetch_add(1, SeqCst);
        drop(closed);
        reader.join().unwrap();
    });
}

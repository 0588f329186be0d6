//! The queue of `src/db/queue.rs`: a view that comes while the thread finds nothing left to do is
//! either seen by it or starts the next one, and there are never two.

use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, Ordering::SeqCst};
use shuttle::thread::{self, JoinHandle};

use super::queue::Queue;
use super::{Notes, check, join};

/// Views that come to be copied, by numbers of their own, and the threads that copy them.
#[derive(Default)]
struct Copies {
    queue: Queue<usize>,
    /// Whether the next thread cannot be had.
    refused: AtomicBool,
    copying: AtomicBool,
    copied: Notes<(u32, usize)>,
    threads: Notes<JoinHandle<()>>,
}

impl Copies {
    /// A view comes.
    fn come(self: &Arc<Self>, space: u32, view: usize) {
        self.queue.line_up(space, view, || {
            if self.refused.swap(false, SeqCst) {
                return false;
            }
            let copies = Arc::clone(self);
            let thread = thread::spawn(move || copies.copy());
            self.threads.lock().unwrap().push(thread);
            true
        });
    }

    /// What a thread does.
    fn copy(&self) {
        while let Some(view) = self.queue.take() {
            assert!(!self.copying.swap(true, SeqCst), "two threads copy at once");
            self.copied.lock().unwrap().push(view);
            self.copying.store(false, SeqCst);
        }
    }

    /// Two views of each of two spaces come, from two threads.
    fn run(self: &Arc<Self>) -> [JoinHandle<()>; 2] {
        [0, 1].map(|space| {
            let copies = Arc::clone(self);
            thread::spawn(move || (1..=2).for_each(|view| copies.come(space, view)))
        })
    }

    /// Nobody comes any more: the threads end, and leave nothing.
    fn end(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        join(threads);
        assert!(!self.queue.is_busy(), "a thread that has ended keeps others from starting");
        assert!(self.queue.waiting().is_empty(), "a view waits for ever");
    }

    /// The views of a space that were copied, in turn.
    fn of(&self, space: u32) -> Vec<usize> {
        let copied = self.copied.lock().unwrap();
        copied.iter().filter(|(of, _)| *of == space).map(|(_, view)| *view).collect()
    }

    /// The newest view of each space was copied; the one before it, if it was, earlier.
    fn assert_all_are_copied(&self) {
        for space in [0, 1] {
            let views = self.of(space);
            assert!(views == [1, 2] || views == [2], "of space {space} were copied: {views:?}");
        }
    }
}

#[test]
fn a_view_that_comes_while_the_thread_ends_is_copied_all_the_same() {
    check(|| {
        let copies = Arc::new(Copies::default());
        join(copies.run());
        copies.end();
        copies.assert_all_are_copied();
    });
}

#[test]
fn a_view_for_which_there_is_no_thread_is_copied_by_that_of_the_next() {
    check(|| {
        let copies = Copies { refused: AtomicBool::new(true), ..Copies::default() };
        let copies = Arc::new(copies);
        join(copies.run());
        copies.end();
        copies.assert_all_are_copied();
    });
}

#[test]
fn once_copies_are_wanted_no_more_nothing_waits_and_a_later_view_is_copied() {
    check(|| {
        let copies = Arc::new(Copies::default());
        let threads = copies.run();
        copies.queue.clear();
        join(threads);
        copies.end();
        copies.come(2, 1);
        copies.end();
        assert_eq!(copies.of(2), [1]);
    });
}

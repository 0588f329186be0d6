//! Which views get copies: by mode, by memory, and by what happens while others are copied.

use std::cell::Cell;

use super::*;
use crate::db::{CollectionOptions, VectorField};
use crate::record::Record;
use crate::vectors::Metric;

/// Two collections, each with a named field: four spaces, each with a segment of 100 rows.
fn filled(dir: &tempfile::TempDir) -> (Database, [Collection; 2]) {
    let db = Database::open(dir.path().join("r.portolan")).unwrap();
    let docs = ["a", "b"].map(|name| {
        let field = VectorField::new(4, Metric::L2);
        let options = CollectionOptions::new(4, Metric::L2).vector_field("other", field);
        let docs = db.create_collection(name, options).unwrap();
        put(&docs, 0..100);
        docs
    });
    (db, docs)
}

/// Stores records, and folds them: into a segment of their own if there is a larger one.
fn put(docs: &Collection, ids: std::ops::Range<i64>) {
    let mut batch = docs.batch();
    for id in ids {
        let vector = vec![id as f32; 4];
        let record = Record::new(id).vector(vector.clone());
        batch.upsert(record.named_vector("other", vector)).unwrap();
    }
    batch.commit().unwrap();
    docs.maintain().only_due().run().unwrap();
}

/// The views that searches use now, of the default vectors and of the named field.
fn views_of(docs: &Collection) -> Vec<Arc<View>> {
    let snapshot = docs.inner.snapshot().unwrap();
    let spaces = docs.spaces(snapshot.as_ref()).unwrap();
    let mut views = Vec::new();
    for space in spaces {
        views.push(docs.view_of(snapshot.as_ref(), space).unwrap());
    }
    views
}

/// Whether the segments are copied, which must be so many.
fn is_resident(view: &View, segments: usize) -> bool {
    assert_eq!(view.segments.len(), segments);
    view.segments.iter().all(Segment::is_resident)
}

fn is_in_place(view: &View) -> bool {
    !view.segments.iter().any(Segment::is_resident)
}

/// Whether a thread was started since this was asked; waits for its end.
fn was_copied_in_background(residents: &Residents) -> bool {
    let thread = residents.thread.lock().unwrap().take();
    let Some(thread) = thread else { return false };
    thread.join().unwrap();
    assert!(!residents.queue.is_busy() && residents.queue.waiting().is_empty());
    true
}

/// From now on as while a thread is copying, which is up to the test.
fn begin_copying(residents: &Residents) {
    residents.queue.line_up(u32::MAX, Weak::new(), || true);
    assert!(matches!(residents.queue.take(), Some((u32::MAX, _))));
}

#[test]
fn collections_and_fields_that_are_searched_at_once_are_all_copied_in_background() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs) = filled(&dir);
    let search = |docs: &Collection| {
        assert_eq!(docs.search(&[1.0; 4]).run().unwrap().len(), 10);
        assert_eq!(docs.search(&[1.0; 4]).field("other").run().unwrap().len(), 10);
    };
    // The thread ends before, between or after the searches.
    for _ in 0..20 {
        db.set_residency(Residency::Resident);
        std::thread::scope(|scope| {
            for docs in &docs {
                scope.spawn(move || search(docs));
            }
        });
        assert!(was_copied_in_background(&db.inner.residents));
        for docs in &docs {
            assert!(views_of(docs).iter().all(|view| is_resident(view, 1)));
        }
        // The views had their copies already: nothing was left to do.
        assert!(!was_copied_in_background(&db.inner.residents));
        db.set_residency(Residency::Mapped);
    }
}

#[test]
fn what_is_first_searched_in_a_shipped_file_during_a_copy_is_copied_after_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(&dir));
    let db = Database::open_read_only(dir.path().join("r.portolan")).unwrap();
    let docs = ["a", "b"].map(|name| db.collection(name).unwrap());
    let residents = &db.inner.residents;
    db.set_residency(Residency::Resident);
    begin_copying(residents);
    let views: Vec<Arc<View>> = docs.iter().flat_map(views_of).collect();
    assert!(!was_copied_in_background(residents));
    assert_eq!(residents.queue.waiting().len(), 4);
    assert!(views.iter().all(|view| is_in_place(view)));
    residents.copy_in_background(available_memory);
    assert!(views.iter().all(|view| is_resident(view, 1)));
    assert!(!residents.queue.is_busy());
}

#[test]
fn the_view_of_a_commit_during_a_copy_is_copied_in_place_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let (db, [docs, _]) = filled(&dir);
    let residents = &db.inner.residents;
    db.set_residency(Residency::Resident);
    begin_copying(residents);
    assert_eq!(views_of(&docs).len(), 2);
    let (space, view) = residents.queue.take().unwrap();
    let field = residents.queue.waiting()[0];
    assert_eq!((space, residents.queue.waiting().len()), (docs.id, 1));
    put(&docs, 100..110);
    let newest = views_of(&docs);
    // What is copied now waits once more, behind the field that waited all the time.
    assert_eq!(residents.queue.waiting(), [field, docs.id]);
    assert!(view.upgrade().is_none());
    residents.copy_view(space, &view, available_memory);
    assert!(newest.iter().all(|view| is_in_place(view)));
    residents.copy_in_background(available_memory);
    assert!(newest.iter().all(|view| is_resident(view, 2)));
}

#[test]
fn after_a_commit_only_segments_that_are_new_are_left_to_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (db, [docs, _]) = filled(&dir);
    db.set_residency(Residency::Resident);
    assert_eq!(views_of(&docs).len(), 2);
    assert!(was_copied_in_background(&db.inner.residents));
    begin_copying(&db.inner.residents);
    put(&docs, 100..110);
    for view in views_of(&docs) {
        let resident = view.segments.iter().filter(|segment| segment.is_resident());
        assert_eq!((resident.count(), view.segments.len()), (1, 2));
    }
    db.inner.residents.copy_in_background(available_memory);
    assert!(views_of(&docs).iter().all(|view| is_resident(view, 2)));
}

#[test]
fn the_copy_of_a_segment_that_went_while_it_was_made_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (db, [docs, _]) = filled(&dir);
    let residents = &db.inner.residents;
    db.set_residency(Residency::Resident);
    begin_copying(residents);
    // As a search that goes on during the commit.
    let held = views_of(&docs);
    let (space, view) = residents.queue.take().unwrap();
    put(&docs, 100..300);
    let newest = views_of(&docs);
    residents.copy_view(space, &view, available_memory);
    assert!(is_resident(&held[0], 1) && is_in_place(&newest[0]));
    assert!(residents.lock().copies.values().all(Option::is_none));
    residents.copy_in_background(available_memory);
    assert!(newest.iter().all(|view| is_resident(view, 1)));
}

#[test]
fn from_the_map_nothing_is_copied_in_background() {
    let dir = tempfile::tempdir().unwrap();
    let (db, [docs, _]) = filled(&dir);
    let residents = &db.inner.residents;
    for set in [false, true] {
        if set {
            db.set_residency(Residency::Mapped);
        }
        let views = views_of(&docs);
        assert!(!was_copied_in_background(residents));
        assert!(residents.queue.waiting().is_empty());
        assert!(views.iter().all(|view| is_in_place(view)));
    }
}

#[test]
fn what_waits_or_is_being_copied_when_copies_are_wanted_no_more_stays_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let (db, [docs, _]) = filled(&dir);
    let residents = &db.inner.residents;
    db.set_residency(Residency::Resident);
    begin_copying(residents);
    let views = views_of(&docs);
    let (space, view) = residents.queue.take().unwrap();
    residents.set(Residency::Auto);
    // After it was decided to copy, before the copy is there.
    residents.copy_view(space, &view, || {
        db.set_residency(Residency::Mapped);
        Some(u64::MAX)
    });
    residents.copy_in_background(available_memory);
    assert!(views.iter().all(|view| is_in_place(view)));
    assert!(residents.lock().copies.is_empty());
}

#[test]
fn copies_below_a_quarter_of_the_available_memory_are_wanted_automatically() {
    let wants = |bytes: u64, available: Option<u64>| Residency::Auto.wants(bytes, || available);
    assert!(wants(24, Some(100)));
    assert!(!wants(25, Some(100)));
    assert!(!wants(0, Some(0)));
    assert!(!wants(0, None), "a system that does not tell has no huge pages");
    assert!(Residency::Resident.wants(u64::MAX, || None));
    assert!(!Residency::Mapped.wants(0, || Some(u64::MAX)));
}

#[test]
fn views_are_copied_automatically_where_the_system_tells_of_enough_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (db, [docs, _]) = filled(&dir);
    db.set_residency(Residency::Auto);
    let views = views_of(&docs);
    let enough = Residency::Auto.wants(bytes(&views[0]), available_memory);
    assert_eq!(was_copied_in_background(&db.inner.residents), enough);
    assert!(views.iter().all(|view| is_resident(view, 1) == enough));
}

#[test]
fn what_waits_is_decided_by_the_memory_that_is_left_when_its_turn_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs) = filled(&dir);
    let residents = &db.inner.residents;
    db.set_residency(Residency::Resident);
    begin_copying(residents);
    let views: Vec<Arc<View>> = docs.iter().flat_map(views_of).collect();
    residents.set(Residency::Auto);
    let least = 4 * (bytes(&views[0]) + 1);
    let asked = Cell::new(0);
    residents.copy_in_background(|| {
        asked.set(asked.get() + 1);
        Some(if asked.get() == 2 { least - 1 } else { least })
    });
    let resident: Vec<bool> = views.iter().map(|view| is_resident(view, 1)).collect();
    assert_eq!(resident, [true, false, true, true]);
    assert_eq!(asked.get(), 4);
}

#[test]
fn the_thread_of_a_database_that_is_dropped_ends_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (db, docs) = filled(&dir);
    let residents = Arc::clone(&db.inner.residents);
    db.set_residency(Residency::Resident);
    begin_copying(&residents);
    assert_eq!(docs.iter().flat_map(views_of).count(), 4);
    let (space, view) = residents.queue.take().unwrap();
    drop((db, docs));
    residents.copy_view(space, &view, available_memory);
    residents.copy_in_background(available_memory);
    assert!(residents.lock().copies.values().all(Option::is_none));
    assert!(!residents.queue.is_busy());

    let db = Database::open_existing(dir.path().join("r.portolan")).unwrap();
    let residents = Arc::clone(&db.inner.residents);
    db.set_residency(Residency::Resident);
    let docs = db.collection("a").unwrap();
    assert_eq!(views_of(&docs).len(), 2);
    drop((db, docs));
    assert!(was_copied_in_background(&residents));
    assert_eq!(Arc::strong_count(&residents), 1);
}

//! Files as applications ship and share them: on media that cannot be written, under odd names,
//! of another user, read by several processes beside a writer.
#![allow(clippy::expect_used, reason = "a test says what it expects")]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::process::{Role, command, is, tell, wait_for_parent};
use common::{content, samples};
use portolan::{
    Collection, CollectionOptions, Database, DatabaseOptions, Maintenance, Metric, Record, Value,
    Verify,
};

const PLACE: &str = "PORTOLAN_TEST_PATH";

fn place() -> PathBuf {
    std::env::var_os(PLACE).expect("a path").into()
}

/// Tells that a test cannot do its work here. A failure with `PORTOLAN_REQUIRE_MOUNT=1`: nobody
/// reads the log of a test that passes.
#[cfg(unix)]
fn skip(reason: impl std::fmt::Display) {
    let required = std::env::var_os("PORTOLAN_REQUIRE_MOUNT").is_some_and(|set| set == "1");
    assert!(!required, "PORTOLAN_REQUIRE_MOUNT is set, but {reason}");
    println!("skipped: {reason}");
}

/// Names of all files in the directory of a path.
fn listing(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.parent().expect("a directory")).expect("a listing");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Reads a shipped file in every way, which leaves nothing beside it.
fn read(path: &Path) {
    let before = listing(path);
    let mut contents = Vec::new();
    for verify in [Verify::None, Verify::Touched, Verify::Full] {
        let options = || DatabaseOptions::new().verify(verify);
        let db = options().open_read_only(path).expect("a database");
        let docs = db.collection("docs").expect("a collection");
        assert_eq!(docs.search(&[0.5; 6]).limit(5).run().expect("a search").len(), 5);
        contents.push(content(&db));
        let bytes = std::fs::read(path).expect("the file");
        contents.push(content(&options().from_bytes(bytes).expect("a database")));
        assert_eq!(listing(path), before, "something was left beside the file");
    }
    assert!(contents.windows(2).all(|two| two[0] == two[1]), "the ways differ");
}

/// A directory with a shipped file.
fn shipped(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    samples::dense(&path);
    (dir, path)
}

#[test]
fn a_file_is_read_under_a_name_with_spaces_and_of_other_scripts() {
    let (dir, path) = shipped("plain.portolan");
    for name in ["a b  c", "\u{e9}t\u{e9} \u{4e16}\u{754c}", "-dash", "\u{1f5fa}", "quote's \"n\""]
    {
        let folder = dir.path().join(name);
        std::fs::create_dir(&folder).expect("a directory");
        let named = folder.join(format!("{name}.portolan"));
        std::fs::copy(&path, &named).expect("a copy");
        read(&named);
        let db = Database::open(&named).expect("a database");
        let docs = db.collection("docs").expect("a collection");
        docs.upsert(Record::new("new")).expect("a commit");
        drop((docs, db));
        read(&named);
    }
}

#[cfg(unix)]
mod users {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;

    use portolan::{Error, StorageError};

    use super::*;

    const ROLE: &str = "another user";
    /// A user who owns nothing, on most systems.
    const NOBODY: u32 = 65_534;

    fn mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// A directory that all may enter.
    fn open_dir() -> Option<tempfile::TempDir> {
        let dir = tempfile::tempdir().expect("a directory");
        mode(dir.path(), 0o755);
        Some(dir)
    }

    /// Runs a test as another user where this is the one who may, else as this one; skipped if that
    /// user cannot start it.
    fn as_another(test: &str, path: &Path) {
        let mut command = command(test, ROLE);
        command.env(PLACE, path).current_dir("/");
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        match command.output() {
            Ok(output) => {
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(
                    output.status.success() && told.contains("@portolan read"),
                    "{told}{}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            Err(error) => skip(format_args!("another user cannot run the test: {error}")),
        }
    }

    /// Who may not write gets a typed error, and nothing is left or changed.
    fn cannot_write(path: &Path) {
        let before = (listing(path), std::fs::read(path).expect("the file"));
        for opened in [
            Database::open(path),
            DatabaseOptions::new().verify(Verify::Touched).open(path),
            Database::compact(path).map(|_| unreachable!("nobody may")),
        ] {
            let error = opened.expect_err("nobody may");
            let refused = matches!(&error, Error::Storage(StorageError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied);
            assert!(refused && !error.is_corruption(), "{error:?}");
        }
        assert!((listing(path), std::fs::read(path).expect("the file")) == before);
    }

    /// A file of mode 0444, in a directory that others may enter.
    fn file_to_read() -> Option<(tempfile::TempDir, PathBuf)> {
        let dir = open_dir()?;
        let path = dir.path().join("f.portolan");
        samples::dense(&path);
        mode(&path, 0o444);
        Some((dir, path))
    }

    fn child() {
        let path = place();
        read(&path);
        cannot_write(&path);
        tell("read");
    }

    #[test]
    fn a_file_that_nobody_may_write_is_read_from_a_directory_that_nobody_may_write() {
        if is(ROLE) {
            return child();
        }
        let Some((dir, path)) = file_to_read() else { return };
        mode(dir.path(), 0o555);
        let test =
            "users::a_file_that_nobody_may_write_is_read_from_a_directory_that_nobody_may_write";
        as_another(test, &path);
        mode(dir.path(), 0o755);
    }

    #[test]
    fn a_file_of_mode_0444_is_read_from_a_directory_of_another_user() {
        if is(ROLE) {
            return child();
        }
        let Some((_dir, path)) = file_to_read() else { return };
        let test = "users::a_file_of_mode_0444_is_read_from_a_directory_of_another_user";
        as_another(test, &path);
        // To its owner it is as any other.
        read(&path);
    }
}

#[cfg(target_os = "linux")]
mod read_only_media {
    use super::*;

    const ROLE: &str = "on read-only media";

    #[test]
    fn a_file_is_read_from_a_read_only_file_system() {
        if is(ROLE) {
            let path = place();
            assert!(std::fs::File::create(path.with_extension("x")).is_err(), "it can be written");
            read(&path);
            assert!(Database::open(&path).is_err());
            tell("read");
            return;
        }
        let (dir, path) = shipped("f.portolan");
        let media = dir.path().join("media");
        std::fs::create_dir(&media).expect("a directory");
        let test = "read_only_media::a_file_is_read_from_a_read_only_file_system";
        let plain = command(test, ROLE);
        // A mount of the child's own: it is gone with the child.
        let script = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1/f.portolan\" && \
             mount -o remount,ro \"$1\" || { echo cannot mount; exit 77; }; \
             shift 2; exec \"$@\"";
        let mut reason = String::new();
        for flags in [&["--mount"][..], &["--map-root-user", "--mount"]] {
            let mut command = Command::new("unshare");
            command.args(flags).args(["sh", "-c", script, "sh"]).arg(&media).arg(&path);
            command.arg(plain.get_program()).args(plain.get_args());
            command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.env(PLACE, media.join("f.portolan"));
            match command.output() {
                Ok(output) if output.status.success() => {
                    let told = String::from_utf8_lossy(&output.stdout).into_owned();
                    assert!(told.contains("@portolan read"), "{told}");
                    return;
                }
                Ok(output) => {
                    let told = [output.stdout, output.stderr].concat();
                    reason = String::from_utf8_lossy(&told).into_owned();
                    assert!(!reason.contains("panicked"), "{reason}");
                }
                Err(error) => reason = error.to_string(),
            }
        }
        skip(format_args!("no file system can be mounted: {}", reason.trim()));
    }
}

fn writer(path: &Path) -> (Database, Collection) {
    let options = DatabaseOptions::new().maintenance(Maintenance::Manual).initial_map(1 << 20);
    let db = options.open(path).expect("a database");
    let docs = db.collection_or_create("docs", CollectionOptions::new(4, Metric::Cosine));
    (db, docs.expect("a collection"))
}

/// Two records that a commit writes alike.
fn write_pair(docs: &Collection, number: i64) {
    let mut batch = docs.batch();
    for id in ["left", "right"] {
        let record = Record::new(id).field("number", number).text("p".repeat(3_000));
        batch.upsert(record.vector([1.0, number as f32, 0.0, 1.0])).expect("a valid record");
    }
    batch.upsert(Record::new(number).vector([0.5; 4])).expect("a valid record");
    batch.commit().expect("a commit");
}

/// The number of the newest pair, which is whole.
fn read_pair(docs: &Collection) -> i64 {
    let hits = docs.search(&[1.0, 9.0, 0.0, 1.0]).limit(1_000).run().expect("a search");
    let numbers: Vec<&Value> =
        hits.iter().filter_map(|hit| hit.record.metadata.get("number")).collect();
    assert!(numbers.len() == 2 && numbers[0] == numbers[1], "half a commit: {numbers:?}");
    match numbers[0] {
        Value::Int(number) => *number,
        other => panic!("{other:?}"),
    }
}

const BESIDE: &str = "reader beside a writer";

#[test]
fn several_processes_read_whole_commits_beside_a_writer() {
    if is(BESIDE) {
        let (_db, docs) = writer(&place());
        let ends = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&ends);
        std::thread::spawn(move || {
            wait_for_parent();
            ending.store(true, Ordering::SeqCst);
        });
        let (mut last, mut reads) = (0, 0);
        tell("reads");
        while !ends.load(Ordering::SeqCst) {
            let number = read_pair(&docs);
            assert!(number >= last, "commit {number} after {last}");
            (last, reads) = (number, reads + 1);
        }
        tell(format!("{} {reads}", read_pair(&docs)));
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let (db, docs) = writer(&path);
    write_pair(&docs, 0);
    let test = "several_processes_read_whole_commits_beside_a_writer";
    let mut readers: Vec<Role> = (0..3)
        .map(|_| {
            let mut command = command(test, BESIDE);
            command.env(PLACE, &path);
            Role::start(command)
        })
        .collect();
    readers.iter_mut().for_each(|reader| assert_eq!(reader.hear().as_deref(), Some("reads")));
    let commits = 150_i64;
    for number in 1..=commits {
        write_pair(&docs, number);
        if number % 50 == 0 {
            docs.maintain().run().expect("maintenance");
            // What is shipped meanwhile is a whole commit too.
            let copy = dir.path().join(format!("copy {number}"));
            db.compact_to(&copy).expect("a copy");
            let copied = Database::open_read_only(&copy).expect("a shipped file");
            copied.verify().expect("an undamaged copy");
            assert_eq!(read_pair(&copied.collection("docs").expect("a collection")), number);
        }
    }
    for mut reader in readers {
        reader.close();
        let told = reader.hear().expect("the last of it");
        let (last, reads) = told.split_once(' ').expect("two numbers");
        assert_eq!(last.parse(), Ok(commits));
        assert!(reads.parse::<u64>().is_ok_and(|reads| reads > 0), "{told}");
        assert!(reader.end());
    }
    db.verify().expect("an undamaged file");
}

const PINNED: &str = "reader of an old version";

#[test]
fn a_reader_that_holds_an_old_version_does_not_stop_the_writer() {
    if is(PINNED) {
        let (db, docs) = writer(&place());
        // The view of this version stays, and with it all its pages.
        let hits = docs.search(&[1.0, 9.0, 0.0, 1.0]).limit(1_000).run().expect("a search");
        // To look at the readers must not let go of LMDB's locks, lest others take us for dead.
        assert_eq!(db.info().expect("the info").readers.len(), 1);
        tell("pinned");
        wait_for_parent();
        // What was found is owned, whatever became of the file.
        assert!(hits.iter().all(|hit| hit.text().is_empty() || hit.text().len() == 3_000));
        assert_eq!(read_pair(&docs), 200);
        db.release();
        tell("released");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("f.portolan");
    let (db, docs) = writer(&path);
    (0..50).for_each(|number| write_pair(&docs, number));
    let mut command =
        command("a_reader_that_holds_an_old_version_does_not_stop_the_writer", PINNED);
    command.env(PLACE, &path);
    let mut reader = Role::start(command);
    assert_eq!(reader.hear().as_deref(), Some("pinned"));
    let bytes = || std::fs::metadata(&path).expect("the file").len();
    let before = bytes();
    // Far more than the first map holds, while not one old page may be used again.
    (50..=200).for_each(|number| write_pair(&docs, number));
    let pinned = bytes() - before;
    // It is told of, with what it costs.
    let info = db.info().expect("the info");
    let oldest = info.readers.first().expect("a reader");
    assert_eq!((oldest.process, oldest.behind), (reader.process(), 151));
    reader.close();
    assert_eq!(reader.hear().as_deref(), Some("released"));
    assert!(reader.end());
    let info = db.info().expect("the info");
    assert!(info.readers.iter().all(|reader| reader.process == std::process::id()), "{info:?}");
    assert!(info.free_bytes * 2 > pinned, "{} bytes are free", info.free_bytes);
    let before = bytes();
    (200..350).for_each(|number| write_pair(&docs, number));
    let free = bytes() - before;
    assert!(free * 2 < pinned, "{free} bytes more without a reader, {pinned} with one");
    db.verify().expect("an undamaged file");
}

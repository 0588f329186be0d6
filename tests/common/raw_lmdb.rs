//! Reads and writes a file through LMDB itself, past the library: foreign files and damage.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::page_editor::sealed;

/// A table, a key, and the value to put; none to delete the key.
pub type Change = (&'static str, Vec<u8>, Option<Vec<u8>>);

fn open(path: &Path) -> Env {
    let mut options = EnvOpenOptions::new();
    options.max_dbs(16).map_size(64 << 20);
    #[expect(unsafe_code, reason = "LMDB maps the file")]
    // SAFETY: NO_SUB_DIR changes only where the file lies. The file is a temporary one of a single
    // test, made by LMDB and closed by everybody else; no other process writes to it.
    let env = unsafe {
        options.flags(EnvFlags::NO_SUB_DIR);
        options.open(path)
    };
    env.expect("an environment")
}

fn close(env: Env, path: &Path) {
    env.prepare_for_closing().wait();
    let mut side = path.as_os_str().to_owned();
    side.push("-lock");
    std::fs::remove_file(side).expect("LMDB's lock file");
}

/// Puts a value into a table of an LMDB file, making both if they are absent. Nobody else has
/// the file open.
pub fn put(path: &Path, table: &str, key: &[u8], value: &[u8]) {
    let env = open(path);
    let txn = env.write_txn().expect("a transaction");
    let written = env.create_databases_and_commit(txn, |opener, txn| {
        let table = opener.create_database::<Bytes, Bytes>(txn, Some(table))?;
        table.put(txn, key, value)?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(table))
    });
    assert!(written.expect("a commit").commit().is_some());
    close(env, path);
}

/// Makes changes of tables that exist in one transaction, which leaves its number as the library
/// does. Nobody else has the file open.
pub fn change(path: &Path, changes: &[Change]) {
    let env = open(path);
    let txn = env.write_txn().expect("a transaction");
    let written = env.create_databases_and_commit(txn, |opener, txn| {
        for (table, key, value) in changes {
            let table = opener.create_database::<Bytes, Bytes>(txn, Some(table))?;
            match value {
                Some(value) => table.put(txn, key, value)?,
                None => assert!(table.delete(txn, key)?, "nothing to delete"),
            }
        }
        let meta = opener.create_database::<Bytes, Bytes>(txn, Some("meta"))?;
        let number = (txn.id() as u64).to_le_bytes();
        // Unless a change is about that very entry.
        if changes.iter().all(|(_, key, _)| key != b"commit") {
            meta.put(txn, b"commit", &sealed("meta", b"commit", &number))?;
        }
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(meta))
    });
    assert!(written.expect("a commit").commit().is_some());
    close(env, path);
}

/// Number of entries of a table that exists. Nobody else has the file open.
pub fn count(path: &Path, table: &str) -> u64 {
    let env = open(path);
    let txn = env.read_txn().expect("a transaction");
    let mut entries = None;
    let opened = env.open_databases_and_commit(txn, |opener, txn| {
        if let Some(table) = opener.open_database::<Bytes, Bytes>(txn, Some(table))? {
            entries = Some(table.len(txn)?);
        }
        Ok::<_, heed::Error>(CommitOrAbort::<Database<'_, Bytes, Bytes>, ()>::Abort(()))
    });
    assert!(opened.expect("a read").commit().is_none());
    close(env, path);
    entries.expect("the table")
}

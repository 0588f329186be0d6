//! `portolan verify --recall`: what it tells of each vector field, and that vectors which no link
//! of a graph leads to are a failure.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test helper may fail the test")]

#[path = "common/command.rs"]
mod command;
#[path = "common/page_editor.rs"]
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
mod page_editor;

use std::path::{Path, PathBuf};

use command::{json_of, portolan, text};
use page_editor::{Pages, seal_extent};
use portolan::eval::synthetic::Synthetic;
use portolan::{CollectionOptions, Database, Metric, Record, VectorField};
use serde_json::{Value, json};

const DIM: usize = 8;
const ROWS: usize = 60;

/// Default vectors and those of a named field in a graph each, and a collection without any.
fn filled(dir: &Path) -> PathBuf {
    let path = dir.join("kb.portolan");
    let db = Database::open(&path).unwrap();
    let options = CollectionOptions::new(DIM, Metric::Cosine)
        .vector_field("image", VectorField::new(DIM, Metric::L2));
    let docs = db.create_collection("docs", options).unwrap();
    let flat = Synthetic::with_clusters(DIM, 5, 20).vectors(ROWS);
    let mut batch = docs.batch();
    for (id, vector) in flat.chunks(DIM).enumerate() {
        let record = Record::new(id as i64).vector(vector);
        batch.upsert(record.named_vector("image", vector.to_vec())).unwrap();
    }
    batch.commit().unwrap();
    docs.maintain().graph_min_rows(0).run().unwrap();
    db.create_collection("words", CollectionOptions::without_vectors()).unwrap();
    path
}

/// Lets each row of the graph of the named field link to itself alone. Its vectors have a number
/// of their own, behind that of the first collection, which is 0.
fn unlink(path: &Path) {
    const LINKS: u8 = 4;
    // Places in an extent.
    const COUNT: usize = 12;
    const STRIDE: usize = 16;
    const PAYLOAD: usize = 48;
    let mut pages = Pages::new(std::fs::read(path).unwrap());
    let mut changed = 0;
    for node in pages.entries(pages.table("extents")) {
        let key = pages.bytes[pages.key(node)].to_vec();
        if key[..4] == [0; 4] || key[9] != LINKS {
            continue;
        }
        let value = pages.value(node);
        let extent = &mut pages.bytes[value];
        let number = |at: usize| u32::from_le_bytes(*extent[at..].first_chunk().unwrap());
        let (rows, stride) = (number(COUNT), number(STRIDE) as usize);
        for row in 0..rows {
            let links = &mut extent[PAYLOAD + row as usize * stride..][..stride];
            links.chunks_mut(4).for_each(|link| link.copy_from_slice(&row.to_le_bytes()));
        }
        seal_extent(extent);
        changed += rows;
    }
    assert_eq!(changed as usize, ROWS);
    std::fs::write(path, &pages.bytes).unwrap();
}

#[test]
fn vectors_that_no_link_leads_to_are_told_by_field_and_are_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path());
    let db = path.display().to_string();
    let args = ["verify", db.as_str(), "--recall", "20"];
    let checked = json_of(&args);
    assert_eq!(checked["ok"], json!(true));
    let audits = checked["audits"].as_array().unwrap();
    let names: Vec<Value> =
        audits.iter().map(|of| json!([of["collection"], of["field"]])).collect();
    assert_eq!(json!(names), json!([["docs", null], ["docs", "image"], ["words", null]]));
    for of in &audits[..2] {
        assert_eq!((&of["samples"], &of["unreachable"]), (&json!(20), &json!(0)), "{of}");
        let share = |name: &str| of[name].as_f64().unwrap();
        assert!(share("recall") > 0.9, "{of}");
        assert!(share("recall_low") <= share("recall") && share("recall") <= share("recall_high"));
    }
    assert_eq!((&audits[2]["samples"], &audits[2]["recall"]), (&json!(0), &json!(null)));
    let people = text(&portolan(&args).stdout);
    assert!(people.starts_with("ok: 60 records"), "{people}");
    assert!(people.contains("\ndocs, field image: recall@10 "), "{people}");
    assert!(people.contains("may find less), links lead to all\n"), "{people}");
    assert!(people.contains("\nwords: no vectors to compare"), "{people}");

    unlink(&path);
    // Every checksum is right; what links leave out is looked for on request.
    assert_eq!(json_of(&["verify", &db])["ok"], json!(true));
    let refused = portolan(&[&args[..], &["--json"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!((&told["ok"], &told["records"]), (&json!(false), &json!(60)));
    assert_eq!(told["audits"][0]["unreachable"], json!(0));
    // All but a few entries.
    let lost = told["audits"][1]["unreachable"].as_u64().unwrap();
    assert!((50..60).contains(&lost), "{told}");
    let message = text(&refused.stderr);
    assert!(message.contains(&format!("no link leads to {lost} vectors")), "{message}");
    assert!(message.contains(&format!("`portolan repair {db} NEW`")), "{message}");

    let mended = dir.path().join("mended.portolan").display().to_string();
    json_of(&["repair", &db, &mended]);
    assert_eq!(json_of(&["verify", &mended, "--recall", "20"])["ok"], json!(true));
}

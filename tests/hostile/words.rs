//! Crafted contents of what came with version 3: postings, lengths, settings of words, fields and
//! vector fields, matrices, sparse vectors, compressed records. Pages and checksums are right.

use super::shapes::Expect::{self, Caught, Found, Survived};
use super::shapes::Shapes;
use crate::common::page_editor::{Pages, sealed};
use crate::common::quick_dir;
use crate::common::raw_lmdb;

const BASE: &str = "worded";
/// The collection and its vector fields, in the order of their names.
const DOCS: [u8; 4] = [0; 4];

/// A file and its tables.
struct Words<'s, 'b> {
    shapes: &'s mut Shapes<'b>,
    pages: Pages,
}

impl Words<'_, '_> {
    /// Keys of a table that begin so, with their payloads.
    fn entries(&self, table: &str, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let nodes = self.pages.entries(self.pages.table(table)).into_iter();
        let entry = |node| {
            let value = self.pages.value(node);
            let key = self.pages.bytes[self.pages.key(node)].to_vec();
            (key, self.pages.bytes[value.start + 8..value.end].to_vec())
        };
        nodes.map(entry).filter(|(key, _)| key.starts_with(prefix)).collect()
    }

    fn put(
        &mut self,
        name: &str,
        expect: Expect,
        table: &'static str,
        key: &[u8],
        payload: Option<&[u8]>,
    ) {
        let dir = quick_dir();
        let path = dir.path().join("f");
        std::fs::write(&path, &self.pages.bytes).expect("the file");
        let value = payload.map(|payload| sealed(table, key, payload));
        raw_lmdb::change(&path, &[(table, key.to_vec(), value)]);
        let bytes = std::fs::read(&path).expect("the file");
        self.shapes.push(name, BASE, bytes, expect);
    }

    /// Payloads in the place of one, none of which can be.
    fn all(&mut self, of: &str, table: &'static str, key: &[u8], payloads: &[(&str, Vec<u8>)]) {
        for (name, payload) in payloads {
            self.put(&format!("{of}: {name}"), Caught, table, key, Some(payload));
        }
    }
}

/// A payload with other bytes at a place.
fn with(own: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut changed = own.to_vec();
    changed[at..at + bytes.len()].copy_from_slice(bytes);
    changed
}

/// What no payload of a fixed form may be.
fn cut_and_longer(own: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("no byte", Vec::new()),
        ("a byte", own[..1].to_vec()),
        ("a byte too few", own[..own.len() - 1].to_vec()),
        ("a byte too many", [own, &[0]].concat()),
    ]
}

fn postings(words: &mut Words<'_, '_>) {
    let begin = |kind: u8| [&DOCS[..], &[kind]].concat();
    let terms = words.entries("postings", &begin(2));
    let (key, long) = terms.iter().find(|(_, own)| own[0] == 0).expect("a frequent term").clone();
    // Form, how many texts, then the run: base, full blocks, postings behind them.
    assert!(long[9] == 0 && long[10] > 15, "{long:?}");
    let mut payloads = cut_and_longer(&long);
    payloads.extend([
        ("an unknown form", with(&long, 0, &[16])),
        ("texts without end", with(&long, 1, &[0xff; 4])),
        ("no text", with(&long, 1, &[0; 4])),
        ("full blocks that are not there", with(&long, 9, &[0xff])),
        ("one full block", with(&long, 9, &[1])),
        ("postings that are not there", with(&long, 10, &[127])),
        ("too many postings behind the blocks", with(&long, 10, &[0xff])),
        ("no posting", with(&long, 10, &[0])),
        ("a last slot before the first", with(&long, 11, &[0; 4])),
        ("a last slot without end", with(&long, 11, &[0xff; 4])),
        ("a peak of no count", with(&long, 15, &[0; 2])),
        ("steps without end", with(&long, 21, &vec![0xff; long.len() - 21])),
        ("steps of nothing", with(&long, 22, &vec![0; long.len() - 22])),
    ]);
    // A block of 128 whose numbers would be of more bits than there are.
    let block = |steps: u8, counts: u8| {
        let head = [&[0][..], &128_u32.to_le_bytes(), &[0; 4], &[1, 0], &127_u32.to_le_bytes()];
        [&head.concat()[..], &[steps, counts], &[1, 0, 1, 0, 0xff, 0xff], &[0x11; 64]].concat()
    };
    payloads.push(("a block of wide steps", block(33, 1)));
    payloads.push(("a block of wide counts", block(1, 0xff)));
    payloads.push(("a block of wide sums", block(32, 32)));
    words.all("term", "postings", &key, &payloads);
    words.put("term: missing", Caught, "postings", &key, None);

    let (key, short) = terms
        .iter()
        .find(|(_, own)| own[0] > 0)
        .map_or_else(|| ([&begin(2)[..], b"rare"].concat(), vec![1, 9, 1]), |found| found.clone());
    let mut payloads = vec![
        ("slots without end", vec![2, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 9, 1]),
        ("a varint of six bytes", vec![1, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1]),
        ("a varint of 35 bits", vec![1, 0xff, 0xff, 0xff, 0xff, 0x7f, 1]),
        ("a slot twice", vec![2, 9, 1, 0, 1]),
        ("a count of nothing", vec![1, 9, 0]),
        ("a byte behind its postings", vec![1, 9, 1, 0]),
        ("fewer postings than it says", vec![15, 9, 1]),
    ];
    payloads.retain(|(_, payload)| *payload != short);
    words.all("rare term", "postings", &key, &payloads);

    for (name, key) in [
        ("a term of no record", [&begin(2)[..], b"nowhere"].concat()),
        ("an empty term", begin(2)),
        ("a run of no term", [&begin(3)[..], &[1, b'q', 0, 0, 0, 1]].concat()),
        ("a run of a length that lies", [&begin(3)[..], &[200, b'q', 0, 0, 0, 1]].concat()),
    ] {
        words.put(&format!("postings: {name}"), Caught, "postings", &key, Some(&[1, 9, 1]));
    }
    let stranger = begin(9);
    words.put("postings: an unknown key", Survived, "postings", &stranger, Some(&[1]));

    let (key, stats) = words.entries("postings", &begin(0)).remove(0);
    let mut payloads = cut_and_longer(&stats);
    payloads.extend([
        ("no text", with(&stats, 0, &[0; 8])),
        ("texts without end", with(&stats, 0, &[0xff; 8])),
        ("lengths without end", with(&stats, 8, &[0xff; 8])),
        ("no length", with(&stats, 8, &[0; 8])),
    ]);
    words.all("statistics of texts", "postings", &key, &payloads);
    words.put("statistics of texts: missing", Caught, "postings", &key, None);

    let (key, lengths) = words.entries("postings", &begin(1)).remove(0);
    let payloads = [
        ("a byte too few", lengths[..lengths.len() - 1].to_vec()),
        ("more than a chunk", vec![1; 2 * 4_097]),
        ("zeros", vec![0; lengths.len()]),
        ("the longest", vec![0xff; lengths.len()]),
    ];
    words.all("lengths of texts", "postings", &key, &payloads);
    words.put("lengths of texts: missing", Caught, "postings", &key, None);
    let last = [&begin(1)[..], &[0xff; 4]].concat();
    words.put("lengths of texts: past the last slot", Caught, "postings", &last, Some(&[1, 0]));
}

fn settings(words: &mut Words<'_, '_>) {
    let begin = |kind: u8| [&[3][..], &DOCS, &[kind]].concat();
    let (key, text) = words.entries("collections", &begin(1)).remove(0);
    let mut payloads = cut_and_longer(&text);
    payloads.extend([
        ("another analysis", with(&text, 0, &[2, 0])),
        ("an unknown language", with(&text, 2, &[0xff])),
        ("an unknown choice of stop words", with(&text, 3, &[3])),
        ("no field", with(&text, 4, &[0])),
        ("fields without end", with(&text, 4, &[0xff])),
        ("k1 that is no number", with(&text, 5, &f32::NAN.to_le_bytes())),
        ("b past 1", with(&text, 9, &7.0_f32.to_le_bytes())),
        ("a field of an unknown kind", with(&text, 13, &[9])),
        ("a weight of nothing", with(&text, 14, &[0])),
        ("the same field twice", with(&text, 16, &text[13..14])),
    ]);
    words.all("setting of words", "collections", &key, &payloads);
    let other = with(&text, 2, &[0]);
    words.put("setting of words: another language", Caught, "collections", &key, Some(&other));

    for (key, own) in words.entries("collections", &begin(3)) {
        let name = String::from_utf8_lossy(&key[6..]).into_owned();
        let mut payloads = vec![
            ("no byte", Vec::new()),
            ("a byte", own[..1].to_vec()),
            ("a byte too few", own[..own.len() - 1].to_vec()),
            ("bytes behind the end", [&own[..], &[3, 3, 3]].concat()),
            ("an unknown kind", with(&own, 0, &[9])),
            ("no kind", with(&own, 0, &[0])),
            ("an unknown codec", with(&own, 1, &[9])),
        ];
        if name != "terms" {
            payloads.push(("no dimensions", with(&own, 3, &[0])));
            payloads.push(("another number of dimensions", with(&own, 3, &[11])));
        }
        words.all(&format!("vector field {name}"), "collections", &key, &payloads);
        let label = format!("vector field {name}: the number of the collection");
        words.put(&label, Survived, "collections", &key, Some(&with(&own, 2, &[0])));
    }
    let stranger = [&begin(3)[..], &[0xff, 0xfe]].concat();
    words.put("vector field: of no name", Caught, "collections", &stranger, Some(&[1, 0]));

    let (key, _) = words.entries("collections", &[&begin(2)[..], b"number"].concat()).remove(0);
    for (name, payload) in
        [("no byte", &[][..]), ("a byte", &[0]), ("an unknown state", &[9, 0, 0, 0, 0])]
    {
        let name = format!("setting of a field: {name}");
        words.put(&name, Caught, "collections", &key, Some(payload));
    }
}

fn matrices(words: &mut Words<'_, '_>) {
    let all = words.entries("matrices", &[]);
    let of = |codec: u8| all.iter().find(|(_, own)| own[0] == codec).expect("one").clone();
    let (key, int8) = of(2);
    let rows = u32::from_le_bytes(*int8[4..].first_chunk().expect("rows"));
    let mut payloads = cut_and_longer(&int8);
    payloads.extend([
        ("another codec", with(&int8, 0, &[1])),
        ("an unknown codec", with(&int8, 0, &[9])),
        ("a byte that is zero", with(&int8, 2, &[1])),
        ("no row", with(&int8, 4, &[0; 4])),
        ("a row more", with(&int8, 4, &(rows + 1).to_le_bytes())),
        ("rows without end", with(&int8, 4, &[0xff; 4])),
        ("rows whose bytes wrap", with(&int8, 4, &0x4000_0000_u32.to_le_bytes())),
        ("no dimensions", with(&int8, 8, &[0; 4])),
        ("dimensions without end", with(&int8, 8, &[0xff; 4])),
    ]);
    words.all("matrix", "matrices", &key, &payloads);
    for (name, scale) in
        [("not a number", f32::NAN), ("infinite", f32::INFINITY), ("below 0", -1.0)]
    {
        let payload = with(&int8, 12, &scale.to_le_bytes());
        words.put(&format!("matrix: a scale {name}"), Survived, "matrices", &key, Some(&payload));
    }
    words.put("matrix: missing", Caught, "matrices", &key, None);
    let stranger = [&key[..4], &[9, 9, 9, 9]].concat();
    words.put("matrix: of no record", Caught, "matrices", &stranger, Some(&int8));
    words.put("matrix: a key of 6 bytes", Survived, "matrices", &key[..6], Some(&int8));

    let (key, sparse) = of(4);
    let mut payloads = cut_and_longer(&sparse);
    payloads.extend([
        ("no pair", with(&sparse, 4, &[0; 4])),
        ("pairs without end", with(&sparse, 4, &[0xff; 4])),
        ("indices without order", with(&sparse, 8, &[0xff; 4])),
        ("a weight of nothing", with(&sparse, sparse.len() - 2, &[0; 2])),
        ("a weight that is no number", with(&sparse, sparse.len() - 2, &[0xff, 0x7f])),
        ("a weight below 0", with(&sparse, sparse.len() - 2, &[0, 0xbf])),
        ("another weight", with(&sparse, sparse.len() - 2, &[0, 0x3e])),
        ("of another kind", with(&sparse, 0, &[2])),
    ]);
    words.all("sparse vector", "matrices", &key, &payloads);
    words.put("sparse vector: missing", Caught, "matrices", &key, None);

    let (key, posting) = words.entries("postings", &key[..4]).remove(0);
    let mut payloads = vec![("no byte", Vec::new()), ("an unknown form", with(&posting, 0, &[16]))];
    payloads.push(("one posting alone", vec![1, 5, 0x80, 0x7e]));
    words.all("sparse postings", "postings", &key, &payloads);
    words.put("sparse postings: missing", Caught, "postings", &key, None);
}

fn compressed(words: &mut Words<'_, '_>) {
    let all = words.entries("records", &DOCS);
    let (key, own) = all.into_iter().find(|(_, own)| own[0] & 2 != 0).expect("a compressed record");
    let length = u32::from_le_bytes(*own[1..].first_chunk().expect("a length"));
    let mut payloads = cut_and_longer(&own);
    payloads.extend([
        ("its length alone", own[..5].to_vec()),
        ("an unknown flag", with(&own, 0, &[own[0] | 4])),
        ("not compressed", with(&own, 0, &[own[0] & 1])),
        ("a byte longer", with(&own, 1, &(length + 1).to_le_bytes())),
        ("a byte shorter", with(&own, 1, &(length - 1).to_le_bytes())),
        ("of no length", with(&own, 1, &[0; 4])),
        ("the longest there may be", with(&own, 1, &8_388_608_u32.to_le_bytes())),
        ("of a length without end", with(&own, 1, &[0xff; 4])),
        ("a block of noise", [&own[..5], &vec![0xa5; own.len() - 5]].concat()),
        ("a block that copies from before its begin", {
            [&own[..5], &[0x1f, b'a', 0xff, 0xff], &vec![0xff; own.len() - 9]].concat()
        }),
        ("a block that copies from nowhere", {
            [&own[..5], &[0x1f, b'a', 0, 0], &vec![1; own.len() - 9]].concat()
        }),
    ]);
    words.all("compressed record", "records", &key, &payloads);
    let seal = Some(Vec::new());
    let dir = quick_dir();
    let path = dir.path().join("f");
    std::fs::write(&path, &words.pages.bytes).expect("the file");
    raw_lmdb::change(&path, &[("records", key, seal)]);
    let bytes = std::fs::read(&path).expect("the file");
    words.shapes.push("compressed record: of no seal", BASE, bytes, Found);
}

pub fn add(shapes: &mut Shapes<'_>) {
    let pages = Pages::new(shapes.base(BASE).bytes.clone());
    let mut words = Words { shapes, pages };
    postings(&mut words);
    settings(&mut words);
    matrices(&mut words);
    compressed(&mut words);
}

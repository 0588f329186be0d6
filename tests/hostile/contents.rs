//! Crafted contents: pages and checksums are right, and what they vouch for is not.

use std::ops::Range;

use super::shapes::Expect::{self, Caught, Found, Refused, Right, Survived};
use super::shapes::Shapes;
use crate::common::page_editor::{Pages, encoded, numbers, seal_extent, sealed};
use crate::common::quick_dir;
use crate::common::raw_lmdb::{self, Change};

/// Places in an extent.
mod extent {
    pub const VERSION: usize = 4;
    pub const KIND: usize = 6;
    pub const INDEX: usize = 8;
    pub const ROWS: usize = 12;
    pub const STRIDE: usize = 16;
    pub const SEGMENT: usize = 20;
    pub const COLLECTION: usize = 24;
    pub const ZERO: usize = 28;
    pub const PAYLOAD: usize = 48;
}

/// Kinds of sections.
const SLOTS: u8 = 1;
const CODES: u8 = 2;
const RAW: u8 = 3;
const LINKS: u8 = 4;
const UPPER: u8 = 5;
const PROJECTION: u8 = 7;
const IDS: u8 = 9;
const CURVE: u8 = 10;
const NAV: u8 = 11;
const UPPER_NAV: u8 = 12;

/// The key of the manifest of the first collection.
const MANIFEST: &[u8] = &[1, 0, 0, 0, 0];
const DEFINITION: &[u8] = b"\0docs";

/// Places in the numbers of a manifest.
mod manifest {
    pub const NEXT_SLOT: usize = 0;
    pub const NEXT_SEGMENT: usize = 1;
    pub const RECORDS: usize = 2;
    pub const DELTA: usize = 3;
    pub const DEAD: usize = 4;
    pub const CONTRACT: usize = 5;
    pub const SEGMENTS: usize = 6;
    pub const SEGMENT: usize = 7;
    pub const ROWS: usize = 8;
    pub const CODEC: usize = 9;
    pub const GRAPH: usize = 10;
    pub const ENTRY: usize = 11;
    pub const M: usize = 12;
    pub const EF: usize = 13;
    pub const LEVELS: usize = 15;
}

impl Shapes<'_> {
    fn payload(&self, base: &str, table: &str, key: &[u8]) -> Vec<u8> {
        let pages = Pages::new(self.base(base).bytes.clone());
        let value = pages.value(pages.find(pages.table(table), key));
        pages.bytes[value.start + 8..value.end].to_vec()
    }

    /// A key of a table that has entries of the first collection.
    fn any_key(&self, table: &str) -> Vec<u8> {
        let pages = Pages::new(self.base("lived").bytes.clone());
        let node = pages.entries(pages.table(table))[2];
        pages.bytes[pages.key(node)].to_vec()
    }

    /// A sample after changes of its tables.
    fn changed(&mut self, name: &str, expect: Expect, changes: &[Change]) {
        let dir = quick_dir();
        let path = dir.path().join("f");
        std::fs::write(&path, &self.base("lived").bytes).expect("the file");
        raw_lmdb::change(&path, changes);
        let bytes = std::fs::read(&path).expect("the file");
        self.push(name, "lived", bytes, expect);
    }

    /// A sample after another payload, rightly sealed, was put.
    fn put(&mut self, name: &str, expect: Expect, table: &'static str, key: &[u8], payload: &[u8]) {
        let value = sealed(table, key, payload);
        self.changed(name, expect, &[(table, key.to_vec(), Some(value))]);
    }

    /// A sample after a change of an extent of its first segment, with its checksum made right.
    fn extent(
        &mut self,
        name: &str,
        base: &'static str,
        kind: u8,
        expect: Expect,
        edit: impl FnOnce(&mut [u8]),
    ) {
        let mut pages = Pages::new(self.base(base).bytes.clone());
        let at = place(&pages, kind);
        edit(&mut pages.bytes[at.clone()]);
        seal_extent(&mut pages.bytes[at]);
        self.push(name, base, pages.bytes, expect);
    }

    /// A sample after a change of the numbers of its manifest.
    fn manifest(&mut self, name: &str, expect: Expect, edit: impl FnOnce(&mut Vec<u64>)) {
        let mut all = numbers(&self.payload("lived", "collections", MANIFEST));
        edit(&mut all);
        self.put(&format!("manifest: {name}"), expect, "collections", MANIFEST, &encoded(&all));
    }

    /// A sample after a change of the numbers of its definition.
    fn definition(&mut self, name: &str, expect: Expect, edit: impl FnOnce(&mut Vec<u64>)) {
        let mut all = numbers(&self.payload("lived", "collections", DEFINITION));
        edit(&mut all);
        self.put(&format!("definition: {name}"), expect, "collections", DEFINITION, &encoded(&all));
    }
}

/// Where the first extent of a kind is.
fn place(pages: &Pages, kind: u8) -> Range<usize> {
    let entries = pages.entries(pages.table("extents")).into_iter();
    let mut of_kind = entries.filter(|&node| pages.bytes[pages.key(node)][9] == kind);
    pages.value(of_kind.next().expect("a section of that kind"))
}

fn set_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn rows(bytes: &[u8]) -> usize {
    u32::from_le_bytes(*bytes[extent::ROWS..].first_chunk().expect("a header")) as usize
}

/// Every row of an extent set to the same bytes, from a place in it.
fn fill_rows(bytes: &mut [u8], from: usize, with: &[u8]) {
    let stride = u32::from_le_bytes(*bytes[extent::STRIDE..].first_chunk().expect("a header"));
    for row in 0..rows(bytes) {
        let at = extent::PAYLOAD + row * stride as usize + from;
        bytes[at..at + with.len()].copy_from_slice(with);
    }
}

fn headers(shapes: &mut Shapes<'_>) {
    for (name, at, value) in [
        ("rows 0", extent::ROWS, 0),
        ("rows past the extent", extent::ROWS, 0x1000),
        ("rows without end", extent::ROWS, u32::MAX),
        ("stride 0", extent::STRIDE, 0),
        ("stride 1", extent::STRIDE, 1),
        ("stride without end", extent::STRIDE, u32::MAX),
        ("another index", extent::INDEX, 1),
        ("another segment", extent::SEGMENT, 77),
        ("another collection", extent::COLLECTION, 1),
        ("another magic", 0, 0x5858_5858),
    ] {
        shapes.extent(&format!("extent: {name}"), "lived", CODES, Found, |extent| {
            set_u32(extent, at, value);
        });
    }
    shapes.extent("extent: version 2", "lived", CODES, Found, |extent| {
        extent[extent::VERSION] = 2;
    });
    for kind in [0, RAW, 6, 99] {
        shapes.extent(&format!("extent: kind {kind}"), "lived", CODES, Found, |extent| {
            extent[extent::KIND] = kind;
        });
    }
    shapes.extent("extent: rows times stride wraps", "lived", CODES, Found, |extent| {
        set_u32(extent, extent::ROWS, 0x8000_0001);
        set_u32(extent, extent::STRIDE, 0x8000_0000);
    });
    for (name, at) in [("payload", extent::PAYLOAD + 3), ("zero", extent::ZERO), ("checksum", 40)] {
        let mut pages = Pages::new(shapes.base("lived").bytes.clone());
        let at = place(&pages, CODES).start + at;
        pages.bytes[at] ^= 1;
        shapes.push(&format!("extent: a bit of its {name}"), "lived", pages.bytes, Found);
    }
}

fn extents(shapes: &mut Shapes<'_>) {
    let pages = Pages::new(shapes.base("lived").bytes.clone());
    let codes = pages.bytes[place(&pages, CODES)].to_vec();
    let segment = numbers(&shapes.payload("lived", "collections", MANIFEST))[manifest::SEGMENT];
    let key = |segment: u64, kind: u8, index: u8| {
        [&[0; 4][..], &(segment as u32).to_be_bytes(), &[0, kind, 0, 0, 0, index]].concat()
    };
    let own = key(segment, CODES, 0);
    shapes.changed("extents: one is missing", Found, &[("extents", own.clone(), None)]);
    let put = |shapes: &mut Shapes<'_>, name: &str, expect, key: Vec<u8>, value: &[u8]| {
        shapes.changed(
            &format!("extents: {name}"),
            expect,
            &[("extents", key, Some(value.to_vec()))],
        );
    };
    put(shapes, "one too many", Found, key(segment, CODES, 1), &codes);
    put(shapes, "a kind that is not known", Found, key(segment, 6, 0), &codes);
    put(shapes, "a key that is too long", Found, [&own[..], &[0]].concat(), &codes);
    for length in [0, 47, 48, 49, 4_079, codes.len() - 1] {
        put(shapes, &format!("{length} bytes"), Found, own.clone(), &codes[..length]);
    }
    let mut long = codes.clone();
    long.resize(1_048_560 + 4_096, 0);
    put(shapes, "longer than can be", Found, own.clone(), &long);
    // What a killed process left.
    put(shapes, "a segment that no manifest names", Right, key(99, CODES, 0), &codes);
    let mut other = key(segment, CODES, 0);
    other[3] = 9;
    put(shapes, "a collection that is not there", Right, other, &codes);
    put(shapes, "a key of three bytes", Survived, vec![0, 0, 9], &codes);
}

fn rows_of_segments(shapes: &mut Shapes<'_>) {
    let n = |extent: &[u8]| (rows(extent) as u32).to_le_bytes();
    let all = [0xff; 4];
    shapes.extent("links to the row behind the last", "lived", LINKS, Survived, |extent| {
        let n = n(extent);
        (0..8).for_each(|link| fill_rows(extent, 4 * link, &n));
    });
    shapes.extent("links to nowhere", "lived", LINKS, Survived, |extent| {
        extent[extent::PAYLOAD..].fill(0xff);
    });
    shapes.extent("links to the first row alone", "lived", LINKS, Survived, |extent| {
        extent[extent::PAYLOAD..].fill(0);
    });
    for (name, at) in [("position", 0), ("row below", 4), ("first link", 8)] {
        shapes.extent(
            &format!("upper rows of no {name}"),
            "projected",
            UPPER,
            Survived,
            |extent| {
                fill_rows(extent, at, &all);
            },
        );
    }
    shapes.extent("slots without order", "lived", SLOTS, Caught, |extent| {
        fill_rows(extent, 0, &[7, 0, 0, 0])
    });
    shapes
        .extent("slots past the last", "lived", SLOTS, Caught, |extent| fill_rows(extent, 0, &all));
    shapes.extent("ids of others", "lived", IDS, Caught, |extent| fill_rows(extent, 0, &[9; 8]));
    for (name, number) in
        [("not a number", f32::NAN), ("infinite", f32::INFINITY), ("zero", 0.0), ("negative", -1.0)]
    {
        for (what, at) in [("scale", 8), ("norm", 12)] {
            let name = format!("codes whose {what} is {name}");
            shapes.extent(&name, "lived", CODES, Survived, |extent| {
                fill_rows(extent, at, &number.to_le_bytes());
            });
        }
    }
    for (name, bits) in [("not a number", 0x7e00_u16), ("infinite", 0x7c00)] {
        shapes.extent(&format!("originals that are {name}"), "lived", RAW, Survived, |extent| {
            fill_rows(extent, 0, &bits.to_le_bytes());
        });
    }
    for (name, kind) in [
        ("navigation codes", NAV),
        ("upper navigation codes", UPPER_NAV),
        ("projection", PROJECTION),
        ("links", LINKS),
        ("upper rows", UPPER),
        ("codes", CODES),
        ("originals", RAW),
    ] {
        for byte in [0, 0x7f, 0xff] {
            shapes.extent(
                &format!("{name} all {byte:#x}"),
                "projected",
                kind,
                Survived,
                |extent| {
                    extent[extent::PAYLOAD..].fill(byte);
                },
            );
        }
    }
    shapes.extent("recall curve of ones", "projected", CURVE, Survived, |extent| {
        extent[extent::PAYLOAD..].fill(0xff);
    });
}

fn manifests(shapes: &mut Shapes<'_>) {
    use manifest::*;
    let whole = numbers(&shapes.payload("lived", "collections", MANIFEST));
    assert_eq!((whole[CONTRACT], whole[SEGMENTS], whole[GRAPH]), (0, 1, 1));
    let sections = LEVELS + 1 + whole[LEVELS] as usize;
    let (kind, stride, rows) = (sections + 1, sections + 2, sections + 3);
    for (name, at, value) in [
        ("slots begin anew", NEXT_SLOT, 0),
        ("all slots are used", NEXT_SLOT, u64::from(u32::MAX)),
        ("segments begin anew", NEXT_SEGMENT, 0),
        ("entry at the row behind the last", ENTRY, whole[ROWS]),
        ("entry nowhere", ENTRY, u64::from(u32::MAX)),
        ("no candidates", EF, 0),
    ] {
        shapes.manifest(name, Survived, |all| all[at] = value);
    }
    for (name, at, value) in [
        ("records without end", RECORDS, u64::MAX),
        ("no record", RECORDS, 0),
        ("unsealed without end", DELTA, u64::MAX),
        ("deleted without end", DEAD, u64::MAX),
        ("a contract of an unknown kind", CONTRACT, 2),
        ("no segment but one", SEGMENTS, 0),
        ("segments without end", SEGMENTS, 1 << 62),
        ("a segment that is missing", SEGMENT, 77),
        ("a segment of no row", ROWS, 0),
        ("a segment of all rows", ROWS, u64::from(u32::MAX)),
        ("a number wider than its field", ROWS, 1 << 40),
        ("another codec", CODEC, 7),
        ("a graph of an unknown kind", GRAPH, 2),
        ("no links", M, 0),
        ("all links", M, 0xffff),
        ("levels without end", LEVELS, 1 << 50),
        ("a section of a former kind", kind, 6),
        ("a section of no stride", stride, 0),
        ("a section of a stride without end", stride, u64::from(u32::MAX)),
        ("a section of no row", rows, 0),
        ("a section of all rows", rows, u64::from(u32::MAX)),
        ("sections without end", sections, 1 << 40),
        ("a section less", sections, whole[sections] - 1),
    ] {
        shapes.manifest(name, Caught, |all| all[at] = value);
    }
    for (name, level) in [("0", 0), ("too many", 1_000), ("all", u64::from(u32::MAX))] {
        shapes.manifest(&format!("a level of {name} rows"), Caught, |all| {
            all[LEVELS] += 1;
            all.insert(LEVELS + 1, level);
        });
    }
    shapes.manifest("40 levels", Caught, |all| {
        all[LEVELS] += 40;
        all.splice(LEVELS + 1..LEVELS + 1, [1; 40]);
    });
    shapes.manifest("a section twice", Caught, |all| {
        all[sections] += 1;
        let again = [all[kind], all[stride], all[rows]];
        all.splice(kind..kind, again);
    });
    shapes.manifest("a segment twice", Caught, |all| {
        all[SEGMENTS] = 2;
        let again = all[SEGMENT..].to_vec();
        all.extend(again);
    });
    shapes.manifest("a number behind the end", Caught, |all| all.push(0));
    shapes.manifest("cut short", Caught, |all| all.truncate(all.len() - 1));
    shapes.manifest("nothing in it", Caught, Vec::clear);
    shapes.changed("no manifest", Caught, &[("collections", MANIFEST.to_vec(), None)]);
    shapes.changed(
        "a manifest of no seal",
        Caught,
        &[("collections", MANIFEST.to_vec(), Some(vec![1; 7]))],
    );
}

fn definitions(shapes: &mut Shapes<'_>) {
    for (name, at, value) in [
        ("no dimensions", 1, 0),
        ("12 dimensions", 1, 12),
        ("65,537 dimensions", 1, 65_537),
        ("2^31 dimensions", 1, 1 << 31),
        ("dimensions wider than their field", 1, 1 << 40),
        ("an unknown metric", 2, 9),
        ("no metric", 2, 0),
        ("unknown originals", 3, 9),
        ("a number that is missing", 0, 7),
        ("originals of f32", 3, 2),
    ] {
        shapes.definition(name, Caught, |all| all[at] = value);
    }
    for (name, at, value) in [
        ("a number that another has", 0, 1),
        ("another metric", 2, 3),
        ("no originals", 3, 0),
        ("no candidates", 5, 0),
        ("another seed", 6, 1),
    ] {
        shapes.definition(name, Survived, |all| all[at] = value);
    }
    for leading in [0, 6, 3, 1 << 33] {
        shapes
            .definition(&format!("{leading} leading dimensions"), Caught, |all| all.push(leading));
    }
    shapes.definition("a number behind the end", Caught, |all| all.extend([3, 3]));
    shapes.definition("cut short", Caught, |all| all.truncate(all.len() - 1));
    let own = shapes.payload("lived", "collections", DEFINITION);
    shapes.put("definition: two names", Survived, "collections", b"\0more", &own);
    shapes.put("definition: no name", Survived, "collections", b"\0", &own);
    shapes.put("definition: a name that is no text", Caught, "collections", b"\0\xff\xfe", &own);
    shapes.put("definition: an unknown key", Survived, "collections", b"\x02more", &own);
}

fn records(shapes: &mut Shapes<'_>) {
    let key = shapes.any_key("records");
    let own = shapes.payload("lived", "records", &key);
    // Flags, id of tag 0, no title, then the text.
    assert!(own[0] == 1 && own[1] == 0, "{own:?}");
    let head = &own[..own.iter().skip(3).position(|&byte| byte == 0).expect("no title") + 3];
    let with = |tail: &[u8]| [head, tail].concat();
    let bomb = [0, 253, 0, 0, 0, 0, 0, 0, 0, 0x80];
    let list = [0, 1, b't', 1, 1, b'f', 6, 253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (name, payload) in [
        ("unknown flags", [&[3], &own[1..]].concat()),
        ("a byte behind the end", [&own[..], &[0]].concat()),
        ("a byte too few", own[..own.len() - 1].to_vec()),
        ("no byte", Vec::new()),
        ("flags alone", vec![1]),
        ("an unknown kind of id", [&own[..1], &[2], &own[2..]].concat()),
        ("an option of an unknown kind", with(&[2])),
        ("a text of 2^63 bytes", with(&bomb)),
        ("a text that is no text", with(&[0, 2, 0xff, 0xfe, 0])),
        ("fields without end", with(&[0, 0, 253, 0, 0, 0, 0, 0, 0, 0, 0x80])),
        ("a value of an unknown kind", with(&[0, 0, 1, 1, b'f', 9])),
        ("a bool of 2", with(&[0, 0, 1, 1, b'f', 1, 2])),
        ("a list without end", with(&list[..list.len()])),
        ("a list in a list", with(&[0, 0, 1, 1, b'f', 6, 1, 6, 0])),
    ] {
        // Their lengths are told by `info`, and are right.
        shapes.put(&format!("record: {name}"), Caught, "records", &key, &payload);
    }
    shapes.put("record: without its vector", Caught, "records", &key, &[&[0], &own[1..]].concat());
    shapes.put(
        "record: a NaN",
        Caught,
        "records",
        &key,
        &with(&[0, 0, 1, 1, b'f', 3, 253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
    );
    shapes.changed("record: missing", Caught, &[("records", key.clone(), None)]);
    shapes.changed("record: of no seal", Found, &[("records", key, Some(Vec::new()))]);
    shapes.put("record: that no id leads to", Caught, "records", &[0, 0, 0, 0, 0, 9, 9, 9], &own);
    shapes.put("record: of a key of 4 bytes", Survived, "records", &[0; 4], &own);
}

fn ids(shapes: &mut Shapes<'_>) {
    let key = shapes.any_key("ids");
    for (name, expect, payload) in [
        ("a slot that is not there", Found, &[0xff; 4][..]),
        ("the slot of another", Caught, &[1, 0, 0, 0]),
        ("a slot of 3 bytes", Caught, &[0; 3]),
        ("a slot of 5 bytes", Caught, &[0; 5]),
    ] {
        shapes.put(&format!("id: {name}"), expect, "ids", &key, payload);
    }
    shapes.put("id: of an unknown kind", Caught, "ids", &[0, 0, 0, 0, 7, 1], &[0; 4]);
    shapes.put("id: of no kind", Caught, "ids", &[0; 4], &[0; 4]);
    shapes.put("id: that is no text", Caught, "ids", &[0, 0, 0, 0, 1, 0xff], &[0; 4]);
    shapes.put("id: a number of 3 bytes", Caught, "ids", &[0, 0, 0, 0, 0, 1, 1, 1], &[0; 4]);
    shapes.changed("id: missing", Caught, &[("ids", key, None)]);
}

fn unsealed_and_deleted(shapes: &mut Shapes<'_>) {
    let key = shapes.any_key("delta");
    let own = shapes.payload("lived", "delta", &key);
    for length in [0, 1, own.len() - 1] {
        let name = format!("unsealed: {length} bytes");
        shapes.put(&name, Caught, "delta", &key, &own[..length]);
    }
    let long = [&own[..], &[0]].concat();
    shapes.put("unsealed: a byte too many", Caught, "delta", &key, &long);
    shapes.put("unsealed: of no number", Survived, "delta", &key, &vec![0xff; own.len()]);
    shapes.put("unsealed: sealed as well", Caught, "delta", &[0, 0, 0, 0, 0, 0, 0, 9], &own);
    shapes.put("unsealed: of no record", Caught, "delta", &[0, 0, 0, 0, 9, 9, 9, 9], &own);
    shapes.put("unsealed: a key of 6 bytes", Caught, "delta", &[0, 0, 0, 0, 9, 9], &own);
    shapes.changed("unsealed: missing", Caught, &[("delta", key, None)]);

    let key = shapes.any_tombstones();
    let own = shapes.payload("lived", "tombstones", &key);
    // One bitmap container: cookie, count, key, cardinality.
    let container = |key: u16, values: &[u16]| {
        let head = [12_346_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        let count = (values.len() as u16 - 1).to_le_bytes();
        let mut all = [&head[..], &key.to_le_bytes(), &count, &16_u32.to_le_bytes()].concat();
        values.iter().for_each(|value| all.extend(value.to_le_bytes()));
        all
    };
    for (name, payload) in [
        ("no byte", Vec::new()),
        ("a byte too few", own[..own.len() - 1].to_vec()),
        ("a byte too many", [&own[..], &[0]].concat()),
        ("slots past their chunk", container(1, &[3])),
        ("slots without order", container(0, &[9, 3])),
        ("a bitmap of noise", vec![0xa5; 40]),
        ("containers without end", [&12_346_u32.to_le_bytes()[..], &[0xff; 4]].concat()),
        ("a cookie alone", 12_347_u32.to_le_bytes().to_vec()),
    ] {
        shapes.put(&format!("deleted: {name}"), Found, "tombstones", &key, &payload);
    }
    let some: Vec<u16> = (0..500).collect();
    for (name, payload) in
        [("live ones", container(0, &some)), ("another", container(0, &[60_000]))]
    {
        shapes.put(&format!("deleted: {name}"), Caught, "tombstones", &key, &payload);
    }
    shapes.put(
        "deleted: a chunk of none",
        Caught,
        "tombstones",
        &[0, 0, 0, 0, 0xff, 0xff],
        &container(0, &[1]),
    );
    shapes.put("deleted: a key of 4 bytes", Survived, "tombstones", &[0; 4], &own);
    shapes.changed("deleted: missing", Caught, &[("tombstones", key, None)]);
}

impl Shapes<'_> {
    fn any_tombstones(&self) -> Vec<u8> {
        let pages = Pages::new(self.base("lived").bytes.clone());
        let node = pages.entries(pages.table("tombstones"))[0];
        pages.bytes[pages.key(node)].to_vec()
    }
}

fn fields_and_meta(shapes: &mut Shapes<'_>) {
    let key = shapes.any_key("fields");
    let put = |shapes: &mut Shapes<'_>, name: &str, expect, key: &[u8], payload: &[u8]| {
        shapes.put(&format!("field: {name}"), expect, "fields", key, payload);
    };
    put(shapes, "of a value", Survived, &key, b"value");
    put(shapes, "of a record that is not there", Caught, b"\0\0\0\0number\0\x02\0\0\xff\xff", &[]);
    put(shapes, "of no slot", Caught, b"\0\0\0\0number\0\x02", &[]);
    put(shapes, "of no name", Caught, b"\0\0\0\0\0", &[]);
    put(shapes, "of the collection alone", Caught, b"\0\0\0\0", &[]);
    put(shapes, "of an unknown class", Caught, b"\0\0\0\0number\0\x09\0\0\0\x01", &[]);
    field_blocks(shapes, &key);
    shapes.changed("field: missing", Caught, &[("fields", key.clone(), None)]);
    shapes.changed("field: of no seal", Found, &[("fields", key, Some(Vec::new()))]);

    let format = |magic: &[u8], version: u32| [magic, &version.to_le_bytes()].concat();
    for version in [0, 4, u32::MAX] {
        let name = format!("format version {version}");
        shapes.put(&name, Caught, "meta", b"format", &format(b"PORTOLAN", version));
    }
    shapes.put("format version 1", Survived, "meta", b"format", &format(b"PORTOLAN", 1));
    shapes.put("another program's magic", Refused, "meta", b"format", &format(b"MERCATOR", 2));
    shapes.put("a format of 3 bytes", Refused, "meta", b"format", b"POR");
    shapes.put("commit of another number", Refused, "meta", b"commit", &77_u64.to_le_bytes());
    shapes.put("commit of 3 bytes", Refused, "meta", b"commit", &[0; 3]);
    shapes.changed("no commit", Refused, &[("meta", b"commit".to_vec(), None)]);
    shapes.changed("no format", Refused, &[("meta", b"format".to_vec(), None)]);
    shapes.put("collections begin anew", Survived, "meta", b"next-collection", &[0; 4]);
    shapes.put("no collection is left", Survived, "meta", b"next-collection", &[0xff; 4]);
    shapes.put("an unknown entry", Right, "meta", b"stranger", b"value");
    longer_run(shapes);
}

/// A block of the field index, whose directory stands under the key.
fn field_blocks(shapes: &mut Shapes<'_>, key: &[u8]) {
    let own = shapes.payload("lived", "fields", key);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = own.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    for (name, payload) in [
        ("values without end", with(0, &[0xff; 4])),
        ("no value", with(0, &[0; 4])),
        ("a value more", with(0, &(own[0] + 1).to_le_bytes())),
        ("pairs without end", with(4, &[0xff; 4])),
        ("a table without end", with(8, &[0xff; 4])),
        ("layers without end", with(12, &[0xff; 2])),
        ("keys without end", with(14, &[0xff; 4])),
        ("a begin without end", with(18, &[0xff; 2])),
        ("rests without end", with(20, &[0xff; 2])),
        ("a byte too few", own[..own.len() - 1].to_vec()),
        ("a byte too many", [&own[..], &[0]].concat()),
    ] {
        shapes.put(&format!("block: {name}"), Caught, "fields", key, &payload);
    }
    let kind = key.len() - 5;
    let at = |part: u8, start: [u8; 4]| [&key[..kind], &[part], &start].concat();
    let put = |shapes: &mut Shapes<'_>, name: &str, key: &[u8], payload: &[u8]| {
        shapes.put(&format!("block: {name}"), Caught, "fields", key, payload);
    };
    put(shapes, "within a word of slots", &at(0, [0, 0, 0, 7]), &own);
    put(shapes, "of the last slots", &at(0, [0xff; 4]), &own);
    put(shapes, "the same slots twice", &at(0, [0, 0, 0, 64]), &own);
    put(shapes, "slots that are none", &at(1, [0; 4]), &[0xa5; 40]);
    put(shapes, "slots of no block", &at(1, [0, 0, 9, 0]), &[0xa5; 40]);
    put(shapes, "values of no block", &[&at(2, [0; 4])[..], &[0, 9]].concat(), &own);
    put(shapes, "a part of another kind", &at(9, [0; 4]), &own);
    put(shapes, "a key without slots", &key[..kind + 1], &own);
}

/// A value that was overwritten by a smaller one in the same transaction keeps its pages.
fn longer_run(shapes: &mut Shapes<'_>) {
    let pages = Pages::new(shapes.base("lived").bytes.clone());
    let node = pages.big("records");
    let key = pages.bytes[pages.key(node)].to_vec();
    let value = pages.bytes[pages.value(node)].to_vec();
    let long = [&value[..], &[0; 50_000]].concat();
    let changes = [("records", key.clone(), Some(long)), ("records", key, Some(value))];
    shapes.changed("a run longer than its value needs", Right, &changes);
    let last = shapes.all.last().expect("a shape");
    let pages = Pages::new(last.bytes.clone());
    let entries =
        pages.entries(pages.table("records")).into_iter().filter(|&node| pages.is_big(node));
    let spare = entries.map(|node| {
        let needed = (pages.value(node).len() + 16).div_ceil(pages.size) as u32;
        pages.u32(pages.run(node) + 12) - needed
    });
    assert!(spare.sum::<u32>() > 0, "LMDB gave the pages back");
}

pub fn add(shapes: &mut Shapes<'_>) {
    headers(shapes);
    extents(shapes);
    rows_of_segments(shapes);
    manifests(shapes);
    definitions(shapes);
    records(shapes);
    ids(shapes);
    unsealed_and_deleted(shapes);
    fields_and_meta(shapes);
}

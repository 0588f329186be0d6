//! Crafted files: each shape breaks one rule of the pages, or is odd and legal.

use std::path::Path;

use portolan::{Database, DatabaseOptions, Verify};

use super::children;
use super::trial::{Base, Faith, caught, in_words, place_of};
use super::{contents, words};
use crate::common::page_editor::{HEADER, Pages, meta, node, page, tree};
use crate::common::process::is;
use crate::common::quick_dir;
use crate::common::raw_lmdb;

/// How the trials of a shape must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It is not opened.
    Refused,
    /// It is not opened, or what is damaged is found when it is read.
    Found,
    /// It is a lie about counts or shapes that its checksums vouch for: answers may follow it, but
    /// something does not agree with it.
    Caught,
    /// It is legal.
    Right,
    /// It is legal, but nothing that LMDB may write to.
    ReadOnly,
    /// It is a lie that its checksums vouch for: nothing breaks, and that is all.
    Survived,
}

/// A crafted file.
pub struct Shape {
    pub name: String,
    /// The sample that it was made of.
    pub base: &'static str,
    pub bytes: Vec<u8>,
    pub expect: Expect,
}

/// The samples that shapes are made of.
pub const BASES: [&str; 5] = ["lived", "dense", "deep", "projected", "worded"];

/// Collects shapes.
pub struct Shapes<'b> {
    bases: &'b [(&'static str, Base)],
    pub all: Vec<Shape>,
}

impl Shapes<'_> {
    pub fn base(&self, name: &str) -> &Base {
        &self.bases.iter().find(|(of, _)| *of == name).expect("a base").1
    }

    pub fn push(&mut self, name: &str, base: &'static str, bytes: Vec<u8>, expect: Expect) {
        assert!(bytes != self.base(base).bytes, "{name} changes nothing");
        assert!(self.all.iter().all(|shape| shape.name != name), "{name} is there twice");
        self.all.push(Shape { name: name.to_owned(), base, bytes, expect });
    }

    /// A sample after an edit.
    fn edited(
        &mut self,
        name: &str,
        base: &'static str,
        expect: Expect,
        edit: impl FnOnce(&mut Pages),
    ) {
        let mut pages = Pages::new(self.base(base).bytes.clone());
        edit(&mut pages);
        self.push(name, base, pages.bytes, expect);
    }

    /// An edit of a file with free pages that no one may open.
    fn refused(&mut self, name: &str, edit: impl FnOnce(&mut Pages)) {
        self.edited(name, "lived", Expect::Refused, edit);
    }

    /// As [`Shapes::refused`], of a file with trees of several levels.
    fn refused_deep(&mut self, name: &str, edit: impl FnOnce(&mut Pages)) {
        self.edited(name, "deep", Expect::Refused, edit);
    }
}

fn metas(shapes: &mut Shapes<'_>) {
    for size in [0, 1, 256, 3_000, 65_536, 1 << 31] {
        shapes.refused(&format!("page size {size}"), |pages| {
            let second = pages.size;
            pages.set_u32(meta::FREE, size);
            pages.set_u32(second + meta::FREE, size);
        });
    }
    for slot in [0, 1] {
        let at = move |pages: &Pages, field: usize| slot * pages.size + field;
        shapes.refused(&format!("page size of meta {slot} differs"), |pages| {
            pages.set_u32(at(pages, meta::FREE), 8_192);
        });
        shapes.refused(&format!("magic of meta {slot}"), |pages| {
            pages.set_u32(at(pages, meta::MAGIC), 0x1234_5678);
        });
        shapes.refused(&format!("meta {slot} zeroed"), |pages| {
            let begin = slot * pages.size;
            pages.bytes[begin..begin + pages.size].fill(0);
        });
        shapes.refused(&format!("version 2 in meta {slot}"), |pages| {
            pages.set_u32(at(pages, meta::VERSION), 2);
        });
        shapes.refused(&format!("fixed address in meta {slot}"), |pages| {
            pages.set_u64(at(pages, meta::ADDRESS), 0x7000_0000_0000);
        });
        shapes.refused(&format!("map of 2^63 bytes in meta {slot}"), |pages| {
            pages.set_u64(at(pages, meta::MAP), 1 << 63);
        });
        shapes.refused(&format!("meta {slot} is a leaf"), |pages| {
            pages.set_u16(at(pages, page::FLAGS), 2);
        });
        shapes.refused(&format!("odd flags of the free tree of meta {slot}"), |pages| {
            pages.set_u16(at(pages, meta::FREE + tree::FLAGS), 0x0c);
        });
    }
    shapes.refused("magic of another byte order", |pages| {
        pages.set_u32(meta::MAGIC, 0xBEEF_C0DE_u32.swap_bytes());
    });
    shapes.refused("magic where 32-bit machines have it", |pages| {
        pages.set_u32(12, 0xBEEF_C0DE);
        pages.set_u32(meta::MAGIC, 1);
    });
    for version in [0, 3, 999] {
        shapes.refused(&format!("data version {version}"), |pages| {
            let second = pages.size;
            pages.set_u32(meta::VERSION, version);
            pages.set_u32(second + meta::VERSION, version);
        });
    }
    for last in [0, 1, 1 << 47, u64::MAX] {
        shapes.refused(&format!("last page {last}"), |pages| {
            pages.set_u64(pages.newest() + meta::LAST, last);
        });
    }
    shapes.refused("last page one less", |pages| pages.add(pages.newest() + meta::LAST, -1));
    shapes.refused("last page past the end", |pages| pages.add(pages.newest() + meta::LAST, 9));
    shapes.refused("number of the newest meta one more", |pages| {
        pages.add(pages.newest() + meta::TXN, 1);
    });
    shapes.refused("number of the newest meta two more", |pages| {
        pages.add(pages.newest() + meta::TXN, 2);
    });
    shapes.refused("older meta made the newest", |pages| pages.add(pages.older() + meta::TXN, 2));
    // A file with one commit: before it there were no tables.
    shapes.edited("first meta made the newest", "dense", Expect::Refused, |pages| {
        pages.add(pages.older() + meta::TXN, 2);
    });
    shapes.edited("only commit without a number", "dense", Expect::Refused, |pages| {
        pages.set_u64(pages.newest() + meta::TXN, 0);
    });
    shapes.refused("equal numbers", |pages| {
        pages.set_u64(pages.older() + meta::TXN, pages.u64(pages.newest() + meta::TXN));
    });
    shapes.refused("the greatest number", |pages| {
        let slot = (pages.newest() / pages.size) as u64;
        pages.set_u64(pages.newest() + meta::TXN, u64::MAX - 1 + slot);
    });
    shapes.refused("no number at all", |pages| {
        let second = pages.size;
        pages.set_u64(meta::TXN, 0);
        pages.set_u64(second + meta::TXN, 0);
    });
    shapes.refused("meta pages exchanged", |pages| {
        let (first, rest) = pages.bytes.split_at_mut(pages.size);
        first.swap_with_slice(&mut rest[..pages.size]);
    });
    shapes.refused("main tree with sorted duplicates", |pages| {
        pages.set_u16(pages.main_tree() + tree::FLAGS, 4);
    });
}

fn lengths(shapes: &mut Shapes<'_>) {
    let whole = shapes.base("dense").bytes.clone();
    for length in [1, 16, 151, 4_095, 4_096, 8_191, 8_192] {
        let name = format!("first {length} bytes");
        shapes.push(&name, "dense", whole[..length].to_vec(), Expect::Refused);
    }
    let less = |bytes: usize| whole[..whole.len() - bytes].to_vec();
    shapes.push("one byte short", "dense", less(1), Expect::Refused);
    shapes.push("one page short", "dense", less(4_096), Expect::Refused);
    let pages = Pages::new(whole.clone());
    let run = pages.run(pages.big("extents"));
    let within = whole[..run + pages.size + 100].to_vec();
    shapes.push("cut in a value", "dense", within, Expect::Refused);
    for size in [512, 1_024, 2_048] {
        // Its keys are short.
        let short = &shapes.base("projected").bytes;
        let small = portolan::internals::rewrite(short, size).expect("a whole file");
        shapes.push(&format!("pages of {size} bytes"), "projected", small, Expect::ReadOnly);
    }
    for size in [8_192, 16_384, 32_768] {
        let name = format!("pages of {size} bytes");
        let large = portolan::internals::rewrite(&whole, size).expect("a whole file");
        shapes.push(&name, "dense", large, Expect::Right);
    }
    let noise: Vec<u8> =
        (0..1_u32 << 20).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
    shapes.push("noise behind the end", "dense", [&whole[..], &noise].concat(), Expect::Right);
    let mut tail = pages.clone();
    tail.set_u64(tail.newest() + meta::TXN, 77);
    let metas = &tail.bytes[..2 * tail.size];
    let with_metas = [&whole[..], metas].concat();
    shapes.push("newer metas behind the end", "dense", with_metas, Expect::Right);
    shapes.push("odd bytes behind the end", "dense", [&whole[..], b"tail"].concat(), Expect::Right);
}

fn pages(shapes: &mut Shapes<'_>) {
    let leaf = |pages: &Pages| pages.leaves(pages.table("records"))[1];
    let branch = |pages: &Pages| pages.branches(pages.table("ids"))[0];
    shapes.refused("number of another page", |pages| pages.add(leaf(pages), 1));
    for (name, flags) in [
        ("no flags", 0),
        ("branch", 1),
        ("leaf and branch", 3),
        ("overflow", 4),
        ("meta", 8),
        ("dirty leaf", 0x12),
        ("leaf of fixed keys", 0x22),
        ("sub-page", 0x42),
        ("loose leaf", 0x4002),
        ("kept leaf", 0x8002),
        ("every flag", 0xffff),
    ] {
        shapes.refused(&format!("flags of a leaf: {name}"), |pages| {
            pages.set_u16(leaf(pages) + page::FLAGS, flags);
        });
    }
    for flags in [0x11_u16, 2, 0x4001] {
        shapes.refused_deep(&format!("flags {flags:#x} of a branch"), |pages| {
            pages.set_u16(branch(pages) + page::FLAGS, flags);
        });
    }
    for lower in [0, 8, 16, 17, 0xfffe] {
        shapes.refused(&format!("lower bound {lower}"), |pages| {
            pages.set_u16(leaf(pages) + page::LOWER, lower);
        });
    }
    shapes.refused("lower bound above the upper", |pages| {
        let upper = pages.u16(leaf(pages) + page::UPPER);
        pages.set_u16(leaf(pages) + page::LOWER, upper + 2);
    });
    for upper in [0, 15, 4_095, 4_098, 0xffff] {
        shapes.refused(&format!("upper bound {upper}"), |pages| {
            pages.set_u16(leaf(pages) + page::UPPER, upper);
        });
    }
    shapes.refused("upper bound within a node", |pages| {
        let upper = pages.u16(leaf(pages) + page::UPPER);
        pages.set_u16(leaf(pages) + page::UPPER, upper + 2);
    });
    shapes.refused("upper bound below the nodes", |pages| {
        let upper = pages.u16(leaf(pages) + page::UPPER);
        pages.set_u16(leaf(pages) + page::UPPER, upper - 2);
    });
    shapes.refused_deep("one node on a branch", |pages| {
        pages.set_u16(branch(pages) + page::LOWER, 18);
    });
}

fn nodes(shapes: &mut Shapes<'_>) {
    let leaf = |pages: &Pages| pages.leaves(pages.table("records"))[1];
    let first = move |pages: &Pages| pages.nodes(leaf(pages))[0];
    for offset in [0, 17, 20, 0x7fe, 4_090, 4_094, 4_096, 0xfffe] {
        shapes.refused(&format!("node at {offset}"), |pages| {
            pages.set_u16(leaf(pages) + HEADER, offset);
        });
    }
    shapes.refused("node one byte off", |pages| {
        let offset = pages.u16(leaf(pages) + HEADER);
        pages.set_u16(leaf(pages) + HEADER, offset + 1);
    });
    shapes.refused("node that overlaps the next", |pages| {
        let offset = pages.u16(leaf(pages) + HEADER);
        pages.set_u16(leaf(pages) + HEADER, offset - 2);
    });
    for size in [0x3ff, 0x1000, 0xffff] {
        shapes.refused(&format!("key of {size} bytes"), |pages| {
            pages.set_u16(first(pages) + node::KEY_SIZE, size);
        });
    }
    for size in [4_096, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        shapes.refused(&format!("value of {size} bytes"), |pages| {
            pages.set_u32(first(pages) + node::SIZE, size);
        });
    }
    for (name, flags) in [
        ("sorted duplicates", 4),
        ("a table", node::SUB),
        ("a table of duplicates", 6),
        ("unknown", 8),
        ("unknown and big", 0x8001),
    ] {
        shapes.refused(&format!("node flags: {name}"), |pages| {
            pages.set_u16(first(pages) + node::FLAGS, flags);
        });
    }
    shapes.refused("record of a tree as a value", |pages| {
        // As large as the record of a tree, which would be a table within a table.
        let entries = pages.entries(pages.table("records"));
        let long =
            entries.into_iter().find(|&node| pages.data(node).len() > 48 && !pages.is_big(node));
        let long = long.expect("a value of that size");
        let record = pages.table("ids");
        let record = pages.bytes[record..record + tree::BYTES].to_vec();
        let data = pages.data(long);
        pages.set(data.start, &record);
        pages.set_u32(long + node::SIZE, 48);
        pages.set_u16(long + node::FLAGS, node::SUB);
    });
    let table = |pages: &Pages| pages.find(pages.main_tree(), b"records");
    shapes.refused("record of a tree one byte short", |pages| {
        pages.set_u32(table(pages) + node::SIZE, 47);
    });
    shapes.refused("value among the tables", |pages| {
        pages.set_u16(table(pages) + node::FLAGS, 0);
    });
    shapes.refused("big value among the tables", |pages| {
        pages.set_u16(table(pages) + node::FLAGS, node::BIG);
    });
}

fn keys(shapes: &mut Shapes<'_>) {
    let leaf = |pages: &Pages| pages.leaves(pages.table("ids"))[1];
    shapes.refused("keys out of order", |pages| {
        let (a, b) = (pages.u16(leaf(pages) + HEADER), pages.u16(leaf(pages) + HEADER + 2));
        pages.set_u16(leaf(pages) + HEADER, b);
        pages.set_u16(leaf(pages) + HEADER + 2, a);
    });
    shapes.refused("a node twice", |pages| {
        let second = pages.u16(leaf(pages) + HEADER + 2);
        pages.set_u16(leaf(pages) + HEADER, second);
    });
    shapes.refused("equal keys", |pages| {
        let nodes = pages.nodes(leaf(pages));
        let key = pages.bytes[pages.key(nodes[0])].to_vec();
        assert_eq!(key.len(), pages.key(nodes[1]).len());
        pages.set(pages.key(nodes[1]).start, &key);
    });
    for size in [0, 512] {
        shapes.refused(&format!("key of length {size}"), |pages| {
            let node = pages.nodes(leaf(pages))[0];
            pages.set_u16(node + node::KEY_SIZE, size);
        });
    }
    shapes.refused("key below its leaf", |pages| {
        let node = pages.nodes(leaf(pages))[0];
        let key = pages.key(node);
        pages.bytes[key].fill(0);
    });
    shapes.refused("key above its leaf", |pages| {
        let leaf = pages.leaves(pages.table("ids"))[0];
        let node = *pages.nodes(leaf).last().expect("a node");
        let key = pages.key(node);
        pages.bytes[key].fill(0xff);
    });
    shapes.refused_deep("separator above its child", |pages| {
        let branch = pages.branches(pages.table("ids"))[0];
        let node = pages.nodes(branch)[1];
        let key = pages.key(node);
        pages.bytes[key].fill(0xff);
    });
    shapes.refused_deep("separator of no bytes", |pages| {
        let branch = pages.branches(pages.table("ids"))[0];
        let node = pages.nodes(branch)[1];
        pages.set_u16(node + node::KEY_SIZE, 0);
    });
}

fn trees(shapes: &mut Shapes<'_>) {
    let root = |pages: &Pages| pages.branches(pages.table("ids"))[0];
    let number = |pages: &Pages, at: usize| pages.u64(at);
    shapes.refused_deep("branch that leads to itself", |pages| {
        let node = pages.nodes(root(pages))[1];
        pages.set_child(node, number(pages, root(pages)));
    });
    shapes.refused_deep("child of two nodes", |pages| {
        let nodes = pages.nodes(root(pages));
        pages.set_child(nodes[1], pages.child(nodes[0]));
    });
    shapes.refused_deep("grandchild that leads to the root", |pages| {
        let ids = pages.table("ids");
        assert!(pages.depth(ids) > 2);
        let below = pages.branches(ids)[1];
        pages.set_child(pages.nodes(below)[0], number(pages, root(pages)));
    });
    for child in [0, 1, 1 << 40, (1 << 48) - 1] {
        shapes.refused_deep(&format!("child {child}"), |pages| {
            let node = pages.nodes(root(pages))[0];
            pages.set_child(node, child);
        });
    }
    for depth in [0, 1, 32, 0xffff] {
        shapes.refused_deep(&format!("tree of depth {depth}"), |pages| {
            pages.set_u16(pages.table("ids") + tree::DEPTH, depth);
        });
    }
    for more in [-1, 1] {
        shapes.refused_deep(&format!("tree of a depth that is {more} off"), |pages| {
            let depth = pages.depth(pages.table("ids"));
            pages.set_u16(pages.table("ids") + tree::DEPTH, depth.wrapping_add_signed(more));
        });
    }
    for to in [0, 1, 1 << 40, u64::MAX - 1] {
        shapes.refused(&format!("root {to}"), |pages| {
            pages.set_u64(pages.table("records") + tree::ROOT, to);
        });
    }
    shapes.refused("root past the last page", |pages| {
        pages.set_u64(pages.table("records") + tree::ROOT, pages.last_page() + 1);
    });
    shapes.refused("root of another table", |pages| {
        let other = pages.u64(pages.table("delta") + tree::ROOT);
        pages.set_u64(pages.table("records") + tree::ROOT, other);
    });
    shapes.refused("record of another table", |pages| {
        let (from, to) = (pages.table("tombstones"), pages.table("delta"));
        pages.bytes.copy_within(from..from + tree::BYTES, to);
    });
    shapes.refused("empty tree with counts", |pages| {
        pages.set_u64(pages.table("records") + tree::ROOT, u64::MAX);
    });
    shapes.refused("empty tree with pages that nothing leads to", |pages| {
        let record = pages.table("delta");
        pages.bytes[record..record + tree::ROOT].fill(0);
        pages.set_u64(record + tree::ROOT, u64::MAX);
    });
    for (name, field) in [
        ("branches", tree::BRANCHES),
        ("leaves", tree::LEAVES),
        ("overflow pages", tree::RUNS),
        ("entries", tree::ENTRIES),
    ] {
        for (tree_name, place) in [
            ("records", Pages::table as fn(&Pages, &str) -> usize),
            ("main", |pages, _| pages.main_tree()),
        ] {
            shapes.refused(&format!("{tree_name} with too many {name}"), |pages| {
                let record = place(pages, tree_name);
                pages.add(record + field, 1);
            });
        }
    }
    shapes.refused("entries without end", |pages| {
        pages.set_u64(pages.table("ids") + tree::ENTRIES, u64::MAX);
    });
    shapes.refused("main tree empty", |pages| {
        let record = pages.main_tree();
        pages.bytes[record..record + tree::ROOT].fill(0);
        pages.set_u64(record + tree::ROOT, u64::MAX);
    });
}

fn runs(shapes: &mut Shapes<'_>) {
    let big = |pages: &Pages| pages.big("extents");
    let place = move |pages: &Pages| pages.data(big(pages)).start;
    for to in [0, 1, 1 << 40, u64::MAX] {
        shapes.refused(&format!("run at page {to}"), |pages| pages.set_u64(place(pages), to));
    }
    shapes.refused("run at the page behind the last", |pages| {
        pages.set_u64(place(pages), pages.last_page() + 1);
    });
    for count in [0, 0x7fff_ffff, 0x0010_0001, u32::MAX] {
        shapes.refused(&format!("run of {count} pages"), |pages| {
            pages.set_u32(pages.run(big(pages)) + page::RUN, count);
        });
    }
    shapes.refused("run with a page too many", |pages| {
        let run = pages.run(big(pages));
        pages.set_u32(run + page::RUN, pages.u32(run + page::RUN) + 1);
    });
    shapes.refused("run to the end of the file", |pages| {
        let run = pages.run(big(pages));
        let count = pages.last_page() + 1 - (run / pages.size) as u64;
        pages.set_u32(run + page::RUN, count as u32);
    });
    shapes.refused("run that is a leaf", |pages| {
        let leaf = pages.leaves(pages.table("records"))[0];
        pages.set_u64(place(pages), pages.u64(leaf));
    });
    shapes.refused("run of another value", |pages| {
        let entries = pages.entries(pages.table("extents"));
        let other = entries.into_iter().rfind(|&node| pages.is_big(node)).expect("another");
        let to = pages.u64(pages.data(other).start);
        assert_ne!(other, big(pages));
        pages.set_u64(place(pages), to);
    });
    for size in [8_192, 1 << 31, u32::MAX] {
        shapes.refused(&format!("big value of {size} bytes"), |pages| {
            pages.set_u32(big(pages) + node::SIZE, size);
        });
    }
    shapes.refused("run with the number of another page", |pages| {
        pages.add(pages.run(big(pages)), 1);
    });
    shapes.refused("run with the flags of a leaf", |pages| {
        pages.set_u16(pages.run(big(pages)) + page::FLAGS, 2);
    });
}

fn free_pages(shapes: &mut Shapes<'_>) {
    /// A list of two pages at least: where it is.
    fn list(pages: &Pages) -> usize {
        let entries = pages.entries(pages.free_tree()).into_iter();
        let lists = entries.map(|node| pages.value(node).start);
        lists.into_iter().find(|&at| pages.u64(at) > 2).expect("a list of pages")
    }
    let first = |pages: &Pages| pages.entries(pages.free_tree())[0];
    for count in [16_000_000, 1 << 61, u64::MAX] {
        shapes.refused(&format!("free list of {count} pages"), |pages| {
            pages.set_u64(list(pages), count);
        });
    }
    shapes.refused("free list of a page less", |pages| pages.add(list(pages), -1));
    shapes.refused("free list of no page", |pages| pages.set_u64(list(pages), 0));
    shapes.refused("free list in ascending order", |pages| {
        let at = list(pages);
        let (a, b) = (pages.u64(at + 8), pages.u64(at + 16));
        pages.set_u64(at + 8, b);
        pages.set_u64(at + 16, a);
    });
    shapes.refused("free page listed twice", |pages| {
        let at = list(pages);
        pages.set_u64(at + 16, pages.u64(at + 8));
    });
    shapes.refused("free page that is a live leaf", |pages| {
        let leaf = pages.leaves(pages.table("records"))[0];
        let at = list(pages);
        let count = pages.u64(at);
        let mut all: Vec<u64> = (1..=count as usize).map(|word| pages.u64(at + 8 * word)).collect();
        all[0] = pages.u64(leaf);
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.iter().enumerate().for_each(|(word, page)| pages.set_u64(at + 8 + 8 * word, *page));
    });
    for free in [0, 1, 1 << 40] {
        shapes.refused(&format!("free page {free}"), |pages| {
            let at = list(pages);
            let word = if free > 1 { 1 } else { pages.u64(at) as usize };
            pages.set_u64(at + 8 * word, free);
        });
    }
    for (name, number) in [("no", 0), ("a future", 1 << 40), ("the last", u64::MAX)] {
        shapes.refused(&format!("free list of {name} transaction"), |pages| {
            let key = pages.key(first(pages)).start;
            pages.set_u64(key, number);
        });
    }
    shapes.refused("free list with a key of 7 bytes", |pages| {
        pages.set_u16(first(pages) + node::KEY_SIZE, 7);
    });
    shapes.refused("free list of a length that is no word", |pages| {
        let node = first(pages);
        pages.set_u32(node + node::SIZE, pages.u32(node + node::SIZE) - 1);
    });
    shapes.refused("free tree empty", |pages| {
        let record = pages.free_tree();
        pages.bytes[record + tree::DEPTH..record + tree::ROOT].fill(0);
        pages.set_u64(record + tree::ROOT, u64::MAX);
    });
}

fn names(shapes: &mut Shapes<'_>) {
    let name = |pages: &Pages| pages.key(pages.find(pages.main_tree(), b"delta")).start;
    shapes.refused("table of another name", |pages| pages.set(name(pages), b"deltb"));
    shapes.refused("table whose name is no text", |pages| pages.set(name(pages), &[0xff; 5]));
    for flags in [2, 4, 8, 0x10, 0x4008, 0xffff] {
        shapes.refused(&format!("table with flags {flags:#x}"), |pages| {
            pages.set_u16(pages.table("records") + tree::FLAGS, flags);
        });
    }
    shapes.refused("table with a number in front", |pages| {
        pages.set_u32(pages.table("records"), 4_096);
    });
    let dir = quick_dir();
    let path = dir.path().join("f");
    std::fs::write(&path, &shapes.base("lived").bytes).expect("the file");
    raw_lmdb::change(&path, &[("strangers", b"key".to_vec(), Some(b"value".to_vec()))]);
    let bytes = std::fs::read(&path).expect("the file");
    shapes.push("table that is not ours", "lived", bytes, Expect::Refused);
}

/// Every crafted file.
pub fn all(bases: &[(&'static str, Base)]) -> Vec<Shape> {
    let mut shapes = Shapes { bases, all: Vec::new() };
    metas(&mut shapes);
    lengths(&mut shapes);
    pages(&mut shapes);
    nodes(&mut shapes);
    keys(&mut shapes);
    trees(&mut shapes);
    runs(&mut shapes);
    free_pages(&mut shapes);
    names(&mut shapes);
    contents::add(&mut shapes);
    words::add(&mut shapes);
    shapes.all
}

pub fn bases() -> Vec<(&'static str, Base)> {
    BASES.map(|name| (name, Base::sample(name))).into_iter().collect()
}

/// Places of the trials that write and repair among those of a shape.
const WRITTEN: usize = 5;
const REPAIRED: usize = 6;

const TEST: &str = "shapes::crafted_files_are_refused_or_answered_and_never_break_anything";
const ROLE: &str = "crafted files";

/// In the child: tries each file in every way.
fn child(place: &Path) {
    let bases = bases();
    let list = std::fs::read_to_string(place.join("list")).expect("the list");
    let shapes: Vec<(&str, Faith)> = list
        .lines()
        .map(|line| line.split_once(' ').expect("a base and a faith"))
        .map(|(base, faith)| (base, if faith == "Lie" { Faith::Lie } else { Faith::Damaged }))
        .collect();
    children::work(shapes.len(), |at| {
        let (name, faith) = shapes[at];
        let (_, base) = bases.iter().find(|(of, _)| *of == name).expect("a base");
        let path = place.join(format!("{at}.portolan"));
        let bytes = std::fs::read(&path).expect("the file");
        let checked = || DatabaseOptions::new().verify(Verify::Touched);
        in_words([
            caught(|| base.read_unchecked(Database::open_read_only(&path))),
            caught(|| base.read_unchecked(Database::from_bytes(bytes.clone()))),
            caught(|| base.read(checked().open_read_only(&path), faith)),
            caught(|| base.read(checked().from_bytes(bytes.clone()), faith)),
            caught(|| base.copy(checked().open_read_only(&path), &place.join("copy"), faith)),
            caught(|| base.write(&path, faith)),
            // Of the file as it was before that.
            caught(|| {
                let damaged = place.join("damaged.portolan");
                std::fs::write(&damaged, &bytes).expect("the file");
                base.repair(&damaged, &place.join("repaired.portolan"), faith)
            }),
        ])
    });
}

/// Bytes beyond twice the file that a trial may take.
pub const MEMORY_KIB: u64 = 64 << 10;

#[test]
fn crafted_files_are_refused_or_answered_and_never_break_anything() {
    if is(ROLE) {
        return child(&children::place());
    }
    let bases = bases();
    let shapes = all(&bases);
    let dir = quick_dir();
    let mut list = String::new();
    for (at, shape) in shapes.iter().enumerate() {
        std::fs::write(dir.path().join(format!("{at}.portolan")), &shape.bytes).expect("a file");
        let is_lie = matches!(shape.expect, Expect::Survived | Expect::Caught);
        let faith = if is_lie { "Lie" } else { "Damaged" };
        list += &format!("{} {faith}\n", shape.base);
    }
    std::fs::write(dir.path().join("list"), list).expect("the list");
    let mut wrong = Vec::new();
    let (mut ends, mut repairs) = ([0; 3], [0; 3]);
    for told in children::run(TEST, ROLE, dir.path(), shapes.len()) {
        let shape = &shapes[told.case];
        let result = told.result.unwrap_or_else(|death| format!("WRONG {death}"));
        let mut say = |what: &str| wrong.push(format!("{}: {what}: {result}", shape.name));
        if result.contains("WRONG") {
            say("is mistaken");
            continue;
        }
        if told.grown_kib > 2 * (shape.bytes.len() as u64 >> 10) + MEMORY_KIB {
            say(&format!("took {} KiB", told.grown_kib));
        }
        for (way, end) in result.split('|').enumerate().skip(2) {
            let fits = match shape.expect {
                // A repair reads what nobody may open, and makes anew what is derived.
                Expect::Refused | Expect::Found | Expect::Caught if way == REPAIRED => true,
                Expect::ReadOnly => end == if way == WRITTEN { "refused" } else { "right" },
                Expect::Refused => end == "refused",
                Expect::Found | Expect::Caught => end != "right",
                Expect::Right => end == "right",
                Expect::Survived => true,
            };
            if !fits {
                say(&format!("should be {:?}", shape.expect));
            }
            let counts = if way == REPAIRED { &mut repairs } else { &mut ends };
            counts[place_of(end)] += 1;
        }
    }
    println!(
        "{} crafted files: {ends:?} refused, failed, right checked; {repairs:?} repaired",
        shapes.len()
    );
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), shapes.len(), wrong.join("\n"));
}

#[test]
fn what_a_file_is_instead_is_told_by_name() {
    let base = Base::sample("dense");
    let told = |edit: &dyn Fn(&mut Pages)| {
        let mut pages = Pages::new(base.bytes.clone());
        edit(&mut pages);
        let error = Database::from_bytes(pages.bytes).expect_err("a refusal");
        assert!(error.is_corruption() && !error.is_not_found(), "{error:?}");
        error.to_string()
    };
    let swapped = 0xBEEF_C0DE_u32.swap_bytes();
    for (edit, words) in [
        (
            &(|pages: &mut Pages| pages.set_u32(meta::MAGIC, 7)) as &dyn Fn(&mut Pages),
            "not a portolan file",
        ),
        (&|pages| pages.set_u32(meta::MAGIC, swapped), "big-endian"),
        (&|pages| pages.set(12, &[0xDE, 0xC0, 0xEF, 0xBE, 1, 0, 0, 0]), "32-bit"),
        (&|pages| pages.set_u32(meta::VERSION, 999), "data version 999"),
        (&|pages| pages.bytes.truncate(9_000), "truncated"),
        (&|pages| pages.bytes.truncate(100), "too short"),
        (&|pages| pages.bytes.clear(), "too short"),
        (&|pages| pages.set(pages.find_name("ids"), b"idz"), "no table \"ids\""),
    ] {
        let message = told(edit);
        assert!(message.contains(words), "{message} does not say {words:?}");
    }
}

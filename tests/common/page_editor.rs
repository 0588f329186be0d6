//! Finds and changes the pages of a database file in memory, by `storage-format.md` alone: shares
//! no code with the library. For files that are whole when the editor is made; after an edit only
//! places that were found before are to be trusted.

use std::ops::Range;

/// Bytes of a page header.
pub const HEADER: usize = 16;

/// Places in a page, from its begin.
pub mod page {
    pub const NUMBER: usize = 0;
    pub const FLAGS: usize = 10;
    pub const LOWER: usize = 12;
    pub const UPPER: usize = 14;
    /// Pages of an overflow run.
    pub const RUN: usize = 12;
}

/// Places in a meta page, from its begin.
pub mod meta {
    pub const MAGIC: usize = 16;
    pub const VERSION: usize = 20;
    pub const ADDRESS: usize = 24;
    pub const MAP: usize = 32;
    pub const FREE: usize = 40;
    pub const MAIN: usize = 88;
    pub const LAST: usize = 136;
    pub const TXN: usize = 144;
    pub const END: usize = 152;
}

/// Places in the record of a tree.
pub mod tree {
    pub const FLAGS: usize = 4;
    pub const DEPTH: usize = 6;
    pub const BRANCHES: usize = 8;
    pub const LEAVES: usize = 16;
    pub const RUNS: usize = 24;
    pub const ENTRIES: usize = 32;
    pub const ROOT: usize = 40;
    pub const BYTES: usize = 48;
}

/// Places in a node.
pub mod node {
    pub const SIZE: usize = 0;
    pub const FLAGS: usize = 4;
    pub const KEY_SIZE: usize = 6;
    pub const KEY: usize = 8;
    pub const BIG: u16 = 1;
    pub const SUB: u16 = 2;
}

/// Names of the tables, at the numbers that seed checksums.
pub const TABLES: [&str; 10] = [
    "meta",
    "collections",
    "ids",
    "records",
    "delta",
    "extents",
    "tombstones",
    "fields",
    "postings",
    "matrices",
];

/// All bytes of a file.
#[derive(Clone)]
pub struct Pages {
    pub bytes: Vec<u8>,
    /// Bytes of a page.
    pub size: usize,
}

impl Pages {
    pub fn new(bytes: Vec<u8>) -> Self {
        let mut pages = Self { bytes, size: 0 };
        pages.size = pages.u32(meta::FREE) as usize;
        pages
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        *self.bytes[at..].first_chunk().expect("a place in the file")
    }

    pub fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.read(at))
    }

    pub fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.read(at))
    }

    pub fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.read(at))
    }

    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn set_u16(&mut self, at: usize, value: u16) {
        self.set(at, &value.to_le_bytes());
    }

    pub fn set_u32(&mut self, at: usize, value: u32) {
        self.set(at, &value.to_le_bytes());
    }

    pub fn set_u64(&mut self, at: usize, value: u64) {
        self.set(at, &value.to_le_bytes());
    }

    /// Adds to a number of eight bytes.
    pub fn add(&mut self, at: usize, more: i64) {
        self.set_u64(at, self.u64(at).wrapping_add_signed(more));
    }

    /// Where the newer meta page begins.
    pub fn newest(&self) -> usize {
        if self.u64(self.size + meta::TXN) > self.u64(meta::TXN) { self.size } else { 0 }
    }

    /// Where the other one begins.
    pub fn older(&self) -> usize {
        self.size - self.newest()
    }

    pub fn last_page(&self) -> u64 {
        self.u64(self.newest() + meta::LAST)
    }

    /// Where a page begins.
    pub fn start(&self, number: u64) -> usize {
        number as usize * self.size
    }

    /// Where the record of the list of free pages is.
    pub fn free_tree(&self) -> usize {
        self.newest() + meta::FREE
    }

    /// Where the record of the main tree is.
    pub fn main_tree(&self) -> usize {
        self.newest() + meta::MAIN
    }

    /// Where the record of a table is.
    pub fn table(&self, name: &str) -> usize {
        let node = self.find(self.main_tree(), name.as_bytes());
        self.data(node).start
    }

    /// Where the name of a table is.
    pub fn find_name(&self, name: &str) -> usize {
        self.key(self.find(self.main_tree(), name.as_bytes())).start
    }

    /// The trees of the file, by name: `free`, `main`, and the tables.
    pub fn trees(&self) -> Vec<(&'static str, usize)> {
        let mut trees = vec![("free", self.free_tree()), ("main", self.main_tree())];
        trees.extend(TABLES.iter().map(|name| (*name, self.table(name))));
        trees
    }

    pub fn depth(&self, tree: usize) -> u16 {
        self.u16(tree + tree::DEPTH)
    }

    /// Begins of all pages of a tree but overflow runs, with their levels from 1.
    pub fn walk(&self, tree: usize) -> Vec<(usize, u16)> {
        let depth = self.depth(tree);
        let mut found = Vec::new();
        let mut next = vec![(self.u64(tree + tree::ROOT), 1)];
        while let Some((number, level)) = next.pop().filter(|_| depth > 0) {
            let page = self.start(number);
            found.push((page, level));
            if level < depth {
                let children = self.nodes(page).into_iter().map(|node| self.child(node));
                next.extend(children.rev().map(|child| (child, level + 1)));
            }
        }
        found
    }

    /// Begins of the leaves of a tree, in order.
    pub fn leaves(&self, tree: usize) -> Vec<usize> {
        let depth = self.depth(tree);
        let pages = self.walk(tree).into_iter();
        pages.filter(|(_, level)| *level == depth).map(|(page, _)| page).collect()
    }

    /// Begins of the branches of a tree.
    pub fn branches(&self, tree: usize) -> Vec<usize> {
        let depth = self.depth(tree);
        let pages = self.walk(tree).into_iter();
        pages.filter(|(_, level)| *level < depth).map(|(page, _)| page).collect()
    }

    /// Where the nodes of a page begin, in order of their keys.
    pub fn nodes(&self, page: usize) -> Vec<usize> {
        let count = (usize::from(self.u16(page + page::LOWER)) - HEADER) / 2;
        (0..count).map(|at| page + usize::from(self.u16(page + HEADER + 2 * at))).collect()
    }

    /// The entries of a tree, in order.
    pub fn entries(&self, tree: usize) -> Vec<usize> {
        self.leaves(tree).into_iter().flat_map(|page| self.nodes(page)).collect()
    }

    /// The child that the node of a branch leads to.
    pub fn child(&self, node: usize) -> u64 {
        u64::from(self.u32(node + node::SIZE)) | u64::from(self.u16(node + node::FLAGS)) << 32
    }

    pub fn set_child(&mut self, node: usize, child: u64) {
        self.set_u32(node + node::SIZE, child as u32);
        self.set_u16(node + node::FLAGS, (child >> 32) as u16);
    }

    pub fn key(&self, node: usize) -> Range<usize> {
        let begin = node + node::KEY;
        begin..begin + usize::from(self.u16(node + node::KEY_SIZE))
    }

    pub fn is_big(&self, node: usize) -> bool {
        self.u16(node + node::FLAGS) & node::BIG != 0
    }

    /// What follows the key of a leaf's node: the value, or the number of its first page.
    pub fn data(&self, node: usize) -> Range<usize> {
        let begin = self.key(node).end;
        let size = self.u32(node + node::SIZE) as usize;
        begin..begin + if self.is_big(node) { 8 } else { size }
    }

    /// Where the overflow run of a node begins.
    pub fn run(&self, node: usize) -> usize {
        self.start(self.u64(self.data(node).start))
    }

    /// Where the value of a leaf's node is, in its page or not.
    pub fn value(&self, node: usize) -> Range<usize> {
        if !self.is_big(node) {
            return self.data(node);
        }
        let begin = self.run(node) + HEADER;
        begin..begin + self.u32(node + node::SIZE) as usize
    }

    /// The node of a key in a tree.
    pub fn find(&self, tree: usize, key: &[u8]) -> usize {
        let mut entries = self.entries(tree).into_iter();
        entries.find(|&node| self.bytes[self.key(node)] == *key).expect("an entry of that key")
    }

    /// A node of a table whose value has a run of its own.
    pub fn big(&self, table: &str) -> usize {
        let mut entries = self.entries(self.table(table)).into_iter();
        entries.find(|&node| self.is_big(node)).expect("a value with pages of its own")
    }

    /// Makes the seal of a node's value right again.
    pub fn reseal(&mut self, table: &str, node: usize) {
        let key = self.bytes[self.key(node)].to_vec();
        let value = self.value(node);
        let sealed = sealed(table, &key, &self.bytes[value.start + 8..value.end]);
        self.set(value.start, &sealed);
    }
}

/// A payload with its seal in front.
pub fn sealed(table: &str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    use xxhash_rust::xxh3::xxh3_64_with_seed;
    let number = TABLES.iter().position(|name| *name == table).expect("a table");
    let seal = xxh3_64_with_seed(payload, xxh3_64_with_seed(key, number as u64));
    [&seal.to_le_bytes(), payload].concat()
}

/// Makes the checksum of an extent right again.
pub fn seal_extent(extent: &mut [u8]) {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&extent[..32]);
    hasher.update(&extent[48..]);
    extent[32..48].copy_from_slice(&hasher.digest128().to_le_bytes());
}

/// The numbers of an encoded value that has nothing but numbers in it.
pub fn numbers(mut payload: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some((&first, rest)) = payload.split_first() {
        let bytes = match first {
            251 => 2,
            252 => 4,
            253 => 8,
            _ => 0,
        };
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(&rest[..bytes]);
        numbers.push(if bytes == 0 { u64::from(first) } else { u64::from_le_bytes(wide) });
        payload = &rest[bytes..];
    }
    numbers
}

/// The inverse of [`numbers`].
pub fn encoded(numbers: &[u64]) -> Vec<u8> {
    let mut payload = Vec::new();
    for &number in numbers {
        let wide = number.to_le_bytes();
        match number {
            0..251 => payload.push(wide[0]),
            251..0x1_0000 => payload.extend([&[251], &wide[..2]].concat()),
            0x1_0000..0x1_0000_0000 => payload.extend([&[252], &wide[..4]].concat()),
            _ => payload.extend([&[253], &wide[..]].concat()),
        }
    }
    payload
}

//! What a disk may hold after a loss of power, from the log of what a process did to it.
//!
//! The model, which is harsher than any one file system:
//! - A write is on disk once a later sync of its file has returned, or when it returns itself if
//!   the descriptor is synchronous. That one alone then: not what was written before it.
//! - Of the writes since, any may be there and any not. Each is cut at sectors of 512 bytes, of
//!   which any may be there; a sector is there whole or not at all.
//! - What a lost write, or a lost part, would have added to the length may be there as zeros, or
//!   not. A resizing is lost or kept.
//! - Names made, changed and removed are on disk once the directory has been synced. Before, some
//!   first ones of them are.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::log::Event;
use crate::common::{Rng, deep};

const SECTOR: u64 = 512;
/// Of at most so many changes a deep run tries every prefix: those up to one, with none after it.
const PREFIXES_MAX: usize = 64;

#[derive(Default)]
pub struct Disk {
    files: HashMap<u64, File>,
    /// Names on disk, with the inode of each.
    names: BTreeMap<String, u64>,
    /// Changes of names since the directory was synced.
    unsure: Vec<Event>,
}

#[derive(Default)]
struct File {
    /// What the last sync made sure of.
    content: Vec<u8>,
    /// Changes since.
    changes: Vec<Change>,
}

struct Change {
    offset: u64,
    /// None for a resizing to `offset`.
    data: Option<Vec<u8>>,
    /// Whether it is on disk for sure.
    durable: bool,
}

/// What becomes of a change that is not on disk for sure.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Lost,
    /// Lost but for the length.
    Length,
    Whole,
    /// Some sectors, drawn with this seed.
    Torn(u64),
}

impl Disk {
    /// A disk that holds one file.
    pub fn with_file(name: &str, inode: u64, content: Vec<u8>) -> Self {
        let file = File { content, changes: Vec::new() };
        Self {
            files: HashMap::from([(inode, file)]),
            names: BTreeMap::from([(name.to_owned(), inode)]),
            unsure: Vec::new(),
        }
    }

    fn file(&mut self, inode: u64) -> &mut File {
        self.files.entry(inode).or_default()
    }

    /// A call is under way: nothing that it does is sure yet.
    pub fn begin(&mut self, event: &Event) {
        match event {
            Event::Written { inode, offset, data, .. } => {
                let data = Some(data.clone());
                self.file(*inode).changes.push(Change { offset: *offset, data, durable: false });
            }
            Event::Resized { inode, bytes } => {
                let change = Change { offset: *bytes, data: None, durable: false };
                self.file(*inode).changes.push(change);
            }
            Event::Made { inode, .. } => {
                // An inode may have had another life.
                self.files.insert(*inode, File::default());
                self.unsure.push(event.clone());
            }
            Event::Renamed { .. } | Event::Removed { .. } => self.unsure.push(event.clone()),
            Event::Synced { .. } | Event::SyncedDirectory | Event::Acknowledged(_) => {}
        }
    }

    /// The call has returned.
    pub fn end(&mut self, event: &Event) {
        match event {
            Event::Written { inode, durable: true, .. } => {
                if let Some(change) = self.file(*inode).changes.last_mut() {
                    change.durable = true;
                }
            }
            Event::Synced { inode } => self.file(*inode).settle(),
            Event::SyncedDirectory => {
                let unsure = std::mem::take(&mut self.unsure);
                for event in &unsure {
                    rename(&mut self.names, event);
                }
            }
            _ => {}
        }
    }

    /// Whether this call makes sure of something, so that what it leaves differs from what may be
    /// there before it. Every state of the disk can be had before such a call or at the end.
    pub fn is_edge(&self, event: &Event) -> bool {
        match event {
            Event::Written { durable, .. } => *durable,
            Event::Synced { inode } => {
                self.files.get(inode).is_some_and(|file| !file.changes.is_empty())
            }
            Event::SyncedDirectory => !self.unsure.is_empty(),
            _ => false,
        }
    }

    /// Contents that a file may have after a crash now; none where it may be absent. About `limit`
    /// of them for each file that may have the name: none, all and first ones of the changes, then
    /// all subsets or drawn ones, then torn ones. In a deep run every prefix, beyond `limit`.
    pub fn crashes(&self, name: &str, limit: usize, rng: &mut Rng) -> Vec<Option<Vec<u8>>> {
        let mut names = self.names.clone();
        let mut inodes = BTreeSet::from([names.get(name).copied()]);
        for event in &self.unsure {
            rename(&mut names, event);
            inodes.insert(names.get(name).copied());
        }
        let mut crashes = Vec::new();
        for inode in inodes {
            match inode.and_then(|inode| self.files.get(&inode)) {
                None => crashes.push(None),
                Some(file) => {
                    let unsure = file.changes.iter().filter(|change| !change.durable).count();
                    let plans = plans(unsure, limit, rng).into_iter();
                    crashes.extend(plans.map(|plan| Some(file.after(&plan))));
                }
            }
        }
        crashes
    }
}

fn rename(names: &mut BTreeMap<String, u64>, event: &Event) {
    match event {
        Event::Made { name, inode } => drop(names.insert(name.clone(), *inode)),
        Event::Removed { name } => drop(names.remove(name)),
        Event::Renamed { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        _ => {}
    }
}

/// What may become of `changes` changes.
fn plans(changes: usize, limit: usize, rng: &mut Rng) -> Vec<Vec<Fate>> {
    let mut plans = vec![vec![Fate::Lost; changes]];
    if changes == 0 {
        return plans;
    }
    plans.push(vec![Fate::Length; changes]);
    plans.push(vec![Fate::Whole; changes]);
    let all_prefixes = deep() && changes <= PREFIXES_MAX;
    let prefix = |first: usize, beyond: Fate| -> Vec<Fate> {
        (0..changes).map(|at| if at < first { Fate::Whole } else { beyond }).collect()
    };
    let drawn = if all_prefixes { 0 } else { limit / 4 };
    for _ in 0..drawn {
        let first = rng.below(changes as u64) as usize;
        let beyond = if rng.once_in(2) { Fate::Length } else { Fate::Lost };
        plans.push(prefix(first, beyond));
    }
    let subsets = 1_u64.checked_shl(changes as u32).unwrap_or(u64::MAX);
    if subsets <= limit as u64 / 4 {
        for subset in 0..subsets {
            let fate = |at| if subset >> at & 1 == 1 { Fate::Whole } else { Fate::Lost };
            plans.push((0..changes).map(fate).collect());
        }
    } else {
        for _ in 0..limit / 4 {
            let fates = [Fate::Whole, Fate::Whole, Fate::Lost, Fate::Length];
            plans.push((0..changes).map(|_| fates[rng.below(4) as usize]).collect());
        }
    }
    while plans.len() < limit {
        let torn = |rng: &mut Rng| match rng.below(6) {
            0 => Fate::Lost,
            1 => Fate::Length,
            2 => Fate::Whole,
            _ => Fate::Torn(rng.next()),
        };
        plans.push((0..changes).map(|_| torn(rng)).collect());
    }
    if all_prefixes {
        for first in 1..changes {
            plans.extend([Fate::Lost, Fate::Length].map(|beyond| prefix(first, beyond)));
        }
    }
    plans
}

impl File {
    fn settle(&mut self) {
        let plan = vec![Fate::Whole; self.changes.len()];
        self.content = self.after(&plan);
        self.changes.clear();
    }

    /// The content if these are the fates of the changes that are not sure, in their order.
    fn after(&self, plan: &[Fate]) -> Vec<u8> {
        let mut content = self.content.clone();
        let mut fates = plan.iter();
        for change in &self.changes {
            let sure = change.durable.then_some(&Fate::Whole);
            change.apply(*sure.or_else(|| fates.next()).unwrap_or(&Fate::Lost), &mut content);
        }
        content
    }
}

impl Change {
    fn apply(&self, fate: Fate, content: &mut Vec<u8>) {
        let Some(data) = &self.data else {
            if !matches!(fate, Fate::Lost) {
                content.resize(self.offset as usize, 0);
            }
            return;
        };
        let (begin, end) = (self.offset, self.offset + data.len() as u64);
        let mut put = |from: u64, to: u64| {
            grow(content, to);
            let part = &data[(from - begin) as usize..(to - begin) as usize];
            content[from as usize..to as usize].copy_from_slice(part);
        };
        match fate {
            Fate::Lost => {}
            Fate::Length => grow(content, end),
            Fate::Whole => put(begin, end),
            Fate::Torn(seed) => {
                let mut rng = Rng::new(seed);
                let sectors = begin / SECTOR..end.div_ceil(SECTOR);
                // Half of the time in order, as one long transfer that was cut.
                let cut = sectors.start + rng.below(sectors.end - sectors.start + 1);
                let in_order = rng.once_in(2);
                for sector in sectors {
                    if if in_order { sector < cut } else { rng.once_in(2) } {
                        put((sector * SECTOR).max(begin), ((sector + 1) * SECTOR).min(end));
                    }
                }
                if rng.once_in(2) {
                    grow(content, end);
                }
            }
        }
    }
}

fn grow(content: &mut Vec<u8>, bytes: u64) {
    if (content.len() as u64) < bytes {
        content.resize(bytes as usize, 0);
    }
}

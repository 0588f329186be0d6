//! A query from lists to hits: on one version of the file, each stage once.

use std::borrow::Cow;
use std::time::Instant;

use super::deepen::Searched;
use super::group::{GroupRange, Grouped};
use super::list::{Given, Ranking};
use super::page::{Cursor, Place};
use super::records::Records;
use super::report::{FindReport, FindStage};
use super::{Find, Findings};
use crate::db::matching::records_of;
use crate::error::Result;
use crate::fusion::Fusion;
use crate::storage::field_settings::{FieldSettings, Lookup};

/// What may become a hit.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) slot: u32,
    pub(super) score: f64,
    /// What a query that is ordered by a field orders it by.
    pub(super) key: Option<Vec<u8>>,
}

/// A query under way.
pub(super) struct Run<'r> {
    pub(super) find: &'r Find,
    pub(super) given: Given<'r>,
    pub(super) records: Records<'r>,
    stages: Vec<FindStage>,
    pub(super) warnings: Vec<String>,
    /// How deep lists were at last that do not say it themselves.
    pub(super) depth: usize,
    /// Whether deeper lists may have more groups.
    pub(super) may_deepen: bool,
    /// Hits before the page that are not among the candidates.
    pub(super) skipped: usize,
    clock: Instant,
}

/// The part of the candidates that is shown.
struct Page {
    shown: Vec<Candidate>,
    groups: Vec<GroupRange>,
    next: Option<Cursor>,
}

impl Find {
    /// Runs the query on the newest version of the file.
    ///
    /// Cost: that of its lists, and of reading the records that are returned. With lists, grouping,
    /// ordering by a field and facets over what was found read the record of each candidate,
    /// diversity its vector; groups that are missing ask the lists again, deeper: see
    /// [`Find::group_by`]. Without lists, an order, groups and facets cost a pass over the index of
    /// their field, and reading the records of the page, whatever the offset, and of an order that
    /// of the hit after it; everything that matches is read, and
    /// [`FindReport::warnings`] tells it, where the field has no index, or where groups are to come
    /// in order of a field.
    ///
    /// # Errors
    /// [`Error::Query`](crate::Error::Query) for a query that asks for nothing, or what cannot go
    /// together; [`Error::Vector`](crate::Error::Vector) for a query vector of another number of
    /// dimensions, or with NaN; those of an example, a cursor, a recall target, another model, a
    /// filter; storage.
    pub fn run(self) -> Result<Findings> {
        let begin = Instant::now();
        self.check()?;
        let collection = &self.collection;
        let snapshot = collection.inner.snapshot()?;
        let snapshot = snapshot.as_ref();
        let view = collection.view(snapshot)?;
        let matching = view.matching(self.filter.as_ref(), snapshot, collection.id)?;
        let filter = self.filter.as_ref();
        let given = Given { collection, snapshot, view: &view, filter, matching: &matching };
        if let Some(after) = &self.after {
            self.check_cursor(after, snapshot.version())?;
        }
        let mut run = Run {
            find: &self,
            given,
            records: Records::new(snapshot, collection.id),
            stages: Vec::new(),
            warnings: matching.warnings.clone(),
            depth: self.list_depth(),
            may_deepen: false,
            skipped: 0,
            clock: begin,
        };
        let records = records_of(&matching.slots, view.manifest.records);
        if self.filter.is_some() {
            run.stage("filter", records, Cow::Borrowed("records pass"));
        }
        let listed_groups = run.listed_groups()?;
        let Searched { rankings, candidates, found } = match listed_groups {
            Some(_) => Searched::default(),
            None => run.searched(records)?,
        };
        let facets = run.facets(&candidates)?;
        let candidates = run.ordered(candidates)?;
        let page = run.page(candidates, listed_groups)?;
        let hits = self.hits(given, &mut run.records, &rankings, &page.shown)?;
        run.stage("records", hits.len() as u64, Cow::Borrowed("read and returned"));
        let stale = self.after.as_ref().is_some_and(|after| after.version != snapshot.version());
        let report = FindReport {
            took: begin.elapsed(),
            records,
            passing: matching.passing,
            scanned: matching.looked.scanned.clone(),
            records_read: matching.looked.records_read,
            warnings: run.warnings,
            lists: rankings.into_iter().map(|ranking| ranking.report).collect(),
            fusion: (self.lists.len() > 1).then_some(self.fusion),
            candidates: found,
            stages: run.stages,
            stale_cursor: stale,
            filter: self.filter,
        };
        Ok(Findings { hits, facets, next: page.next, report, groups: page.groups })
    }

    /// Whether there is one list whose order is the answer: then no more of it is needed than what
    /// is shown.
    pub(super) fn is_plain(&self) -> bool {
        self.lists.len() == 1
            && self.depth.is_none()
            && self.order_by.is_none()
            && self.group_by.is_none()
            && self.diversity.is_none()
            && !self.facets.iter().any(|facet| facet.of_found)
    }

    /// Hits or groups up to the end of this page.
    pub(super) fn wanted(&self) -> usize {
        let seen = self.after.as_ref().map_or(0, |after| after.seen);
        seen.saturating_add(self.offset).saturating_add(self.limit)
    }

    /// How deep lists are that do not say it themselves.
    pub(super) fn list_depth(&self) -> usize {
        match (self.depth, &self.after) {
            (Some(depth), _) => depth,
            _ if self.is_plain() => self.wanted(),
            (None, Some(after)) => after.depth,
            (None, None) => {
                let each = self.group_by.as_ref().map_or(1, |group| group.size.saturating_mul(4));
                self.wanted().saturating_mul(each).max(super::DEPTH)
            }
        }
    }
}

impl Run<'_> {
    /// Notes that a stage ended, with what it kept.
    pub(super) fn stage(&mut self, stage: &'static str, kept: u64, note: Cow<'static, str>) {
        let now = Instant::now();
        self.stages.push(FindStage { stage, took: now - self.clock, kept, note });
        self.clock = now;
    }

    pub(super) fn rankings(&mut self) -> Result<Vec<Ranking>> {
        let (find, given, depth) = (self.find, self.given, self.depth);
        let rankings: Vec<Ranking> = match find.limit {
            // Nothing is to be shown, but perhaps counted.
            0 if !find.facets.iter().any(|facet| facet.of_found) => Vec::new(),
            _ => find.lists.iter().map(|list| list.run(given, depth)).collect::<Result<_>>()?,
        };
        if !find.lists.is_empty() {
            let found = rankings.iter().map(|ranking| ranking.found.len() as u64).sum();
            self.stage("lists", found, Cow::Borrowed("found by the lists together"));
        }
        Ok(rankings)
    }

    /// What the lists found, in order of score; or all that matches, in order of insertion.
    pub(super) fn candidates(&mut self, rankings: &[Ranking]) -> Result<Vec<Candidate>> {
        let of = |(slot, score)| Candidate { slot, score, key: None };
        if self.find.lists.is_empty() {
            let (listed, note) = self.listed()?;
            self.stage("listing", listed.len() as u64, note);
            return Ok(listed.into_iter().map(|slot| of((slot, 0.0))).collect());
        }
        if let [ranking] = rankings {
            let found = ranking.found.iter();
            return Ok(found.map(|found| of((found.slot, f64::from(found.score)))).collect());
        }
        let lists: Vec<(f64, Vec<(u32, f32)>)> = rankings
            .iter()
            .map(|ranking| {
                let found = ranking.found.iter().map(|found| (found.slot, found.score));
                (ranking.report.weight, found.collect())
            })
            .collect();
        let fused = self.find.fusion.merge(&lists);
        self.stage("fusion", fused.len() as u64, Cow::Borrowed("records in one order"));
        Ok(fused.into_iter().map(of).collect())
    }

    fn facets(&mut self, candidates: &[Candidate]) -> Result<Vec<super::FacetCounts>> {
        let (find, given) = (self.find, self.given);
        if find.facets.is_empty() {
            return Ok(Vec::new());
        }
        let settings = FieldSettings::read(given.snapshot, given.collection.id)?;
        let mut counted = Vec::with_capacity(find.facets.len());
        for facet in &find.facets {
            let lookup = settings.lookup(&facet.field);
            // Without lists, what was found is what matches: nothing of it need be read.
            let of_found = facet.of_found && !find.lists.is_empty();
            if !of_found && lookup == Lookup::Scan {
                self.warn_of_reads(lookup, &facet.field, "facet");
            }
            let candidates = of_found.then_some(candidates);
            counted.push(facet.count(given, lookup, candidates, &mut self.records)?);
        }
        self.stage("facets", counted.len() as u64, Cow::Borrowed("fields counted"));
        Ok(counted)
    }

    fn ordered(&mut self, mut candidates: Vec<Candidate>) -> Result<Vec<Candidate>> {
        let find = self.find;
        if let Some(order_by) = &find.order_by {
            order_by.sort(&mut candidates, &mut self.records)?;
            let order = format!("{:?}", order_by.order).to_lowercase();
            let note = format!("by {}, {order}: so many were read", order_by.field);
            self.stage("order", candidates.len() as u64, note.into());
        }
        if let Some(mmr) = &find.diversity {
            let wanted = if find.group_by.is_some() { usize::MAX } else { find.wanted() };
            candidates = mmr.reorder(self.given, candidates, wanted)?;
            let note = format!("lambda {}, {} candidates at most", mmr.lambda, mmr.candidates);
            self.stage("diversity", candidates.len() as u64, note.into());
        }
        Ok(candidates)
    }

    /// Cuts the page out of what is in order.
    fn page(&mut self, ordered: Vec<Candidate>, listed: Option<Vec<Grouped>>) -> Result<Page> {
        let find = self.find;
        let Some(group_by) = &find.group_by else {
            let (from, to) = self.bounds(&ordered, ordered.len());
            let next = self.next(&ordered, to, ordered.len());
            let shown = ordered.into_iter().skip(from).take(to - from).collect();
            return Ok(Page { shown, groups: Vec::new(), next });
        };
        let all = match listed {
            Some(listed) => listed,
            None => group_by.group(&ordered, &mut self.records)?,
        };
        let note = format!("by {}, {} of each at most", group_by.field, group_by.size);
        self.stage("groups", all.len() as u64, note.into());
        let (from, to) = self.bounds(&ordered, all.len());
        let next = self.next(&ordered, to, all.len());
        let (mut shown, mut groups) = (Vec::new(), Vec::new());
        for group in all.into_iter().skip(from).take(to - from) {
            let value = group_by.value(&group, &mut self.records)?;
            let first = shown.len();
            shown.extend(group.members);
            groups.push(GroupRange { value, hits: first..shown.len() });
        }
        Ok(Page { shown, groups, next })
    }

    /// Where the page begins and ends among `count` hits or groups.
    fn bounds(&self, ordered: &[Candidate], count: usize) -> (usize, usize) {
        let find = self.find;
        let passed = match &find.after {
            None => 0,
            Some(after) => {
                let descending = find.order_by.as_ref().is_some_and(|by| by.is_descending());
                after.passed(ordered, descending)
            }
        };
        let offset = find.offset.saturating_sub(self.skipped);
        let from = passed.saturating_add(offset).min(count);
        (from, from.saturating_add(find.limit).min(count))
    }

    /// The cursor after the page that ends at `to`, if there can be more.
    fn next(&self, ordered: &[Candidate], to: usize, count: usize) -> Option<Cursor> {
        let find = self.find;
        if find.limit == 0 {
            // It would begin where it ends, for ever.
            return None;
        }
        // One list alone is asked for no more than the page; a deeper one may have more, as those
        // of groups may.
        let may_grow = count >= find.wanted()
            && (self.may_deepen
                || find.is_plain() && find.lists.iter().all(|list| list.common().depth.is_none()));
        if to >= count && !may_grow {
            return None;
        }
        let seen = find.wanted();
        let place = if find.diversity.is_some() || find.group_by.is_some() {
            Place::Count
        } else {
            let Candidate { slot, score, key } = ordered.get(to.checked_sub(1)?)?.clone();
            match find.order_by {
                Some(_) => Place::Field { key, score, slot },
                None => Place::Score { score, slot },
            }
        };
        let version = self.given.snapshot.version();
        Some(Cursor { version, depth: self.depth, seen, place })
    }
}

impl Ranking {
    /// The shares of its places in a fusion, by place.
    pub(super) fn shares(&self, fusion: &Fusion) -> Vec<f64> {
        let scores: Vec<f32> = self.found.iter().map(|found| found.score).collect();
        fusion.shares(self.report.weight, &scores).present
    }
}

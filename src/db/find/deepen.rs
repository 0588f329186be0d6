//! Lists that are asked again, deeper, while groups are missing.

use super::list::Ranking;
use super::run::{Candidate, Run};
use crate::error::Result;

/// Candidates for groups at most: each is read, and a cursor, which can come back from strangers,
/// is not to decide how much work there is.
const DEPTH_MAX: usize = 1 << 20;
/// By how much lists are deepened: all rounds together cost a third more than the last alone.
const FACTOR: usize = 4;

/// What was found, above the least score.
#[derive(Default)]
pub(super) struct Searched {
    pub(super) rankings: Vec<Ranking>,
    pub(super) candidates: Vec<Candidate>,
    /// Candidates with those below the least score.
    pub(super) found: usize,
}

impl Run<'_> {
    /// What the lists find, as deep as the groups of the page need them, or what is listed, of so
    /// many records that match.
    pub(super) fn searched(&mut self, records: u64) -> Result<Searched> {
        let most = usize::try_from(records).unwrap_or(usize::MAX).min(DEPTH_MAX);
        let mut rounds = 0;
        loop {
            let searched = self.searched_once()?;
            let is_missing = self.misses_groups(&searched)?;
            if is_missing && self.depth < most && self.joins_deeper() {
                self.depth = self.depth.saturating_mul(FACTOR).min(most);
                rounds += 1;
                continue;
            }
            let warnings = searched.rankings.iter().filter_map(|one| one.warning);
            self.warnings.extend(warnings.map(str::to_owned));
            self.may_deepen = self.depth < most && self.is_full(&searched);
            self.warn_of_depth(rounds, is_missing && self.depth < records as usize);
            return Ok(searched);
        }
    }

    fn searched_once(&mut self) -> Result<Searched> {
        let rankings = self.rankings()?;
        let mut candidates = self.candidates(&rankings)?;
        let found = candidates.len();
        if let Some(least) = self.find.min_score {
            // By the score that the hit has, so that its own never leaves it out.
            candidates.retain(|candidate| candidate.score as f32 >= least);
            self.stage("threshold", candidates.len() as u64, format!("score >= {least}").into());
        }
        Ok(Searched { rankings, candidates, found })
    }

    /// Whether a deeper list can give more candidates for groups.
    fn is_full(&self, searched: &Searched) -> bool {
        let find = self.find;
        let may_be_deeper = find.group_by.is_some() && find.depth.is_none() && find.limit > 0;
        // Of one list, what is deeper is below the least score too.
        let is_cut = find.lists.len() == 1 && searched.candidates.len() < searched.found;
        let mut lists = find.lists.iter().zip(&searched.rankings);
        may_be_deeper
            && !is_cut
            && lists.any(|(list, ranking)| {
                list.common().depth.is_none() && ranking.found.len() >= ranking.report.depth
            })
    }

    fn misses_groups(&mut self, searched: &Searched) -> Result<bool> {
        let find = self.find;
        let Some(group_by) = find.group_by.as_ref().filter(|_| self.is_full(searched)) else {
            return Ok(false);
        };
        Ok(!group_by.has(find.wanted(), &searched.candidates, &mut self.records)?)
    }

    /// Whether the candidates of deeper lists begin with those of the pages before.
    fn joins_deeper(&self) -> bool {
        let find = self.find;
        let is_one = find.lists.len() == 1 && find.diversity.is_none() && find.order_by.is_none();
        find.after.is_none() || is_one
    }

    fn warn_of_depth(&mut self, rounds: usize, is_cut: bool) {
        let Some(group_by) = &self.find.group_by else { return };
        let (field, depth) = (&group_by.field, self.depth);
        if is_cut {
            self.warnings.push(format!(
                "groups by {field:?} end where the lists do, {depth} records deep: set a greater \
                 depth of the query, and begin without a cursor"
            ));
        } else if rounds > 1 {
            self.warnings.push(format!(
                "groups by {field:?} needed lists {depth} records deep, as few values own most of \
                 what is found: a smaller limit or a filter makes them faster"
            ));
        }
    }
}

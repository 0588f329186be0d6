//! What a query tells of itself: how many pass its filter, what each list and each stage kept, and
//! what was read for lack of an index, in its report, as JSON and in words.

use portolan::{Collection, FindReport, Findings};

use super::common::Rng;
use super::hybrid::{Asked, KINDS};
use super::shapes::filtered;
use super::{FIELDS, Predicate, Side};

/// A stage and what it must have kept.
type Kept = (&'static str, u64);

pub fn check_explained(docs: &Collection, side: &Side, rng: &mut Rng, filter: Option<&Predicate>) {
    let asked = Asked::any(side, rng);
    let depth = 1 + rng.below(60) as usize;
    let given = filter.map(|filter| filter.filter(rng));
    let find = filtered(asked.find(docs, depth), given.as_ref());
    let all = find.clone().limit(KINDS.len() * depth).run().expect("a query").hits;
    let least = all.get(rng.below(all.len() as u64) as usize).map_or(0.0, |hit| hit.score);
    let above = all.iter().filter(|hit| hit.score >= least).count();
    let limit = 1 + rng.below(40) as usize;
    let field = FIELDS[rng.below(FIELDS.len() as u64) as usize];
    let is_ordered = rng.once_in(2);
    let find = find.min_score(least).facets([field]).limit(limit);
    let find = if is_ordered { find.order_by(field, Default::default()) } else { find };
    let found = find.run().expect("a query");
    let report = &found.report;

    assert_eq!(report.filter, given);
    check_filter(report, side, filter);
    let singles = asked.singles(docs, depth, given.as_ref());
    assert_eq!(report.lists.len(), KINDS.len());
    for ((list, kind), (weight, single)) in report.lists.iter().zip(KINDS).zip(&singles) {
        assert_eq!((list.kind, list.depth, list.weight), (kind, depth, *weight));
        assert_eq!(list.found, single.len(), "found by {kind}");
        assert!(list.scored >= list.found as u64, "scored by {kind}");
    }
    assert_eq!((report.fusion, report.candidates), (Some(asked.fusion), all.len()));

    let mut stages: Vec<Kept> = Vec::new();
    if filter.is_some() {
        stages.push(("filter", side.passing(filter).count() as u64));
    }
    stages.push(("lists", singles.iter().map(|(_, found)| found.len() as u64).sum()));
    stages.extend([("fusion", all.len() as u64), ("threshold", above as u64), ("facets", 1)]);
    if is_ordered {
        stages.push(("order", above as u64));
    }
    stages.push(("records", limit.min(above) as u64));
    let told: Vec<Kept> = report.stages.iter().map(|stage| (stage.stage, stage.kept)).collect();
    assert_eq!(told, stages);
    assert_eq!(found.hits.len(), limit.min(above));
    check_told(&found, &stages);
}

/// How many pass, and what was read to know it.
fn check_filter(report: &FindReport, side: &Side, filter: Option<&Predicate>) {
    let passing = || side.passing(filter);
    assert_eq!(report.records, passing().count() as u64, "records that pass");
    let with_vector = passing().filter(|record| record.vector.is_some()).count();
    assert_eq!(report.passing, with_vector as u64, "vectors that pass");
    let fields = filter.map(Predicate::fields).unwrap_or_default();
    for field in &report.scanned {
        assert!(!side.all_fields && field != "number", "{field} has an index");
        assert!(fields.contains(field.as_str()), "{field} is not asked for");
        let warns = |warning: &String| warning.contains(&format!("{field:?} has no index"));
        assert!(report.warnings.iter().any(warns), "no warning of {field}");
    }
    assert!(!report.scanned.is_empty() || report.records_read == 0, "read for nothing");
    assert!(report.records_read <= side.model.len() as u64);
}

/// Words and JSON tell what the report does.
fn check_told(found: &Findings, stages: &[Kept]) {
    let (report, explanation) = (&found.report, found.explain());
    let (words, json) = (explanation.to_string(), explanation.to_json());
    let head = match &report.filter {
        Some(filter) => format!("filter: {filter}: {} records pass", report.records),
        None => format!("no filter: {} records", report.records),
    };
    assert!(words.starts_with(&head), "{head} in {words}");
    for (at, (stage, kept)) in stages.iter().enumerate() {
        assert!(words.contains(&format!("\n{stage}: {kept} ")), "{stage} in {words}");
        assert_eq!(
            (&json["stages"][at]["stage"], &json["stages"][at]["kept"]),
            (&(*stage).into(), &(*kept).into())
        );
    }
    for (at, list) in report.lists.iter().enumerate() {
        let begin = format!("\nlist {}: {} ({}), ", at + 1, list.kind, list.about);
        assert!(words.contains(&begin), "{begin} in {words}");
        assert_eq!(json["lists"][at]["found"], list.found);
        assert_eq!(json["lists"][at]["scored"], list.scored);
    }
    for warning in &report.warnings {
        assert!(words.contains(&format!("\nwarning: {warning}\n")), "{warning} in {words}");
    }
    assert_eq!(json["records"], report.records);
    assert_eq!(json["passing"], report.passing);
    assert_eq!(json["candidates"], report.candidates);
    let warnings = json["warnings"].as_array().expect("a list");
    assert!(warnings.iter().map(|one| one.as_str()).eq(report.warnings.iter().map(|w| Some(&**w))));
}

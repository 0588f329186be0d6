//! The plots of the page that `eval --report` writes. Colors are classes `s0` to `s5`, which the
//! page defines for light and for dark.

use portolan::eval::report::{EvalReport, ModeComparison};
use portolan::eval::set::EvalSet;

use crate::eval_course::ModeRun;
use crate::svg::{Axis, Scale, Svg, frame, number};

/// Colors there are.
const COLORS: usize = 6;
/// Bins of a histogram.
const BINS: usize = 24;
const WIDTH: f64 = 760.0;
/// Room for numbers and names beside and below a plot.
const LEFT: f64 = 66.0;
const BELOW: f64 = 50.0;
/// Width of a letter of a label in the page's font, about.
const LETTER: f64 = 8.4;

/// The class of a mode's color, by its place.
pub fn color(place: usize) -> String {
    format!("s{}", place % COLORS)
}

/// The first measure over the median time of a query, whiskers to the 90th percentile.
pub fn quality_by_time(report: &EvalReport) -> String {
    let (height, top) = (400.0, 16.0);
    let first = report.modes.first().and_then(|mode| mode.quality.first());
    let measure = first.map(|(measure, _)| measure.to_string()).unwrap_or_default();
    let of = |at: usize| report.modes[at].quality.first().map_or(0.0, |(_, figure)| *figure);
    let figures: Vec<f64> = (0..report.modes.len()).map(of).collect();
    let times = report.modes.iter().flat_map(|mode| [mode.cost.median_ms, mode.cost.p90_ms]);
    let times: Vec<f64> = times.map(|time| time.max(1e-3)).collect();
    let x = Axis::around(&times, Scale::Logarithmic, (LEFT, WIDTH - 20.0), 8);
    let y = Axis::around(&padded(&figures), Scale::Linear, (height - BELOW, top), 6);
    let mut svg = Svg::new((WIDTH, height), &format!("{measure} over time per query"), "");
    frame(&mut svg, &x, &y, ("median time per query in ms, line to the 90th percentile", &measure));
    let mut taken: Vec<Area> = Vec::new();
    for (mode, &figure) in report.modes.iter().zip(&figures) {
        let (at, end) = (x.at(mode.cost.median_ms.max(1e-3)), x.at(mode.cost.p90_ms.max(1e-3)));
        taken.push(Area::around((at, y.at(figure)), (end - at).max(7.0)));
    }
    for (place, (mode, &figure)) in report.modes.iter().zip(&figures).enumerate() {
        let color = color(place);
        let (median, p90) = (mode.cost.median_ms.max(1e-3), mode.cost.p90_ms.max(1e-3));
        let point = (x.at(median), y.at(figure));
        let whisker = format!("class=\"{color} whisker\"");
        svg.line(point, (x.at(p90), point.1), &whisker);
        let tip = format!("{}: {measure} {figure:.4}, median {} ms", mode.mode, number(median));
        svg.circle(point, 6.0, &format!("class=\"{color} mark\""), &tip);
        let end = (x.at(p90), point.1);
        let label = place_label(&mode.mode, point, end, (WIDTH, height), &mut taken);
        svg.text(label, "start", "class=\"mode\"", &mode.mode);
    }
    svg.finish()
}

/// A part of a plot that something is in.
#[derive(Clone, Copy)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Area {
    /// A mark, and the line to its right.
    fn around((x, y): (f64, f64), to_right: f64) -> Self {
        Self { left: x - 7.0, right: x + to_right, top: y - 7.0, bottom: y + 7.0 }
    }

    fn meets(&self, other: &Self) -> bool {
        let apart = self.right < other.left
            || other.right < self.left
            || self.bottom < other.top
            || other.bottom < self.top;
        !apart
    }
}

/// Where words can stand beside a mark without touching another or other words: the first free of
/// six places.
fn place_label(
    words: &str,
    mark: (f64, f64),
    end: (f64, f64),
    size: (f64, f64),
    taken: &mut Vec<Area>,
) -> (f64, f64) {
    let width = words.chars().count() as f64 * LETTER;
    let places = [
        (end.0 + 10.0, mark.1 + 4.0),
        (mark.0 - 10.0 - width, mark.1 + 4.0),
        (mark.0 - width / 2.0, mark.1 - 14.0),
        (mark.0 - width / 2.0, mark.1 + 22.0),
        (mark.0 + 8.0, mark.1 - 14.0),
        (mark.0 - 8.0 - width, mark.1 + 22.0),
    ];
    let area =
        |(x, y): (f64, f64)| Area { left: x, right: x + width, top: y - 10.0, bottom: y + 3.0 };
    let is_inside = |place: Area| {
        place.left > LEFT
            && place.right < size.0 - 4.0
            && place.top > 2.0
            && place.bottom < size.1 - BELOW
    };
    let is_free = |place: Area| is_inside(place) && !taken.iter().any(|other| other.meets(&place));
    let free = places.into_iter().find(|&place| is_free(area(place)));
    let inside = places.into_iter().find(|&place| is_inside(area(place)));
    let found = free.or(inside).unwrap_or(places[0]);
    taken.push(area(found));
    found
}

/// Figures with a little room around them, so that marks do not lie on the frame.
fn padded(figures: &[f64]) -> Vec<f64> {
    let low = figures.iter().copied().fold(f64::MAX, f64::min);
    let high = figures.iter().copied().fold(f64::MIN, f64::max);
    let room = ((high - low) * 0.08).max(0.005);
    vec![(low - room).max(0.0), (high + room).min(1.0)]
}

/// The share of the nearest that dense search finds, and nDCG@10, over its candidates.
pub fn curve(report: &EvalReport) -> String {
    let (height, top) = (320.0, 34.0);
    let points = &report.ef_curve;
    let efs: Vec<f64> = points.iter().map(|point| point.ef as f64).collect();
    let shares: Vec<f64> =
        points.iter().flat_map(|point| [point.neighbors_10, point.ndcg_10]).collect();
    let x = Axis::around(&efs, Scale::Logarithmic, (LEFT, WIDTH - 20.0), 8);
    let y = Axis::around(&padded(&shares), Scale::Linear, (height - BELOW, top), 6);
    let mut svg = Svg::new((WIDTH, height), "What dense search finds by its candidates", "");
    frame(&mut svg, &x, &y, ("candidates of the walk (ef)", "share"));
    let lines = [
        ("of the 10 nearest found", points.iter().map(|of| of.neighbors_10).collect::<Vec<_>>()),
        ("nDCG@10", points.iter().map(|of| of.ndcg_10).collect()),
    ];
    for (place, (name, shares)) in lines.into_iter().enumerate() {
        let color = color(place);
        let drawn =
            points.iter().zip(&shares).map(|(of, share)| (x.at(of.ef as f64), y.at(*share)));
        let drawn: Vec<(f64, f64)> = drawn.collect();
        svg.polyline(drawn.iter().copied(), &format!("class=\"{color} curve\""));
        for ((point, share), at) in points.iter().zip(&shares).zip(drawn) {
            let tip = format!(
                "ef {}: {name} {share:.4}, median {} ms",
                point.ef,
                number(point.median_ms)
            );
            svg.circle(at, 4.0, &format!("class=\"{color} mark\""), &tip);
        }
        let legend = LEFT + 10.0 + 220.0 * place as f64;
        svg.circle((legend, 14.0), 5.0, &format!("class=\"{color} mark\""), "");
        svg.text((legend + 10.0, 18.0), "start", "class=\"mode\"", name);
    }
    svg.finish()
}

/// The scores of relevant hits and of the others, each as shares of their own number.
pub fn histogram(run: &ModeRun, set: &EvalSet, place: usize) -> Option<String> {
    let mut scores: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for (query, ranked) in &run.queries {
        let judgments = set.qrels.get(query);
        for (id, score) in ranked.hits.iter().take(ranked.scored) {
            let is_relevant = judgments.is_some_and(|judged| judged.grade(id) > 0);
            scores[usize::from(!is_relevant)].push(f64::from(*score));
        }
    }
    let all: Vec<f64> = scores.iter().flatten().copied().filter(|s| s.is_finite()).collect();
    if all.is_empty() {
        return None;
    }
    let (width, height, top) = (372.0, 250.0, 44.0);
    let x = Axis::around(&all, Scale::Linear, (LEFT, width - 12.0), 5);
    let (low, high) = (*x.ticks.first()?, *x.ticks.last()?);
    let shares = scores.each_ref().map(|scores| binned(scores, low, high));
    let most = shares.iter().flatten().copied().fold(0.0, f64::max);
    let y = Axis::around(&[0.0, most], Scale::Linear, (height - BELOW, top), 4);
    let name = format!("Scores of {}", run.name);
    let mut svg = Svg::new((width, height), &name, "");
    frame(&mut svg, &x, &y, ("score", "share of hits, %"));
    svg.text((LEFT, 14.0), "start", "class=\"mode\"", &run.name);
    let told = [("other", 1, "other"), ("relevant", 0, color(place).as_str())]
        .map(|(words, which, class)| (words, which, class.to_owned()));
    for (at, (words, which, class)) in told.iter().enumerate() {
        let wide = (high - low) / BINS as f64;
        for (bin, &share) in shares[*which].iter().enumerate().filter(|(_, share)| **share > 0.0) {
            let from = low + wide * bin as f64;
            let corners = ((x.at(from), y.at(0.0)), (x.at(from + wide), y.at(share)));
            let tip = format!(
                "{words}: {} % of hits score {} to {}",
                number((share * 10.0).round() / 10.0),
                number(from),
                number(from + wide)
            );
            svg.rect(corners.0, corners.1, &format!("class=\"{class} bar\""), &tip);
        }
        let legend = LEFT + 4.0 + 150.0 * at as f64;
        svg.rect((legend, 22.0), (legend + 10.0, 32.0), &format!("class=\"{class} bar\""), "");
        let words = format!("{words} ({})", scores[*which].len());
        svg.text((legend + 15.0, 31.0), "start", "class=\"label\"", &words);
    }
    Some(svg.finish())
}

/// Percent of the scores in each bin.
fn binned(scores: &[f64], low: f64, high: f64) -> Vec<f64> {
    let mut bins = vec![0.0; BINS];
    let part = 100.0 / scores.len().max(1) as f64;
    for score in scores.iter().filter(|score| score.is_finite()) {
        let at = ((score - low) / (high - low) * BINS as f64).max(0.0) as usize;
        if let Some(bin) = bins.get_mut(at.min(BINS - 1)) {
            *bin += part;
        }
    }
    bins
}

/// Each query's difference between two modes, from the largest gain to the largest loss; none if
/// they are the same in all.
pub fn differences(pair: &ModeComparison) -> Option<String> {
    if pair.compared.wins + pair.compared.losses == 0 {
        return None;
    }
    let (height, top) = (260.0, 14.0);
    let values: Vec<f64> = pair.queries.iter().map(|query| query.difference()).collect();
    let (left, right) = (LEFT, WIDTH - 20.0);
    let most = values.iter().fold(0.0_f64, |most, value| most.max(value.abs())).max(0.01);
    let y = Axis::around(&[-most, most], Scale::Linear, (height - BELOW, top), 6);
    let mut queries = Axis::around(&[], Scale::Linear, (left, right), 2);
    queries.ticks.clear();
    let title = format!("{} less {}, query by query", pair.second, pair.first);
    let mut svg = Svg::new((WIDTH, height), &title, "");
    let name = format!("{} queries, largest gain first", values.len());
    frame(&mut svg, &queries, &y, (&name, &format!("difference of {}", pair.measure)));
    let wide = (right - left) / values.len().max(1) as f64;
    for (at, query) in pair.queries.iter().enumerate() {
        let value = query.difference();
        if value == 0.0 {
            continue;
        }
        let class = if value > 0.0 { "gain" } else { "loss" };
        let x = left + wide * at as f64;
        let gap = if wide > 4.0 { 1.0 } else { 0.0 };
        let tip =
            format!("{value:+.4} {}: {}", query.query, crate::output::snippet(&query.text, 120));
        let paint = format!("class=\"{class}\"");
        svg.rect((x, y.at(0.0)), (x + wide - gap, y.at(value)), &paint, &tip);
    }
    svg.line((left, y.at(0.0)), (right, y.at(0.0)), "class=\"axis\"");
    Some(svg.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_avoid_marks_and_each_other() {
        let marks = [(300.0, 200.0), (305.0, 203.0), (310.0, 198.0)];
        let mut taken: Vec<Area> = marks.iter().map(|mark| Area::around(*mark, 7.0)).collect();
        for mark in marks {
            place_label("reranked", mark, mark, (WIDTH, 400.0), &mut taken);
        }
        let labels = &taken[3..];
        for (at, label) in labels.iter().enumerate() {
            assert!(
                !taken.iter().enumerate().any(|(of, other)| of != at + 3 && other.meets(label))
            );
        }
    }

    #[test]
    fn bins_hold_all_scores_of_their_kind() {
        let shares = binned(&[0.0, 0.5, 1.0, 1.0], 0.0, 1.0);
        assert_eq!((shares[0], shares[BINS / 2], shares[BINS - 1]), (25.0, 25.0, 50.0));
        assert_eq!(binned(&[], 0.0, 1.0), vec![0.0; BINS]);
    }
}

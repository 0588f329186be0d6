//! Two modes over the same queries, as an evaluation reports them. Eval layer; holds numbers,
//! computes none.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::eval::measure::Measure;
use crate::eval::significance::{CONFIDENCE, Comparison, Signs};

/// Gains and losses that are told.
pub const LARGEST: usize = 5;
/// Characters of a question that are shown.
const SHOWN: usize = 100;

/// A query whose figure differs between two modes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryDifference {
    /// Its id.
    pub query: String,
    /// The question.
    pub text: String,
    /// The figure of the first mode.
    pub first: f64,
    /// The figure of the second mode.
    pub second: f64,
}

impl QueryDifference {
    /// Second less first.
    #[must_use]
    pub fn difference(&self) -> f64 {
        self.second - self.first
    }
}

/// Two modes compared query by query.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeComparison {
    /// The mode that is compared with.
    pub first: String,
    /// The mode that is compared.
    pub second: String,
    /// What is compared.
    pub measure: Measure,
    /// Wins, losses, p.
    pub compared: Comparison,
    /// The seed of the drawn numbers.
    pub seed: u64,
    /// All queries with their figures, the largest gain of the second mode first.
    pub queries: Vec<QueryDifference>,
}

impl ModeComparison {
    /// Its cells in the table of comparisons.
    pub(super) fn row(&self) -> Vec<String> {
        let of = &self.compared;
        let (low, high) = of.interval;
        vec![
            format!("{} - {}", self.second, self.first),
            self.measure.to_string(),
            format!("{:+.4}", of.difference),
            format!("{low:+.4} to {high:+.4}"),
            of.effect.map_or("-".to_owned(), |effect| format!("{effect:+.2}")),
            p_text(of),
            of.wins.to_string(),
            of.losses.to_string(),
            of.ties.to_string(),
        ]
    }

    /// The `most` largest gains and the `most` largest losses of the second mode, each from the
    /// largest on.
    #[must_use]
    pub fn largest(&self, most: usize) -> (Vec<&QueryDifference>, Vec<&QueryDifference>) {
        let gains = self.queries.iter().filter(|of| of.difference() > 0.0).take(most);
        let losses = self.queries.iter().rev().filter(|of| of.difference() < 0.0).take(most);
        (gains.collect(), losses.collect())
    }

    /// The queries that differ most, in words.
    pub(super) fn write_largest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gains, losses) = self.largest(LARGEST);
        for (what, queries) in [("gains", gains), ("losses", losses)] {
            if queries.is_empty() {
                continue;
            }
            writeln!(f, "\nlargest {what} of {} over {}", self.second, self.first)?;
            for query in queries {
                let (first, second) = (query.first, query.second);
                let difference = query.difference();
                writeln!(
                    f,
                    "{difference:+.4}  {first:.4} to {second:.4}  {}  {}",
                    printable(&query.query),
                    printable(&query.text)
                )?;
            }
        }
        Ok(())
    }
}

impl Serialize for ModeComparison {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Comparison { wins, losses, ties, difference, interval, effect, p, signs, .. } =
            self.compared;
        let (gains, lost) = self.largest(LARGEST);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("first", &self.first)?;
        map.serialize_entry("second", &self.second)?;
        map.serialize_entry("measure", &self.measure.to_string())?;
        map.serialize_entry("difference", &difference)?;
        map.serialize_entry("interval", &[interval.0, interval.1])?;
        map.serialize_entry("confidence", &CONFIDENCE)?;
        map.serialize_entry("effect", &effect)?;
        map.serialize_entry("p", &p)?;
        map.serialize_entry("exact", &matches!(signs, Signs::All(_)))?;
        map.serialize_entry("permutations", &signs.count())?;
        map.serialize_entry("seed", &self.seed)?;
        map.serialize_entry("wins", &wins)?;
        map.serialize_entry("losses", &losses)?;
        map.serialize_entry("ties", &ties)?;
        map.serialize_entry("gains", &gains)?;
        map.serialize_entry("lost", &lost)?;
        map.end()
    }
}

/// p, never as 0.
fn p_text(compared: &Comparison) -> String {
    if compared.p < 1e-4 { format!("{:.0e}", compared.p) } else { format!("{:.4}", compared.p) }
}

/// A text of a set on one line, cut where it gets long; it is not trusted to steer a terminal.
fn printable(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let safe = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut cut: String = safe.take(SHOWN).collect();
    if line.chars().nth(SHOWN).is_some() {
        cut.push_str("...");
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::super::report::EvalReport;
    use super::*;

    #[test]
    fn texts_of_a_set_are_shown_on_one_line_without_control_characters() {
        assert_eq!(printable("a\u{1b}[31m\n  b"), "a [31m b");
        assert_eq!(printable(&"x".repeat(SHOWN + 1)).len(), SHOWN + 3);
    }

    #[test]
    fn a_comparison_tells_its_test_and_the_largest_differences_each_way() {
        let query = |id: &str, first: f64, second: f64| QueryDifference {
            query: id.to_owned(),
            text: format!("question {id}"),
            first,
            second,
        };
        let queries = vec![
            query("a", 0.0, 1.0),
            query("b", 0.5, 0.75),
            query("c", 0.5, 0.5),
            query("d", 1.0, 0.5),
        ];
        let figures: Vec<(f64, f64)> = queries.iter().map(|of| (of.first, of.second)).collect();
        let pair = ModeComparison {
            first: "dense".to_owned(),
            second: "hybrid".to_owned(),
            measure: Measure::defaults()[0],
            compared: Comparison::of(&figures, 7),
            seed: 7,
            queries,
        };
        let report = EvalReport { comparisons: vec![pair], ..EvalReport::default() };
        let shown = report.to_string();
        assert!(shown.contains("hybrid - dense  ndcg@10     +0.1875"), "{shown}");
        assert!(shown.contains("seed 7"), "{shown}");
        assert!(shown.contains("hybrid: all 8 choices of signs"), "{shown}");
        let gains = "largest gains of hybrid over dense\n\
                     +1.0000  0.0000 to 1.0000  a  question a\n\
                     +0.2500  0.5000 to 0.7500  b  question b\n";
        assert!(shown.contains(gains), "{shown}");
        assert!(
            shown.contains("over dense\n-0.5000  1.0000 to 0.5000  d  question d\n"),
            "{shown}"
        );
        let json = serde_json::to_value(&report).unwrap();
        let told = &json["comparisons"][0];
        assert_eq!(
            (&told["wins"], &told["losses"], &told["ties"]),
            (&2.into(), &1.into(), &1.into())
        );
        assert_eq!((&told["exact"], &told["permutations"]), (&true.into(), &8.into()));
        assert_eq!(told["gains"][0]["query"], "a");
        assert_eq!(told["lost"][0]["query"], "d");
    }
}

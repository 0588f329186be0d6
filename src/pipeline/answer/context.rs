//! The passages that a chat model reads: texts of hits in their order, under a budget of tokens,
//! each marked as data that nothing in it can end. Pure.

use unicode_segmentation::UnicodeSegmentation;

use super::counter::Counter;
use super::marks::disarmed;
use super::report::{LeftOut, LeftOutReason, Source};
use crate::db::Hit;
use crate::pipeline::template_tokens::{begins_control, begins_tag};
use crate::record::Template;

/// A passage of fewer tokens is left out rather than cut to them.
const SHORTEST_CUT: usize = 16;
/// What follows the words of a passage that was cut.
const CUT: &str = " ...";

/// What becomes of a passage that does not fit into what is left of the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnOverlong {
    /// It is cut at a word, if 16 tokens of it are left; else it is left out.
    #[default]
    Cut,
    /// It is left out; shorter ones behind it may still fit.
    LeaveOut,
}

/// How passages are put together.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) budget: usize,
    pub(super) on_overlong: OnOverlong,
    pub(super) count: Counter,
    pub(super) template: Option<Template>,
}

impl Default for Rules {
    fn default() -> Self {
        let (on_overlong, count, template) = Default::default();
        Self { budget: 3000, on_overlong, count, template }
    }
}

/// What the model reads of the hits.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) text: String,
    /// Tokens of the text.
    pub(super) tokens: usize,
    pub(super) sources: Vec<Source>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Rules {
    /// Takes the hits in their order, as long as they fit.
    pub(super) fn context(&self, hits: &[Hit]) -> Context {
        let mut context = Context::default();
        let (mut units, mut ends) = (0, Vec::new());
        for (at, hit) in hits.iter().enumerate() {
            let rank = at.saturating_add(1);
            let text = self.text(hit);
            let text = text.trim();
            let leave_out = |context: &mut Context, reason| {
                let (id, origin) = (hit.id.clone(), hit.origin.clone());
                context.left_out.push(LeftOut { rank, id, origin, reason });
            };
            if text.is_empty() {
                leave_out(&mut context, LeftOutReason::Empty);
                continue;
            }
            let number = context.sources.len().saturating_add(1);
            let Some(fitted) = self.fitted(units, number, text) else {
                leave_out(&mut context, LeftOutReason::Budget);
                continue;
            };
            context.text.push_str(&fitted.block);
            units = fitted.units;
            ends.push(context.text.len());
            context.sources.push(Source {
                number,
                rank,
                id: hit.id.clone(),
                origin: hit.origin.clone(),
                title: hit.record.title.clone(),
                is_cut: fitted.text.len() < text.len(),
                text: fitted.text.to_owned(),
                score: hit.score,
                rerank_score: hit.rerank_score,
            });
        }
        self.hold(&mut context, &ends);
        context
    }

    /// Counts the whole, and leaves out the last passages if it has more tokens than its passages
    /// had one by one, as it can by a counter that rounds.
    fn hold(&self, context: &mut Context, ends: &[usize]) {
        context.tokens = self.count.tokens(&context.text);
        if context.tokens <= self.budget {
            return;
        }
        let until = |end: usize| context.text.get(..end).unwrap_or_default();
        let fitting = ends.partition_point(|&end| self.count.tokens(until(end)) <= self.budget);
        let end = fitting.checked_sub(1).and_then(|last| ends.get(last)).copied();
        context.text.truncate(end.unwrap_or(0));
        context.tokens = self.count.tokens(&context.text);
        for source in context.sources.drain(fitting..) {
            let Source { rank, id, origin, .. } = source;
            context.left_out.push(LeftOut { rank, id, origin, reason: LeftOutReason::Budget });
        }
        context.left_out.sort_by_key(|one| one.rank);
    }

    /// What is read of a hit, the chunks around it included if the query asked for them.
    fn text(&self, hit: &Hit) -> String {
        if let Some(template) = &self.template {
            return template.render(&hit.record);
        }
        if hit.before.is_empty() && hit.after.is_empty() {
            return hit.record.passage();
        }
        let chunks = hit.before.iter().chain([&hit.record]).chain(&hit.after);
        let texts = hit.record.title.as_deref().into_iter();
        let texts: Vec<&str> = texts.chain(chunks.map(|chunk| chunk.text.as_str())).collect();
        texts.join("\n")
    }

    /// As much of a passage as may be added to so many units.
    fn fitted<'t>(&self, before: usize, number: usize, text: &'t str) -> Option<Fitted<'t>> {
        let with = |text: &'t str, ending: &str| {
            let block = block(number, text, ending);
            let units = before.saturating_add(self.count.units(&block));
            (self.count.whole(units) <= self.budget).then_some(Fitted { block, units, text })
        };
        let whole = with(text, "");
        if whole.is_some() || self.on_overlong == OnOverlong::LeaveOut {
            return whole;
        }
        let bounds = text.split_word_bound_indices().map(|(at, _)| at);
        let words: Vec<&str> = bounds.filter_map(|at| text.get(..at).map(str::trim_end)).collect();
        let fitting = words.partition_point(|words| with(words, CUT).is_some());
        let words = words.get(fitting.checked_sub(1)?)?;
        with(words, CUT).filter(|_| self.count.tokens(words) >= SHORTEST_CUT)
    }
}

struct Fitted<'t> {
    /// The passage with its marks.
    block: String,
    /// Units of the context with it.
    units: usize,
    text: &'t str,
}

/// A passage as it stands in the prompt.
fn block(number: usize, text: &str, ending: &str) -> String {
    format!("<passage number=\"{number}\">\n{}{ending}\n</passage>\n", harmless(text))
}

/// A text that is data and nothing else: it cannot end its block or begin another, nor speak as a
/// chat template does, and no bracket in it passes for a citation once it is quoted.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Where the run of `<` that was looked at last ends, and whether it begins a mark.
    let (mut run_end, mut is_tag) = (0, false);
    for (at, c) in text.char_indices() {
        if c == '<' {
            let after = text.get(at..).unwrap_or_default();
            if at >= run_end {
                let name = after.trim_start_matches('<');
                run_end = text.len() - name.len();
                let name = name.trim_start().trim_start_matches('/').trim_start().as_bytes();
                is_tag = name.get(..7).is_some_and(|tag| tag.eq_ignore_ascii_case(b"passage"));
            }
            out.push_str(if is_tag { "&lt;" } else { "<" });
            if !is_tag && begins_tag(after) {
                out.push(' ');
            }
        } else if c == '[' && begins_control(text.get(at..).unwrap_or_default()) {
            out.push_str("[ ");
        } else {
            out.push(c);
        }
    }
    disarmed(&out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::record::{Record, estimated_tokens};

    fn hit(id: i64, text: &str) -> Hit {
        let record = Record::new(id).text(text);
        Hit {
            id: id.into(),
            score: 1.0,
            rerank_score: None,
            origin: None,
            record,
            places: Vec::new(),
            highlights: Default::default(),
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    fn rules(budget: usize, on_overlong: OnOverlong) -> Rules {
        Rules { budget, on_overlong, ..Rules::default() }
    }

    /// Ends of words: where a letter or digit is followed by something else.
    fn ends_a_word(text: &str, at: usize) -> bool {
        let is_word = |c: char| c.is_alphanumeric();
        let before = text[..at].chars().next_back();
        let after = text[at..].chars().next();
        !(before.is_some_and(is_word) && after.is_some_and(is_word))
    }

    proptest! {
        #[test]
        fn the_context_never_exceeds_its_budget_and_keeps_the_order_of_the_hits(
            texts in prop::collection::vec("[ab,\n \u{e9}\u{98a8}<\\[1\\]]{0,400}", 0..8),
            budget in 0_usize..400,
            cut in any::<bool>(),
        ) {
            let hits: Vec<Hit> = (0_i64..).zip(&texts).map(|(id, text)| hit(id, text)).collect();
            let on_overlong = if cut { OnOverlong::Cut } else { OnOverlong::LeaveOut };
            let context = rules(budget, on_overlong).context(&hits);
            prop_assert!(estimated_tokens(&context.text) <= budget);
            prop_assert_eq!(estimated_tokens(&context.text), context.tokens);
            // Each hit is a source or left out, each in its order.
            let ranks: Vec<usize> = context.sources.iter().map(|source| source.rank).collect();
            prop_assert!(ranks.is_sorted());
            let left = context.left_out.iter().map(|one| one.rank);
            let mut all: Vec<usize> = ranks.iter().copied().chain(left).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (1..=hits.len()).collect::<Vec<_>>());
            for (at, source) in context.sources.iter().enumerate() {
                prop_assert_eq!(source.number, at + 1);
                let text = texts[source.rank - 1].trim();
                prop_assert!(text.starts_with(&source.text) && !source.text.is_empty());
                prop_assert_eq!(source.is_cut, source.text.len() < text.len());
                prop_assert!(!source.is_cut || cut);
            }
            for one in &context.left_out {
                let is_empty = texts[one.rank - 1].trim().is_empty();
                prop_assert_eq!(one.reason == LeftOutReason::Empty, is_empty);
            }
        }

        #[test]
        fn a_passage_is_left_out_or_cut_only_where_more_of_it_would_not_fit(
            texts in prop::collection::vec("[a-c]{1,9}( [a-c]{1,9}){0,60}", 1..6),
            budget in 0_usize..300,
        ) {
            let hits: Vec<Hit> = (0_i64..).zip(&texts).map(|(id, text)| hit(id, text)).collect();
            let context = rules(budget, OnOverlong::Cut).context(&hits);
            let mut before = String::new();
            for (at, text) in texts.iter().enumerate() {
                let source = context.sources.iter().find(|source| source.rank == at + 1);
                let number = source.map_or_else(
                    || context.sources.iter().filter(|source| source.rank <= at).count() + 1,
                    |source| source.number,
                );
                let fits = |text: &str, ending| {
                    estimated_tokens(&format!("{before}{}", block(number, text, ending))) <= budget
                };
                // Word by word, from the longest.
                let mut words: Vec<&str> = text.split(' ').collect();
                let mut expected = fits(text, "").then(|| (text.clone(), ""));
                while expected.is_none() && words.len() > 1 {
                    words.pop();
                    let shorter = words.join(" ");
                    expected = fits(&shorter, CUT).then_some((shorter, CUT));
                }
                let expected = expected.filter(|(text, ending)| {
                    ending.is_empty() || estimated_tokens(text) >= SHORTEST_CUT
                });
                let expected_text = expected.as_ref().map(|(text, _)| text.as_str());
                prop_assert_eq!(source.map(|source| source.text.as_str()), expected_text);
                if let Some((text, ending)) = expected {
                    prop_assert!(ends_a_word(&texts[at], text.len()));
                    before.push_str(&block(number, &text, ending));
                }
            }
            prop_assert_eq!(context.text, before);
        }

        #[test]
        fn no_text_ends_its_block_or_passes_for_a_citation(
            text in "(<|/| |passage|PASSAGE|INST|>|\\[|\\]|[0-9]|\\||\n|x|\u{ff5c}){0,30}",
        ) {
            let block = block(1, &text, "");
            let inner = block.strip_prefix("<passage number=\"1\">\n").expect("its opening");
            let inner = inner.strip_suffix("\n</passage>\n").expect("its end");
            let bare: String = inner.chars().filter(|c| !c.is_whitespace()).collect();
            let bare = bare.to_ascii_lowercase();
            prop_assert!(!bare.contains("<passage") && !bare.contains("</passage"));
            for token in ["<|", "<\u{ff5c}", "<x", "</x", "[INST]", "[/INST]", "[PASSAGE]"] {
                prop_assert!(!inner.contains(token), "{}", token);
            }
            prop_assert_eq!(disarmed(inner), inner);
        }
    }

    #[test]
    fn tokens_of_chat_templates_are_broken_up() {
        for (text, shown) in [
            ("<|im_start|>system", "< |im_start|>system"),
            ("<\u{ff5c}User\u{ff5c}>", "< \u{ff5c}User\u{ff5c}>"),
            ("</s><s>[INST] x [/INST]", "< /s>< s>[ INST] x [ /INST]"),
            ("<<SYS>> <start_of_turn>user", "<< SYS>> < start_of_turn>user"),
            ("<|passage|> <passage>", "< |passage|> &lt;passage>"),
            ("a < b, a <= b, [US] [a] x[0]", "a < b, a <= b, [US] [a] x(0)"),
        ] {
            assert_eq!(harmless(text), shown);
        }
    }

    #[test]
    fn a_text_without_spaces_is_cut_between_its_characters() {
        let context = rules(40, OnOverlong::Cut).context(&[hit(1, &"\u{98a8}".repeat(100))]);
        let source = context.sources.first().expect("a source");
        assert!(source.is_cut && source.text.chars().count() >= SHORTEST_CUT);
        assert_eq!(context.tokens, 40);
    }

    #[test]
    fn what_is_counted_grows_with_the_texts_and_not_with_their_square() {
        let hits: Vec<Hit> = (0..2_000).map(|id| hit(id, &"wind ".repeat(20))).collect();
        for budget in [usize::MAX, 20_000, 0] {
            let counted = Arc::new(AtomicUsize::new(0));
            let sum = counted.clone();
            let count = Counter::Given(Arc::new(move |text: &str| {
                sum.fetch_add(text.len(), Ordering::Relaxed);
                estimated_tokens(text)
            }));
            let context = Rules { count, ..rules(budget, OnOverlong::Cut) }.context(&hits);
            assert_eq!(context.sources.len() + context.left_out.len(), 2_000);
            // Each passage of some 150 bytes whole and by its words, then all of them together.
            let counted = counted.load(Ordering::Relaxed);
            assert!(counted < 2_000 * 150 * 10, "{counted} bytes");
        }
    }

    #[test]
    fn a_counter_that_rounds_down_does_not_exceed_the_budget() {
        let hits: Vec<Hit> = (0..40).map(|id| hit(id, "wind and tide")).collect();
        // A passage has 50 bytes or so: 0 tokens, if they are counted one by one.
        let count = Counter::Given(Arc::new(|text: &str| text.len() / 100));
        let rules = Rules { count: count.clone(), ..rules(10, OnOverlong::LeaveOut) };
        let context = rules.context(&hits);
        assert_eq!((context.tokens, count.tokens(&context.text)), (10, 10));
        let one_more = context.sources.len() + 1;
        let more = format!("{}{}", context.text, block(one_more, "wind and tide", ""));
        assert_eq!(count.tokens(&more), 11);
        let ranks = context.sources.iter().map(|source| source.rank);
        let left_out = context.left_out.iter().map(|one| one.rank);
        assert_eq!(ranks.chain(left_out).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
        assert!(context.text.ends_with("</passage>\n"));
    }

    #[test]
    fn a_passage_that_cannot_be_cut_makes_room_for_a_shorter_one() {
        let hits = [hit(1, &"wind ".repeat(80)), hit(2, "tide")];
        let context = rules(30, OnOverlong::LeaveOut).context(&hits);
        let texts: Vec<&str> = context.sources.iter().map(|source| &*source.text).collect();
        assert_eq!(texts, ["tide"]);
        assert_eq!(context.left_out[0].reason, LeftOutReason::Budget);
        assert!(context.text.starts_with("<passage number=\"1\">\ntide\n"));
    }
}

//! Chunks of made-up texts cover them, keep their budget, and are named after their document.

use proptest::prelude::*;

use super::*;
use crate::record::{RecordId, chunk_position};

/// Texts of sentences, words, headings, lines and characters of several bytes.
fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-z]{1,9}",
        3 => Just(" ".to_owned()),
        2 => Just(". ".to_owned()),
        1 => Just("\n".to_owned()),
        1 => Just("\n\n".to_owned()),
        1 => Just("\n# ".to_owned()),
        1 => Just("\r\n- ".to_owned()),
        1 => "[\u{e4}\u{3b1}\u{432}\u{5d0}]{1,6}",
        1 => "[\u{98a8}\u{3042}\u{e01}\u{1f30a}]{1,6}",
        1 => "\\PC{1,4}",
    ];
    prop::collection::vec(part, 0..120).prop_map(|parts| parts.concat())
}

fn visible(text: &str) -> Vec<char> {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    #[test]
    fn chunks_without_overlap_are_the_text_without_space_between_them(
        text in text(), tokens in 1_usize..40, markdown: bool,
    ) {
        let chunker = Chunker::new().tokens(tokens).overlap(0).markdown(markdown);
        let chunks = chunker.split(&Record::new("d").text(text.as_str()));
        let joined: Vec<char> = chunks.iter().flat_map(|chunk| visible(&chunk.text)).collect();
        prop_assert_eq!(joined, visible(&text));
    }

    #[test]
    fn chunks_with_overlap_cover_every_character_that_is_no_space(
        text in text(), tokens in 1_usize..40, overlap in 0_usize..30, markdown: bool,
        window in prop_oneof![1_usize..300, Just(WINDOW)],
    ) {
        let chunker = Chunker::new().tokens(tokens).overlap(overlap).markdown(markdown);
        let places = chunker.places(&text, tokens, window);
        let mut covered = vec![false; text.len()];
        let mut begin = 0;
        for place in places {
            let chunk = &text[place.clone()];
            let fits = (chunker.counter)(chunk) <= tokens || chunk.chars().count() == 1;
            prop_assert!(place.start >= begin && fits, "{place:?} is {chunk:?}");
            begin = place.start;
            covered[place].fill(true);
        }
        for (at, character) in text.char_indices() {
            prop_assert!(covered[at] || character.is_whitespace(), "{character:?} at {at}");
        }
    }

    #[test]
    fn chunks_keep_the_budget_unless_one_character_exceeds_it(
        text in text(), tokens in 1_usize..40, overlap in 0_usize..30, weight in 1_usize..4,
        markdown: bool,
    ) {
        let count = move |text: &str| text.chars().count() * weight;
        let chunker = Chunker::new().counter(count).tokens(tokens).overlap(overlap);
        for chunk in chunker.markdown(markdown).split(&Record::new("d").text(text.as_str())) {
            let found = count(&chunk.text);
            let single = chunk.text.chars().count() == 1;
            prop_assert!(found <= tokens || single, "{found} in {chunk:?}");
        }
    }

    #[test]
    fn the_title_counts_and_leaves_half_of_the_budget(
        text in text(), title in "[a-z ]{0,60}", tokens in 2_usize..40,
    ) {
        let count = |text: &str| text.chars().count();
        let chunker = Chunker::new().counter(count).tokens(tokens);
        let document = Record::new("d").title(title.as_str()).text(text.as_str());
        for chunk in chunker.split(&document) {
            prop_assert_eq!(chunk.title.as_deref(), Some(title.as_str()));
            let fits = count(&chunk.passage()) <= tokens;
            prop_assert!(fits || count(&chunk.text) <= (tokens / 2).max(1), "{:?}", chunk);
        }
    }

    #[test]
    fn chunks_are_named_by_their_document_and_place(text in text(), id: i64) {
        let document = Record::new(id).text(text.as_str()).field("lang", "en").field("chunk", "x");
        let chunks = Chunker::new().tokens(7).split(&document);
        for (at, chunk) in chunks.iter().enumerate() {
            prop_assert_eq!(chunk_position(&RecordId::from(id), &chunk.id), Some(at));
            prop_assert!(chunk.is_chunk_of(&document.id));
            prop_assert_eq!(&chunk.metadata["chunk"], &(at as i64).into());
            prop_assert_eq!(&chunk.metadata["lang"], &"en".into());
            prop_assert_eq!(&chunk.vector, &None);
        }
        prop_assert_eq!(chunks.is_empty(), text.trim().is_empty());
    }
}

#[test]
fn sentences_stay_whole_where_they_fit() {
    let text = "The wind turns. The tide comes in at noon. Ships wait for both.";
    let words = Chunker::new().counter(|text| text.split_whitespace().count());
    let chunks = words.tokens(8).overlap(0).split(&Record::new(1).text(text));
    let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    let expected = ["The wind turns.", "The tide comes in at noon.", "Ships wait for both."];
    assert_eq!(texts, expected);
}

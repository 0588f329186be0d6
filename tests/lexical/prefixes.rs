//! Prefixes that stand for more words than texts are scored by, and queries of thousands of parts.

use portolan::{Collection, Filter, Record, TextQuery};

use super::naive::{Doc, Naive, Want};
use super::{apply, naive, open};

/// 200 records with a word of their own that begins with `pre`, every second with `sea` too; all
/// but the last 20 words stand in a second record as well.
fn many_begins() -> (tempfile::TempDir, Collection, Naive) {
    let dir = tempfile::tempdir().unwrap();
    let collection = open(&dir.path().join("begins.portolan"));
    let mut naive = naive();
    let mut changes = Vec::new();
    for id in 0..200 {
        let text = if id % 2 == 0 { format!("pre{id} sea") } else { format!("pre{id}") };
        changes.push((id, Some(Doc { title: String::new(), text, tag: "t".into() })));
    }
    for id in 200..380 {
        let text = format!("pre{} star", id - 200);
        changes.push((id, Some(Doc { title: String::new(), text, tag: "t".into() })));
    }
    changes.push((400, Some(Doc { title: String::new(), text: "sea".into(), tag: "t".into() })));
    apply(&collection, &mut naive, &changes);
    (dir, collection, naive)
}

fn found(collection: &Collection, query: &TextQuery) -> Vec<i64> {
    let hits = collection.search_text(query).limit(1_000).run().unwrap();
    let id = |hit: &portolan::Hit| match hit.id {
        portolan::RecordId::Int(id) => id,
        _ => panic!("no integer"),
    };
    let mut ids: Vec<i64> = hits.iter().map(id).collect();
    ids.sort_unstable();
    ids
}

fn expected(naive: &Naive, wants: &[Want]) -> Vec<i64> {
    let mut ids: Vec<i64> =
        naive.search(wants, 0, |_| true).into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn an_excluded_prefix_excludes_every_word_that_begins_so() {
    let (_dir, collection, naive) = many_begins();
    let query = TextQuery::parse("sea star t -pre*");
    assert_eq!(found(&collection, &query), [400]);
    // Few enough to be looked up one by one.
    let all = expected(&naive, &[Want::Any("sea".into())]);
    let query = TextQuery::parse("sea -pre19*");
    let left: Vec<i64> =
        all.into_iter().filter(|id| *id != 19 && !(190..200).contains(id)).collect();
    assert_eq!(found(&collection, &query), left);
}

#[test]
fn a_required_prefix_finds_the_rarest_word_that_begins_so() {
    let (_dir, collection, naive) = many_begins();
    let must = Want::MustBegin("pre".into());
    for wants in [vec![must.clone()], vec![must, Want::Any("sea".into())]] {
        let query = naive::query(&wants);
        assert_eq!(found(&collection, &query), expected(&naive, &wants));
        let all = collection.search_text(&query).limit(1_000).run().unwrap();
        assert!(all.windows(2).all(|two| two[0].score >= two[1].score));
        let few = collection.search_text(&query).limit(150).run().unwrap();
        assert_eq!(few.hits[..], all.hits[..150]);
    }
    let filter = Filter::eq("n", 1);
    let query = TextQuery::default().must_prefix("pre");
    let some = collection.search_text(query).limit(1_000).filter(filter).run().unwrap();
    assert_eq!(some.len(), (0..380).filter(|id| id % 3 == 1).count());
    assert!(found(&collection, &TextQuery::default().must_prefix("pre").not("t")).is_empty());
    // As one of several of which a hit has two.
    let query = TextQuery::new("sea").prefix("pre").at_least(2);
    assert_eq!(found(&collection, &query), (0..200).step_by(2).collect::<Vec<i64>>());
}

/// Of 201 words that begin so 64 are scored.
#[test]
fn a_prefix_finds_what_a_required_one_finds_the_texts_of_its_rare_words_last() {
    let (_dir, collection, naive) = many_begins();
    let begin = || Want::Begin("pre".into());
    for wants in [
        vec![begin()],
        vec![begin(), begin(), Want::Any("star".into())],
        vec![begin(), Want::Not("star".into())],
        vec![begin(), Want::NotBegin("pre1".into())],
        vec![begin(), Want::NotPhrase("pre7 sea".into()), Want::NotPhrase("pre8 sea".into())],
        vec![begin(), Want::Any("sea".into()), Want::Begin("pre1".into())],
        vec![begin(), Want::Must("sea".into())],
    ] {
        let query = naive::query(&wants);
        let ids = expected(&naive, &wants);
        assert_eq!(found(&collection, &query), ids, "{wants:?}");
        assert_eq!(found(&collection, &query.clone().at_least(1)).len(), {
            naive.search(&wants, 1, |_| true).len()
        });
        let all = collection.search_text(&query).limit(1_000).run().unwrap();
        let before = |a: &portolan::Hit, b: &portolan::Hit| {
            a.score > b.score || (a.score == b.score && a.id < b.id)
        };
        assert!(all.is_sorted_by(before), "{wants:?}");
        for limit in [1, 10, 100, 127, 130, 200] {
            let few = collection.search_text(&query).limit(limit).run().unwrap();
            assert_eq!(few.hits[..], all.hits[..limit.min(all.len())], "{wants:?} {limit}");
        }
        let some = collection.search_text(&query).limit(1_000).filter(Filter::eq("n", 1));
        let ids: Vec<_> = ids.into_iter().filter(|id| id % 3 == 1).collect();
        assert_eq!(some.run().unwrap().len(), ids.len(), "{wants:?}");
    }
    let all = collection.search_text(naive::query(&[begin()])).limit(1_000).run().unwrap();
    let with_points = all.iter().filter(|hit| hit.score > 0.0).count();
    // 64 of the words that stand in two texts each.
    assert_eq!((with_points, all.len()), (128, 380));
}

/// That many parts, of which any alone costs a look at each text, cost no such look each.
#[test]
fn thousands_of_parts_find_what_few_of_them_find() {
    let (_dir, collection, _) = many_begins();
    let same = |many: String, few: &str| {
        let (many, few) = (TextQuery::parse(&many), TextQuery::parse(few));
        assert_eq!(found(&collection, &many), found(&collection, &few), "{few:?}");
    };
    same(format!("sea t {}", "-pre1* ".repeat(3_000)), "sea t -pre1*");
    same(format!("sea t {}", "+pre* ".repeat(3_000)), "sea t +pre*");
    same(format!("sea t {}", "pre* ".repeat(3_000)), "sea t pre*");
    same("\"pre4 sea\" ".repeat(5_000), "\"pre4 sea\"");
    let distinct = |at: usize| format!("-\"pre{at} sea\"");
    let none: Vec<String> = (0..200).map(distinct).collect();
    let more: Vec<String> = (0..3_000).map(distinct).collect();
    same(format!("sea t {}", more.join(" ")), &format!("sea t {}", none.join(" ")));
}

#[test]
fn the_prefix_of_several_words_is_whole_words_and_the_begin_of_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let collection = open(&dir.path().join("several.portolan"));
    for (id, text) in [(1, "an e-mail"), (2, "e-mails"), (3, "mailed"), (4, "e x7"), (5, "chart")] {
        collection.upsert(Record::new(id).text(text)).unwrap();
    }
    assert_eq!(found(&collection, &TextQuery::default().must_prefix("e-mai")), [1, 2]);
    assert_eq!(found(&collection, &TextQuery::parse("+e-mail*")), [1, 2]);
    assert_eq!(found(&collection, &TextQuery::parse("e-mail*")), [1, 2, 3, 4]);
    assert_eq!(found(&collection, &TextQuery::parse("chart mailed e -e-mail*")), [5]);
}

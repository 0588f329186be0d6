//! Tests of segments whose graph, entries and navigation codes may hold anything.

use super::*;

/// A graph of random words over sound vectors must give sound hits, only perhaps worse ones.
#[test]
fn a_damaged_graph_gives_valid_slots_and_still_fills_k() {
    let vectors = clustered(300, 8, 9);
    let encoding = Encoding::new(8, Metric::L2, Originals::F32).unwrap();
    let sound = image_of(&vectors, encoding, 1, 0);
    let query = PreparedQuery::new(&encoding, &vectors[0]).unwrap();
    let words = prop_oneof![4 => 0_u32..400, 1 => any::<u32>()];
    let strategy = (
        proptest::collection::vec(words.clone(), 300 * 32),
        proptest::collection::vec(words, 18 * 9),
        0_u32..300,
    );
    let config = ProptestConfig { cases: 40, max_shrink_iters: 50, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let check = |(links, upper, entry): (Vec<u32>, Vec<u32>, u32)| {
        let rows = |words: Vec<u32>, stride| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            Rows::contiguous(bytes.into(), stride).unwrap()
        };
        let mut header = sound.graph.clone().unwrap();
        header.entry = entry;
        header.level_counts = vec![2, 7];
        let segment = Segment::open(SegmentParts {
            nav: None,
            ids: None,
            curve: None,
            encoding,
            slots: rows_of(&sound.sections, SectionKind::Slots, 4).unwrap(),
            codes: rows_of(&sound.sections, SectionKind::Codes, encoding.code_stride()).unwrap(),
            raw: Some(rows_of(&sound.sections, SectionKind::Raw, encoding.raw_stride()).unwrap()),
            graph: Some(GraphParts { header, links: rows(links, 128), upper: rows(upper, 72) }),
        })
        .unwrap();
        let hits = segment.search(&query, &SearchParams::new(5, 6), Allow::All).unwrap();
        prop_assert_eq!(hits.len(), 5);
        prop_assert!(hits.iter().all(|hit| (5..305).contains(&hit.slot)));
        Ok(())
    };
    runner.run(&strategy, check).unwrap();
}

/// The same of entries in groups, with their navigation codes and those of all rows.
#[test]
fn damaged_groups_of_entries_give_valid_slots_and_still_fill_k() {
    const ROWS: usize = NAV_MIN_ROWS;
    const UPPER: usize = 297;
    let vectors = clustered(ROWS, 24, 12);
    let encoding = Encoding::new(24, Metric::Cosine, Originals::F16).unwrap();
    let sound = image_of(&vectors, encoding, 1, 0);
    let query = PreparedQuery::new(&encoding, &vectors[0]).unwrap();
    let config = ProptestConfig { cases: 40, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let strategy = (any::<u64>(), 1..UPPER as u32, any::<bool>());
    let check = |(seed, leaders, is_nav_damaged): (u64, u32, bool)| {
        let mut state = seed;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
            (state >> 32) as u32
        };
        // Most words are near what rows and entries there are, some are anything.
        let mut words = |count: usize, below: u32| -> Vec<u8> {
            let word = |word: u32| if word.is_multiple_of(5) { word } else { word / 5 % below };
            (0..count).flat_map(|_| word(draw()).to_le_bytes()).collect()
        };
        let mut image = sound.clone();
        let mut replace = |kind, rows: usize, bytes: Vec<u8>| {
            let section = image.sections.iter_mut().find(|section| section.kind == kind).unwrap();
            (section.rows, section.bytes) = (rows as u32, bytes.into());
        };
        replace(SectionKind::Links, ROWS, words(ROWS * 32, ROWS as u32 + 50));
        replace(SectionKind::Upper, UPPER, words(UPPER * 18, UPPER as u32 + 50));
        replace(SectionKind::UpperNav, UPPER, words(UPPER * LINE / 4, u32::MAX));
        if is_nav_damaged {
            replace(SectionKind::Nav, ROWS, words(ROWS * LINE / 4, u32::MAX));
        }
        image.graph.as_mut().unwrap().level_counts = vec![leaders, UPPER as u32 - leaders];
        let segment = open_image(image).unwrap();
        for ef in [6, 80] {
            let hits = segment.search(&query, &SearchParams::new(5, ef), Allow::All).unwrap();
            prop_assert_eq!(hits.len(), 5);
            prop_assert!(hits.iter().all(|hit| (5..5 + ROWS as u32).contains(&hit.slot)));
        }
        Ok(())
    };
    runner.run(&strategy, check).unwrap();
}

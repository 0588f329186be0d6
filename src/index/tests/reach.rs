//! Tests of what is told of rows that no chain of links leads to.

use super::*;

/// Links of a row.
const WIDTH: usize = 32;

/// The words of a section.
fn words(image: &SegmentImage, kind: SectionKind) -> Vec<u32> {
    let section = image.sections.iter().find(|section| section.kind == kind).unwrap();
    section.bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

fn set_words(image: &mut SegmentImage, kind: SectionKind, words: &[u32]) {
    let section = image.sections.iter_mut().find(|section| section.kind == kind).unwrap();
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    section.bytes = bytes.collect::<Vec<u8>>().into();
}

/// What a segment of that image tells, as positions: slots begin at 5.
fn unreachable(image: &SegmentImage) -> Vec<u32> {
    let slots = open_image(image.clone()).unwrap().unreachable();
    slots.into_iter().map(|slot| slot - 5).collect()
}

#[test]
fn rows_that_no_link_leads_to_are_told_and_no_others() {
    let vectors = clustered(600, 16, 31);
    let encoding = Encoding::new(16, Metric::L2, Originals::None).unwrap();
    let mut image = image_of(&vectors, encoding, 1, 0);
    assert!(unreachable(&image).is_empty());
    let graph = open_image(image.clone()).unwrap().graph_copy().unwrap();
    let leads_in = |row: &u32| *row == graph.entry || graph.entries.contains(row);
    let lost: Vec<u32> = (0..600).filter(|row| !leads_in(row)).step_by(90).collect();
    let kept: Vec<u32> = (0..600).filter(|row| !lost.contains(row)).collect();
    assert!(lost.len() > 4);

    let mut links = words(&image, SectionKind::Links);
    for (at, &row) in kept.iter().enumerate() {
        let own = &mut links[row as usize * WIDTH..][..WIDTH];
        own.iter_mut().filter(|link| lost.contains(link)).for_each(|link| *link = row);
        // In a ring, whatever led through the others before.
        own[WIDTH - 1] = kept[(at + 1) % kept.len()];
    }
    set_words(&mut image, SectionKind::Links, &links);
    // The others still lead to rows that are kept, which is no way to them.
    assert_eq!(unreachable(&image), lost);

    // Not to be reached is also what only such a row leads to; a link to nowhere is no harm.
    for &row in &lost {
        links[row as usize * WIDTH..][..WIDTH].fill(row);
    }
    links[lost[0] as usize * WIDTH] = lost[1];
    links[lost[1] as usize * WIDTH] = u32::MAX;
    set_words(&mut image, SectionKind::Links, &links);
    assert_eq!(unreachable(&image), lost);

    // A row is reached from an upper row, and what it leads to from there.
    let mut upper = words(&image, SectionKind::Upper);
    upper[0] = lost[0];
    set_words(&mut image, SectionKind::Upper, &upper);
    assert_eq!(unreachable(&image), lost[2..]);

    // And from the entry.
    image.graph.as_mut().unwrap().entry = lost[2];
    assert_eq!(unreachable(&image), lost[3..]);
}

#[test]
fn a_segment_without_a_graph_has_no_rows_that_cannot_be_reached() {
    let encoding = Encoding::new(16, Metric::L2, Originals::None).unwrap();
    let segment = segment_of(&clustered(60, 16, 32), encoding, 1, u32::MAX);
    assert!(!segment.has_graph() && segment.unreachable().is_empty());
}

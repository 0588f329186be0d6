//! Golden bytes of the encodings, and what a decoder refuses.

use super::*;

/// The payload behind the checksum, which depends on the key and is tested in `format.rs`.
fn payload(sealed: &[u8]) -> &[u8] {
    &sealed[crate::format::SEAL_BYTES..]
}

#[test]
fn a_record_has_the_golden_bytes_of_the_format() {
    let record = Record::new("a")
        .title("T")
        .text("xy")
        .field("b", true)
        .field("f", 1.0)
        .field("l", vec![300_i64, -1])
        .vector(vec![]);
    let sealed = encode_record(&record, b"k", 3).unwrap();
    let golden = [
        1, // has a vector
        1, 1, b'a', // id: text of 1 byte
        1, 1, b'T', // title: some
        2, b'x', b'y', // text
        3,    // fields
        1, b'b', 1, 1, // bool true
        1, b'f', 3, 253, 0, 0, 0, 0, 0, 0, 240, 63, // float 1.0 as u64 bits
        1, b'l', 6, 2, 2, 251, 88, 2, 2, 1, // list: int 300 (zigzag 600), int -1
    ];
    assert_eq!(payload(&sealed), golden);
    let back = decode_record(&sealed, b"k").unwrap();
    assert_eq!(back.record.metadata, record.metadata);
    assert!(back.has_vector);
}

#[test]
fn a_manifest_has_the_golden_bytes_of_the_format() {
    let manifest = Manifest {
        next_slot: 251,
        next_segment: 1,
        records: 250,
        delta: 0,
        dead: 1,
        contract: Some(Contract::from(&ModelContract::new("m").roles(Roles::InputType))),
        segments: vec![SegmentEntry {
            id: 0,
            rows: 2,
            codec: 1,
            graph: Some(GraphEntry {
                entry: 1,
                m: 16,
                ef_construction: 128,
                seed: 7,
                level_rows: vec![1],
            }),
            sections: vec![SectionEntry { kind: 1, stride: 4, rows: 2 }],
        }],
    };
    let golden = [
        251, 251, 0, 1, 250, 0, 1, // counters
        1, 1, b'm', 1, 0, 0, // contract: model, roles, two empty prefixes
        1, 0, 2, 1, // one segment: id, rows, codec
        1, 1, 16, 128, 7, 1, 1, // graph: entry, m, ef, seed, levels
        1, 1, 4, 2, // one section: kind, stride, rows
    ];
    let sealed = encode_manifest(5, &manifest).unwrap();
    assert_eq!(payload(&sealed), golden);
    assert_eq!(decode_manifest(&golden).unwrap(), manifest);
}

#[test]
fn a_manifest_that_counts_more_than_there_are_slots_is_refused() {
    for (at, more) in [(2, 9), (3, 9), (4, 9)] {
        let mut payload = [8, 1, 8, 8, 8, 0, 0];
        assert!(decode_manifest(&payload).is_ok());
        payload[at] = more;
        assert!(decode_manifest(&payload).is_err(), "number {at}");
    }
}

#[test]
fn a_definition_without_a_cut_has_the_bytes_of_before_and_one_with_it_a_last_number() {
    let before = [
        3, 251, 0, 8, // collection number, 2,048 dimensions
        1, 1, // cosine, f16
        16, 128, 7, // graph: m, ef, seed
    ];
    let mut definition = decode_definition(&before).unwrap();
    assert_eq!((definition.id, definition.dimensions, definition.seed), (3, 2_048, 7));
    assert_eq!(definition.leading, None);
    assert_eq!(payload(&encode_definition("d", &definition).unwrap()), before);
    definition.leading = Some(1_024);
    let golden = [&before[..], &[251, 0, 4]].concat();
    assert_eq!(payload(&encode_definition("d", &definition).unwrap()), golden);
    assert_eq!(decode_definition(&golden).unwrap(), definition);
    // None, all, more than all, half a number, more than a number, and no definition at all.
    for last in [&[0_u8][..], &[251, 0, 8], &[251, 1, 8], &[251, 0], &[1, 1]] {
        assert!(decode_definition(&[&before[..], last].concat()).is_err(), "{last:?}");
    }
    assert!(decode_definition(&before[..8]).is_err());
}

#[test]
fn trailing_bytes_and_length_bombs_are_refused() {
    let sealed = encode_manifest(5, &Manifest::default()).unwrap();
    let mut longer = payload(&sealed).to_vec();
    longer.push(0);
    assert!(decode_manifest(&longer).is_err());
    // A record whose text claims 2^63 bytes.
    let bomb = [0, 0, 0, 0, 253, 0, 0, 0, 0, 0, 0, 0, 128];
    let sealed = seal(Table::Records as u8, b"k", &bomb);
    assert!(decode_record(&sealed, b"k").is_err());
}

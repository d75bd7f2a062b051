use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn stripe(partition: i32, base: i64, row_group: u32, first_row: u64) -> Stripe {
    Stripe {
        partition: PartitionIndex(partition),
        base_offset: Offset::new(base).expect("not negative"),
        next_offset: Offset::new(base + 10).expect("not negative"),
        rows: 7,
        raw_bytes: 1000,
        max_timestamp: i64::MIN,
        codec: Codec::Lz4,
        has_headers: row_group == 0,
        row_group,
        first_row,
    }
}

fn span(partition: i32, base: i64, next: i64, records: u64) -> TableSpan {
    TableSpan {
        partition: PartitionIndex(partition),
        base_offset: Offset::new(base).expect("not negative"),
        next_offset: Offset::new(next).expect("not negative"),
        records,
        min_timestamp: i64::MIN,
        max_timestamp: i64::MAX,
        raw_bytes: 2000,
    }
}

fn index() -> Index {
    Index {
        data_end: 3 * BLOCK_BYTES as u64 + 1,
        blocks: vec![1, 2, 3, u32::MAX],
        spans: vec![
            span(0, 5, 5, 0),
            span(2, 100, 400, 14),
            span(i32::MAX, 0, 50, 7),
        ],
        stripes: vec![
            stripe(2, 100, 0, 0),
            stripe(2, 300, 0, 7),
            stripe(i32::MAX, 20, 1, 0),
        ],
    }
}

#[test]
fn it_round_trips() {
    assert_eq!(Index::decode(&index().encode()), Ok(index()));
}

#[test]
fn stripes_outside_of_the_spans_are_refused() {
    let refused = |change: &dyn Fn(&mut Index)| {
        let mut index = index();
        change(&mut index);
        let decoded = Index::decode(&index.encode());
        assert_eq!(decoded, Err(FormatError::Malformed(WHAT)));
    };
    refused(&|index| index.spans[1].records += 1);
    refused(&|index| index.spans[1].base_offset = Offset::new(101).expect("not negative"));
    refused(&|index| index.spans[1].next_offset = Offset::new(309).expect("not negative"));
    refused(&|index| index.spans.truncate(2));
    refused(&|index| index.spans[1].partition = PartitionIndex(3));
    refused(&|index| index.stripes[1].rows = 11);
    refused(&|index| index.blocks.truncate(3));
}

#[test]
fn newer_versions_and_unknown_flags_are_refused_by_name() {
    for at in [4, 6] {
        let mut bytes = index().encode();
        bytes[at] = 2;
        seal(&mut bytes);
        let decoded = Index::decode(&bytes);
        assert!(matches!(decoded, Err(FormatError::Version { .. })), "{at}");
    }
}

/// The checksum of what the bytes are now.
fn seal(bytes: &mut [u8]) {
    let checked = bytes.len() - CRC_BYTES;
    let crc = crc32c::crc32c(&bytes[..checked]);
    bytes[checked..].copy_from_slice(&crc.to_le_bytes());
}

proptest! {
    #[test]
    fn forged_bytes_never_panic(at in any::<prop::sample::Index>(), put in vec(any::<u8>(), 1..12)) {
        let mut bytes = index().encode();
        let at = at.index(bytes.len() - CRC_BYTES);
        let end = (at + put.len()).min(bytes.len() - CRC_BYTES);
        bytes[at..end].copy_from_slice(&put[..end - at]);
        seal(&mut bytes);
        if let Ok(decoded) = Index::decode(&bytes) {
            prop_assert_eq!(Index::decode(&decoded.encode()), Ok(decoded));
        }
    }

    #[test]
    fn cut_bytes_are_refused(length in any::<prop::sample::Index>()) {
        let bytes = index().encode();
        let mut cut = bytes[..length.index(bytes.len())].to_vec();
        prop_assert!(Index::decode(&cut).is_err());
        if cut.len() > CRC_BYTES {
            seal(&mut cut);
            prop_assert!(Index::decode(&cut).is_err());
        }
    }
}

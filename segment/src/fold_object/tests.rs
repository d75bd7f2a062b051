use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::object_key::SegmentName;
use crate::parted::{PART_BYTES_TARGET, PARTED_HEADER_BYTES};

fn commit(id: u128, footer: Vec<u8>) -> FoldedCommit {
    FoldedCommit {
        object_key: ObjectKey::segment(&SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(22),
            id: Uuid::from_u128(id),
        }),
        size_bytes: 1 << 40,
        footer_crc: 77,
        footer: footer.into(),
    }
}

fn fold(first_seq: u64, commits: &[FoldedCommit]) -> (EncodedObject, Bytes) {
    let mut builder = FoldBuilder::new(BrokerId(1), BrokerEpoch(22), first_seq, 5);
    for commit in commits {
        builder.push(commit).expect("small");
    }
    assert_eq!(builder.commits(), commits.len() as u64);
    let encoded = builder.finish().expect("small");
    let object = encoded.chunks.concat();
    (encoded, object.into())
}

proptest! {
    #[test]
    fn folds_round_trip(footers in vec(vec(any::<u8>(), 0..60), 1..20), first_seq in 0..1_000_000u64) {
        let commits: Vec<_> = (0..).zip(footers).map(|(id, footer)| commit(id, footer)).collect();
        let (encoded, object) = fold(first_seq, &commits);
        prop_assert_eq!(encoded.size_bytes, object.len() as u64);
        prop_assert_eq!(index_length(&object), Ok(encoded.index_length));
        let index_at = object.len() - encoded.index_length as usize;
        let index = FoldIndex::decode(&object[index_at..]).expect("whole");
        prop_assert_eq!(index.crc, encoded.index_crc);
        prop_assert_eq!(index.last_seq(), first_seq + commits.len() as u64 - 1);
        let expected: Vec<_> = (first_seq..).zip(commits).collect();
        prop_assert_eq!(index.open_all(&object), Ok(expected));
    }

    /// The header is not read, everything behind it is.
    #[test]
    fn any_flipped_bit_behind_the_header_is_found(at: prop::sample::Index, bits in 1..=255u8) {
        let (_, object) = fold(3, &[commit(1, vec![1; 200]), commit(2, vec![2; 90])]);
        let mut bytes = object.to_vec();
        let at = PARTED_HEADER_BYTES + at.index(bytes.len() - PARTED_HEADER_BYTES);
        bytes[at] ^= bits;
        let bytes = Bytes::from(bytes);
        let read = FoldIndex::decode(&bytes).and_then(|index| index.open_all(&bytes));
        prop_assert!(read.is_err());
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = FoldIndex::decode(&bytes);
        let _ = parted::parts_of(Reader::new(&bytes, "x"));
        let _ = decode_commit(&mut Reader::new(&bytes, "x"), &bytes);
    }
}

#[test]
fn a_large_fold_is_read_part_by_part() {
    let footer = |id: u8| {
        (0..PART_BYTES_TARGET / 3)
            .map(|n| (n as u8).wrapping_mul(id))
            .collect()
    };
    let commits: Vec<_> = (1..=8).map(|id| commit(id.into(), footer(id))).collect();
    let (_, object) = fold(100, &commits);
    let index = FoldIndex::decode(&object).expect("whole");
    assert!(index.parts.len() > 2);
    let part = &index.parts[1];
    let (first, last) = index.sequences(part);
    let range = part.range();
    let stored = object.slice(range.start as usize..range.end as usize);
    let read = index.open_part(part, stored).expect("whole");
    let expected: Vec<_> = (first..=last)
        .map(|seq| (seq, commits[(seq - 100) as usize].clone()))
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn an_empty_fold_is_refused() {
    let (_, object) = fold(0, &[]);
    assert!(FoldIndex::decode(&object).is_err());
}

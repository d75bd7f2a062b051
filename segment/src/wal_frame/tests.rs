use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use proptest::prelude::*;

use super::*;
use crate::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS};

fn batch(value: &[u8]) -> StoredBatch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(1, None, Some(value), NO_HEADERS);
    let raw = builder.build().expect("small");
    let header = BatchHeader::decode(&raw).expect("valid");
    let base = Offset::new(77).expect("positive");
    StoredBatch::stamp(raw, &header, base, LeaderEpoch(3)).expect("fits")
}

fn frame(salt: u64, batch: &StoredBatch) -> (FrameHeader, Vec<u8>) {
    let header = FrameHeader {
        broker_epoch: BrokerEpoch(5),
        sequence: 9,
        synced_position: 8,
        tp: TopicPartition::new(TopicId(Uuid::from_u128(4)), PartitionIndex(2)),
        batch_bytes: batch.size_bytes() as u32,
    };
    let mut out = encode_head(salt, &header, batch).to_vec();
    out.extend_from_slice(batch.body());
    out.resize(out.len() + padding_bytes(batch.size_bytes()), 0);
    (header, out)
}

#[test]
fn file_headers_round_trip_and_newer_ones_are_refused() {
    let header = WalFileHeader {
        salt: 7,
        file_bytes: 1 << 26,
    };
    let mut bytes = header.encode();
    assert_eq!(WalFileHeader::decode(&bytes), Ok(header));
    bytes[8] = 2;
    assert!(matches!(
        WalFileHeader::decode(&bytes),
        Err(FormatError::Checksum { .. })
    ));
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(
        WalFileHeader::decode(&bytes),
        Err(FormatError::Version { found: 2, .. })
    ));
}

proptest! {
    #[test]
    fn frames_round_trip_under_their_salt_only(value in proptest::collection::vec(any::<u8>(), 0..100), salt: u64, flip: prop::sample::Index, bits in 1..=255u8) {
        let batch = batch(&value);
        let (header, mut bytes) = frame(salt, &batch);
        prop_assert_eq!(bytes.len(), frame_bytes(batch.size_bytes()));
        prop_assert_eq!(decode(salt, &bytes), Ok(header));
        let stored = bytes[FRAME_HEADER_BYTES..][..header.batch_bytes as usize].to_vec();
        prop_assert_eq!(StoredBatch::from_stored(stored.into()), Ok(batch.clone()));
        prop_assert!(decode(salt ^ 1, &bytes).is_err());
        let at = flip.index(FRAME_HEADER_BYTES + batch.size_bytes());
        bytes[at] ^= bits;
        prop_assert!(decode(salt, &bytes).is_err());
    }

    #[test]
    fn random_bytes_are_no_frame(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(1, &bytes).is_err());
        prop_assert!(WalFileHeader::decode(&bytes).is_err());
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&FRAME_MAGIC);
            prop_assert!(decode(1, &bytes).is_err());
        }
    }
}

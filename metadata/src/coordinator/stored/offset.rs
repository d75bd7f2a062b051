//! A committed offset.
//!
//! ```text
//! body v1 := topic string | offset option i64 | leader epoch option i32 | metadata string
//!          | commit time i64 | expiry option i64        (times in ms since the Unix epoch)
//! ```

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicName;
use bytes::Bytes;

use super::codec::{Decoder, Encoder, StoredError};
use crate::coordinator::group::OffsetRecord;

const KIND: u8 = 2;
const VERSION: u8 = 1;
/// All but the two strings' own bytes.
const FIXED_BYTES: usize = 4 + 9 + 5 + 4 + 8 + 9;

/// Bytes of the value of `record`.
pub fn size_bytes(record: &OffsetRecord) -> usize {
    FIXED_BYTES + record.topic.as_str().len() + record.metadata.len()
}

/// The value to store.
pub fn encode(record: &OffsetRecord) -> Bytes {
    let mut out = Encoder::new(KIND, VERSION, size_bytes(record));
    out.str(record.topic.as_str());
    out.option(record.offset, |out, offset| out.i64(offset.get()));
    out.option(record.leader_epoch, |out, epoch| out.i32(epoch.0));
    out.str(&record.metadata);
    out.i64(record.commit_ms);
    out.option(record.expire_ms, Encoder::i64);
    out.finish()
}

/// Reads a stored value.
pub fn decode(stored: &Bytes) -> Result<OffsetRecord, StoredError> {
    let mut body = Decoder::open(stored, KIND, VERSION)?;
    let topic = TopicName::new(&body.string()?).map_err(|_| StoredError::Invalid("topic name"))?;
    let offset = body.option(|body| {
        let number = body.i64()?;
        Offset::new(number).ok_or(StoredError::Invalid("offset"))
    })?;
    let record = OffsetRecord {
        topic,
        offset,
        leader_epoch: body.option(|body| body.i32().map(LeaderEpoch))?,
        metadata: body.string()?,
        commit_ms: body.i64()?,
        expire_ms: body.option(Decoder::i64)?,
    };
    body.finish()?;
    Ok(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = OffsetRecord> {
        let times = (any::<i64>(), any::<Option<i64>>());
        (
            "[a-z.]{2,20}",
            any::<Option<i64>>(),
            any::<Option<i32>>(),
            ".{0,40}",
            times,
        )
            .prop_filter_map("topic name", |(topic, offset, epoch, metadata, times)| {
                Some(OffsetRecord {
                    topic: TopicName::new(&topic).ok()?,
                    offset: offset.and_then(|number| Offset::new(number & i64::MAX)),
                    leader_epoch: epoch.map(LeaderEpoch),
                    metadata,
                    commit_ms: times.0,
                    expire_ms: times.1,
                })
            })
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back(record in record()) {
            let stored = encode(&record);
            prop_assert!(stored.len() <= size_bytes(&record) + 7);
            prop_assert_eq!(decode(&stored), Ok(record));
        }

        #[test]
        fn a_changed_bit_or_a_cut_is_noticed(record in record(), bit in any::<prop::sample::Index>(),
                                             cut in any::<prop::sample::Index>()) {
            let stored = encode(&record);
            let mut flipped = stored.to_vec();
            let bit = bit.index(flipped.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&flipped.into()).is_err());
            prop_assert!(decode(&stored.slice(..cut.index(stored.len()))).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut out = Encoder::new(KIND, VERSION, body.len());
            for byte in &body {
                out.option((*byte != 0).then_some(()), |_, ()| {});
            }
            let _ = decode(&out.finish());
            let _ = decode(&body.into());
        }
    }

    /// Values written by version 1 must be readable for ever.
    #[test]
    fn version_1_is_still_read() {
        let golden = [
            0xa9, 2, 1, // magic, kind, version
            0, 0, 0, 1, b't', // topic
            1, 0, 0, 0, 0, 0, 0, 0, 42, // offset
            1, 0, 0, 0, 3, // leader epoch
            0, 0, 0, 2, b'h', b'i', // metadata
            0, 0, 0, 0, 0, 0, 0, 5, // commit time
            0, // no expiry
            0, 0, 0, 0, // checksum, below
        ];
        let mut golden = golden.to_vec();
        let body_end = golden.len() - 4;
        let crc = crc32c::crc32c(&golden[..body_end]).to_be_bytes();
        golden[body_end..].copy_from_slice(&crc);
        let expected = OffsetRecord {
            topic: TopicName::new("t").expect("valid"),
            offset: Offset::new(42),
            leader_epoch: Some(LeaderEpoch(3)),
            metadata: "hi".to_owned(),
            commit_ms: 5,
            expire_ms: None,
        };
        assert_eq!(encode(&expected), golden);
        assert_eq!(decode(&golden.into()), Ok(expected));
    }

    #[test]
    fn a_newer_version_is_refused() {
        let newer = Encoder::new(KIND, VERSION + 1, 0).finish();
        assert_eq!(decode(&newer), Err(StoredError::Version(2, 1)));
        let other = Encoder::new(1, 1, 0).finish();
        assert_eq!(decode(&other), Err(StoredError::Kind(0xa9, 1)));
    }
}

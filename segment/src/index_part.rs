//! A part of a partition's index, as one broker tells it to another: never stored, but versioned and checksummed like
//! what is, since brokers of two versions meet while a cluster is upgraded.
//!
//! ```text
//! magic 8 "ALVIDXPT", version u16, flags u16, topic id 16, partition i32, body, CRC-32C u32 of all before
//! body: segment count, then of each segment: length of its name, name, size, position of the span's first block,
//!       timestamp base, span as in a footer; then the producers as in a footer, and of each when it was last seen
//! ```
//! Fixed numbers are little-endian, all others varints as in the footer.

use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use uuid::Uuid;

use crate::error::FormatError;
use crate::footer::partitions::{decode_span, encode_span};
use crate::footer::producers::{decode_partition, encode_partition};
use crate::footer::{PartitionSpan, ProducerSummary};
use crate::object_key::ObjectKey;
use crate::reader::{Reader, array_at, check_crc32c, check_version, u16_at, u32_at};
use crate::record_batch::varint::{put_signed, put_unsigned};
use crate::segment_index::SegmentRef;

/// The newest version; all older ones are read.
pub const INDEX_PART_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"ALVIDXPT";
const WHAT: &str = "part of a partition's index";

const HEADER_BYTES: usize = 8 + 2 + 2 + 16 + 4;
const CRC_BYTES: usize = 4;

/// Least bytes of a segment: name, size, position, timestamp base, span.
const SEGMENT_BYTES_MIN: usize = 2 + 1 + 1 + 1 + 10;

/// Timestamps of producers are told as they are.
const PRODUCERS_TIME_BASE: i64 = 0;

/// Segments of one partition, one after the other, and what is known of its producers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPart {
    /// The partition.
    pub tp: TopicPartition,
    /// Its segments in offset order, with what each holds of it. Leader epochs and producers of spans are not told.
    pub spans: Vec<(Arc<SegmentRef>, PartitionSpan)>,
    /// Its idempotent producers, sorted by id, each with the time at which it was last heard of, in milliseconds
    /// since the Unix epoch.
    pub producers: Vec<(ProducerSummary, i64)>,
}

impl IndexPart {
    /// No segments and no producers.
    pub fn empty(tp: TopicPartition) -> Self {
        Self {
            tp,
            spans: Vec::new(),
            producers: Vec::new(),
        }
    }

    /// The part in bytes.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when spans or producers are not as a footer has them.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::with_capacity(HEADER_BYTES + 128 * self.spans.len() + CRC_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&INDEX_PART_VERSION.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(self.tp.topic_id.0.as_bytes());
        out.extend_from_slice(&self.tp.partition.0.to_le_bytes());
        put_unsigned(&mut out, self.spans.len() as u64);
        for (segment, span) in &self.spans {
            encode_segment(segment, span, &mut out)?;
        }
        self.encode_producers(&mut out)?;
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        Ok(out)
    }

    fn encode_producers(&self, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let summaries: Vec<_> = self.producers.iter().map(|(one, _)| one.clone()).collect();
        encode_partition(&summaries, Offset::ZERO, PRODUCERS_TIME_BASE, out)?;
        for (_, last_seen_ms) in &self.producers {
            put_signed(out, *last_seen_ms);
        }
        Ok(())
    }

    /// Reads a part.
    ///
    /// # Errors
    /// The bytes are damaged, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let needed = HEADER_BYTES + CRC_BYTES;
        let have = bytes.len();
        if have < needed {
            return Err(FormatError::NeedMore { needed, have });
        }
        if array_at::<8>(bytes, 0) != MAGIC {
            return Err(FormatError::Magic(WHAT));
        }
        check_version(
            WHAT,
            u16_at(bytes, 8),
            u16_at(bytes, 10),
            INDEX_PART_VERSION,
        )?;
        let (told, crc) = bytes.split_at(have - CRC_BYTES);
        check_crc32c(WHAT, u32_at(crc, 0), told)?;
        let mut reader = Reader::new(&told[12..], WHAT);
        let topic_id = TopicId(Uuid::from_bytes(reader.array()?));
        let partition = PartitionIndex(i32::from_le_bytes(reader.array()?));
        let tp = TopicPartition::new(topic_id, partition);
        let count = reader.count(SEGMENT_BYTES_MIN)?;
        let spans = (0..count).map(|_| decode_segment(&mut reader, tp));
        let spans = spans.collect::<Result<_, _>>()?;
        let summaries = decode_partition(&mut reader, Offset::ZERO, PRODUCERS_TIME_BASE)?;
        let producers = summaries.into_iter().map(|one| Ok((one, reader.signed()?)));
        let producers = producers.collect::<Result<_, FormatError>>()?;
        if !reader.is_empty() {
            return Err(reader.malformed());
        }
        Ok(Self {
            tp,
            spans,
            producers,
        })
    }
}

fn encode_segment(
    segment: &SegmentRef,
    span: &PartitionSpan,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let name = segment.object_key.as_str().as_bytes();
    put_unsigned(out, name.len() as u64);
    out.extend_from_slice(name);
    put_unsigned(out, segment.size_bytes);
    let first = span.blocks.first().ok_or(FormatError::Malformed(WHAT))?;
    let mut position = first.position;
    put_unsigned(out, position);
    put_signed(out, span.max_timestamp);
    encode_span(span, span.max_timestamp, &mut position, out)
}

fn decode_segment(
    reader: &mut Reader<'_>,
    tp: TopicPartition,
) -> Result<(Arc<SegmentRef>, PartitionSpan), FormatError> {
    let length: usize = reader.number()?;
    let name = std::str::from_utf8(reader.take(length)?).ok();
    let object_key = name.and_then(|name| ObjectKey::parse(name).ok());
    let segment = SegmentRef {
        object_key: object_key.ok_or(reader.malformed())?,
        size_bytes: reader.unsigned()?,
    };
    let mut position = reader.unsigned()?;
    let time_base = reader.signed()?;
    let span = decode_span(reader, tp, time_base, &mut position)?;
    if position > segment.size_bytes {
        return Err(reader.malformed());
    }
    Ok((Arc::new(segment), span))
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::{BrokerEpoch, BrokerId};
    use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};

    use super::*;
    use crate::footer::{BlockEncoding, BlockEntry, ProducerBatch};
    use crate::object_key::SegmentName;
    use crate::segment_index::SegmentIndex;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("not negative")
    }

    fn tp() -> TopicPartition {
        TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(3))
    }

    fn span(base: i64, position: u64) -> (Arc<SegmentRef>, PartitionSpan) {
        let block = |number: i64| BlockEntry {
            position: position + 100 * number as u64,
            stored_length: 100,
            raw_length: 400,
            encoding: BlockEncoding::Zstd,
            crc: 9,
            base_offset: offset(base + 10 * number),
            next_offset: offset(base + 10 * number + 10),
            max_timestamp: 1_800_000_000_000 + number,
            batch_count: 2,
        };
        let segment = SegmentRef {
            object_key: ObjectKey::segment(&SegmentName {
                broker_id: BrokerId(1),
                broker_epoch: BrokerEpoch(5),
                id: Uuid::from_u128(base as u128),
            }),
            size_bytes: 5_000,
        };
        let span = PartitionSpan {
            tp: tp(),
            base_offset: offset(base),
            next_offset: offset(base + 20),
            max_timestamp: 1_800_000_000_001,
            leader_epochs: Vec::new(),
            blocks: vec![block(0), block(1)],
            producers: Vec::new(),
        };
        (Arc::new(segment), span)
    }

    fn part() -> IndexPart {
        let sequence = |value| Sequence::new(value).expect("not negative");
        let producer = ProducerSummary {
            producer_id: ProducerId(4),
            producer_epoch: ProducerEpoch(1),
            batches: vec![ProducerBatch {
                base_sequence: sequence(3),
                last_sequence: sequence(5),
                base_offset: offset(17),
                last_offset: offset(19),
                max_timestamp: 1_800_000_000_000,
            }],
        };
        IndexPart {
            tp: tp(),
            spans: vec![span(0, 3_000), span(20, 48)],
            producers: vec![(producer, 1_800_000_000_777)],
        }
    }

    #[test]
    fn parts_come_back_and_any_damage_is_found() {
        for part in [part(), IndexPart::empty(tp())] {
            let bytes = part.encode().expect("valid");
            assert_eq!(IndexPart::decode(&bytes), Ok(part));
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert!(IndexPart::decode(&bad).is_err(), "bit at {at}");
                assert!(IndexPart::decode(&bytes[..at]).is_err(), "cut at {at}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = part().encode().expect("valid");
        bytes[8] = 2;
        assert!(matches!(
            IndexPart::decode(&bytes),
            Err(FormatError::Version { found: 2, .. })
        ));
    }

    #[test]
    fn what_an_index_tells_makes_the_same_index() {
        let part = part();
        let mut index = SegmentIndex::new(offset(5));
        for (segment, span) in &part.spans {
            index.add(Arc::clone(segment), span).expect("contiguous");
        }
        let all: Vec<_> = index.spans_beyond(tp(), offset(5)).collect();
        assert_eq!(all, part.spans);
        let later: Vec<_> = index.spans_beyond(tp(), offset(20)).collect();
        assert_eq!(later, part.spans[1..]);
        assert_eq!(index.spans_beyond(tp(), offset(40)).count(), 0);
    }
}

//! The footer of a segment: everything about it that is not record bytes. Opening a partition
//! reads footers only.
//!
//! [`Footer::encode`] yields sections and trailer, the last bytes of the object;
//! [`Footer::decode`] reads them. `README.md` shows the layout byte by byte.

pub(crate) mod partitions;
pub(crate) mod producers;
mod sections;
mod trailer;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::topic::TopicPartition;

use crate::error::FormatError;
pub use trailer::{FOOTER_VERSION, TRAILER_BYTES, footer_length};

/// How many of an object's last bytes to ask for when its footer length is not known: enough for
/// the footers of a few hundred partitions, and still one small request.
pub const TAIL_READ_BYTES: usize = 64 * 1024;

/// Who wrote a segment, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The broker.
    pub broker_id: BrokerId,
    /// Its session; the commit of the segment is fenced by it (F1).
    pub broker_epoch: BrokerEpoch,
    /// When it was sealed, in milliseconds since the Unix epoch. For people and for retention of
    /// orphans; no correctness depends on it.
    pub created_ms: i64,
}

/// The index of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// Who wrote it.
    pub header: SegmentHeader,
    /// The partitions in it, sorted by topic id and partition, each at most once.
    pub partitions: Vec<PartitionSpan>,
}

/// What a segment holds of one partition: offsets `base_offset..next_offset`, without a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSpan {
    /// The partition.
    pub tp: TopicPartition,
    /// First offset.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// Largest timestamp, in milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// Leader epochs in it with the first offset of each, ascending.
    pub leader_epochs: Vec<(LeaderEpoch, Offset)>,
    /// Its blocks in offset order, at least one; together they cover the span exactly.
    pub blocks: Vec<BlockEntry>,
    /// Idempotent producers in it, sorted by id.
    pub producers: Vec<ProducerSummary>,
}

impl PartitionSpan {
    /// Bytes of its blocks in the object.
    pub fn stored_bytes(&self) -> u64 {
        let lengths = self.blocks.iter().map(|block| block.stored_length);
        lengths.map(u64::from).sum()
    }
}

/// How a block's bytes are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockEncoding {
    /// Batches one after the other, as they are sent to consumers.
    Raw,
    /// The same as one Zstandard frame.
    Zstd,
}

/// One block: consecutive batches of one partition, the unit of reading, checking and caching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEntry {
    /// Where it starts in the object.
    pub position: u64,
    /// Bytes in the object.
    pub stored_length: u32,
    /// Bytes of its batches.
    pub raw_length: u32,
    /// How it is stored.
    pub encoding: BlockEncoding,
    /// CRC-32C of the stored bytes.
    pub crc: u32,
    /// First offset.
    pub base_offset: Offset,
    /// The offset after the last.
    pub next_offset: Offset,
    /// Largest timestamp, in milliseconds since the Unix epoch.
    pub max_timestamp: i64,
    /// Number of batches.
    pub batch_count: u32,
}

/// The last batches of one idempotent producer in one partition: what the duplicate check of a
/// leader is rebuilt from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSummary {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its latest epoch in the segment.
    pub producer_epoch: ProducerEpoch,
    /// Its last batches of that epoch, oldest first, at most
    /// [`alluvium_common::limits::PRODUCER_BATCHES_REMEMBERED`], at least one.
    pub batches: Vec<ProducerBatch>,
}

/// One batch of an idempotent producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Sequence of the last record.
    pub last_sequence: Sequence,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Largest timestamp, in milliseconds since the Unix epoch.
    pub max_timestamp: i64,
}

impl Footer {
    /// Reads the footer from `tail`, the last bytes of an object.
    ///
    /// # Errors
    /// [`FormatError::NeedMore`] says how many last bytes to read when `tail` is too short; any
    /// other error means that the object is damaged, foreign or of a newer version.
    pub fn decode(tail: &[u8]) -> Result<Self, FormatError> {
        let sections = trailer::sections_of(tail)?;
        sections::decode(sections)
    }

    /// The sections and the trailer; second is the checksum in the trailer.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when spans or blocks are not sorted, contiguous and not empty, or
    /// positions are not those of blocks lying one after the other.
    pub fn encode(&self) -> Result<(Vec<u8>, u32), FormatError> {
        let mut out = Vec::with_capacity(64 + 48 * self.partitions.len());
        sections::encode(self, &mut out)?;
        let crc = trailer::append(&mut out)?;
        Ok((out, crc))
    }

    /// The span of one partition.
    pub fn partition(&self, tp: TopicPartition) -> Option<&PartitionSpan> {
        let found = self.partitions.binary_search_by_key(&tp, |span| span.tp);
        found.ok().map(|index| &self.partitions[index])
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! Segments: batches of many partitions in one object.
//!
//! ```text
//! header | blocks of partition 1 | blocks of partition 2 | ... | footer sections | trailer
//! ```
//!
//! [`encode`] groups batches by partition, packs them into blocks, compresses those blocks whose
//! batches are not compressed already, where that pays, and describes it all in the
//! [`crate::footer::Footer`]. It is pure CPU: call it off the async threads.

mod block;
mod encode;
mod summary;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicPartition;
use bytes::Bytes;

use crate::error::FormatError;
use crate::footer::Footer;
pub use crate::footer::SegmentHeader;
use crate::reader::{array_at, check_crc32c, check_version, u16_at, u32_at, u64_at};
use crate::record_batch::StoredBatch;
pub use block::decode_block;
pub use encode::encode;

/// Raw bytes of a block: large enough for zstd to find repetition and for one GET to be worth it,
/// small enough that a reader of few records does not pay for many.
pub const BLOCK_BYTES_TARGET: usize = 512 * 1024;

/// Bytes in front of the first block.
pub const SEGMENT_HEADER_BYTES: usize = 32;

/// The newest segment version; all older ones are read.
pub const SEGMENT_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"ALVS";
const WHAT: &str = "segment";

/// A batch on its way into a segment.
#[derive(Debug, Clone)]
pub struct SegmentEntry {
    /// Where it belongs.
    pub tp: TopicPartition,
    /// The batch, stamped.
    pub batch: StoredBatch,
}

/// How to encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Zstandard level for blocks of uncompressed batches; `None` stores all blocks as they are.
    /// Level 1 costs about 1.5 CPU-seconds per GB of JSON and shrinks it fourfold or more when stored,
    /// sent and cached; higher levels cost more than they save on data this young.
    pub zstd_level: Option<i32>,
    /// Raw bytes at which a block is full.
    pub block_bytes_target: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            zstd_level: Some(1),
            block_bytes_target: BLOCK_BYTES_TARGET,
        }
    }
}

/// A segment ready to be uploaded.
#[derive(Debug, Clone)]
pub struct EncodedSegment {
    /// The object's bytes, in order. Bodies of uncompressed blocks are the producers' own slices.
    pub chunks: Vec<Bytes>,
    /// Sum of the chunks' lengths.
    pub size_bytes: u64,
    /// The index of the segment, as readers will decode it.
    pub footer: Footer,
    /// Last bytes of the object to read for the footer (sections and trailer).
    pub footer_length: u32,
    /// Checksum of the footer's sections, as in the trailer.
    pub footer_crc: u32,
}

/// The segment's first [`SEGMENT_HEADER_BYTES`] bytes.
pub(crate) fn encode_header(header: &SegmentHeader) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut out = [0; SEGMENT_HEADER_BYTES];
    out[..4].copy_from_slice(&MAGIC);
    out[4..6].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    out[8..12].copy_from_slice(&header.broker_id.0.to_le_bytes());
    out[12..20].copy_from_slice(&header.broker_epoch.0.to_le_bytes());
    out[20..28].copy_from_slice(&header.created_ms.to_le_bytes());
    let crc = crc32c::crc32c(&out[..28]);
    out[28..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads the first bytes of a segment: for repair and verification, which may have nothing else.
pub fn decode_header(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return Err(FormatError::NeedMore {
            needed: SEGMENT_HEADER_BYTES,
            have: bytes.len(),
        });
    }
    if array_at::<4>(bytes, 0) != MAGIC {
        return Err(FormatError::Magic(WHAT));
    }
    check_crc32c("segment header", u32_at(bytes, 28), &bytes[..28])?;
    check_version(WHAT, u16_at(bytes, 4), u16_at(bytes, 6), SEGMENT_VERSION)?;
    Ok(SegmentHeader {
        broker_id: BrokerId(u32_at(bytes, 8) as i32),
        broker_epoch: BrokerEpoch(u64_at(bytes, 12) as i64),
        created_ms: u64_at(bytes, 20) as i64,
    })
}

#[cfg(test)]
mod tests;

//! The write-ahead log's file header and frames. Files, order and recovery belong to
//! `alluvium_ingest::wal`.
//!
//! Every number is little-endian, except for the batch, which is Kafka's. A frame's checksum starts
//! with the *salt* of its file, random and new whenever the file is used anew: frames of an earlier
//! use never verify, and a record that looks like a frame cannot verify either, since clients do not
//! know the salt.

use alluvium_common::epoch::BrokerEpoch;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use uuid::Uuid;

use crate::error::FormatError;
use crate::reader::{array_at, check_crc32c, check_version, u16_at, u32_at, u64_at};
use crate::record_batch::{HEADER_BYTES, PREFIX_BYTES, StoredBatch};

/// Bytes in front of the first frame: a page, so that frames never share a sector with the header.
pub const FILE_HEADER_BYTES: usize = 4096;

/// Bytes of the file header that mean something; the rest is zero.
const FILE_HEADER_USED: usize = 40;

/// Bytes in front of a frame's batch.
pub const FRAME_HEADER_BYTES: usize = 64;

/// A frame header and the batch's prefix: what is not the producer's own bytes.
pub const FRAME_HEAD_BYTES: usize = FRAME_HEADER_BYTES + PREFIX_BYTES;

/// Frames start at multiples of this, so that a search for one need not try every byte.
pub const FRAME_ALIGNMENT: usize = 8;

/// The newest version of file and frame; all older ones are read.
pub const WAL_VERSION: u16 = 1;

/// The first bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"ALVW";

/// Where the header's own checksum stands.
const HEADER_CRC_AT: usize = 60;

const WHAT: &str = "WAL frame";

const FILE_MAGIC: [u8; 8] = *b"ALVWALFI";

/// Header of a WAL file; written, with the whole file preallocated, before the file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalFileHeader {
    /// Random, new for each use of the file; the frames' checksums start with it.
    pub salt: u64,
    /// Bytes of the whole file.
    pub file_bytes: u64,
}

impl WalFileHeader {
    /// The first [`FILE_HEADER_BYTES`] bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; FILE_HEADER_BYTES];
        out[..8].copy_from_slice(&FILE_MAGIC);
        out[8..10].copy_from_slice(&WAL_VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.salt.to_le_bytes());
        out[24..32].copy_from_slice(&self.file_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out[..36]);
        out[36..FILE_HEADER_USED].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads it back from at least its used bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() < FILE_HEADER_USED {
            return Err(FormatError::NeedMore {
                needed: FILE_HEADER_USED,
                have: bytes.len(),
            });
        }
        if array_at::<8>(bytes, 0) != FILE_MAGIC {
            return Err(FormatError::Magic("WAL file"));
        }
        check_crc32c("WAL file header", u32_at(bytes, 36), &bytes[..36])?;
        check_version("WAL file", u16_at(bytes, 8), u16_at(bytes, 10), WAL_VERSION)?;
        Ok(Self {
            salt: u64_at(bytes, 16),
            file_bytes: u64_at(bytes, 24),
        })
    }
}

/// Header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The session that wrote it.
    pub broker_epoch: BrokerEpoch,
    /// Number of the frame: one more than the frame before, across files and sessions.
    pub sequence: u64,
    /// All bytes of the file before this position were synced before this frame was written. It
    /// tells a torn tail from corruption: sectors of frames written together may reach the disk in
    /// any order, so a valid frame behind a bad one proves nothing, unless it says that the bad one
    /// was durable.
    pub synced_position: u64,
    /// The batch's partition.
    pub tp: TopicPartition,
    /// Bytes of the batch.
    pub batch_bytes: u32,
}

/// Bytes from a frame's start to the next one's.
pub fn frame_bytes(batch_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + batch_bytes).next_multiple_of(FRAME_ALIGNMENT)
}

/// Zeroes between the end of a frame's batch and the next frame.
pub fn padding_bytes(batch_bytes: usize) -> usize {
    frame_bytes(batch_bytes) - FRAME_HEADER_BYTES - batch_bytes
}

/// The frame's first [`FRAME_HEAD_BYTES`] bytes; the batch's body and [`padding_bytes`] zeroes
/// follow. `header.batch_bytes` must be the batch's size.
pub fn encode_head(salt: u64, header: &FrameHeader, batch: &StoredBatch) -> [u8; FRAME_HEAD_BYTES] {
    let mut out = [0; FRAME_HEAD_BYTES];
    out[..4].copy_from_slice(&FRAME_MAGIC);
    out[8..10].copy_from_slice(&WAL_VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&header.batch_bytes.to_le_bytes());
    out[16..24].copy_from_slice(&header.broker_epoch.0.to_le_bytes());
    out[24..32].copy_from_slice(&header.sequence.to_le_bytes());
    out[32..40].copy_from_slice(&header.synced_position.to_le_bytes());
    out[40..56].copy_from_slice(header.tp.topic_id.0.as_bytes());
    out[56..60].copy_from_slice(&header.tp.partition.0.to_le_bytes());
    let header_crc = header_crc(salt, &out);
    out[HEADER_CRC_AT..FRAME_HEADER_BYTES].copy_from_slice(&header_crc.to_le_bytes());
    out[FRAME_HEADER_BYTES..].copy_from_slice(batch.prefix());
    let crc = batch.append_crc(frame_crc(salt, &out[8..]));
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Reads a frame's header, verified by a checksum of its own, so that its length can be believed
/// before anything is read or computed for it: recovery may meet any number of places where a
/// client's record looks like a frame.
pub fn decode_header(salt: u64, frame: &[u8]) -> Result<FrameHeader, FormatError> {
    let (needed, have) = (FRAME_HEADER_BYTES, frame.len());
    let Some(header) = frame.get(..needed) else {
        return Err(FormatError::NeedMore { needed, have });
    };
    if header[..4] != FRAME_MAGIC {
        return Err(FormatError::Magic(WHAT));
    }
    let (stored, computed) = (u32_at(header, HEADER_CRC_AT), header_crc(salt, header));
    if stored != computed {
        return Err(mismatch(stored, computed));
    }
    check_version(WHAT, u16_at(header, 8), u16_at(header, 10), WAL_VERSION)?;
    let batch_bytes = u32_at(header, 12);
    if (batch_bytes as usize) < HEADER_BYTES {
        return Err(FormatError::Malformed(WHAT));
    }
    let topic_id = TopicId(Uuid::from_bytes(array_at(header, 40)));
    let partition = PartitionIndex(u32_at(header, 56) as i32);
    Ok(FrameHeader {
        broker_epoch: BrokerEpoch(u64_at(header, 16) as i64),
        sequence: u64_at(header, 24),
        synced_position: u64_at(header, 32),
        tp: TopicPartition::new(topic_id, partition),
        batch_bytes,
    })
}

/// Verifies the frame at the start of `frame` (padding and more may follow) and reads its header;
/// the batch is at `FRAME_HEADER_BYTES..` for `batch_bytes`.
pub fn decode(salt: u64, frame: &[u8]) -> Result<FrameHeader, FormatError> {
    let header = decode_header(salt, frame)?;
    let needed = FRAME_HEADER_BYTES + header.batch_bytes as usize;
    let have = frame.len();
    let Some(whole) = frame.get(..needed) else {
        return Err(FormatError::NeedMore { needed, have });
    };
    let (stored, computed) = (u32_at(frame, 4), frame_crc(salt, &whole[8..]));
    if stored == computed {
        Ok(header)
    } else {
        Err(mismatch(stored, computed))
    }
}

fn mismatch(stored: u32, computed: u32) -> FormatError {
    FormatError::Checksum {
        what: WHAT,
        stored,
        computed,
    }
}

fn header_crc(salt: u64, header: &[u8]) -> u32 {
    frame_crc(salt, &header[8..HEADER_CRC_AT])
}

fn frame_crc(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

#[cfg(test)]
mod tests;

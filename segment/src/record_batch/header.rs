//! The 61 bytes in front of every batch.

use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};

use super::compression::Codec;
use super::error::BatchError;

/// Bytes of a batch header: everything before the records.
pub const HEADER_BYTES: usize = 61;

/// Bytes in front of the magic: base offset 8, batch length 4, partition leader epoch 4. They lie
/// outside of the checksum and are the only ones the broker writes.
pub const PREFIX_BYTES: usize = 16;

/// The only record format version stored and served.
pub const MAGIC: i8 = 2;

/// Base offset and batch length, which the batch length does not count.
pub(super) const LOG_OVERHEAD_BYTES: usize = 12;

/// The checksum covers everything from the attributes on.
pub(super) const CRC_STARTS_AT: usize = 21;

const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;

const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
const DELETE_HORIZON: i16 = 0x40;

/// Which clock a batch's timestamps come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's: every record has the batch's maximum timestamp.
    LogAppendTime,
}

/// The batch's attribute bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    /// The codec of the records; an error for a number that Kafka does not have.
    pub fn codec(self) -> Result<Codec, BatchError> {
        Codec::from_id((self.0 & CODEC_MASK) as u8)
    }

    /// Which clock the timestamps come from.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction (data or its marker).
    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// A control batch, such as a transaction marker: never given to applications.
    pub fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// The base timestamp is the time from which tombstones may go (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    /// The same with another codec.
    pub fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !CODEC_MASK | i16::from(codec.id()))
    }

    /// The same with another timestamp type.
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        self.with_bit(
            LOG_APPEND_TIME,
            timestamp_type == TimestampType::LogAppendTime,
        )
    }

    /// The same, part of a transaction or not.
    pub fn with_transactional(self, on: bool) -> Self {
        self.with_bit(TRANSACTIONAL, on)
    }

    /// The same, a control batch or not.
    pub fn with_control(self, on: bool) -> Self {
        self.with_bit(CONTROL, on)
    }

    fn with_bit(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

/// Who sent an idempotent batch, and which sequences it spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSpan {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Sequence of the last record (wraps from `i32::MAX` to 0): as far from the first as the
    /// offsets are, so that it stays when a batch is compacted.
    pub last_sequence: Sequence,
}

/// The header's fields as they stand in the bytes; nothing is judged but the length and the magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Bytes that follow this field.
    pub batch_length: i32,
    /// Leader epoch of the partition when the batch was appended.
    pub leader_epoch: i32,
    /// Format version.
    pub magic: i8,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transaction bits.
    pub attributes: Attributes,
    /// Offset of the last record less the base offset.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, in milliseconds since the Unix epoch.
    pub base_timestamp: i64,
    /// Largest timestamp of the batch.
    pub max_timestamp: i64,
    /// Producer id, or -1.
    pub producer_id: i64,
    /// Producer epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

/// `N` bytes at `at`; callers have checked that `HEADER_BYTES` are there.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`. Fails when fewer than [`HEADER_BYTES`] are there
    /// (older formats are recognised before that), when the magic is not 2 or when the length
    /// cannot be. More bytes than the batch may follow.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic stands at the same place in all three formats, and an old message set may be
        // shorter than a version 2 header.
        if let Some(&magic) = bytes.get(MAGIC_AT)
            && magic as i8 != MAGIC
        {
            return Err(BatchError::Magic(magic as i8));
        }
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError::Truncated {
                needed: HEADER_BYTES,
                have: bytes.len(),
            });
        }
        let header = Self {
            base_offset: i64::from_be_bytes(array_at(bytes, 0)),
            batch_length: i32::from_be_bytes(array_at(bytes, 8)),
            leader_epoch: i32::from_be_bytes(array_at(bytes, 12)),
            magic: bytes[MAGIC_AT] as i8,
            crc: u32::from_be_bytes(array_at(bytes, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(array_at(bytes, CRC_STARTS_AT))),
            last_offset_delta: i32::from_be_bytes(array_at(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array_at(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array_at(bytes, 35)),
            producer_id: i64::from_be_bytes(array_at(bytes, 43)),
            producer_epoch: i16::from_be_bytes(array_at(bytes, 51)),
            base_sequence: i32::from_be_bytes(array_at(bytes, 53)),
            record_count: i32::from_be_bytes(array_at(bytes, 57)),
        };
        if header.batch_length < (HEADER_BYTES - LOG_OVERHEAD_BYTES) as i32 {
            return Err(BatchError::Length(header.batch_length));
        }
        Ok(header)
    }

    /// Bytes of the whole batch, header included.
    pub fn size_bytes(&self) -> usize {
        LOG_OVERHEAD_BYTES + self.batch_length as usize
    }

    /// Producer and sequences of an idempotent batch; `None` when it has no producer id or no
    /// sequence (control batches have an id but no sequence).
    pub fn producer(&self) -> Option<ProducerSpan> {
        if self.producer_id < 0 || self.last_offset_delta < 0 {
            return None;
        }
        let base_sequence = Sequence::new(self.base_sequence)?;
        Some(ProducerSpan {
            producer_id: ProducerId(self.producer_id),
            producer_epoch: ProducerEpoch(self.producer_epoch),
            base_sequence,
            last_sequence: base_sequence.plus(self.last_offset_delta as u32),
        })
    }

    /// Writes the header, [`HEADER_BYTES`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        out.extend_from_slice(&self.batch_length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.extend_from_slice(&self.magic.to_be_bytes());
        out.extend_from_slice(&self.crc.to_be_bytes());
        out.extend_from_slice(&self.attributes.0.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.to_be_bytes());
        out.extend_from_slice(&self.producer_id.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.record_count.to_be_bytes());
    }
}

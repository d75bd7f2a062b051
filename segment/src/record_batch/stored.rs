//! A batch with its place in the log.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use bytes::{Bytes, BytesMut};

use super::compression::Codec;
use super::error::BatchError;
use super::header::{Attributes, BatchHeader, CRC_STARTS_AT, HEADER_BYTES, PREFIX_BYTES, array_at};
use super::record::{DecodeLimits, RecordIter};
use crate::crc::append_known;

/// A batch as it is stored: a prefix of our own (base offset, length, leader epoch) and the body,
/// all bytes from the magic on, a slice of the producer's request that is never copied.
///
/// Invariants, held by both constructors: the body is exactly as long as the prefix's length field
/// says, at least a header; base offset and last offset are valid offsets, so is the next one.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredBatch {
    prefix: [u8; PREFIX_BYTES],
    body: Bytes,
}

impl StoredBatch {
    /// Gives the producer's batch `raw` its place in the log. `header` must be the decoded header
    /// of `raw`, as [`super::split()`] yields both.
    ///
    /// # Errors
    /// When `raw` is not as long as `header` says, or the last record's offset would be too large.
    pub fn stamp(
        raw: Bytes,
        header: &BatchHeader,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
    ) -> Result<Self, BatchError> {
        check_length(&raw, header)?;
        check_offsets(base_offset.get(), header.last_offset_delta)?;
        let mut prefix = [0; PREFIX_BYTES];
        prefix[..8].copy_from_slice(&base_offset.get().to_be_bytes());
        prefix[8..12].copy_from_slice(&header.batch_length.to_be_bytes());
        prefix[12..].copy_from_slice(&leader_epoch.0.to_be_bytes());
        let body = raw.slice(PREFIX_BYTES..);
        Ok(Self { prefix, body })
    }

    /// Takes a batch that was stored before: `raw` is the whole batch and nothing else. The
    /// checksum is not checked here (blocks and frames have their own; see [`super::check_crc`]).
    pub fn from_stored(raw: Bytes) -> Result<Self, BatchError> {
        let header = BatchHeader::decode(&raw)?;
        check_length(&raw, &header)?;
        check_offsets(header.base_offset, header.last_offset_delta)?;
        let prefix = array_at(&raw, 0);
        let body = raw.slice(PREFIX_BYTES..);
        Ok(Self { prefix, body })
    }

    /// Joins a prefix and a body that were stored apart, as in a WAL frame.
    pub fn from_parts(prefix: [u8; PREFIX_BYTES], body: Bytes) -> Result<Self, BatchError> {
        let batch_length = i32::from_be_bytes(array_at(&prefix, 8));
        let have = PREFIX_BYTES + body.len();
        if have < HEADER_BYTES {
            let needed = HEADER_BYTES;
            return Err(BatchError::Truncated { needed, have });
        }
        let batch = Self { prefix, body };
        let header = BatchHeader::decode(&batch.header_bytes())?;
        if header.size_bytes() != have {
            return Err(BatchError::Length(batch_length));
        }
        check_offsets(header.base_offset, header.last_offset_delta)?;
        Ok(batch)
    }

    /// Offset of the first record.
    pub fn base_offset(&self) -> Offset {
        Offset::new(self.raw_base_offset()).expect("constructors accept valid offsets only")
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        let last = self.raw_base_offset() + i64::from(self.last_offset_delta());
        Offset::new(last).expect("constructors accept valid offsets only")
    }

    /// The offset after the last record's.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Leader epoch under which the batch was appended.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(array_at(&self.prefix, 12)))
    }

    /// Largest timestamp, in milliseconds since the Unix epoch; -1 when there is none.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(array_at(&self.body, 35 - PREFIX_BYTES))
    }

    /// The codec of the records.
    pub fn codec(&self) -> Result<Codec, BatchError> {
        Attributes(i16::from_be_bytes(array_at(&self.body, 21 - PREFIX_BYTES))).codec()
    }

    /// The header, decoded anew: cheap, but not free.
    pub fn header(&self) -> BatchHeader {
        BatchHeader::decode(&self.header_bytes()).expect("constructors have decoded it before")
    }

    /// Bytes of the whole batch.
    pub fn size_bytes(&self) -> usize {
        PREFIX_BYTES + self.body.len()
    }

    /// The first [`PREFIX_BYTES`] bytes.
    pub fn prefix(&self) -> &[u8; PREFIX_BYTES] {
        &self.prefix
    }

    /// All bytes after the prefix.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The CRC-32C of the bytes that `crc_before` covers, followed by the body. Taken from the batch's own checksum,
    /// which must be right, as it is once [`super::check_crc`] has passed: if it is not, what is stored with
    /// this checksum is refused when it is read.
    pub fn append_crc(&self, crc_before: u32) -> u32 {
        // The body begins with the magic and the checksum, neither of which the checksum covers.
        let (head, checked) = self.body.split_at(CRC_STARTS_AT - PREFIX_BYTES);
        let own = u32::from_be_bytes(array_at(head, 1));
        append_known(crc32c::crc32c_append(crc_before, head), own, checked)
    }

    /// The batch as two slices, to be written one after the other; the body is not copied.
    pub fn chunks(&self) -> [Bytes; 2] {
        [Bytes::copy_from_slice(&self.prefix), self.body.clone()]
    }

    /// Appends the whole batch to `out`.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&self.body);
    }

    /// The whole batch in one piece (a copy).
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.size_bytes());
        out.extend_from_slice(&self.prefix);
        out.extend_from_slice(&self.body);
        out.freeze()
    }

    /// The records of the batch; see [`super::records`].
    pub fn records(&self, limits: &DecodeLimits) -> Result<RecordIter, BatchError> {
        let payload = self.body.slice(HEADER_BYTES - PREFIX_BYTES..);
        RecordIter::open(&self.header(), payload, limits)
    }

    fn raw_base_offset(&self) -> i64 {
        i64::from_be_bytes(array_at(&self.prefix, 0))
    }

    fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(array_at(&self.body, 23 - PREFIX_BYTES))
    }

    fn header_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        bytes[PREFIX_BYTES..].copy_from_slice(&self.body[..HEADER_BYTES - PREFIX_BYTES]);
        bytes
    }
}

impl std::fmt::Debug for StoredBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredBatch")
            .field("base_offset", &self.raw_base_offset())
            .field("last_offset_delta", &self.last_offset_delta())
            .field("leader_epoch", &self.leader_epoch().0)
            .field("size_bytes", &self.size_bytes())
            .finish()
    }
}

fn check_length(raw: &[u8], header: &BatchHeader) -> Result<(), BatchError> {
    if raw.len() == header.size_bytes() && raw.len() >= HEADER_BYTES {
        Ok(())
    } else {
        Err(BatchError::Length(header.batch_length))
    }
}

fn check_offsets(base_offset: i64, delta: i32) -> Result<(), BatchError> {
    let next = base_offset
        .checked_add(i64::from(delta))
        .and_then(|last| last.checked_add(1));
    if base_offset >= 0 && delta >= 0 && next.is_some() {
        Ok(())
    } else {
        Err(BatchError::OffsetRange { base_offset, delta })
    }
}

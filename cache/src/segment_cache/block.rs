//! A decoded block: consecutive batches of one partition, as they are sent to consumers.

use alluvium_common::offset::Offset;
use alluvium_segment::FormatError;
use alluvium_segment::footer::BlockEntry;
use alluvium_segment::record_batch::{BatchError, StoredBatch, split};
use alluvium_segment::segment_object::decode_block;
use bytes::Bytes;

/// Where a batch ends, in offsets and in bytes.
#[derive(Debug, Clone, Copy)]
struct BatchEnd {
    next_offset: i64,
    max_timestamp: i64,
    position: u32,
}

/// Checked, decompressed, and cut into batches once, so that every reader finds its place by
/// bisection and gets one slice, whatever the number of batches.
#[derive(Debug)]
pub struct Block {
    bytes: Bytes,
    ends: Box<[BatchEnd]>,
}

/// A run of whole batches of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSlice {
    /// The batches, one after the other; a slice of the block.
    pub bytes: Bytes,
    /// The offset after the last of them.
    pub next_offset: Offset,
}

impl BlockSlice {
    /// The offset of the first of them.
    pub fn base_offset(&self) -> Offset {
        let first = self
            .bytes
            .first_chunk()
            .map(|bytes| i64::from_be_bytes(*bytes));
        first.and_then(Offset::new).expect("decode has checked it")
    }
}

impl Block {
    /// Checks `stored` against its checksum, decompresses it and checks that the batches cover the
    /// offsets that `entry` says.
    pub fn decode(entry: &BlockEntry, stored: Bytes) -> Result<Self, FormatError> {
        let bytes = decode_block(entry, stored)?;
        let mut ends = Vec::with_capacity((entry.batch_count as usize).min(bytes.len() / 61));
        let mut position = 0;
        let mut expected = entry.base_offset.get();
        for batch in split(&bytes) {
            let (header, raw) = batch?;
            let next_offset = header
                .base_offset
                .checked_add(i64::from(header.last_offset_delta))
                .and_then(|last| last.checked_add(1))
                .filter(|next| *next > header.base_offset)
                .ok_or(FormatError::Malformed("offsets of a batch in a block"))?;
            if header.base_offset != expected {
                return Err(FormatError::Malformed("order of batches in a block"));
            }
            expected = next_offset;
            position += raw.len() as u32;
            ends.push(BatchEnd {
                next_offset,
                max_timestamp: header.max_timestamp,
                position,
            });
        }
        if expected != entry.next_offset.get() {
            return Err(FormatError::Malformed("end of a block"));
        }
        Ok(Self {
            bytes,
            ends: ends.into_boxed_slice(),
        })
    }

    /// Batches that were made from something else than what a producer sent. Between them, offsets may be missing.
    pub fn of_batches(batches: &[StoredBatch]) -> Self {
        let mut bytes = Vec::with_capacity(batches.iter().map(StoredBatch::size_bytes).sum());
        let ends = batches.iter().map(|batch| {
            batch.copy_to(&mut bytes);
            BatchEnd {
                next_offset: batch.next_offset().get(),
                max_timestamp: batch.max_timestamp(),
                position: bytes.len() as u32,
            }
        });
        let ends = ends.collect();
        Self {
            bytes: bytes.into(),
            ends,
        }
    }

    /// The batches from the one that contains `from` up to `upto` (exclusive), as many as fit into
    /// `max_bytes`; with `min_one_batch` at least the first, whatever its size. `None` when that is
    /// none.
    pub fn slice(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        min_one_batch: bool,
    ) -> Option<BlockSlice> {
        let first = self
            .ends
            .partition_point(|end| end.next_offset <= from.get());
        let start = self.start_of(first);
        let readable = self
            .ends
            .partition_point(|end| end.next_offset <= upto.get());
        let limit = start.saturating_add(max_bytes);
        let mut last = self.ends[..readable].partition_point(|end| end.position as usize <= limit);
        if min_one_batch {
            last = last.max((first + 1).min(readable));
        }
        let end = self.ends[..last].get(first..)?.last()?;
        Some(BlockSlice {
            bytes: self.bytes.slice(start..end.position as usize),
            next_offset: Offset::new(end.next_offset).expect("decode has checked it"),
        })
    }

    /// The batch that follows in the block from `from` on and whose largest timestamp is at or after
    /// `timestamp`, the first such one.
    pub fn first_at_or_after(&self, timestamp: i64, from: Offset) -> Option<Bytes> {
        let first = self
            .ends
            .partition_point(|end| end.next_offset <= from.get());
        let found = self.ends[first..]
            .iter()
            .position(|end| end.max_timestamp >= timestamp)?;
        let index = first + found;
        let range = self.start_of(index)..self.ends[index].position as usize;
        Some(self.bytes.slice(range))
    }

    /// The batches from the one that contains `from` on.
    pub fn batches_from(
        &self,
        from: Offset,
    ) -> impl Iterator<Item = Result<StoredBatch, BatchError>> {
        let first = self
            .ends
            .partition_point(|end| end.next_offset <= from.get());
        (first..self.ends.len()).map(|index| {
            let range = self.start_of(index)..self.ends[index].position as usize;
            StoredBatch::from_stored(self.bytes.slice(range))
        })
    }

    /// Bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ends)
    }

    fn start_of(&self, index: usize) -> usize {
        index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before].position as usize)
    }
}

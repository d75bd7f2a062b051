//! Making record batches of rows again.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::{BatchBuilder, Codec, StoredBatch, TimestampType};

use crate::error::TableError;
use crate::headers::HeaderRef;
use crate::read::{Row, RowGroup};

/// Raw bytes of a batch, about: large enough to compress well, and four of them are a usual fetch of a partition.
const BATCH_BYTES: usize = 256 << 10;

/// Cuts rows into batches.
pub(crate) struct Cutter<'a> {
    codec: Codec,
    leader_epoch: &'a dyn Fn(Offset) -> LeaderEpoch,
    open: Option<Open>,
    batches: Vec<StoredBatch>,
}

/// The batch that grows.
struct Open {
    builder: BatchBuilder,
    base_offset: i64,
    leader_epoch: LeaderEpoch,
    timestamp_type: TimestampType,
    timestamp: i64,
}

impl<'a> Cutter<'a> {
    pub fn new(codec: Codec, leader_epoch: &'a dyn Fn(Offset) -> LeaderEpoch) -> Self {
        Self {
            codec,
            leader_epoch,
            open: None,
            batches: Vec::new(),
        }
    }

    /// Adds rows.
    pub fn push(&mut self, rows: &RowGroup) -> Result<(), TableError> {
        let mut headers = Vec::new();
        for number in 0..rows.len() {
            let row = rows.row(number)?;
            headers.clear();
            rows.headers(number, &mut headers)?;
            self.push_row(&row, &headers)?;
        }
        Ok(())
    }

    fn push_row(&mut self, row: &Row<'_>, headers: &[HeaderRef<'_>]) -> Result<(), TableError> {
        let leader_epoch = (self.leader_epoch)(row.offset);
        let delta = self
            .open
            .as_ref()
            .and_then(|open| open.delta(row, leader_epoch));
        if delta.is_none() {
            self.close()?;
        }
        let codec = self.codec;
        let open = self
            .open
            .get_or_insert_with(|| Open::new(codec, row, leader_epoch));
        let delta = delta.unwrap_or(0);
        open.builder
            .push_at(delta, row.timestamp, row.key, row.value, headers);
        Ok(())
    }

    fn close(&mut self) -> Result<(), TableError> {
        if let Some(open) = self.open.take() {
            let raw = open.builder.build()?;
            self.batches.push(StoredBatch::from_stored(raw)?);
        }
        Ok(())
    }

    /// All batches.
    pub fn finish(mut self) -> Result<Vec<StoredBatch>, TableError> {
        self.close()?;
        Ok(self.batches)
    }
}

impl Open {
    fn new(codec: Codec, row: &Row<'_>, leader_epoch: LeaderEpoch) -> Self {
        Self {
            builder: BatchBuilder::new(codec)
                .base_offset(row.offset)
                .leader_epoch(leader_epoch)
                .timestamp_type(row.timestamp_type),
            base_offset: row.offset.get(),
            leader_epoch,
            timestamp_type: row.timestamp_type,
            timestamp: row.timestamp,
        }
    }

    /// The row's offset delta, if it can be in this batch.
    fn delta(&self, row: &Row<'_>, leader_epoch: LeaderEpoch) -> Option<i32> {
        let bytes = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        let size = self.builder.size_bytes() + bytes(row.key) + bytes(row.value);
        // Under LogAppendTime all records of a batch have its one timestamp.
        let is_alike = size <= BATCH_BYTES
            && row.timestamp_type == self.timestamp_type
            && leader_epoch == self.leader_epoch
            && (row.timestamp_type == TimestampType::CreateTime || row.timestamp == self.timestamp);
        let delta = i32::try_from(row.offset.get() - self.base_offset).ok();
        delta.filter(|_| is_alike)
    }
}

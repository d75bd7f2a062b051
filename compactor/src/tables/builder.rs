//! One table file after the other, in memory. CPU work: it runs on threads of its own.

use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{Codec, DecodeLimits, Record, StoredBatch, TimestampType};
use alluvium_table::{FinishedTable, TableError, TableOptions, TableWriter};
use bytes::Bytes;

/// One batch opened, at most: more than a broker takes.
const DECODE_LIMITS: DecodeLimits = DecodeLimits {
    decompressed_bytes_max: 512 << 20,
};

/// See the module's documentation. After an error it is of no use any more.
pub struct TableBuilder {
    options: TableOptions,
    writer: TableWriter,
    /// The partition that is being written, and up to where.
    open: Option<(PartitionIndex, Offset)>,
    record_bytes: u64,
}

impl TableBuilder {
    /// Begins a file.
    pub fn new(options: &TableOptions) -> Result<Self, TableError> {
        Ok(Self {
            writer: TableWriter::new(options)?,
            options: options.clone(),
            open: None,
            record_bytes: 0,
        })
    }

    /// Goes on to a partition, which is answered for from `from` on; nothing happens when it is the one already.
    pub fn enter(&mut self, partition: PartitionIndex, from: Offset) -> Result<(), TableError> {
        if self.open.is_some_and(|(open, _)| open == partition) {
            return Ok(());
        }
        self.leave()?;
        self.writer.begin_partition(partition, from)?;
        self.open = Some((partition, from));
        Ok(())
    }

    /// The open partition is answered for up to `next_offset`.
    pub fn reach(&mut self, next_offset: Offset) {
        if let Some((_, end)) = &mut self.open {
            *end = (*end).max(next_offset);
        }
    }

    /// Adds the records of a batch from `from` on.
    pub fn push_batch(&mut self, batch: &StoredBatch, from: Offset) -> Result<(), TableError> {
        self.record_bytes += batch.size_bytes() as u64;
        let from = match seeded_bug::is("record-not-published") {
            true => from.max(batch.base_offset().next()),
            false => from,
        };
        self.writer.push_batch(batch, from, &DECODE_LIMITS)
    }

    /// Adds a record, whose batch had that codec.
    pub fn push_record(
        &mut self,
        record: &Record,
        timestamp_type: TimestampType,
        codec: Codec,
    ) -> Result<(), TableError> {
        self.writer.push_record(record, timestamp_type, codec)
    }

    fn leave(&mut self) -> Result<(), TableError> {
        match self.open.take() {
            Some((_, end)) => self.writer.end_partition(end),
            None => Ok(()),
        }
    }

    /// Finished bytes since the last call.
    pub fn take_bytes(&mut self) -> Vec<Bytes> {
        self.writer.take_bytes()
    }

    /// About the size of the file.
    pub fn size_bytes(&self) -> u64 {
        self.writer.size_estimate()
    }

    /// Bytes of record batches that were added since this was last asked.
    pub fn take_record_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.record_bytes)
    }

    /// Completes the file and begins the next, which goes on where this one ended.
    pub fn roll(&mut self) -> Result<FinishedTable, TableError> {
        self.leave()?;
        let next = TableWriter::new(&self.options)?;
        let writer = std::mem::replace(&mut self.writer, next);
        writer.finish()
    }
}

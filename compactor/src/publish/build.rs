//! Makes table files from the blocks of segments. CPU work: it runs on threads of its own.

use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::record_batch::{DecodeLimits, StoredBatch, check_crc, split};
use alluvium_segment::segment_object::decode_block;
use alluvium_table::{FinishedTable, TableError, TableOptions, TableWriter};
use bytes::Bytes;

use super::error::PublishError;
use super::fetch::FetchedStep;
use super::steps::WantedBlock;

/// One batch opened, at most: as the broker has it for a lookup by time.
const DECODE_LIMITS: DecodeLimits = DecodeLimits {
    decompressed_bytes_max: 512 << 20,
};

fn unopened(wanted: &WantedBlock, offsets: Range<Offset>, source: TableError) -> PublishError {
    PublishError::Batch {
        partition: wanted.partition,
        offset: offsets.start,
        next_offset: offsets.end,
        source,
    }
}

fn block_offsets(wanted: &WantedBlock) -> Range<Offset> {
    wanted.block.base_offset..wanted.block.next_offset
}

/// Writes one file after the other.
pub struct TableBuilder {
    options: TableOptions,
    writer: TableWriter,
    /// The partition that is being written, and up to where.
    open: Option<(PartitionIndex, Offset)>,
    records_bytes: u64,
}

impl TableBuilder {
    /// Begins a file.
    pub fn new(options: &TableOptions) -> Result<Self, PublishError> {
        Ok(Self {
            writer: TableWriter::new(options).map_err(PublishError::Table)?,
            options: options.clone(),
            open: None,
            records_bytes: 0,
        })
    }

    /// Adds the records of a step, in its order.
    pub fn write(&mut self, step: &FetchedStep) -> Result<(), PublishError> {
        for wanted in &step.blocks {
            self.enter(wanted)?;
            let of_block = |source| unopened(wanted, block_offsets(wanted), source);
            let raw = decode_block(&wanted.block, step.stored(wanted));
            let raw = raw.map_err(|error| of_block(error.into()))?;
            self.records_bytes += raw.len() as u64;
            for batch in split(&raw) {
                let (_, batch) = batch.map_err(|error| of_block(error.into()))?;
                self.push(wanted, batch)?;
            }
            self.open = Some((wanted.partition, wanted.block.next_offset));
        }
        Ok(())
    }

    /// Goes on to the partition of a block, from the first offset that is wanted of it or from where the file before
    /// ended.
    fn enter(&mut self, wanted: &WantedBlock) -> Result<(), PublishError> {
        if self.open.is_some_and(|(open, _)| open == wanted.partition) {
            return Ok(());
        }
        self.leave()?;
        let from = wanted.from.max(wanted.block.base_offset);
        self.writer
            .begin_partition(wanted.partition, from)
            .map_err(PublishError::Table)
    }

    fn leave(&mut self) -> Result<(), PublishError> {
        match self.open.take() {
            Some((_, end)) => self.writer.end_partition(end).map_err(PublishError::Table),
            None => Ok(()),
        }
    }

    fn push(&mut self, wanted: &WantedBlock, raw: Bytes) -> Result<(), PublishError> {
        let checked = check_crc(&raw);
        let batch = StoredBatch::from_stored(raw)
            .map_err(|error| unopened(wanted, block_offsets(wanted), error.into()))?;
        if batch.next_offset() <= wanted.from {
            return Ok(());
        }
        let offsets = batch.base_offset()..batch.next_offset();
        checked.map_err(|error| unopened(wanted, offsets.clone(), error.into()))?;
        let pushed = self.writer.push_batch(&batch, wanted.from, &DECODE_LIMITS);
        pushed.map_err(|error| match error {
            TableError::NeedsRawHeaders => PublishError::NeedsRawHeaders,
            // What is inside of a batch is the producer's, and is not looked at when it comes.
            TableError::Batch(_) | TableError::Order(_) | TableError::TooLarge { .. } => {
                unopened(wanted, offsets, error)
            }
            error => PublishError::Table(error),
        })
    }

    /// Finished bytes since the last call.
    pub fn take_bytes(&mut self) -> Vec<Bytes> {
        self.writer.take_bytes()
    }

    /// About the size of the file.
    pub fn size_bytes(&self) -> u64 {
        self.writer.size_estimate()
    }

    /// Bytes of record batches that were written since this was last asked.
    pub fn take_records_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.records_bytes)
    }

    /// Completes the file and begins the next.
    pub fn roll(&mut self) -> Result<FinishedTable, PublishError> {
        self.leave()?;
        let next = TableWriter::new(&self.options).map_err(PublishError::Table)?;
        let writer = std::mem::replace(&mut self.writer, next);
        writer.finish().map_err(PublishError::Table)
    }
}

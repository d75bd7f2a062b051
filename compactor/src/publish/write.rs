//! Rows from the blocks of segments.

use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_segment::record_batch::{StoredBatch, check_crc, split};
use alluvium_segment::segment_object::decode_block;
use alluvium_table::TableError;
use bytes::Bytes;

use super::error::PublishError;
use super::fetch::FetchedStep;
use super::steps::WantedBlock;
use crate::tables::TableBuilder;

/// Adds the records of a step, in its order.
pub fn write(builder: &mut TableBuilder, step: &FetchedStep) -> Result<(), PublishError> {
    for wanted in &step.blocks {
        let from = wanted.from.max(wanted.block.base_offset);
        let entered = builder.enter(wanted.partition, from);
        entered.map_err(PublishError::Table)?;
        let of_block = |source| unopened(wanted, block_offsets(wanted), source);
        let raw = decode_block(&wanted.block, step.stored(wanted));
        let raw = raw.map_err(|error| of_block(error.into()))?;
        for batch in split(&raw) {
            let (_, batch) = batch.map_err(|error| of_block(error.into()))?;
            push(builder, wanted, batch)?;
        }
        builder.reach(wanted.block.next_offset);
    }
    Ok(())
}

fn push(builder: &mut TableBuilder, wanted: &WantedBlock, raw: Bytes) -> Result<(), PublishError> {
    let checked = check_crc(&raw);
    let batch = StoredBatch::from_stored(raw)
        .map_err(|error| unopened(wanted, block_offsets(wanted), error.into()))?;
    if batch.next_offset() <= wanted.from {
        return Ok(());
    }
    let offsets = batch.base_offset()..batch.next_offset();
    checked.map_err(|error| unopened(wanted, offsets.clone(), error.into()))?;
    let pushed = builder.push_batch(&batch, wanted.from);
    pushed.map_err(|error| match error {
        TableError::NeedsRawHeaders => PublishError::NeedsRawHeaders,
        // What is inside of a batch is the producer's, and is not looked at when it comes.
        TableError::Batch(_) | TableError::Order(_) | TableError::TooLarge { .. } => {
            unopened(wanted, offsets, error)
        }
        error => PublishError::Table(error),
    })
}

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

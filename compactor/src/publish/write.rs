//! Rows from the blocks of segments.

use alluvium_segment::FormatError;
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
        let raw = decode_block(&wanted.block, step.stored(wanted))?;
        for batch in split(&raw) {
            let (_, raw) = batch.map_err(FormatError::from)?;
            push(builder, wanted, raw)?;
        }
        builder.reach(wanted.block.next_offset);
    }
    Ok(())
}

fn push(builder: &mut TableBuilder, wanted: &WantedBlock, raw: Bytes) -> Result<(), PublishError> {
    let opened = check_crc(&raw).and_then(|()| StoredBatch::from_stored(raw));
    let batch = opened.map_err(FormatError::from)?;
    if batch.next_offset() <= wanted.from {
        return Ok(());
    }
    let pushed = builder.push_batch(&batch, wanted.from);
    pushed.map_err(|error| match error {
        TableError::NeedsRawHeaders => PublishError::NeedsRawHeaders,
        // What is inside of a batch is the producer's, and is not looked at when it comes.
        TableError::Batch(_) | TableError::Order(_) | TableError::TooLarge { .. } => {
            PublishError::Batch {
                partition: wanted.partition,
                offset: batch.base_offset(),
                source: error,
            }
        }
        error => PublishError::Table(error),
    })
}

//! Finding records of history by time. Table files tell the truth about timestamps: only the stripe that is meant is
//! rebuilt.

use std::sync::Arc;

use alluvium_cache::log::PartitionLog;
use alluvium_cache::segment_cache::{Block, CacheError};
use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_segment::manifest::Manifest;
use alluvium_segment::record_batch::DecodeLimits;

use super::History;
use crate::error::ReadError;

impl History {
    /// The block of the first stripe from `from` on with a timestamp at or after `timestamp`, and the offset at which
    /// the search goes on behind it. Within the block it may be a record before `from` that has the time.
    pub(crate) async fn block_since(
        &self,
        log: &Arc<PartitionLog>,
        manifest: &Manifest,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<(Arc<Block>, Offset)>, CacheError> {
        let partition = log.tp.partition;
        for found in manifest.spans_from(partition, from) {
            if found.span.records == 0 || found.span.max_timestamp < timestamp {
                continue;
            }
            let table = self.open(found.table).await?;
            let Some(number) = table.file().stripe_since(partition, timestamp, from) else {
                continue;
            };
            let block = self.block(log, &table, number).await?;
            let next = table.stripe(number).map(|stripe| stripe.next_offset);
            return Ok(next.map(|next| (block, next)));
        }
        Ok(None)
    }

    /// The largest timestamp of the published records from `from` on.
    pub(crate) async fn max_timestamp(
        &self,
        log: &Arc<PartitionLog>,
        manifest: &Manifest,
        from: Offset,
    ) -> Result<Option<TimestampMs>, ReadError> {
        let partition = log.tp.partition;
        let mut largest = None;
        for found in manifest.spans_from(partition, from) {
            if found.span.records == 0 {
                continue;
            }
            let of_span = match found.span.base_offset >= from {
                true => Some(found.span.max_timestamp),
                false => {
                    let table = self.open(found.table).await?;
                    self.max_of_cut_span(log, &table, from).await?
                }
            };
            largest = largest.max(of_span);
        }
        Ok(largest)
    }

    /// The log start may lie within a file, and within a stripe.
    async fn max_of_cut_span(
        &self,
        log: &Arc<PartitionLog>,
        table: &super::OpenTable,
        from: Offset,
    ) -> Result<Option<TimestampMs>, ReadError> {
        let partition = log.tp.partition;
        let Some(first) = table.file().stripe_at(partition, from) else {
            return Ok(None);
        };
        let mut largest = None;
        for number in first.. {
            let stripe = table.stripe(number);
            let Some(stripe) = stripe.filter(|stripe| stripe.partition == partition) else {
                break;
            };
            let of_stripe = match stripe.base_offset >= from {
                true => Some(stripe.max_timestamp),
                false => {
                    let block = self.block(log, table, number).await?;
                    tokio::task::spawn_blocking(move || max_of_block(&block, from)).await??
                }
            };
            largest = largest.max(of_stripe);
        }
        Ok(largest)
    }
}

fn max_of_block(block: &Block, from: Offset) -> Result<Option<TimestampMs>, ReadError> {
    // Rebuilt by us: as large as a stripe at most.
    let limits = DecodeLimits {
        decompressed_bytes_max: usize::MAX,
    };
    let mut largest = None;
    for batch in block.batches_from(from) {
        for record in batch?.records(&limits)? {
            let record = record?;
            if record.offset >= from {
                largest = largest.max(Some(record.timestamp));
            }
        }
    }
    Ok(largest)
}

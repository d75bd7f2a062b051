//! Finding records of history by time. Table files tell the truth about timestamps: only the stripe that is meant is
//! rebuilt.

use std::sync::Arc;

use alluvium_cache::log::PartitionLog;
use alluvium_cache::segment_cache::{Block, CacheError};
use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_segment::manifest::{Holder, Manifest, SpanEntry, TableEntry};
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
        let may_have = |span: &SpanEntry| span.records > 0 && span.max_timestamp >= timestamp;
        for found in manifest.spans_from(partition, from) {
            if !may_have(found.span) {
                continue;
            }
            match found.holder {
                Holder::Table(table) => {
                    let block = self.block_of_table(log, table, timestamp, from).await?;
                    if block.is_some() {
                        return Ok(block);
                    }
                }
                Holder::Leaf(entry) => {
                    let leaf = self.leaf(manifest, entry).await?;
                    let within = leaf.spans_from(partition, from);
                    for found in within.filter(|found| may_have(found.span)) {
                        let block = self
                            .block_of_table(log, found.table, timestamp, from)
                            .await?;
                        if block.is_some() {
                            return Ok(block);
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    async fn block_of_table(
        &self,
        log: &Arc<PartitionLog>,
        table: &Arc<TableEntry>,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<(Arc<Block>, Offset)>, CacheError> {
        let table = self.open(table).await?;
        let number = table.file().stripe_since(log.tp.partition, timestamp, from);
        let Some(number) = number else {
            return Ok(None);
        };
        let block = self.block(log, &table, number).await?;
        let next = table.stripe(number).map(|stripe| stripe.next_offset);
        Ok(next.map(|next| (block, next)))
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
            let of_span = match found.holder {
                Holder::Leaf(entry) if found.span.base_offset < from => {
                    let leaf = self.leaf(manifest, entry).await?;
                    let mut largest = None;
                    for found in leaf.spans_from(partition, from) {
                        let of_table = self.max_of_table(log, found.table, found.span, from);
                        largest = largest.max(of_table.await?);
                    }
                    largest
                }
                Holder::Leaf(_) => max_of_span(found.span),
                Holder::Table(table) => self.max_of_table(log, table, found.span, from).await?,
            };
            largest = largest.max(of_span);
        }
        Ok(largest)
    }

    async fn max_of_table(
        &self,
        log: &Arc<PartitionLog>,
        table: &Arc<TableEntry>,
        span: &SpanEntry,
        from: Offset,
    ) -> Result<Option<TimestampMs>, ReadError> {
        if span.records == 0 || span.base_offset >= from {
            return Ok(max_of_span(span));
        }
        let table = self.open(table).await?;
        self.max_of_cut_span(log, &table, from).await
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

fn max_of_span(span: &SpanEntry) -> Option<TimestampMs> {
    (span.records > 0).then_some(span.max_timestamp)
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

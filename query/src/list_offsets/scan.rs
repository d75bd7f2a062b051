//! Finding records by time, over all tiers.

use std::sync::Arc;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::log::PartitionLog;
use alluvium_cache::segment_cache::Block;
use alluvium_cache::tail::TailBatch;
use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_segment::footer::BlockEntry;
use alluvium_segment::manifest::Manifest;
use alluvium_segment::record_batch::{BatchError, Codec, DecodeLimits, StoredBatch};
use alluvium_segment::segment_index::SegmentRef;

use super::{FoundOffset, OffsetFinder};
use crate::error::ReadError;
use crate::log_reader::{Isolation, ReadRequest, load};

/// Uncompressed batches up to this size are walked where we are; others on a thread of their own.
const WALK_INLINE_BYTES: usize = 64 << 10;

/// How often an offset may be in neither tail nor index before it counts as lost.
const LOOKUPS_MAX: u32 = 8;

/// Largest timestamps tried before giving up: each one but the last was a claim of batch headers that
/// no record bears out.
const CLAIMS_MAX: u32 = 64;

/// A record with the time asked for.
type Hit = (Offset, TimestampMs);

/// Where the search stands in the index.
enum Indexed {
    Block(Arc<SegmentRef>, BlockEntry),
    /// Nothing more before this offset, where the index ends.
    End(Offset),
}

impl OffsetFinder {
    /// The first record in `from..upto` at or after `timestamp`.
    pub(super) async fn first_since(
        &self,
        log: &Arc<PartitionLog>,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<FoundOffset>, ReadError> {
        let hit = self.search(log, timestamp, from, upto).await?;
        Ok(hit.map(|(offset, timestamp)| FoundOffset {
            offset,
            timestamp: Some(timestamp),
            leader_epoch: log.epochs.epoch_at(offset),
        }))
    }

    async fn search(
        &self,
        log: &Arc<PartitionLog>,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<Hit>, ReadError> {
        let mut from = from;
        let mut lookups = 0;
        while from < upto {
            if let Some(manifest) = published_from(log, from) {
                let hit;
                (hit, from) = self.in_history(log, &manifest, timestamp, from).await?;
                match hit {
                    Some(hit) => return Ok(Some(hit).filter(|(offset, _)| *offset < upto)),
                    None => continue,
                }
            }
            let hit = match in_index(log, timestamp, from, upto) {
                Indexed::Block(segment, entry) => {
                    let hit = self.in_block(&segment, &entry, timestamp, from).await?;
                    from = entry.next_offset;
                    hit
                }
                Indexed::End(end) => {
                    from = from.max(end);
                    let (start, batch) = log.tail.first_at_or_after(timestamp, from, upto);
                    if let Some(reason) = log.tail.closed() {
                        return Err(ReadError::Closed(reason));
                    }
                    if start > from {
                        // What the tail gave up meanwhile is in the index now, or deleted.
                        lookups += 1;
                        if lookups > LOOKUPS_MAX {
                            return Err(lost(log, from));
                        }
                        from = from.max(log.tail.offsets().log_start);
                        continue;
                    }
                    let Some(batch) = batch else {
                        return Ok(None);
                    };
                    let (next, hit) = self.in_tail(batch, timestamp, from).await?;
                    from = next;
                    hit
                }
            };
            if let Some(hit) = hit {
                return Ok(Some(hit).filter(|(offset, _)| *offset < upto));
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp in `from..upto`.
    pub(super) async fn max_timestamp(
        &self,
        log: &Arc<PartitionLog>,
        from: Offset,
        upto: Offset,
    ) -> Result<Option<FoundOffset>, ReadError> {
        // The log start may lie within a batch, whose header then speaks of deleted records too.
        let (after, in_first) = match published_from(log, from) {
            Some(manifest) => {
                let history = self.reader.history();
                let in_history = history.max_timestamp(log, &manifest, from).await?;
                (manifest.published_end(log.tp.partition), in_history)
            }
            None => self.max_of_cut_batch(log, from).await?,
        };
        // Headers may claim more than their records hold: then nothing is found at that time, and
        // the search goes on with the claim below it.
        let mut below = TimestampMs::MAX;
        for _ in 0..CLAIMS_MAX {
            let claim = largest_claim(log, after, upto, below);
            let Some(claim) = claim.max(in_first) else {
                break;
            };
            let found = self.first_since(log, claim, from, upto).await?;
            if found.is_some() {
                return Ok(found);
            }
            below = claim;
        }
        Ok(None)
    }

    /// If `from` lies within a batch: the offset after it, and the largest timestamp of its records
    /// from there on. Otherwise `from` and nothing.
    async fn max_of_cut_batch(
        &self,
        log: &Arc<PartitionLog>,
        from: Offset,
    ) -> Result<(Offset, Option<TimestampMs>), ReadError> {
        let request = ReadRequest {
            tp: log.tp,
            from,
            max_bytes: 0,
            isolation: Isolation::ReadUncommitted,
            min_one_batch: true,
        };
        let read = self.reader.read(request).await?;
        if read.records.is_empty() {
            return Ok((from, None));
        }
        let batch = StoredBatch::from_stored(read.records.concat().into())?;
        if batch.base_offset() == from {
            return Ok((from, None));
        }
        let next = batch.next_offset();
        let walk =
            move |batch: &StoredBatch, limits: &DecodeLimits| largest_since(batch, from, limits);
        Ok((next, self.open(batch, walk).await?))
    }

    /// The first hit in table files, and where to go on without one.
    async fn in_history(
        &self,
        log: &Arc<PartitionLog>,
        manifest: &Manifest,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<(Option<Hit>, Offset), ReadError> {
        let history = self.reader.history();
        let found = history.block_since(log, manifest, timestamp, from).await?;
        let Some((block, next)) = found else {
            return Ok((None, manifest.published_end(log.tp.partition)));
        };
        let hit = self.in_batches(&block, timestamp, from).await?;
        Ok((hit, next.max(from)))
    }

    async fn in_block(
        &self,
        segment: &Arc<SegmentRef>,
        entry: &BlockEntry,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<Hit>, ReadError> {
        let cache = self.reader.cache();
        let block = cache.block(segment, entry, ReadClass::Backfill).await?;
        self.in_batches(&block, timestamp, from).await
    }

    async fn in_batches(
        &self,
        block: &Block,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<Hit>, ReadError> {
        let mut next = from;
        while let Some(raw) = block.first_at_or_after(timestamp, next) {
            let batch = StoredBatch::from_stored(raw)?;
            next = batch.next_offset();
            let hit = self.in_batch(batch, timestamp, from).await?;
            if hit.is_some() {
                return Ok(hit);
            }
        }
        Ok(None)
    }

    async fn in_tail(
        &self,
        batch: TailBatch,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<(Offset, Option<Hit>), ReadError> {
        let batch = match batch {
            TailBatch::Memory(batch) => batch,
            spilled => load(vec![spilled]).await?.remove(0),
        };
        let next = batch.next_offset();
        Ok((next, self.in_batch(batch, timestamp, from).await?))
    }

    async fn in_batch(
        &self,
        batch: StoredBatch,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<Hit>, ReadError> {
        let walk = move |batch: &StoredBatch, limits: &DecodeLimits| {
            first_record(batch, timestamp, from, limits)
        };
        self.open(batch, walk).await
    }

    /// Walks through one batch.
    async fn open<T: Send + 'static>(
        &self,
        batch: StoredBatch,
        walk: impl FnOnce(&StoredBatch, &DecodeLimits) -> Result<T, BatchError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let limits = self.limits;
        let plain = batch.header().attributes.codec()? == Codec::None;
        if plain && batch.size_bytes() <= WALK_INLINE_BYTES {
            return Ok(walk(&batch, &limits)?);
        }
        let _turn = self.open_batches.acquire().await;
        let walked = tokio::task::spawn_blocking(move || walk(&batch, &limits));
        Ok(walked.await??)
    }
}

/// The manifest, if `from` is published.
fn published_from(log: &PartitionLog, from: Offset) -> Option<Arc<Manifest>> {
    let manifest = log.published()?;
    (from < manifest.published_end(log.tp.partition)).then_some(manifest)
}

/// The first block with records in `from..upto` that claims one at or after `timestamp`.
fn in_index(log: &PartitionLog, timestamp: TimestampMs, from: Offset, upto: Offset) -> Indexed {
    let index = log.index.read();
    // Skips whole segments by their largest timestamps; of use until the search has passed it.
    let first = match index.first_block_since(timestamp) {
        Some(first) if first.block.next_offset <= from => index
            .blocks_from(from)
            .find(|found| found.block.max_timestamp >= timestamp),
        first => first,
    };
    match first {
        Some(found) if found.block.base_offset < upto => {
            Indexed::Block(Arc::clone(found.segment), *found.block)
        }
        _ => Indexed::End(index.next_offset()),
    }
}

/// The largest timestamp below `below` that any block or batch with records in `from..upto` claims.
fn largest_claim(
    log: &PartitionLog,
    from: Offset,
    upto: Offset,
    below: TimestampMs,
) -> Option<TimestampMs> {
    let indexed = log
        .index
        .read()
        .blocks_from(from)
        .take_while(|found| found.block.base_offset < upto)
        .map(|found| found.block.max_timestamp)
        .filter(|claim| *claim < below)
        .max();
    indexed.max(log.tail.largest_timestamp(upto, below))
}

fn first_record(
    batch: &StoredBatch,
    timestamp: TimestampMs,
    from: Offset,
    limits: &DecodeLimits,
) -> Result<Option<Hit>, BatchError> {
    for record in batch.records(limits)? {
        let record = record?;
        if record.timestamp >= timestamp && record.offset >= from {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

fn largest_since(
    batch: &StoredBatch,
    from: Offset,
    limits: &DecodeLimits,
) -> Result<Option<TimestampMs>, BatchError> {
    let mut largest = None;
    for record in batch.records(limits)? {
        let record = record?;
        if record.offset >= from {
            largest = largest.max(Some(record.timestamp));
        }
    }
    Ok(largest)
}

fn lost(log: &PartitionLog, offset: Offset) -> ReadError {
    ReadError::Internal(format!("offset {offset} of {} is in no tier", log.tp))
}

//! Reading what is stored: table files, then segments, and on into the tail.

use std::sync::Arc;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::log::PartitionLog;
use alluvium_cache::tail::TailRead;
use alluvium_common::offset::Offset;
use alluvium_segment::footer::BlockEntry;
use alluvium_segment::segment_index::SegmentRef;

use super::{LogRead, LogReader, Pending, ReadRequest, read_ahead};
use crate::error::ReadError;

/// Blocks looked up under one hold of the index's lock.
const BLOCKS_PER_LOOKUP: usize = 16;

/// How often an offset may be in neither tail nor index before it counts as lost. Once or twice is a
/// read between two steps of an upload.
const LOOKUPS_MAX: u32 = 8;

/// Consecutive blocks of one segment.
struct Found {
    segment: Arc<SegmentRef>,
    blocks: Vec<BlockEntry>,
    class: ReadClass,
}

/// Whether to go on after a step.
pub(super) enum Step {
    More,
    End,
}

impl LogReader {
    /// Reads from segments, then from the tail, until a limit is reached. An error after something
    /// was read ends the read; whoever comes next meets it first.
    pub(super) async fn read_segments(&self, pending: Pending) -> Result<LogRead, ReadError> {
        let Pending {
            log,
            request,
            offsets,
            ..
        } = pending;
        let upto = request.isolation.limit(&offsets);
        let mut read = LogRead::empty(offsets, request.from);
        let mut lookups = 0;
        loop {
            let step = match find(&log, read.next_offset) {
                Some(found) => {
                    lookups = 0;
                    self.read_found(&found, &request, upto, &mut read).await
                }
                // After the index, which forgets what the manifest has.
                None if read.next_offset < log.published_end() => {
                    self.read_tables(&log, &request, upto, &mut read).await
                }
                None if lookups == LOOKUPS_MAX => Err(ReadError::Internal(format!(
                    "offset {} of {} is in no tier",
                    read.next_offset, log.tp
                ))),
                None => {
                    lookups += 1;
                    self.read_rest(&log, &request, upto, &mut read).await
                }
            };
            match step {
                Ok(Step::More) => {}
                Ok(Step::End) => break,
                Err(error) if read.records.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        match read.records.is_empty() {
            // What has no records was passed over; whoever comes next may pass over it too.
            true => read.next_offset = request.from,
            false => self.look_ahead(&log, request.from, read.next_offset),
        }
        Ok(read)
    }

    fn look_ahead(&self, log: &PartitionLog, from: Offset, to: Offset) {
        let ahead = self.read_ahead.after(&self.cache, log.tp, from, to);
        if ahead == 0 {
            return;
        }
        match log.published() {
            Some(manifest) if to < manifest.published_end(log.tp.partition) => {
                self.history.prefetch(log, &manifest, to, ahead);
            }
            _ => read_ahead::prefetch(&self.cache, log, to, ahead),
        }
    }

    async fn read_found(
        &self,
        found: &Found,
        request: &ReadRequest,
        upto: Offset,
        read: &mut LogRead,
    ) -> Result<Step, ReadError> {
        let mut prefetched = false;
        for (index, entry) in found.blocks.iter().enumerate() {
            let left = request.max_bytes.saturating_sub(read.size_bytes);
            let first = read.records.is_empty();
            if entry.base_offset >= upto || (!first && left < average_batch_bytes(entry)) {
                return Ok(Step::End);
            }
            let block = match self.cache.block_in_memory(&found.segment, entry) {
                Some(block) => block,
                None => {
                    if !prefetched {
                        prefetched = true;
                        self.prefetch_wanted(found, index, left);
                    }
                    self.cache.block(&found.segment, entry, found.class).await?
                }
            };
            let min_one_batch = first && request.min_one_batch;
            let Some(slice) = block.slice(read.next_offset, upto, left, min_one_batch) else {
                return Ok(Step::End);
            };
            self.metrics.segments.reads.inc();
            self.metrics.segments.bytes.inc_by(slice.bytes.len() as u64);
            read.push(slice.bytes, slice.next_offset);
            if slice.next_offset < entry.next_offset {
                return Ok(Step::End);
            }
        }
        Ok(Step::More)
    }

    /// Starts to fetch all pages that a read of `left` bytes from the block at `index` on needs, so that
    /// they come at the same time.
    fn prefetch_wanted(&self, found: &Found, index: usize, left: usize) {
        let blocks = &found.blocks[index..];
        let mut raw = 0;
        let wanted = blocks.iter().take_while(|block| {
            let is_wanted = raw < left;
            raw += block.raw_length as usize;
            is_wanted
        });
        if let (Some(first), Some(last)) = (blocks.first(), wanted.last()) {
            let end = last.position + u64::from(last.stored_length);
            let positions = first.position..end;
            self.cache.prefetch(&found.segment, positions, found.class);
        }
    }

    /// The index ends here: what follows is in the tail, or has moved to the index meanwhile.
    async fn read_rest(
        &self,
        log: &Arc<PartitionLog>,
        request: &ReadRequest,
        upto: Offset,
        read: &mut LogRead,
    ) -> Result<Step, ReadError> {
        let left = request.max_bytes.saturating_sub(read.size_bytes);
        let min_one_batch = read.records.is_empty() && request.min_one_batch;
        match log.tail.read(read.next_offset, upto, left, min_one_batch) {
            TailRead::Batches { batches, .. } => {
                self.push_tail(read, batches).await?;
                Ok(Step::End)
            }
            TailRead::Closed(reason) => Err(ReadError::Closed(reason)),
            TailRead::Below { .. } => {
                let offsets = log.tail.offsets();
                if read.next_offset < offsets.log_start {
                    Err(ReadError::OffsetOutOfRange { offsets })
                } else {
                    // The tail gives batches up only after the index has them.
                    Ok(Step::More)
                }
            }
        }
    }
}

fn find(log: &PartitionLog, offset: Offset) -> Option<Found> {
    let index = log.index.read();
    let (segment, blocks) = index.find(offset)?;
    // Who reads the youngest segment follows the tail, if not closely.
    let youngest = Offset::new(index.next_offset().get() - 1)
        .and_then(|last| index.find(last))
        .is_some_and(|(last, _)| Arc::ptr_eq(last, segment));
    Some(Found {
        segment: Arc::clone(segment),
        blocks: blocks[..blocks.len().min(BLOCKS_PER_LOOKUP)].to_vec(),
        class: if youngest {
            ReadClass::Tail
        } else {
            ReadClass::Backfill
        },
    })
}

/// Bytes of what is stored from `from` on; stops counting at `enough`. Of what is published the table file or leaf that holds
/// `from` counts as a whole: it is for a reader that waits for more, and does not wait there.
pub(super) fn bytes_from(log: &PartitionLog, from: Offset, enough: usize) -> usize {
    let mut bytes = 0;
    if let Some(manifest) = log.published() {
        for found in manifest.spans_from(log.tp.partition, from) {
            if bytes >= enough {
                return bytes;
            }
            bytes += found.span.raw_bytes as usize;
        }
    }
    let index = log.index.read();
    for found in index.blocks_from(from) {
        if bytes >= enough {
            break;
        }
        bytes += found.block.raw_length as usize;
    }
    bytes
}

/// With less room than this left, the block's first batch would hardly fit: not worth a GET.
fn average_batch_bytes(entry: &BlockEntry) -> usize {
    (entry.raw_length / entry.batch_count.max(1)) as usize
}

//! What a leader tells, put into a follower log.

use std::sync::Arc;

use alluvium_cache::log::PartitionLog;
use alluvium_cache::tail::{AppendRefused, TailBudget, TailStart};
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::{BatchError, StoredBatch, check_crc, split};
use alluvium_segment::segment_index::{NotContiguous, SegmentIndex};
use bytes::Bytes;

use super::Leading;
use super::remote_batch::Source;
use crate::rpc::{Known, News};

/// What a leader told does not continue the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// The part of an index is another partition's.
    #[error("it is about another partition")]
    Partition,
    /// A segment does not follow the index.
    #[error(transparent)]
    Segment(#[from] NotContiguous),
    /// A batch is damaged.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A batch does not follow the log.
    #[error(transparent)]
    Append(#[from] AppendRefused),
}

/// The log that the first news are to be applied to: nothing, from where those begin.
pub(super) fn open(
    tp: TopicPartition,
    leading: Leading,
    news: &News,
    budget: &Arc<TailBudget>,
) -> Arc<PartitionLog> {
    let log_start = news.offsets.log_start;
    // The log start may lie within a batch that no segment holds. The log starts with that batch, and its start offset
    // is raised when the batch is there.
    let first = split(&news.records).next().and_then(Result::ok);
    let first = first.and_then(|(header, _)| Offset::new(header.base_offset));
    let start = first.map_or(log_start, |first| first.min(log_start));
    let tail = TailStart {
        log_start: start,
        next_offset: start,
        leader_epoch: leading.leader_epoch,
    };
    let index = SegmentIndex::new(start);
    PartitionLog::open(tp, tail, index, news.epochs.clone(), budget)
}

/// Adds what is new: first what segments hold, then what they do not, then how much of it may be read. Nothing beyond
/// what the leader told is ever readable, whatever of it is already there.
pub(super) fn apply(
    log: &Arc<PartitionLog>,
    news: News,
    source: &Arc<Source>,
) -> Result<(), Unfit> {
    if let Some(part) = news.part {
        if part.tp != log.tp {
            return Err(Unfit::Partition);
        }
        for (segment, span) in part.spans {
            log.follow_segment(segment, &span)?;
        }
    }
    append(log, &news.records, source)?;
    log.tail.advance_high_watermark(news.offsets.high_watermark);
    log.set_log_start(news.offsets.log_start);
    Ok(())
}

fn append(log: &Arc<PartitionLog>, records: &Bytes, source: &Arc<Source>) -> Result<(), Unfit> {
    for batch in split(records) {
        let (_, raw) = batch?;
        check_crc(&raw)?;
        let batch = StoredBatch::from_stored(raw)?;
        if batch.next_offset() > log.tail.offsets().log_end {
            let remote = source.batch(batch.base_offset(), batch.size_bytes());
            log.tail.append(batch, Some(remote))?;
        }
    }
    Ok(())
}

/// What the log has.
pub(super) fn known(log: &PartitionLog) -> Known {
    let index_end = log.index.read().next_offset();
    let offsets = log.tail.offsets();
    Known {
        log_start: offsets.log_start,
        index_end,
        high_watermark: offsets.high_watermark,
        log_end: offsets.log_end,
    }
}

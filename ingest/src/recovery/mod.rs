//! Start-up: what a partition's log holds, found again.
//!
//! Order, after the session is open:
//! 1. [`load`]: the commit logs that partitions name, and the footer of each segment in them, each read
//!    once however many partitions it holds, many from one object where the log is folded. Gives, per partition, the segment index, the end of what
//!    is committed and the idempotent producers.
//! 2. [`plan_replay`]: which frames of the write-ahead log continue that.
//! 3. The partitions are taken over under a higher leader epoch ([`PartitionImage::taken_over`]), written
//!    before anything is appended or committed under the new session.
//! 4. [`PartitionImage::open`] and `Pipeline::open_recovered`: the frames go back into tail and open
//!    segment, durable as they are, and are uploaded like any other batch. Partitions are open at once:
//!    a bucket that is away does not keep a broker from starting. The log keeps the frames until their
//!    segments are committed, so a crash on the way repeats all this.
//!
//! [`start()`] does all of it; the parts are open to tests, and to brokers that take over single
//! partitions one day.

mod footers;
mod read;
mod replay;
mod start;
mod take_over;
#[cfg(test)]
mod tests;
mod wanted;

use std::sync::Arc;

use alluvium_cache::log::{EpochHistory, PartitionLog};
use alluvium_cache::tail::{TailBudget, TailStart};
use alluvium_common::clock::TimestampMs;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::error::ErrorKind;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::commit_log::ReadCommitsError;
use alluvium_metadata::model::{PartitionRecord, TailEntry};
use alluvium_metadata::topics::TopicError;
use alluvium_segment::footer::{PartitionSpan, ProducerSummary};
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::{NotContiguous, SegmentIndex, SegmentRef};

use crate::pipeline::OpenState;
use crate::producer_state::{ProducerSnapshot, ProducerStates, SequencedBatch};

pub use footers::{CommitReader, MetadataCommits, load};
pub use replay::{RecoveredBatch, ReplaySummary, plan_replay};
pub use start::{Start, StartError, start};
pub use take_over::{Led, Recovered, TakeOver, take_over};

/// Why a broker cannot take over its partitions. Nothing has been changed then.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A commit log cannot be read.
    #[error(transparent)]
    Commits(#[from] ReadCommitsError),
    /// A committed segment, or the fold of many, cannot be read.
    #[error("committed object {key}: {source}")]
    Object {
        /// Its name.
        key: ObjectKey,
        /// Why.
        source: object_store::Error,
    },
    /// A committed segment's footer, or the fold of many, is damaged, or is not the one that was committed.
    #[error("committed object {key}: {what}")]
    Footer {
        /// Its name.
        key: ObjectKey,
        /// What is wrong.
        what: String,
    },
    /// Committed segments do not follow each other (I19).
    #[error("committed segments of partition {tp}: {source}")]
    Gap {
        /// Of which partition.
        tp: TopicPartition,
        /// Where.
        source: NotContiguous,
    },
    /// The partitions' records could not be written.
    #[error(transparent)]
    TakeOver(#[from] TopicError),
}

impl RecoveryError {
    /// What to do next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RecoveryError::Commits(ReadCommitsError::Store(error)) => error.kind(),
            RecoveryError::TakeOver(TopicError::Store(error)) => error.kind(),
            RecoveryError::TakeOver(TopicError::Fenced) => ErrorKind::Fenced,
            RecoveryError::Object { source, .. } => match source {
                object_store::Error::NotFound { .. } => ErrorKind::BadData,
                _ => ErrorKind::Retry,
            },
            _ => ErrorKind::BadData,
        }
    }
}

/// A partition as committed segments, and then the write-ahead log, tell of it.
pub struct PartitionImage {
    /// Which partition.
    pub tp: TopicPartition,
    /// Its record before it is taken over.
    pub record: PartitionRecord,
    index: SegmentIndex,
    committed_end: Offset,
    producers: ProducerStates,
    /// Which entries of which commit logs hold records of it.
    held: Vec<(TailEntry, u64)>,
    replay: Vec<RecoveredBatch>,
    end: Offset,
}

impl PartitionImage {
    fn new(tp: TopicPartition, record: PartitionRecord) -> Self {
        Self {
            index: SegmentIndex::new(record.log_start),
            committed_end: Offset::ZERO,
            producers: ProducerStates::default(),
            held: Vec::new(),
            replay: Vec::new(),
            end: Offset::ZERO,
            tp,
            record,
        }
    }

    /// The end of what is committed.
    pub fn committed_end(&self) -> Offset {
        self.committed_end
    }

    /// The end of what is committed or comes back from the write-ahead log: the next offset.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Adds a committed segment's part. Segments must come in the order of their commits.
    fn add(
        &mut self,
        entry: TailEntry,
        sequence: u64,
        segment: &Arc<SegmentRef>,
        created_ms: TimestampMs,
        span: &PartitionSpan,
    ) -> Result<(), RecoveryError> {
        for producer in &span.producers {
            self.producers.restore(&snapshot_of(producer, created_ms));
        }
        self.committed_end = self.committed_end.max(span.next_offset);
        self.end = self.committed_end;
        if span.next_offset <= self.record.log_start {
            return Ok(());
        }
        match self.held.last_mut() {
            Some((last, last_sequence)) if last.broker_epoch == entry.broker_epoch => {
                *last_sequence = sequence;
            }
            _ => {
                let first_seq = sequence;
                self.held.push((TailEntry { first_seq, ..entry }, sequence));
            }
        }
        let added = self.index.add(Arc::clone(segment), span);
        added.map_err(|source| RecoveryError::Gap {
            tp: self.tp,
            source,
        })
    }

    /// Its record under this broker's new session. The new leader epoch starts at the end of what is
    /// replayed: frames of older epochs from there on are never taken again.
    pub fn taken_over(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch) -> PartitionRecord {
        let end = self.end.max(self.record.log_start);
        self.record
            .taken_over(broker_id, broker_epoch, end, |entry| {
                let held = self.held.iter().find(|(held, _)| {
                    held.broker_id == entry.broker_id && held.broker_epoch == entry.broker_epoch
                });
                held.map(|(held, last_seq)| (held.first_seq, *last_seq))
            })
    }

    /// Makes the partition's log under `record`, which [`Self::taken_over`] gave and the metadata store
    /// has. The frames to be replayed come beside it.
    pub fn open(
        mut self,
        record: &PartitionRecord,
        budget: &Arc<TailBudget>,
    ) -> (OpenState, Vec<RecoveredBatch>) {
        let log_start = record.log_start;
        let replay_from = self.replay.first().map(|first| first.base_offset);
        let next = replay_from.unwrap_or(self.end.max(log_start));
        // Records may have been deleted (by DeleteRecords) before they were uploaded, up to within a
        // batch. Then the log starts with that batch, until the replay has reached the log start.
        let start = log_start.min(next);
        if self.index.is_empty() {
            self.index = SegmentIndex::new(start);
        }
        let tail = TailStart {
            log_start: start,
            next_offset: next,
            leader_epoch: record.leader_epoch,
        };
        let epochs = record.epoch_history.iter();
        let epochs = EpochHistory::new(epochs.map(|epoch| (epoch.leader_epoch, epoch.start)));
        let log = PartitionLog::open(self.tp, tail, self.index, epochs, budget);
        let producers = self.producers.snapshots();
        (OpenState { log, producers }, self.replay)
    }
}

fn snapshot_of(producer: &ProducerSummary, created_ms: TimestampMs) -> ProducerSnapshot {
    let batches = producer.batches.iter().map(|batch| SequencedBatch {
        base_sequence: batch.base_sequence,
        last_sequence: batch.last_sequence,
        base_offset: batch.base_offset,
        last_offset: batch.last_offset,
        max_timestamp: batch.max_timestamp,
    });
    ProducerSnapshot {
        producer_id: producer.producer_id,
        producer_epoch: producer.producer_epoch,
        batches: batches.collect(),
        last_seen_ms: created_ms,
    }
}

//! Start-up: what a partition's log holds, found again.
//!
//! The same way leads to a partition at the start of a broker, after the death of its leader, and when its leader
//! hands it over:
//! 1. What is published of a partition is in table files, which its topic's manifest names, and needs no footers.
//! 2. [`load`]: the commit logs that partitions name, once nothing can be added to them (F2), and the footer of each
//!    segment in them, each read once however many partitions it holds, many from one object where the log is folded.
//!    Gives, per partition, the segment index, the end of what is committed and the idempotent producers.
//! 3. [`plan_replay`]: which frames of this broker's write-ahead log continue that; at its start only.
//! 4. The partitions are opened under a higher leader epoch ([`PartitionImage::opened`]), written before anything is
//!    appended or committed under it.
//! 5. [`PartitionImage::open`] and `Pipeline::open_recovered`: the frames go back into tail and open
//!    segment, durable as they are, and are uploaded like any other batch. Partitions are open at once:
//!    a bucket that is away does not keep a broker from starting. The log keeps the frames until their
//!    segments are committed, so a crash on the way repeats all this.
//!
//! Where the former leader still lives and tells what it knows ([`HandedIndex`]), that stands for the footers.
//!
//! [`start()`] does all of it for a broker that starts, [`take_over()`] what a running broker needs.

mod footers;
mod handed;
mod read;
mod replay;
mod start;
mod take_over;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use alluvium_cache::log::{EpochHistory, PartitionLog};
use alluvium_cache::tail::{TailBudget, TailStart};
use alluvium_common::clock::TimestampMs;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::error::ErrorKind;
use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::commit_log::ReadCommitsError;
use alluvium_metadata::compaction::ReadPublishedError;
use alluvium_metadata::fold::LogId;
use alluvium_metadata::leadership::LeadershipError;
use alluvium_metadata::model::{Opener, PartitionRecord, TailEntry};
use alluvium_metadata::store::StoreError;
use alluvium_segment::footer::{PartitionSpan, ProducerSummary};
use alluvium_segment::manifest::{Manifest, PublishedProducer};
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::{NotContiguous, SegmentIndex, SegmentRef};

use crate::pipeline::OpenState;
use crate::producer_state::{ProducerSnapshot, ProducerStates, SequencedBatch};

pub use footers::{CommitReader, MetadataCommits, load};
pub use handed::HandedIndex;
pub use replay::{RecoveredBatch, ReplaySummary, plan_replay};
pub use start::{Start, StartError, start};
pub use take_over::{Led, Recovered, TakeOver, take_over, take_over_handed};

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
    /// A session whose log is wanted may still add to it (F2). Ask again once it is over.
    #[error("the session {broker_epoch} of broker {broker_id} is not over yet")]
    StillLed {
        /// Whose session.
        broker_id: BrokerId,
        /// Which.
        broker_epoch: BrokerEpoch,
    },
    /// More of a partition is published than was known. Ask again with the manifest that counts.
    #[error("more of partition {tp} is published than was known when it was opened")]
    ManifestBehind {
        /// Which.
        tp: TopicPartition,
    },
    /// How far topics are published cannot be read.
    #[error(transparent)]
    Published(#[from] ReadPublishedError),
    /// The metadata store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The partitions' records could not be written.
    #[error(transparent)]
    TakeOver(#[from] LeadershipError),
}

impl RecoveryError {
    /// What to do next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            RecoveryError::Commits(ReadCommitsError::Store(error)) => error.kind(),
            RecoveryError::Store(error)
            | RecoveryError::TakeOver(LeadershipError::Store(error)) => error.kind(),
            RecoveryError::Published(ReadPublishedError::Store(error)) => error.kind(),
            RecoveryError::StillLed { .. } | RecoveryError::ManifestBehind { .. } => {
                ErrorKind::Retry
            }
            RecoveryError::TakeOver(LeadershipError::Guard { .. }) => ErrorKind::Fenced,
            RecoveryError::Object { source, .. } => match source {
                object_store::Error::NotFound { .. } => ErrorKind::BadData,
                _ => ErrorKind::Retry,
            },
            _ => ErrorKind::BadData,
        }
    }
}

/// What a committed segment holds of a partition.
struct Found {
    /// The place of the tail entry that names it.
    entry: usize,
    sequence: u64,
    segment: Arc<SegmentRef>,
    created_ms: TimestampMs,
    span: PartitionSpan,
}

/// A partition as its topic's manifest, then committed segments, and then the write-ahead log, tell of it.
pub struct PartitionImage {
    /// Which partition.
    pub tp: TopicPartition,
    /// Its record before it is taken over.
    pub record: PartitionRecord,
    manifest: Option<Arc<Manifest>>,
    /// First offset that the index must have: all before is deleted or published.
    needed_from: Offset,
    index: SegmentIndex,
    committed_end: Offset,
    producers: ProducerStates,
    /// What segments hold of it, to be put in order.
    found: Vec<Found>,
    /// Which of its tail entries hold records of it, from and up to which sequence.
    held: BTreeMap<usize, (u64, u64)>,
    replay: Vec<RecoveredBatch>,
    end: Offset,
}

impl PartitionImage {
    /// Nothing is known but what is published; `manifest` is that of its topic.
    pub fn new(
        tp: TopicPartition,
        record: PartitionRecord,
        manifest: Option<Arc<Manifest>>,
    ) -> Self {
        let mut producers = ProducerStates::default();
        let mut published_end = Offset::ZERO;
        let published = manifest.as_ref();
        let published = published.and_then(|all| all.content().partitions.get(&tp.partition));
        if let Some(published) = published {
            published_end = published.next_offset;
            for producer in &published.producers {
                producers.restore(&published_producer(producer));
            }
        }
        let needed_from = record.log_start.max(published_end);
        Self {
            index: SegmentIndex::new(needed_from),
            committed_end: published_end,
            producers,
            found: Vec::new(),
            held: BTreeMap::new(),
            replay: Vec::new(),
            end: published_end,
            needed_from,
            manifest,
            tp,
            record,
        }
    }

    /// Whether another manifest counts than the one that this was begun with.
    fn is_behind(&self, published: &HashMap<TopicId, u64>) -> bool {
        let counts = published.get(&self.tp.topic_id).copied().unwrap_or(0);
        let known = self.manifest.as_ref().map_or(0, |known| known.version());
        known < counts
    }

    /// The end of what is committed.
    pub fn committed_end(&self) -> Offset {
        self.committed_end
    }

    /// The end of what is committed or comes back from the write-ahead log: the next offset.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Notes a committed segment's part, if the tail names it.
    fn find(
        &mut self,
        log: LogId,
        sequence: u64,
        segment: Arc<SegmentRef>,
        created_ms: TimestampMs,
        span: PartitionSpan,
    ) {
        let names_it = |entry: &TailEntry| entry.names(log, sequence);
        let last = self.record.tail.len().saturating_sub(1);
        let named = self.record.tail.iter().position(names_it);
        let named =
            named.filter(|entry| *entry == last || !seeded_bug::is("first-commits-not-read"));
        if let Some(entry) = named {
            self.found.push(Found {
                entry,
                sequence,
                segment,
                created_ms,
                span,
            });
        }
    }

    /// Puts together what was found. The order is that of the tail's entries: a partition that went from one broker to
    /// another and back has parts of the first one's log on both sides of the other's.
    fn indexed(mut self) -> Result<Self, RecoveryError> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_unstable_by_key(|found| (found.entry, found.sequence));
        for found in found {
            self.add(found)?;
        }
        Ok(self)
    }

    fn add(&mut self, found: Found) -> Result<(), RecoveryError> {
        let (sequence, span) = (found.sequence, found.span);
        for producer in &span.producers {
            let snapshot = snapshot_of(producer, found.created_ms);
            self.producers.restore(&snapshot);
        }
        self.committed_end = self.committed_end.max(span.next_offset);
        self.end = self.committed_end;
        if span.next_offset <= self.needed_from {
            return Ok(());
        }
        self.held
            .entry(found.entry)
            .and_modify(|(_, last)| *last = sequence)
            .or_insert((sequence, sequence));
        let added = self.index.add(found.segment, &span);
        added.map_err(|source| RecoveryError::Gap {
            tp: self.tp,
            source,
        })
    }

    /// Its record once `by` has opened it. The new leader epoch starts at the end of what is replayed: frames of
    /// older epochs from there on are never taken again.
    pub fn opened(&self, by: &Opener) -> PartitionRecord {
        let end = self.end.max(self.record.log_start);
        let tail = &self.record.tail;
        self.record.opened(by, end, |entry| {
            let index = tail.iter().position(|other| other == entry)?;
            self.held.get(&index).copied()
        })
    }

    /// Whether something comes back from the write-ahead log.
    pub fn has_replay(&self) -> bool {
        !self.replay.is_empty()
    }

    /// Makes the partition's log under `record`, which [`Self::opened`] gave and the metadata store
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
            self.index = SegmentIndex::new(start.max(self.needed_from.min(next)));
        }
        let tail = TailStart {
            log_start: start,
            next_offset: next,
            leader_epoch: record.leader_epoch,
        };
        let epochs = record.epoch_history.iter();
        let epochs = EpochHistory::new(epochs.map(|epoch| (epoch.leader_epoch, epoch.start)));
        let log = PartitionLog::open(self.tp, tail, self.index, epochs, budget);
        if let Some(manifest) = &self.manifest {
            log.set_published(manifest);
        }
        let producers = self.producers.snapshots();
        (OpenState { log, producers }, self.replay)
    }
}

fn published_producer(producer: &PublishedProducer) -> ProducerSnapshot {
    snapshot_of(&producer.summary, producer.last_seen_ms)
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

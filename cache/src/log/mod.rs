//! The logs of the partitions that this broker serves: what ingest writes and query reads.

mod epochs;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::footer::PartitionSpan;
use alluvium_segment::manifest::Manifest;
use alluvium_segment::segment_index::{NotContiguous, SegmentIndex, SegmentRef};
use parking_lot::RwLock;

pub use epochs::{EpochEnd, EpochHistory};

use crate::tail::{CloseReason, PartitionTail, TailBudget, TailStart};

/// Parts of the registry, so that readers of different partitions do not share a lock's cache line.
const SHARDS: usize = 16;

/// One partition's log: the tail in memory, the index of its segments, what is published of it, and the history of its
/// leader epochs.
#[derive(Debug)]
pub struct PartitionLog {
    /// Which partition.
    pub tp: TopicPartition,
    /// The newest batches.
    pub tail: Arc<PartitionTail>,
    /// Which segment holds which older offsets, from what is published on.
    pub index: RwLock<SegmentIndex>,
    /// Which leader epoch began at which offset. Ends with this broker's own epoch.
    pub epochs: EpochHistory,
    published: RwLock<Option<Arc<Manifest>>>,
    leaving: AtomicBool,
}

impl PartitionLog {
    /// A log whose offsets before `start.next_offset` are all in `index`.
    pub fn open(
        tp: TopicPartition,
        start: TailStart,
        index: SegmentIndex,
        epochs: EpochHistory,
        budget: &Arc<TailBudget>,
    ) -> Arc<Self> {
        Arc::new(Self {
            tp,
            tail: PartitionTail::open(start, budget),
            index: RwLock::new(index),
            epochs,
            published: RwLock::new(None),
            leaving: AtomicBool::new(false),
        })
    }

    /// The manifest of the table files that hold what is published.
    pub fn published(&self) -> Option<Arc<Manifest>> {
        self.published.read().clone()
    }

    /// First offset that is in no table file.
    pub fn published_end(&self) -> Offset {
        let published = self.published.read();
        let end = |manifest: &Arc<Manifest>| manifest.published_end(self.tp.partition);
        published.as_ref().map_or(Offset::ZERO, end)
    }

    /// Takes in that more is published, then forgets the segments that are not needed any more. The order matters:
    /// whoever no longer finds an offset in the index must find it in the manifest. An older manifest changes nothing.
    pub fn set_published(&self, manifest: &Arc<Manifest>) {
        if self.put_published(manifest) {
            // A segment may be published before its leader has learned that it is committed.
            let to = self.published_end().min(self.tail.uploaded());
            self.index.write().trim(to);
            self.give_up_cleaned();
        }
    }

    /// The same in a log that follows another broker's, which need not have known of those segments.
    pub fn follow_published(&self, manifest: &Arc<Manifest>) {
        if self.put_published(manifest) {
            let to = self.published_end();
            self.index.write().trim(to);
            self.tail.skip_to(to);
            self.give_up_cleaned();
        }
    }

    /// Of what key compaction has cleaned, memory has records that are not in the log any more.
    fn give_up_cleaned(&self) {
        if let Some(manifest) = self.published() {
            let cleaned = manifest.removed_before(self.tp.partition);
            self.tail.give_up_below(cleaned);
        }
    }

    fn put_published(&self, manifest: &Arc<Manifest>) -> bool {
        let mut published = self.published.write();
        let known = published.as_ref().map_or(0, |known| known.version());
        let is_newer = manifest.version() > known;
        if is_newer {
            *published = Some(Arc::clone(manifest));
        }
        is_newer
    }

    /// From now on, or not any longer, another broker may lead the partition without this one knowing yet. Set before
    /// leadership is given away.
    pub fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::SeqCst);
    }

    /// Whether another broker may lead the partition already. Records below the high watermark stay what they are; an
    /// end that was read before this call may be another's past when this is true, and is not when it is false.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Takes a committed segment's part of this partition into the index, then tells the tail that
    /// those batches may leave memory. The order matters: whoever no longer finds an offset in the
    /// tail must find it in the index.
    ///
    /// # Errors
    /// When `span` does not begin where the index ends; nothing has changed then.
    pub fn add_segment(
        &self,
        segment: Arc<SegmentRef>,
        span: &PartitionSpan,
    ) -> Result<(), NotContiguous> {
        let needed_from = self.tail.offsets().log_start.max(self.published_end());
        {
            let mut index = self.index.write();
            index.add(segment, span)?;
            index.trim(needed_from.min(span.next_offset));
        }
        self.tail.set_uploaded(span.next_offset);
        self.give_up_cleaned();
        Ok(())
    }

    /// The same in a log that follows another broker's, whose tail need not have had the batches.
    ///
    /// # Errors
    /// When `span` does not begin where the index ends; nothing has changed then.
    pub fn follow_segment(
        &self,
        segment: Arc<SegmentRef>,
        span: &PartitionSpan,
    ) -> Result<(), NotContiguous> {
        self.index.write().add(segment, span)?;
        self.tail.skip_to(span.next_offset);
        Ok(())
    }

    /// Raises the log start offset in tail and index. Returns the one that holds now, which is never
    /// beyond the high watermark and never lower than before.
    pub fn set_log_start(&self, to: Offset) -> Offset {
        let log_start = self.tail.set_log_start(to);
        // Beyond what is uploaded the index has nothing to trim, and must not move its end: the
        // segments on their way still begin there.
        let uploaded = self.tail.uploaded();
        self.index.write().trim(log_start.min(uploaded));
        log_start
    }
}

/// The partitions that this broker serves. Lookups are cheap and run beside one another.
#[derive(Debug)]
pub struct Logs {
    hasher: RandomState,
    shards: [RwLock<HashMap<TopicPartition, Arc<PartitionLog>>>; SHARDS],
}

impl Logs {
    /// No partitions.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::default()),
        })
    }

    fn shard(&self, tp: &TopicPartition) -> &RwLock<HashMap<TopicPartition, Arc<PartitionLog>>> {
        &self.shards[self.hasher.hash_one(tp) as usize % SHARDS]
    }

    /// The log of `tp`, if this broker serves it.
    pub fn get(&self, tp: &TopicPartition) -> Option<Arc<PartitionLog>> {
        self.shard(tp).read().get(tp).cloned()
    }

    /// Starts serving a log. The one that stood there before, if any, is returned; it is for the
    /// caller to close.
    pub fn insert(&self, log: Arc<PartitionLog>) -> Option<Arc<PartitionLog>> {
        self.shard(&log.tp).write().insert(log.tp, log)
    }

    /// Stops serving a log and closes its tail, so that its readers wake and learn why.
    pub fn remove(&self, tp: &TopicPartition, reason: CloseReason) -> Option<Arc<PartitionLog>> {
        let removed = self.shard(tp).write().remove(tp);
        if let Some(log) = &removed {
            log.tail.close(reason);
        }
        removed
    }

    /// All logs, ordered by topic id and partition.
    pub fn all(&self) -> Vec<Arc<PartitionLog>> {
        let mut logs: Vec<_> = self
            .shards
            .iter()
            .flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>())
            .collect();
        logs.sort_unstable_by_key(|log| log.tp);
        logs
    }

    /// How many logs there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

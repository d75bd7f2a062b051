//! A partition as its leader sees it: where offsets are assigned and duplicates found.
//!
//! One short lock per partition. Under it a batch that has passed validation is checked for its
//! sequence, gets its offset and is handed to the tail, the open segment and the write-ahead log, so
//! that the three agree on the order. The high watermark moves and producers are answered under the
//! same lock. It is never held across an await, a copy of record bytes or a system call. Lock order:
//! partition, then tail, then open segment, then the write-ahead log's queue.

mod append;
mod replay;
mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use alluvium_cache::log::PartitionLog;
use alluvium_common::clock::TimestampMs;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;
use alluvium_common::topic::{TopicName, TopicPartition};
use parking_lot::{Mutex, RwLock};

use crate::ack::AckQueue;
use crate::durable_prefix::DurablePrefix;
use crate::error::AppendError;
use crate::producer_state::{ProducerSnapshot, ProducerStates};
use crate::stages::Stages;
use crate::validate::TopicRules;

pub use append::AppendOptions;
pub use replay::ReplayError;
pub use settle::WalDone;

/// A partition that this broker leads.
pub struct LeaderPartition {
    tp: TopicPartition,
    topic: TopicName,
    leader_epoch: LeaderEpoch,
    log: Arc<PartitionLog>,
    stages: Arc<Stages>,
    rules: RwLock<Arc<TopicRules>>,
    // A copy of what the tail knows, to be read without its lock.
    high_watermark: AtomicI64,
    state: Mutex<State>,
}

struct State {
    closed: Option<Closed>,
    /// It is being handed over: nothing more is taken, what was taken is still seen through.
    draining: bool,
    next_offset: Offset,
    producers: ProducerStates,
    durable: DurablePrefix,
    acks: AckQueue,
}

/// Why a partition takes no more batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its topic was deleted.
    Deleted,
    /// This broker no longer leads it.
    NotLeader,
}

impl Closed {
    fn error(self, outcome: Outcome) -> AppendError {
        match self {
            Closed::Deleted => AppendError::Deleted(outcome),
            Closed::NotLeader => AppendError::NotLeader(outcome),
        }
    }
}

impl LeaderPartition {
    /// A partition whose log ends at `next_offset`, all of it committed.
    pub(crate) fn new(
        log: Arc<PartitionLog>,
        topic: TopicName,
        rules: TopicRules,
        producers: &[ProducerSnapshot],
        stages: Arc<Stages>,
    ) -> Arc<Self> {
        let next_offset = log.tail.offsets().log_end;
        let mut states = ProducerStates::default();
        if !seeded_bug::is("producer-state-lost") {
            producers
                .iter()
                .for_each(|producer| states.restore(producer));
        }
        Arc::new(Self {
            tp: log.tp,
            topic,
            leader_epoch: log.tail.leader_epoch(),
            log,
            stages,
            rules: RwLock::new(Arc::new(rules)),
            high_watermark: AtomicI64::new(next_offset.get()),
            state: Mutex::new(State {
                closed: None,
                draining: false,
                next_offset,
                producers: states,
                durable: DurablePrefix::starting_at(next_offset),
                acks: AckQueue::default(),
            }),
        })
    }

    /// Which partition.
    pub fn tp(&self) -> TopicPartition {
        self.tp
    }

    /// Name of its topic.
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Epoch under which this broker leads it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// What readers read.
    pub fn log(&self) -> &Arc<PartitionLog> {
        &self.log
    }

    /// First offset not yet readable.
    pub fn high_watermark(&self) -> Offset {
        Offset::new(self.high_watermark.load(Ordering::Acquire)).expect("stored from an offset")
    }

    /// Next offset to be assigned.
    pub fn log_end(&self) -> Offset {
        self.state.lock().next_offset
    }

    /// Whether anything was appended since this broker opened the partition.
    pub fn has_appended(&self) -> bool {
        let opened_at = self.log.epochs.starts().last();
        opened_at.is_some_and(|(_, start)| self.log_end() > *start)
    }

    /// The rules that hold now.
    pub fn rules(&self) -> Arc<TopicRules> {
        Arc::clone(&self.rules.read())
    }

    /// New rules, from the next batch on. What was appended before keeps its durability class.
    pub fn set_rules(&self, rules: TopicRules) {
        // Under the lock that appends hold, so that none goes on under the old class after this.
        let _state = self.state.lock();
        *self.rules.write() = Arc::new(rules);
    }

    /// What is remembered of idempotent producers.
    pub fn producers(&self) -> Vec<ProducerSnapshot> {
        self.state.lock().producers.snapshots()
    }

    /// Forgets silent producers; returns how many.
    pub(crate) fn expire_producers(&self, now_ms: TimestampMs, expiration_ms: i64) -> usize {
        self.state.lock().producers.expire(now_ms, expiration_ms)
    }
}

impl std::fmt::Debug for LeaderPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderPartition")
            .field("tp", &self.tp)
            .field("leader_epoch", &self.leader_epoch)
            .field("high_watermark", &self.high_watermark())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An idle partition may cost 4 KiB in all; this is the write path's share of it.
    #[test]
    fn an_idle_partition_is_small() {
        let bytes = size_of::<LeaderPartition>() + size_of::<TopicRules>();
        assert!(bytes <= 512, "{bytes} bytes");
    }
}

//! What a partition's leader remembers of idempotent producers (KIP-98), by the rules of Kafka 4's
//! `ProducerStateManager` and `ProducerAppendInfo`.
//!
//! - The last five batches of each producer are remembered; a batch with the same epoch and the same
//!   first and last sequence is a duplicate and is answered with the original offset.
//! - An older epoch is refused, a newer one must start at sequence 0.
//! - Otherwise the first sequence must follow the last one. A producer that is not known (never seen,
//!   expired, or its records are gone) may start anywhere, as in Kafka.
//!
//! Two differences, both on the side of safety. A producer expires when it has not been *heard of* for
//! `producer.id.expiration.ms`; Kafka compares the newest record timestamp, so that a producer of old
//! events is forgotten while it writes. And the number of producers is bounded.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};

use entry::ProducerEntry;
pub use entry::SequencedBatch;

/// Producers remembered per partition. An entry takes about 300 bytes, so a partition is kept below
/// 3 MiB whatever clients do. When a new producer comes to a full table, the ones not heard of for
/// longest are forgotten (an eighth of the table at once, which spreads the cost of finding them).
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000;

/// Kafka's default of `producer.id.expiration.ms`: one day.
pub const PRODUCER_ID_EXPIRATION_MS_DEFAULT: i64 = 86_400_000;

/// The part of a batch header that idempotence looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Who wrote the batch.
    pub producer_id: ProducerId,
    /// In which epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the batch's first record.
    pub base_sequence: Sequence,
    /// Sequence of the batch's last record.
    pub last_sequence: Sequence,
}

/// What to do with a batch that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: append it.
    Append,
    /// It was appended before, as this.
    Duplicate(SequencedBatch),
}

/// Why a batch is refused. Both are definite: the batch is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A gap, a duplicate older than the last five batches, or a new epoch that does not start at 0.
    #[error(
        "out of order sequence number for producer {producer_id}: {received} received, {expected} expected"
    )]
    OutOfOrder {
        /// The producer.
        producer_id: ProducerId,
        /// First sequence of the refused batch.
        received: Sequence,
        /// The only sequence that would have been taken.
        expected: Sequence,
    },
    /// A newer epoch of this producer has been seen.
    #[error(
        "epoch {received} of producer {producer_id} is older than the last seen epoch {current}"
    )]
    InvalidEpoch {
        /// The producer.
        producer_id: ProducerId,
        /// Epoch of the refused batch.
        received: ProducerEpoch,
        /// The newest epoch seen.
        current: ProducerEpoch,
    },
}

/// What is remembered of one producer, for restoring a table and for showing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its newest epoch.
    pub producer_epoch: ProducerEpoch,
    /// Its last batches of that epoch, oldest first; at most five.
    pub batches: Vec<SequencedBatch>,
    /// When it was last heard of (wall clock of the leader, or of the segment that tells of it).
    pub last_seen_ms: TimestampMs,
}

/// The producers of one partition. Pure: time is an argument.
#[derive(Debug, Default)]
pub struct ProducerStates {
    // No allocation until the first idempotent producer writes: most partitions are idle.
    entries: HashMap<ProducerId, ProducerEntry>,
}

impl ProducerStates {
    /// Decides about a batch; changes nothing.
    pub fn check(&self, stamp: &ProducerStamp) -> Result<Verdict, SequenceError> {
        match self.entries.get(&stamp.producer_id) {
            None => Ok(Verdict::Append),
            Some(entry) => entry.check(stamp),
        }
    }

    /// Remembers a batch that [`Self::check`] let pass and that is now appended.
    pub fn record(&mut self, stamp: &ProducerStamp, batch: SequencedBatch, now_ms: TimestampMs) {
        self.make_room_for(stamp.producer_id);
        self.entries
            .entry(stamp.producer_id)
            .or_insert_with(|| ProducerEntry::new(stamp.producer_epoch))
            .push(stamp.producer_epoch, batch, now_ms);
    }

    /// Takes over what a footer or a write-ahead log tells of a producer. Snapshots of one producer
    /// must come in offset order; batches that are known already are skipped.
    pub fn restore(&mut self, snapshot: &ProducerSnapshot) {
        self.make_room_for(snapshot.producer_id);
        self.entries
            .entry(snapshot.producer_id)
            .or_insert_with(|| ProducerEntry::new(snapshot.producer_epoch))
            .restore(snapshot);
    }

    /// Forgets producers that have been silent for `expiration_ms`; returns how many.
    pub fn expire(&mut self, now_ms: TimestampMs, expiration_ms: i64) -> usize {
        let before = self.entries.len();
        self.entries
            .retain(|_, entry| now_ms.saturating_sub(entry.last_seen_ms()) < expiration_ms);
        let expired = before - self.entries.len();
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
        expired
    }

    /// Number of producers known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All that is remembered, ordered by producer id.
    pub fn snapshots(&self) -> Vec<ProducerSnapshot> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .map(|(id, entry)| entry.snapshot(*id))
            .collect();
        all.sort_unstable_by_key(|snapshot| snapshot.producer_id);
        all
    }

    /// Offset of the original when `stamp` is a duplicate of something remembered.
    pub fn find_duplicate(&self, stamp: &ProducerStamp) -> Option<Offset> {
        match self.check(stamp) {
            Ok(Verdict::Duplicate(batch)) => Some(batch.base_offset),
            _ => None,
        }
    }

    fn make_room_for(&mut self, producer_id: ProducerId) {
        let full = self.entries.len() >= PRODUCERS_PER_PARTITION_MAX;
        if !full || self.entries.contains_key(&producer_id) {
            return;
        }
        let mut seen: Vec<_> = self
            .entries
            .values()
            .map(ProducerEntry::last_touched)
            .collect();
        let (_, newest_to_go, _) = seen.select_nth_unstable(PRODUCERS_PER_PARTITION_MAX / 8);
        let newest_to_go = *newest_to_go;
        self.entries
            .retain(|_, entry| entry.last_touched() > newest_to_go);
    }
}

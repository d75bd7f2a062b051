//! One producer's memory: its epoch and its last batches.

use alluvium_common::clock::TimestampMs;
use alluvium_common::limits::PRODUCER_BATCHES_REMEMBERED;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};

use super::{ProducerSnapshot, ProducerStamp, SequenceError, Verdict};

/// One batch of an idempotent producer, as it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencedBatch {
    /// Sequence of the first record.
    pub base_sequence: Sequence,
    /// Sequence of the last record.
    pub last_sequence: Sequence,
    /// Offset of the first record: what a duplicate is answered with.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Newest timestamp in the batch; the append time where the topic says so.
    pub max_timestamp: TimestampMs,
}

#[derive(Debug, Clone)]
pub(super) struct ProducerEntry {
    epoch: ProducerEpoch,
    // Oldest first. An array, not a queue on the heap: five small values per producer.
    batches: [Option<SequencedBatch>; PRODUCER_BATCHES_REMEMBERED],
    last_seen_ms: TimestampMs,
}

impl ProducerEntry {
    pub(super) fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            batches: [None; PRODUCER_BATCHES_REMEMBERED],
            last_seen_ms: TimestampMs::MIN,
        }
    }

    pub(super) fn check(&self, stamp: &ProducerStamp) -> Result<Verdict, SequenceError> {
        if stamp.producer_epoch < self.epoch {
            return Err(SequenceError::InvalidEpoch {
                producer_id: stamp.producer_id,
                received: stamp.producer_epoch,
                current: self.epoch,
            });
        }
        if stamp.producer_epoch > self.epoch {
            return expect_sequence(stamp, Sequence::ZERO);
        }
        if let Some(original) = self.find(stamp) {
            return Ok(Verdict::Duplicate(original));
        }
        let expected = match self.last() {
            Some(last) => last.last_sequence.next(),
            None => Sequence::ZERO,
        };
        expect_sequence(stamp, expected)
    }

    pub(super) fn push(
        &mut self,
        epoch: ProducerEpoch,
        batch: SequencedBatch,
        now_ms: TimestampMs,
    ) {
        self.enter_epoch(epoch);
        self.append(batch);
        self.last_seen_ms = self.last_seen_ms.max(now_ms);
    }

    pub(super) fn restore(&mut self, snapshot: &ProducerSnapshot) {
        if snapshot.producer_epoch < self.epoch {
            return;
        }
        self.enter_epoch(snapshot.producer_epoch);
        for batch in &snapshot.batches {
            let known = self
                .last()
                .is_some_and(|last| batch.base_offset <= last.last_offset);
            if !known {
                self.append(*batch);
            }
        }
        self.last_seen_ms = self.last_seen_ms.max(snapshot.last_seen_ms);
    }

    pub(super) fn snapshot(&self, producer_id: ProducerId) -> ProducerSnapshot {
        ProducerSnapshot {
            producer_id,
            producer_epoch: self.epoch,
            batches: self.remembered().copied().collect(),
            last_seen_ms: self.last_seen_ms,
        }
    }

    pub(super) fn last_seen_ms(&self) -> TimestampMs {
        self.last_seen_ms
    }

    /// When this entry was last written, unique within a partition: offsets break ties of the clock.
    pub(super) fn last_touched(&self) -> (TimestampMs, Option<Offset>) {
        (
            self.last_seen_ms,
            self.last().map(|batch| batch.last_offset),
        )
    }

    fn find(&self, stamp: &ProducerStamp) -> Option<SequencedBatch> {
        self.remembered()
            .find(|batch| {
                batch.base_sequence == stamp.base_sequence
                    && batch.last_sequence == stamp.last_sequence
            })
            .copied()
    }

    fn remembered(&self) -> impl Iterator<Item = &SequencedBatch> {
        self.batches.iter().flatten()
    }

    fn last(&self) -> Option<&SequencedBatch> {
        self.batches.iter().rev().flatten().next()
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = [None; PRODUCER_BATCHES_REMEMBERED];
        }
    }

    fn append(&mut self, batch: SequencedBatch) {
        match self.batches.iter_mut().find(|slot| slot.is_none()) {
            Some(free) => *free = Some(batch),
            None => {
                self.batches.rotate_left(1);
                self.batches[PRODUCER_BATCHES_REMEMBERED - 1] = Some(batch);
            }
        }
    }
}

fn expect_sequence(stamp: &ProducerStamp, expected: Sequence) -> Result<Verdict, SequenceError> {
    if stamp.base_sequence == expected {
        return Ok(Verdict::Append);
    }
    Err(SequenceError::OutOfOrder {
        producer_id: stamp.producer_id,
        received: stamp.base_sequence,
        expected,
    })
}

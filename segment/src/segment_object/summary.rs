//! What the footer says about a partition beyond its blocks.

use std::collections::BTreeMap;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::limits::PRODUCER_BATCHES_REMEMBERED;
use alluvium_common::offset::Offset;

use crate::footer::{ProducerBatch, ProducerSummary};
use crate::record_batch::StoredBatch;

/// Leader epochs and producers of a partition, gathered batch by batch.
#[derive(Default)]
pub(super) struct Summary {
    leader_epochs: Vec<(LeaderEpoch, Offset)>,
    /// Sorted by producer id, as the footer wants them.
    producers: BTreeMap<i64, ProducerSummary>,
}

impl Summary {
    pub fn add(&mut self, batch: &StoredBatch) {
        let epoch = batch.leader_epoch();
        if self.leader_epochs.last().map(|last| last.0) != Some(epoch) {
            self.leader_epochs.push((epoch, batch.base_offset()));
        }
        self.add_producer(batch);
    }

    fn add_producer(&mut self, batch: &StoredBatch) {
        let Some(span) = batch.header().producer() else {
            return;
        };
        let summary = self
            .producers
            .entry(span.producer_id.0)
            .or_insert_with(|| ProducerSummary {
                producer_id: span.producer_id,
                producer_epoch: span.producer_epoch,
                batches: Vec::with_capacity(1),
            });
        // Sequences start again with a new epoch: those of the old one answer no retry any more.
        if summary.producer_epoch != span.producer_epoch {
            summary.producer_epoch = span.producer_epoch;
            summary.batches.clear();
        }
        if summary.batches.len() == PRODUCER_BATCHES_REMEMBERED {
            summary.batches.remove(0);
        }
        summary.batches.push(ProducerBatch {
            base_sequence: span.base_sequence,
            last_sequence: span.last_sequence,
            base_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            max_timestamp: batch.max_timestamp(),
        });
    }

    pub fn finish(self) -> (Vec<(LeaderEpoch, Offset)>, Vec<ProducerSummary>) {
        (self.leader_epochs, self.producers.into_values().collect())
    }
}

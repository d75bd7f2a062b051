//! What was committed, as consumers and the next leader should find it.

use std::collections::BTreeMap;

use alluvium_common::limits::PRODUCER_BATCHES_REMEMBERED;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::footer::{ProducerBatch, ProducerSummary};
use alluvium_segment::manifest::PublishedProducer;

use super::batches::{BatchSpec, Seen};

/// One partition.
#[derive(Debug, Default)]
pub struct PartitionModel {
    /// The offset after the last.
    pub end: Offset,
    pub log_start: Offset,
    pub records: BTreeMap<Offset, Seen>,
    /// Idempotent producers, by id.
    producers: BTreeMap<i64, PublishedProducer>,
}

/// All partitions.
#[derive(Debug, Default)]
pub struct Model {
    pub partitions: BTreeMap<TopicPartition, PartitionModel>,
}

impl Model {
    pub fn end(&self, tp: TopicPartition) -> Offset {
        self.partitions.get(&tp).map_or(Offset::ZERO, |all| all.end)
    }

    /// A batch that stands at the end of `tp`, in a segment made at `created_ms`.
    pub fn append(&mut self, tp: TopicPartition, batch: &BatchSpec, created_ms: i64) {
        let partition = self.partitions.entry(tp).or_default();
        let base = partition.end;
        partition.end = base.checked_add(batch.offsets()).expect("small");
        for seen in batch.seen(base) {
            partition.records.insert(seen.0.offset, seen);
        }
        partition.append_producer(batch, base, created_ms);
    }
}

impl PartitionModel {
    /// What a leader remembers: the last batches of the newest epoch.
    fn append_producer(&mut self, batch: &BatchSpec, base: Offset, created_ms: i64) {
        let Some((producer_id, producer_epoch, base_sequence)) = batch.producer else {
            return;
        };
        let fresh = PublishedProducer {
            summary: ProducerSummary {
                producer_id,
                producer_epoch,
                batches: Vec::new(),
            },
            last_seen_ms: created_ms,
        };
        let known = self.producers.entry(producer_id.0).or_insert(fresh.clone());
        if known.summary.producer_epoch != producer_epoch {
            *known = fresh;
        }
        known.last_seen_ms = created_ms;
        let batches = &mut known.summary.batches;
        if batches.len() == PRODUCER_BATCHES_REMEMBERED {
            batches.remove(0);
        }
        let last = batch.offsets() - 1;
        batches.push(ProducerBatch {
            base_sequence,
            last_sequence: base_sequence.plus(last),
            base_offset: base,
            last_offset: base.checked_add(last).expect("small"),
            max_timestamp: batch.max_timestamp(),
        });
    }

    /// By id.
    pub fn producers(&self) -> Vec<PublishedProducer> {
        self.producers.values().cloned().collect()
    }
}

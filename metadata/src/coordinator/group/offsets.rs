//! The committed offsets of one group.

use std::collections::BTreeMap;
use std::ops::Bound;

use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};

use super::record::OffsetRecord;

/// What is stored, in memory. Only offsets that the store has acknowledged are here (I14).
#[derive(Debug, Default)]
pub(super) struct Offsets {
    by_partition: BTreeMap<TopicPartition, OffsetRecord>,
}

impl Offsets {
    pub fn put(&mut self, partition: TopicPartition, offset: OffsetRecord) {
        self.by_partition.insert(partition, offset);
    }

    pub fn remove(&mut self, partition: &TopicPartition) {
        self.by_partition.remove(partition);
    }

    pub fn get(&self, partition: &TopicPartition) -> Option<&OffsetRecord> {
        self.by_partition.get(partition)
    }

    /// In order of topic id and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &OffsetRecord)> {
        self.by_partition.iter()
    }

    pub fn of_topic(&self, topic: TopicId) -> impl Iterator<Item = &TopicPartition> {
        let first = TopicPartition::new(topic, PartitionIndex(0));
        let last = TopicPartition::new(topic, PartitionIndex(i32::MAX));
        let range = (Bound::Included(first), Bound::Included(last));
        self.by_partition
            .range(range)
            .map(|(partition, _)| partition)
    }
}

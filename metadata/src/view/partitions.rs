//! The partitions of a picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};

use super::Brokers;
use crate::model::PartitionRecord;
use crate::store::Revision;

/// A partition's record and when it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The record.
    pub record: PartitionRecord,
    /// The revision that wrote it.
    pub mod_revision: Revision,
}

impl Placed {
    /// The broker that serves the partition: it has opened it in a session that stands.
    pub fn serving(&self, brokers: &Brokers) -> Option<(BrokerId, BrokerEpoch)> {
        let (broker_id, broker_epoch) = self.record.open_by()?;
        let live = brokers.is_live(broker_id, broker_epoch);
        live.then_some((broker_id, broker_epoch))
    }
}

type OfTopic = BTreeMap<PartitionIndex, Arc<Placed>>;

/// All partitions at one revision, also those whose topic is not there yet or any more. Cheap to share, never
/// changed; a change copies the pointers of one topic.
#[derive(Debug, Clone, Default)]
pub struct Partitions {
    by_topic: BTreeMap<TopicId, Arc<OfTopic>>,
}

impl Partitions {
    /// One partition.
    pub fn get(&self, tp: TopicPartition) -> Option<&Arc<Placed>> {
        self.by_topic.get(&tp.topic_id)?.get(&tp.partition)
    }

    /// All, by topic id and index.
    pub fn all(&self) -> impl Iterator<Item = (TopicPartition, &Arc<Placed>)> {
        let topics = self.by_topic.iter();
        topics.flat_map(|(topic_id, partitions)| {
            let of_topic = partitions.iter();
            of_topic.map(|(index, placed)| (TopicPartition::new(*topic_id, *index), placed))
        })
    }

    /// The partitions of one topic, by index.
    pub fn of(&self, topic_id: TopicId) -> impl Iterator<Item = (TopicPartition, &Arc<Placed>)> {
        let partitions = self.by_topic.get(&topic_id).into_iter();
        partitions
            .flat_map(|partitions| partitions.iter())
            .map(move |(index, placed)| (TopicPartition::new(topic_id, *index), placed))
    }

    /// The topics that have partitions.
    pub fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.by_topic.keys().copied()
    }

    pub(super) fn put(&mut self, tp: TopicPartition, placed: Placed) {
        let of_topic = self.by_topic.entry(tp.topic_id).or_default();
        Arc::make_mut(of_topic).insert(tp.partition, Arc::new(placed));
    }

    pub(super) fn remove(&mut self, tp: TopicPartition) {
        if let Some(of_topic) = self.by_topic.get_mut(&tp.topic_id) {
            Arc::make_mut(of_topic).remove(&tp.partition);
            if of_topic.is_empty() {
                self.by_topic.remove(&tp.topic_id);
            }
        }
    }
}

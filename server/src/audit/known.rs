//! What the metadata and the manifests say, as the checks of objects need it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{PartitionRecord, TopicRecord};
use alluvium_segment::manifest::Manifest;
use bytes::Bytes;

/// See the module's documentation.
pub(super) struct Known {
    pub topics: BTreeMap<TopicId, TopicRecord>,
    pub partitions: BTreeMap<TopicPartition, PartitionRecord>,
    /// The manifests that count and can be read, of topics that exist.
    pub manifests: BTreeMap<TopicId, Manifest>,
}

impl Known {
    /// Without manifests yet.
    pub fn new(
        keys: &Keys,
        topics: Vec<(Bytes, TopicRecord)>,
        partitions: Vec<(Bytes, PartitionRecord)>,
    ) -> Self {
        let topics = topics.into_iter().map(|(_, topic)| (topic.topic_id, topic));
        let partitions = partitions.into_iter().filter_map(|(key, record)| {
            let tp = keys.parse_partition(&key)?;
            Some((tp, record))
        });
        Self {
            topics: topics.collect(),
            partitions: partitions.collect(),
            manifests: BTreeMap::new(),
        }
    }

    /// Takes out partitions of topics that do not exist: half created, or half deleted. Nobody reads them. Which topics these
    /// are.
    pub fn forget_leftovers(&mut self) -> BTreeSet<TopicId> {
        let mut leftovers = BTreeSet::new();
        self.partitions.retain(|tp, _| {
            let exists = self.topics.contains_key(&tp.topic_id);
            if !exists {
                leftovers.insert(tp.topic_id);
            }
            exists
        });
        leftovers
    }

    /// The manifest that says what is published of a partition.
    pub fn manifest(&self, tp: TopicPartition) -> Option<&Manifest> {
        self.manifests.get(&tp.topic_id)
    }

    /// First offset of the partition that is not published.
    pub fn published_end(&self, tp: TopicPartition) -> Offset {
        let manifest = self.manifest(tp);
        manifest.map_or(Offset::ZERO, |manifest| {
            manifest.published_end(tp.partition)
        })
    }

    /// First offset that only tables or segments can have: below it nobody reads.
    pub fn log_start(&self, tp: TopicPartition) -> Offset {
        let record = self.partitions.get(&tp);
        record.map_or(Offset::ZERO, |record| record.log_start)
    }

    /// First offset of the partition from which on table files have every record: key compaction may have removed some
    /// below.
    pub fn removed_before(&self, tp: TopicPartition) -> Offset {
        let manifest = self.manifest(tp);
        manifest.map_or(Offset::ZERO, |manifest| {
            manifest.removed_before(tp.partition)
        })
    }

    /// Whether the partition counts on that commit for its offsets: not if it never existed, or another leader epoch has
    /// superseded it.
    pub fn names(&self, tp: TopicPartition, log: LogId, seq: u64) -> bool {
        let record = self.partitions.get(&tp);
        record.is_some_and(|record| record.tail.iter().any(|entry| entry.names(log, seq)))
    }

    /// Offsets that a table file answers for, of those in `offsets`, in order.
    pub fn published_within(
        &self,
        tp: TopicPartition,
        offsets: &Range<Offset>,
    ) -> Vec<Range<Offset>> {
        let Some(manifest) = self.manifest(tp) else {
            return Vec::new();
        };
        let spans = manifest.spans_from(tp.partition, offsets.start);
        spans
            .map(|span| span.offsets())
            .take_while(|span| span.start < offsets.end)
            .map(|span| span.start.max(offsets.start)..span.end.min(offsets.end))
            .collect()
    }
}

//! The names of all keys in the metadata store. Only this file builds or parses one.
//!
//! ```text
//! /alluvium/<cluster>/cluster                                       identity of the cluster
//! /alluvium/<cluster>/commits/<broker id>/<broker epoch>/<seq>      one sealed segment
//! /alluvium/<cluster>/groups/...                                    see the coordinator
//! /alluvium/<cluster>/object-store                                  the marker of the bucket, once more
//! /alluvium/<cluster>/partitions/<topic id>/<partition>             leader, epochs, log start, tail     -+
//! /alluvium/<cluster>/placement/controller                          who places, under a lease            |
//! /alluvium/<cluster>/placement/drains/<broker id>                  a broker that shall lead nothing     | what every
//! /alluvium/<cluster>/placement/groups/<shard>                      which broker coordinates it          |
//! /alluvium/<cluster>/producer-ids                                  next block of producer ids           | broker watches
//! /alluvium/<cluster>/sessions/<broker id>                          session of a process, under a lease  |
//! /alluvium/<cluster>/topics/<name>                                 topic id, partition count, settings -+
//! ```
//!
//! What every broker has to know lies in one range without what only some have to know, so that one watch brings it
//! in one order.
//!
//! Numbers have a fixed width, so that the order of keys is the order of numbers.

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use bytes::Bytes;
use uuid::Uuid;

use crate::compaction::CompactionShard;
use crate::coordinator::GroupShard;
use crate::store::KeyRange;

/// Builds the keys of one cluster.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of the cluster of that name. Two clusters may share an etcd.
    pub fn new(cluster: &str) -> Self {
        Self {
            prefix: format!("/alluvium/{cluster}/"),
        }
    }

    /// A key or prefix below the cluster's own.
    pub(crate) fn below(&self, rest: &str) -> Bytes {
        format!("{}{rest}", self.prefix).into()
    }

    /// Identity of the cluster.
    pub fn cluster(&self) -> Bytes {
        self.below("cluster")
    }

    /// Which object store the cluster has.
    pub fn object_store(&self) -> Bytes {
        self.below("object-store")
    }

    /// Session of a broker.
    pub fn broker(&self, broker_id: BrokerId) -> Bytes {
        self.below(&format!("sessions/{:010}", broker_id.0))
    }

    /// Sessions of all brokers.
    pub fn brokers(&self) -> KeyRange {
        KeyRange::prefix(self.below("sessions/"))
    }

    /// The broker whose session a key is.
    pub fn parse_broker(&self, key: &[u8]) -> Option<BrokerId> {
        Some(BrokerId(self.strip(key, "sessions/")?.parse().ok()?))
    }

    /// All that every broker has to know: placement, partitions, what is published, sessions and topics.
    pub fn picture(&self) -> KeyRange {
        KeyRange {
            from: self.below("partitions/"),
            ..KeyRange::prefix(self.below("topics/"))
        }
    }

    /// The elected controller.
    pub fn controller(&self) -> Bytes {
        self.below("placement/controller")
    }

    /// An operator's wish that a broker lead nothing.
    pub fn drain(&self, broker_id: BrokerId) -> Bytes {
        self.below(&format!("placement/drains/{:010}", broker_id.0))
    }

    /// The broker that a drain key names.
    pub fn parse_drain(&self, key: &[u8]) -> Option<BrokerId> {
        Some(BrokerId(
            self.strip(key, "placement/drains/")?.parse().ok()?,
        ))
    }

    /// One entry of a commit log.
    pub fn commit(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch, seq: u64) -> Bytes {
        self.below(&format!("{}{seq:020}", commit_log(broker_id, broker_epoch)))
    }

    /// A commit log from `first_seq` on.
    pub fn commits_from(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        first_seq: u64,
    ) -> KeyRange {
        KeyRange {
            from: self.commit(broker_id, broker_epoch, first_seq),
            ..KeyRange::prefix(self.below(&commit_log(broker_id, broker_epoch)))
        }
    }

    /// Entries `from` to before `to` of a commit log.
    pub fn commits_between(
        &self,
        broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        from: u64,
        to: u64,
    ) -> KeyRange {
        KeyRange::between(
            self.commit(broker_id, broker_epoch, from),
            self.commit(broker_id, broker_epoch, to),
        )
    }

    /// Every commit log.
    pub fn all_commits(&self) -> KeyRange {
        KeyRange::prefix(self.below("commits/"))
    }

    /// Broker, epoch and sequence of a commit key.
    pub fn parse_commit(&self, key: &[u8]) -> Option<(BrokerId, BrokerEpoch, u64)> {
        let mut parts = self.strip(key, "commits/")?.split('/');
        let broker_id = BrokerId(parts.next()?.parse().ok()?);
        let broker_epoch = BrokerEpoch(parts.next()?.parse().ok()?);
        let seq = parts.next()?.parse().ok()?;
        parts
            .next()
            .is_none()
            .then_some((broker_id, broker_epoch, seq))
    }

    /// Everything of the cluster.
    pub fn all(&self) -> KeyRange {
        KeyRange::prefix(self.prefix.clone())
    }

    /// A key without the cluster's prefix.
    pub fn relative<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        key.strip_prefix(self.prefix.as_bytes())
    }

    /// The key of which [`Self::relative`] is `rest`.
    pub fn absolute(&self, rest: &[u8]) -> Bytes {
        [self.prefix.as_bytes(), rest].concat().into()
    }

    /// One topic.
    pub fn topic(&self, name: &TopicName) -> Bytes {
        self.below(&format!("topics/{name}"))
    }

    /// All topics.
    pub fn topics(&self) -> KeyRange {
        KeyRange::prefix(self.below("topics/"))
    }

    /// The name in a topic key.
    pub fn parse_topic(&self, key: &[u8]) -> Option<TopicName> {
        TopicName::new(self.strip(key, "topics/")?).ok()
    }

    /// One partition.
    pub fn partition(&self, tp: TopicPartition) -> Bytes {
        self.below(&format!(
            "partitions/{}/{:010}",
            tp.topic_id, tp.partition.0
        ))
    }

    /// All partitions of a topic.
    pub fn partitions_of(&self, topic_id: TopicId) -> KeyRange {
        KeyRange::prefix(self.below(&format!("partitions/{topic_id}/")))
    }

    /// All partitions of all topics.
    pub fn partitions(&self) -> KeyRange {
        KeyRange::prefix(self.below("partitions/"))
    }

    /// The partition that a key names.
    pub fn parse_partition(&self, key: &[u8]) -> Option<TopicPartition> {
        let (topic_id, partition) = self.strip(key, "partitions/")?.split_once('/')?;
        Some(TopicPartition::new(
            TopicId(topic_id.parse::<Uuid>().ok()?),
            PartitionIndex(partition.parse().ok()?),
        ))
    }

    /// The manifest of a topic that counts.
    pub fn published(&self, topic_id: TopicId) -> Bytes {
        self.below(&format!("published/{topic_id}"))
    }

    /// The manifests of all topics.
    pub fn all_published(&self) -> KeyRange {
        KeyRange::prefix(self.below("published/"))
    }

    /// The topic whose manifest a key names.
    pub fn parse_published(&self, key: &[u8]) -> Option<TopicId> {
        let topic_id = self.strip(key, "published/")?;
        Some(TopicId(topic_id.parse::<Uuid>().ok()?))
    }

    /// A broker that compacts.
    pub fn compactor(&self, broker_id: BrokerId) -> Bytes {
        self.below(&format!("placement/compactors/{:010}", broker_id.0))
    }

    /// The broker that such a key names.
    pub fn parse_compactor(&self, key: &[u8]) -> Option<BrokerId> {
        let broker_id = self.strip(key, "placement/compactors/")?;
        Some(BrokerId(broker_id.parse().ok()?))
    }

    /// Who compacts the topics of a shard.
    pub fn compaction_claim(&self, shard: CompactionShard) -> Bytes {
        self.below(&format!("placement/compaction/{shard}"))
    }

    /// The shard that a claim is about.
    pub fn parse_compaction_claim(&self, key: &[u8]) -> Option<CompactionShard> {
        CompactionShard::parse(self.strip(key, "placement/compaction/")?)
    }

    /// The wish that a topic be published now.
    pub fn publish_request(&self, topic_id: TopicId) -> Bytes {
        self.below(&format!("placement/publish/{topic_id}"))
    }

    /// The topic of such a wish.
    pub fn parse_publish_request(&self, key: &[u8]) -> Option<TopicId> {
        let topic_id = self.strip(key, "placement/publish/")?;
        Some(TopicId(topic_id.parse::<Uuid>().ok()?))
    }

    /// The next block of producer ids.
    pub fn producer_ids(&self) -> Bytes {
        self.below("producer-ids")
    }

    /// Which broker coordinates a group shard.
    pub fn group_coordinator(&self, shard: GroupShard) -> Bytes {
        self.below(&format!("placement/groups/{shard}"))
    }

    /// The coordinators of all group shards.
    pub fn group_coordinators(&self) -> KeyRange {
        KeyRange::prefix(self.below("placement/groups/"))
    }

    /// The group shard whose coordinator a key names.
    pub fn parse_group_coordinator(&self, key: &[u8]) -> Option<GroupShard> {
        GroupShard::parse(self.strip(key, "placement/groups/")?)
    }

    fn strip<'a>(&self, key: &'a [u8], folder: &str) -> Option<&'a str> {
        std::str::from_utf8(key)
            .ok()?
            .strip_prefix(&self.prefix)?
            .strip_prefix(folder)
    }
}

fn commit_log(broker_id: BrokerId, broker_epoch: BrokerEpoch) -> String {
    format!("commits/{:010}/{:020}/", broker_id.0, broker_epoch.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_parse_back() {
        let keys = Keys::new("test");
        let commit = keys.commit(BrokerId(3), BrokerEpoch(17), 9);
        assert_eq!(
            keys.parse_commit(&commit),
            Some((BrokerId(3), BrokerEpoch(17), 9))
        );
        let tp = TopicPartition::new(TopicId(Uuid::from_u128(5)), PartitionIndex(12));
        assert_eq!(keys.parse_partition(&keys.partition(tp)), Some(tp));
        let name = TopicName::new("orders").expect("name");
        assert_eq!(keys.parse_topic(&keys.topic(&name)), Some(name.clone()));
        assert_eq!(keys.parse_topic(&Keys::new("other").topic(&name)), None);
        assert_eq!(
            keys.parse_broker(&keys.broker(BrokerId(7))),
            Some(BrokerId(7))
        );
        assert_eq!(
            keys.parse_drain(&keys.drain(BrokerId(7))),
            Some(BrokerId(7))
        );
        assert_eq!(keys.parse_broker(&keys.drain(BrokerId(7))), None);
    }

    #[test]
    fn the_picture_has_all_that_every_broker_must_know_and_no_commits() {
        let keys = Keys::new("test");
        let tp = TopicPartition::new(TopicId(Uuid::from_u128(5)), PartitionIndex(12));
        let name = TopicName::new("orders").expect("name");
        let known = [
            keys.partition(tp),
            keys.controller(),
            keys.drain(BrokerId(1)),
            keys.group_coordinator(GroupShard::new(3).expect("shard")),
            keys.broker(BrokerId(1)),
            keys.topic(&name),
            keys.published(tp.topic_id),
            keys.publish_request(tp.topic_id),
            keys.compaction_claim(CompactionShard::of(tp.topic_id)),
        ];
        for key in known {
            assert!(keys.picture().contains(&key), "{key:?}");
        }
        let commit = keys.commit(BrokerId(1), BrokerEpoch(1), 1);
        for key in [commit, keys.below("groups/x"), keys.below("cluster")] {
            assert!(!keys.picture().contains(&key), "{key:?}");
        }
    }

    #[test]
    fn coordinators_parse_back() {
        let keys = Keys::new("test");
        for shard in GroupShard::all() {
            let key = keys.group_coordinator(shard);
            assert_eq!(keys.parse_group_coordinator(&key), Some(shard));
            assert!(keys.group_coordinators().contains(&key));
        }
    }

    #[test]
    fn keys_of_compaction_parse_back() {
        let keys = Keys::new("test");
        let topic_id = TopicId(Uuid::from_u128(5));
        let key = keys.published(topic_id);
        assert_eq!(keys.parse_published(&key), Some(topic_id));
        assert!(keys.all_published().contains(&key));
        let key = keys.compactor(BrokerId(7));
        assert_eq!(keys.parse_compactor(&key), Some(BrokerId(7)));
        assert!(keys.picture().contains(&key));
        let key = keys.publish_request(topic_id);
        assert_eq!(keys.parse_publish_request(&key), Some(topic_id));
        for shard in CompactionShard::all() {
            let key = keys.compaction_claim(shard);
            assert_eq!(keys.parse_compaction_claim(&key), Some(shard));
        }
    }

    #[test]
    fn a_commit_log_is_a_range_in_order() {
        let keys = Keys::new("test");
        let (id, epoch) = (BrokerId(1), BrokerEpoch(8));
        let range = keys.commits_from(id, epoch, 10);
        assert!(!range.contains(&keys.commit(id, epoch, 9)));
        assert!(range.contains(&keys.commit(id, epoch, 10)));
        assert!(range.contains(&keys.commit(id, epoch, u64::MAX)));
        assert!(!range.contains(&keys.commit(id, BrokerEpoch(9), 10)));
        assert!(keys.commit(id, epoch, 9) < keys.commit(id, epoch, 10));
    }
}

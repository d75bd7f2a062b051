//! The picture itself, and what an event changes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::{TopicId, TopicName, TopicPartition};

use super::{Brokers, Controller, LiveBroker, Partitions, Placed, Topics, ViewError};
use crate::compaction::CompactionShard;
use crate::coordinator::{GroupId, GroupShard, group_shard};
use crate::keys::Keys;
use crate::model::{ClaimRecord, ControllerRecord, CoordinatorRecord, PublishedRecord};
use crate::store::{Event, KeyValue, Revision};
use crate::value::{self, StoredRecord};

/// What every broker knows of its cluster, as of one revision. Cheap to share, never changed.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// As of when.
    pub revision: Revision,
    /// The topics.
    pub topics: Arc<Topics>,
    /// Their partitions.
    pub partitions: Arc<Partitions>,
    /// The brokers.
    pub brokers: Arc<Brokers>,
    /// The elected controller, if there is one.
    pub controller: Option<Controller>,
    /// Who coordinates which groups.
    pub coordinators: Arc<BTreeMap<GroupShard, Coordinator>>,
    /// How far topics are published.
    pub published: Arc<BTreeMap<TopicId, Published>>,
    /// The processes that compact, brokers or not.
    pub compactors: Arc<BTreeSet<BrokerId>>,
    /// Which of them compacts which topics.
    pub claims: Arc<BTreeMap<CompactionShard, Claim>>,
    /// Topics that shall be published now, each with the revision that asked for it.
    pub publish_requests: Arc<BTreeMap<TopicId, Revision>>,
}

/// The manifest of a topic that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its name and version.
    pub record: Arc<PublishedRecord>,
    /// The revision that made it count: what the next one compares.
    pub mod_revision: Revision,
}

/// A process that compacts the topics of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The process.
    pub broker_id: BrokerId,
    /// The revision that created the claim: its epoch.
    pub epoch: Revision,
}

/// The broker whose duty it is to coordinate a group shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinator {
    /// The broker.
    pub broker_id: BrokerId,
    /// The revision that wrote it: the coordinator's fence.
    pub mod_revision: Revision,
}

/// What a key of the picture is.
enum Subject {
    Topic(TopicName),
    Partition(TopicPartition),
    Broker(BrokerId),
    Drain(BrokerId),
    Controller,
    Coordinator(GroupShard),
    Published(TopicId),
    Compactor(BrokerId),
    Claim(CompactionShard),
    PublishRequest(TopicId),
}

fn subject(keys: &Keys, key: &[u8]) -> Option<Subject> {
    if let Some(tp) = keys.parse_partition(key) {
        return Some(Subject::Partition(tp));
    }
    if let Some(name) = keys.parse_topic(key) {
        return Some(Subject::Topic(name));
    }
    if let Some(broker_id) = keys.parse_broker(key) {
        return Some(Subject::Broker(broker_id));
    }
    if let Some(broker_id) = keys.parse_drain(key) {
        return Some(Subject::Drain(broker_id));
    }
    if let Some(shard) = keys.parse_group_coordinator(key) {
        return Some(Subject::Coordinator(shard));
    }
    if let Some(topic_id) = keys.parse_published(key) {
        return Some(Subject::Published(topic_id));
    }
    if let Some(shard) = keys.parse_compaction_claim(key) {
        return Some(Subject::Claim(shard));
    }
    if let Some(broker_id) = keys.parse_compactor(key) {
        return Some(Subject::Compactor(broker_id));
    }
    if let Some(topic_id) = keys.parse_publish_request(key) {
        return Some(Subject::PublishRequest(topic_id));
    }
    (keys.controller() == key).then_some(Subject::Controller)
}

impl Picture {
    /// The broker that coordinates a group, if one is there for it.
    pub fn coordinator_of(&self, group: &GroupId) -> Option<&Arc<LiveBroker>> {
        let coordinator = self.coordinators.get(&group_shard(group))?;
        self.brokers.get(coordinator.broker_id)
    }

    pub(super) fn apply(&mut self, keys: &Keys, event: &Event) -> Result<(), ViewError> {
        match event {
            Event::Put(kv) => self.put(keys, kv),
            Event::Delete { key, .. } => {
                self.delete(keys, key);
                Ok(())
            }
        }
    }

    /// Keys of others, which lie between ours, are passed over.
    pub(crate) fn put(&mut self, keys: &Keys, kv: &KeyValue) -> Result<(), ViewError> {
        match subject(keys, &kv.key) {
            Some(Subject::Topic(_)) => Arc::make_mut(&mut self.topics).put(decode(kv)?),
            Some(Subject::Partition(tp)) => {
                let placed = Placed {
                    record: decode(kv)?,
                    mod_revision: kv.mod_revision,
                };
                Arc::make_mut(&mut self.partitions).put(tp, placed);
            }
            Some(Subject::Broker(_)) => {
                let live = LiveBroker {
                    record: decode(kv)?,
                    broker_epoch: BrokerEpoch::from(kv.create_revision),
                };
                Arc::make_mut(&mut self.brokers).put(live);
            }
            Some(Subject::Drain(broker_id)) => {
                Arc::make_mut(&mut self.brokers).set_drained(broker_id, true);
            }
            Some(Subject::Controller) => {
                let record: ControllerRecord = decode(kv)?;
                self.controller = Some(Controller {
                    broker_id: record.broker_id,
                    epoch: kv.create_revision,
                });
            }
            Some(Subject::Coordinator(shard)) => {
                let record: CoordinatorRecord = decode(kv)?;
                let coordinator = Coordinator {
                    broker_id: record.broker,
                    mod_revision: kv.mod_revision,
                };
                Arc::make_mut(&mut self.coordinators).insert(shard, coordinator);
            }
            Some(Subject::Published(topic_id)) => {
                let published = Published {
                    record: Arc::new(decode(kv)?),
                    mod_revision: kv.mod_revision,
                };
                Arc::make_mut(&mut self.published).insert(topic_id, published);
            }
            Some(Subject::Compactor(broker_id)) => {
                Arc::make_mut(&mut self.compactors).insert(broker_id);
            }
            Some(Subject::Claim(shard)) => {
                let record: ClaimRecord = decode(kv)?;
                let claim = Claim {
                    broker_id: record.broker_id,
                    epoch: kv.create_revision,
                };
                Arc::make_mut(&mut self.claims).insert(shard, claim);
            }
            Some(Subject::PublishRequest(topic_id)) => {
                Arc::make_mut(&mut self.publish_requests).insert(topic_id, kv.mod_revision);
            }
            None => {}
        }
        Ok(())
    }

    fn delete(&mut self, keys: &Keys, key: &[u8]) {
        match subject(keys, key) {
            Some(Subject::Topic(name)) => Arc::make_mut(&mut self.topics).remove(&name),
            Some(Subject::Partition(tp)) => Arc::make_mut(&mut self.partitions).remove(tp),
            Some(Subject::Broker(id)) => Arc::make_mut(&mut self.brokers).remove(id),
            Some(Subject::Drain(id)) => Arc::make_mut(&mut self.brokers).set_drained(id, false),
            Some(Subject::Controller) => self.controller = None,
            Some(Subject::Coordinator(shard)) => {
                Arc::make_mut(&mut self.coordinators).remove(&shard);
            }
            Some(Subject::Published(topic_id)) => {
                Arc::make_mut(&mut self.published).remove(&topic_id);
            }
            Some(Subject::Compactor(broker_id)) => {
                Arc::make_mut(&mut self.compactors).remove(&broker_id);
            }
            Some(Subject::Claim(shard)) => {
                Arc::make_mut(&mut self.claims).remove(&shard);
            }
            Some(Subject::PublishRequest(topic_id)) => {
                Arc::make_mut(&mut self.publish_requests).remove(&topic_id);
            }
            None => {}
        }
    }
}

fn decode<R: StoredRecord>(kv: &KeyValue) -> Result<R, ViewError> {
    value::decode(&kv.value).map_err(|source| ViewError::Unreadable {
        key: String::from_utf8_lossy(&kv.key).into_owned(),
        source,
    })
}

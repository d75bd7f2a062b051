//! A cluster as the metadata store has it, for tests of what clients are told of several brokers.

use std::collections::BTreeMap;
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::coordinator::GroupShard;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{
    BrokerRecord, ControllerRecord, CoordinatorRecord, Opener, PartitionRecord, Role, Roles,
    TopicRecord, WalHolder,
};
use alluvium_metadata::store::{MemoryStore, MetadataStore, MetadataStoreExt};
use alluvium_metadata::value::{self, StoredRecord};
use alluvium_metadata::view::{ClusterView, Picture};
use bytes::Bytes;
use uuid::Uuid;

/// Records in a store, and the view of them.
pub struct TestCluster {
    pub store: Arc<dyn MetadataStore>,
    pub keys: Keys,
    pub view: Arc<ClusterView>,
}

impl TestCluster {
    pub async fn new() -> Self {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let keys = Keys::new("test");
        let view = ClusterView::open(Arc::clone(&store), keys.clone()).await;
        Self::over(store, Arc::new(view.expect("opens")))
    }

    /// Over the store of somebody else's scene.
    pub fn over(store: Arc<dyn MetadataStore>, view: Arc<ClusterView>) -> Self {
        Self {
            store,
            keys: Keys::new("test"),
            view,
        }
    }

    pub async fn picture(&self) -> Arc<Picture> {
        let last = self.store.put("elsewhere", "x").await.expect("put");
        self.view.reached(last).await;
        self.view.picture()
    }

    async fn put<R: StoredRecord>(&self, key: Bytes, record: &R) {
        self.store
            .put(key, value::encode(record))
            .await
            .expect("put");
        self.picture().await;
    }

    /// A session of that broker.
    pub async fn broker(&self, id: i32) -> BrokerEpoch {
        let record = broker_record(id);
        self.put(self.keys.broker(BrokerId(id)), &record).await;
        self.epoch(id)
    }

    /// A new session of a process that only compacts.
    pub async fn worker(&self, id: i32) {
        let record = BrokerRecord {
            roles: Roles([Role::Compactor].into()),
            ..broker_record(id)
        };
        self.put(self.keys.broker(BrokerId(id)), &record).await;
    }

    /// The end of that session.
    pub async fn ended(&self, id: i32) {
        let key = self.keys.broker(BrokerId(id));
        self.store.delete(key).await.expect("deleted");
        self.picture().await;
    }

    pub async fn controller(&self, id: i32) {
        let record = ControllerRecord {
            broker_id: BrokerId(id),
        };
        self.put(self.keys.controller(), &record).await;
    }

    /// The broker coordinates all groups.
    pub async fn coordinator(&self, id: i32) {
        for shard in GroupShard::all() {
            let record = CoordinatorRecord {
                broker: BrokerId(id),
            };
            self.put(self.keys.group_coordinator(shard), &record).await;
        }
    }

    /// A topic without partitions.
    pub async fn topic(&self, name: &str, partition_count: i32) -> TopicRecord {
        let name = TopicName::new(name).expect("name");
        let topic_id = TopicId(Uuid::from_u128(u128::from(name.as_str().as_bytes()[0])));
        let record = TopicRecord {
            name,
            topic_id,
            partition_count,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
        };
        self.put(self.keys.topic(&record.name), &record).await;
        record
    }

    /// It is the broker's duty to lead the partition.
    pub async fn placed(&self, topic: &TopicRecord, index: i32, leader: i32) {
        let record = match self.record(topic, index) {
            Some(record) => record.assigned_to(BrokerId(leader)),
            None => PartitionRecord::new(BrokerId(leader)),
        };
        self.put(self.keys.partition(tp(topic, index)), &record)
            .await;
    }

    /// A write-ahead log that nobody here has may hold records of the partition.
    pub async fn logged(&self, topic: &TopicRecord, index: i32) {
        self.logged_in(topic, index, Uuid::from_u128(u128::MAX))
            .await;
    }

    /// The write-ahead log in that data folder may hold records of the partition.
    pub async fn logged_in(&self, topic: &TopicRecord, index: i32, folder: Uuid) {
        let record = self.record(topic, index).expect("placed");
        let wal = Some(WalHolder(folder));
        let record = PartitionRecord { wal, ..record };
        self.put(self.keys.partition(tp(topic, index)), &record)
            .await;
    }

    /// The broker has opened the partition in its present session.
    pub async fn served(&self, topic: &TopicRecord, index: i32, leader: i32) {
        self.placed(topic, index, leader).await;
        let opener = Opener {
            broker_id: BrokerId(leader),
            broker_epoch: self.epoch(leader),
            first_seq: 0,
            wal: None,
        };
        let placed = self.record(topic, index).expect("placed");
        let record = placed.opened(&opener, Offset::ZERO, |_| None);
        self.put(self.keys.partition(tp(topic, index)), &record)
            .await;
    }

    /// The record as the picture has it.
    pub fn record(&self, topic: &TopicRecord, index: i32) -> Option<PartitionRecord> {
        let picture = self.view.picture();
        let placed = picture.partitions.get(tp(topic, index))?;
        Some(placed.record.clone())
    }

    fn epoch(&self, id: i32) -> BrokerEpoch {
        let picture = self.view.picture();
        let live = picture.brokers.get(BrokerId(id)).expect("live");
        live.broker_epoch
    }
}

pub fn tp(topic: &TopicRecord, index: i32) -> TopicPartition {
    TopicPartition::new(topic.topic_id, PartitionIndex(index))
}

pub fn broker_record(id: i32) -> BrokerRecord {
    BrokerRecord {
        broker_id: BrokerId(id),
        host: format!("broker{id}.test"),
        port: 9092,
        rack: Some(format!("rack{id}")),
        instance_id: Uuid::from_u128(1),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: Roles::broker(),
    }
}

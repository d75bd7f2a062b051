//! Pictures of clusters, for tests of what is pure.

use std::collections::BTreeMap;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use bytes::Bytes;
use uuid::Uuid;

use crate::keys::Keys;
use crate::model::{
    BrokerRecord, DrainRecord, Opener, PartitionRecord, Role, Roles, TailEntry, TopicRecord,
    WalHolder,
};
use crate::store::{KeyValue, Revision};
use crate::value;
use crate::view::Picture;

pub(super) fn keys() -> Keys {
    Keys::new("test")
}

pub(super) fn id(broker_id: i32) -> BrokerId {
    BrokerId(broker_id)
}

pub(super) fn tp(topic: u128, index: i32) -> TopicPartition {
    TopicPartition::new(TopicId(Uuid::from_u128(topic)), PartitionIndex(index))
}

/// The data folder of the broker of that number.
pub(super) fn folder(broker_id: i32) -> Uuid {
    Uuid::from_u128(1_000 + u128::from(broker_id.unsigned_abs()))
}

pub(super) fn broker(broker_id: i32) -> BrokerRecord {
    BrokerRecord {
        broker_id: BrokerId(broker_id),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: folder(broker_id),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: Roles::broker(),
    }
}

/// A process that only compacts.
pub(super) fn worker(broker_id: i32) -> BrokerRecord {
    BrokerRecord {
        roles: Roles([Role::Compactor].into()),
        ..broker(broker_id)
    }
}

pub(super) fn topic(number: u128, partition_count: i32) -> TopicRecord {
    TopicRecord {
        name: TopicName::new(&format!("topic-{number}")).unwrap(),
        topic_id: TopicId(Uuid::from_u128(number)),
        partition_count,
        replication_factor: 1,
        configs: BTreeMap::new(),
        created_ms: 0,
    }
}

/// A partition that is open in that session.
pub(super) fn opened(broker_id: i32, broker_epoch: BrokerEpoch) -> PartitionRecord {
    let opener = Opener {
        broker_id: BrokerId(broker_id),
        broker_epoch,
        first_seq: 0,
        wal: None,
    };
    let all = |entry: &TailEntry| Some((entry.first_seq, entry.first_seq));
    PartitionRecord::new(BrokerId(broker_id)).opened(&opener, Offset::ZERO, all)
}

/// A cluster as a picture, changed at will.
#[derive(Debug, Default, Clone)]
pub(super) struct Drawing {
    pub(super) picture: Picture,
}

impl Drawing {
    /// Brokers 1 to `brokers`, without racks.
    pub(super) fn of(brokers: i32) -> Self {
        let mut drawing = Self::default();
        for broker_id in 1..=brokers {
            drawing.broker(broker(broker_id));
        }
        drawing
    }

    fn put(&mut self, key: Bytes, value: Bytes) {
        let revision = self.picture.revision.next();
        let kv = KeyValue {
            key,
            value,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: None,
        };
        self.picture.put(&keys(), &kv).unwrap();
        self.picture.revision = revision;
    }

    /// A new session.
    pub(super) fn broker(&mut self, record: BrokerRecord) {
        self.put(keys().broker(record.broker_id), value::encode(&record));
    }

    pub(super) fn drain(&mut self, broker_id: i32) {
        let record = DrainRecord { since_ms: 0 };
        self.put(keys().drain(BrokerId(broker_id)), value::encode(&record));
    }

    pub(super) fn topic(&mut self, record: &TopicRecord) {
        self.put(keys().topic(&record.name), value::encode(record));
    }

    pub(super) fn partition(&mut self, tp: TopicPartition, record: &PartitionRecord) {
        self.put(keys().partition(tp), value::encode(record));
    }

    /// The session of a broker that lives; of one that does not, a session that is over.
    pub(super) fn epoch(&self, broker_id: i32) -> BrokerEpoch {
        let live = self.picture.brokers.get(BrokerId(broker_id));
        live.map_or(BrokerEpoch::from(Revision::NONE), |live| live.broker_epoch)
    }

    /// A topic whose partitions those brokers have opened.
    pub(super) fn served(&mut self, number: u128, leaders: impl IntoIterator<Item = i32>) {
        let mut count = 0;
        for leader in leaders {
            let record = opened(leader, self.epoch(leader));
            self.partition(tp(number, count), &record);
            count += 1;
        }
        self.topic(&topic(number, count));
    }

    /// Changes the record of a partition.
    pub(super) fn edit(&mut self, tp: TopicPartition, edit: impl FnOnce(&mut PartitionRecord)) {
        let placed = self.picture.partitions.get(tp).unwrap();
        let mut record = placed.record.clone();
        edit(&mut record);
        self.partition(tp, &record);
    }

    /// Acknowledged records of the partition may be in the write-ahead log of that broker only.
    pub(super) fn logged(&mut self, tp: TopicPartition, holder: i32) {
        self.edit(tp, |record| record.wal = Some(WalHolder(folder(holder))));
    }
}

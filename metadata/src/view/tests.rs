use std::collections::BTreeMap;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use uuid::Uuid;

use super::*;
use crate::model::{
    BrokerRecord, ControllerRecord, DrainRecord, Opener, PartitionRecord, Role, Roles, TopicRecord,
};
use crate::store::MemoryStore;
use crate::store::fault::{Faults, FaultyStore};
use crate::value;

fn record(name: &str, id: u128) -> TopicRecord {
    TopicRecord {
        name: TopicName::new(name).unwrap(),
        topic_id: TopicId(Uuid::from_u128(id)),
        partition_count: 1,
        replication_factor: 1,
        configs: BTreeMap::new(),
        created_ms: 0,
    }
}

async fn put(store: &dyn MetadataStore, record: &TopicRecord) -> Revision {
    let key = Keys::new("test").topic(&record.name);
    store.put(key, value::encode(record)).await.unwrap()
}

async fn view(store: &Arc<dyn MetadataStore>) -> ClusterView {
    ClusterView::open(Arc::clone(store), Keys::new("test"))
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_picture_follows_the_store() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    put(&*store, &record("before", 1)).await;
    let view = view(&store).await;
    assert!(view.topics().named("before").is_some());
    view.reached(put(&*store, &record("after", 2)).await).await;
    assert_eq!(view.topics().all().count(), 2);
    // Deleted and created again: the old id is gone (I23).
    let revision = put(&*store, &record("after", 3)).await;
    view.reached(revision).await;
    assert!(view.topics().with_id(TopicId(Uuid::from_u128(2))).is_none());
    assert!(view.topics().with_id(TopicId(Uuid::from_u128(3))).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_changed_nothing_of_it_is_reached() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let view = view(&store).await;
    let elsewhere = store.put("elsewhere", "x").await.unwrap();
    view.reached(elsewhere).await;
    // And the watch goes on from there.
    view.reached(put(&*store, &record("t", 1)).await).await;
    assert!(view.topics().named("t").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_picture_survives_outages_and_compaction() {
    let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let faults = Faults::new(SeededRandom::new(1));
    let store: Arc<dyn MetadataStore> =
        Arc::new(FaultyStore::new(Arc::clone(&memory), Arc::clone(&faults)));
    let view = view(&store).await;
    faults.away_for(Duration::from_secs(2));
    put(&*memory, &record("meanwhile", 1)).await;
    let newest = put(&*memory, &record("later", 2)).await;
    memory.compact(newest).await.unwrap();
    view.reached(newest).await;
    assert_eq!(view.topics().all().count(), 2);
    view.reached(put(&*memory, &record("last", 3)).await).await;
    assert_eq!(view.topics().all().count(), 3);
}

fn broker(broker_id: i32) -> BrokerRecord {
    BrokerRecord {
        broker_id: BrokerId(broker_id),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: Uuid::nil(),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: Roles::broker(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_only_compacts_is_no_broker() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let keys = Keys::new("test");
    let view = view(&store).await;
    let compacts = BrokerRecord {
        roles: Roles([Role::Compactor].into()),
        ..broker(1)
    };
    // Whatever the session before was.
    for (record, is_broker) in [(&compacts, false), (&broker(1), true), (&compacts, false)] {
        let put = store.put(keys.broker(BrokerId(1)), value::encode(record));
        let epoch = BrokerEpoch::from(put.await.unwrap());
        view.reached(Revision::from(epoch)).await;
        let brokers = &view.picture().brokers;
        assert!(brokers.has_session(BrokerId(1)));
        assert_eq!(brokers.get(BrokerId(1)).is_some(), is_broker);
        assert_eq!(brokers.all().count(), usize::from(is_broker));
        assert_eq!(brokers.workers().count(), usize::from(!is_broker));
        assert_eq!(brokers.is_usable(BrokerId(1)), is_broker);
    }
    assert!(store.delete(keys.broker(BrokerId(1))).await.unwrap());
    view.reached(store.put("later", "").await.unwrap()).await;
    let brokers = &view.picture().brokers;
    assert!(!brokers.has_session(BrokerId(1)));
    assert_eq!((brokers.all().count(), brokers.workers().count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn brokers_partitions_and_the_controller_are_followed() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let keys = Keys::new("test");
    let view = view(&store).await;
    let one = store.put(keys.broker(BrokerId(1)), value::encode(&broker(1)));
    let epoch = BrokerEpoch::from(one.await.unwrap());
    let elected = ControllerRecord {
        broker_id: BrokerId(1),
    };
    let elected_at = store.put(keys.controller(), value::encode(&elected));
    let elected_at = elected_at.await.unwrap();
    let tp = TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(3));
    let opener = Opener {
        broker_id: BrokerId(1),
        broker_epoch: epoch,
        first_seq: 0,
        wal: None,
    };
    let start = alluvium_common::offset::Offset::ZERO;
    let record = PartitionRecord::new(BrokerId(1)).opened(&opener, start, |_| None);
    let written = store.put(keys.partition(tp), value::encode(&record));
    let written = written.await.unwrap();
    view.reached(written).await;
    let seen = view.picture();
    let controller = seen.controller.unwrap();
    assert_eq!(
        (controller.broker_id, controller.epoch),
        (BrokerId(1), elected_at)
    );
    let placed = seen.partitions.get(tp).unwrap();
    assert_eq!(placed.mod_revision, written);
    assert_eq!(placed.serving(&seen.brokers), Some((BrokerId(1), epoch)));
    assert!(seen.brokers.is_usable(BrokerId(1)));

    // Drained, it still serves; in a new session it serves no more what the old one had opened.
    let drain = DrainRecord { since_ms: 0 };
    let drained = store.put(keys.drain(BrokerId(1)), value::encode(&drain));
    view.reached(drained.await.unwrap()).await;
    let seen = view.picture();
    assert!(!seen.brokers.is_usable(BrokerId(1)));
    assert!(
        seen.partitions
            .get(tp)
            .unwrap()
            .serving(&seen.brokers)
            .is_some()
    );
    store.delete(keys.broker(BrokerId(1))).await.unwrap();
    store.delete(keys.controller()).await.unwrap();
    store.delete(keys.drain(BrokerId(1))).await.unwrap();
    let again = store.put(keys.broker(BrokerId(1)), value::encode(&broker(1)));
    view.reached(again.await.unwrap()).await;
    let seen = view.picture();
    assert!(seen.brokers.is_usable(BrokerId(1)) && seen.controller.is_none());
    assert_eq!(
        seen.partitions.get(tp).unwrap().serving(&seen.brokers),
        None
    );
    view.reached({
        store.delete(keys.partition(tp)).await.unwrap();
        store.put("elsewhere", "x").await.unwrap()
    })
    .await;
    assert_eq!(view.picture().partitions.all().count(), 0);
}

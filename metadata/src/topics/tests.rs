use std::time::Duration;

use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::rand::SeededRandom;
use uuid::Uuid;

use super::*;
use crate::model::BrokerRecord;
use crate::store::MemoryStore;
use crate::store::fault::{Fault, Faults, FaultyStore};
use crate::view::ClusterView;

struct Broker {
    store: Arc<dyn MetadataStore>,
    writer: TopicWriter,
    view: ClusterView,
    session: Arc<Session>,
}

async fn broker(store: &Arc<dyn MetadataStore>) -> Broker {
    let keys = Keys::new("test");
    let record = BrokerRecord {
        broker_id: BrokerId(1),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: Uuid::from_u128(1),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: crate::model::Roles::broker(),
    };
    let ttl = Duration::from_secs(9);
    let session = Arc::new(
        Session::open(Arc::clone(store), &keys, &record, ttl)
            .await
            .expect("session"),
    );
    let writer = TopicWriter::new(
        Arc::clone(store),
        keys.clone(),
        Arc::clone(&session),
        ManualClock::at(1_000),
        SeededRandom::new(session.broker_epoch().0.unsigned_abs()),
    );
    let view = ClusterView::open(Arc::clone(store), keys)
        .await
        .expect("view");
    Broker {
        store: Arc::clone(store),
        writer,
        view,
        session,
    }
}

/// Places every partition at this broker.
fn here(_: TopicId, partitions: Range<i32>) -> Vec<BrokerId> {
    partitions.map(|_| BrokerId(1)).collect()
}

/// What stands in the store.
async fn partitions(broker: &Broker) -> Vec<(TopicPartition, PartitionRecord)> {
    let keys = Keys::new("test");
    let (_, kvs) = broker.store.list(keys.partitions()).await.expect("read");
    kvs.iter()
        .map(|kv| {
            let tp = keys.parse_partition(&kv.key).expect("a partition's key");
            (tp, value::decode(&kv.value).expect("record"))
        })
        .collect()
}

fn store() -> Arc<dyn MetadataStore> {
    Arc::new(MemoryStore::new())
}

fn name(text: &str) -> TopicName {
    TopicName::new(text).expect("name")
}

fn new_topic(text: &str, partition_count: i32) -> NewTopic {
    NewTopic {
        name: name(text),
        partition_count,
        replication_factor: 3,
        configs: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_created_topic_is_seen_with_all_its_partitions() {
    let broker = broker(&store()).await;
    let (record, revision) = broker
        .writer
        .create(new_topic("orders", 110), &here)
        .await
        .expect("created");
    broker.view.reached(revision).await;
    let topics = broker.view.topics();
    assert_eq!(
        topics.named("orders").map(|t| t.topic_id),
        Some(record.topic_id)
    );
    assert_eq!(
        topics.with_id(record.topic_id).map(|t| t.partition_count),
        Some(110)
    );
    let partitions = partitions(&broker).await;
    assert_eq!(partitions.len(), 110);
    let (tp, first) = &partitions[0];
    assert_eq!((first.leader, first.open_by()), (BrokerId(1), None));
    assert_eq!(first.leader_epoch, LeaderEpoch(-1));
    let seen = broker.view.picture();
    assert_eq!(seen.partitions.of(record.topic_id).count(), 110);
    assert_eq!(&seen.partitions.get(*tp).expect("seen").record, first);
}

#[tokio::test(start_paused = true)]
async fn names_are_unique_and_may_not_collide() {
    let broker = broker(&store()).await;
    let (_, revision) = broker
        .writer
        .create(new_topic("a.b", 1), &here)
        .await
        .expect("created");
    let again = broker.writer.create(new_topic("a.b", 1), &here).await;
    assert!(matches!(again, Err(TopicError::Exists(_))), "{again:?}");
    broker.view.reached(revision).await;
    let collides = broker
        .writer
        .check(&new_topic("a_b", 1), &broker.view.topics());
    assert!(
        matches!(collides, Err(TopicError::Collides(..))),
        "{collides:?}"
    );
    let none = broker
        .writer
        .check(&new_topic("none", 0), &broker.view.topics());
    assert!(
        matches!(none, Err(TopicError::InvalidPartitions(_))),
        "{none:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_topic_created_again_is_another_one() {
    let broker = broker(&store()).await;
    let (first, _) = broker
        .writer
        .create(new_topic("orders", 3), &here)
        .await
        .expect("created");
    broker
        .writer
        .delete(&name("orders"))
        .await
        .expect("deleted");
    assert!(partitions(&broker).await.is_empty());
    let unknown = broker.writer.delete(&name("orders")).await;
    assert!(matches!(unknown, Err(TopicError::Unknown)), "{unknown:?}");
    let (second, revision) = broker
        .writer
        .create(new_topic("orders", 1), &here)
        .await
        .expect("created");
    assert_ne!(first.topic_id, second.topic_id);
    broker.view.reached(revision).await;
    assert!(broker.view.topics().with_id(first.topic_id).is_none());
}

#[tokio::test(start_paused = true)]
async fn partitions_are_added_never_taken_away() {
    let broker = broker(&store()).await;
    broker
        .writer
        .create(new_topic("orders", 2), &here)
        .await
        .expect("created");
    let (record, _) = broker
        .writer
        .create_partitions(&name("orders"), 5, &here)
        .await
        .expect("added");
    assert_eq!(record.partition_count, 5);
    assert_eq!(partitions(&broker).await.len(), 5);
    let fewer = broker
        .writer
        .create_partitions(&name("orders"), 5, &here)
        .await;
    assert!(
        matches!(fewer, Err(TopicError::InvalidPartitions(_))),
        "{fewer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn settings_are_checked_before_they_are_stored() {
    let broker = broker(&store()).await;
    broker
        .writer
        .create(new_topic("orders", 1), &here)
        .await
        .expect("created");
    let set = |key: &'static str, value: &'static str| {
        move |configs: &mut BTreeMap<String, String>| {
            configs.insert(key.to_owned(), value.to_owned());
            Ok(())
        }
    };
    broker
        .writer
        .alter_configs(&name("orders"), set("retention.ms", "5"))
        .await
        .expect("set");
    let bad = broker
        .writer
        .alter_configs(&name("orders"), set("retention.ms", "x"))
        .await;
    assert!(matches!(bad, Err(TopicError::InvalidConfig(_))), "{bad:?}");
    let unknown = broker
        .writer
        .alter_configs(&name("orders"), set("no.such", "x"))
        .await;
    assert!(
        matches!(unknown, Err(TopicError::InvalidConfig(_))),
        "{unknown:?}"
    );
    let (record, _) = broker
        .writer
        .alter_configs(&name("orders"), |_| Ok(()))
        .await
        .expect("read");
    assert_eq!(
        record.configs.get("retention.ms").map(String::as_str),
        Some("5")
    );
}

#[tokio::test(start_paused = true)]
async fn the_log_start_never_moves_back() {
    let broker = broker(&store()).await;
    let (record, _) = broker
        .writer
        .create(new_topic("orders", 1), &here)
        .await
        .expect("created");
    let tp = TopicPartition::new(record.topic_id, PartitionIndex(0));
    let at = |value| Offset::new(value).expect("offset");
    assert_eq!(
        broker
            .writer
            .set_log_start(tp, at(10))
            .await
            .expect("moved"),
        at(10)
    );
    assert_eq!(
        broker.writer.set_log_start(tp, at(5)).await.expect("kept"),
        at(10)
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_changes_no_partition() {
    let store = store();
    let old = broker(&store).await;
    let (_, revision) = old
        .writer
        .create(new_topic("orders", 2), &here)
        .await
        .expect("created");
    let new = broker(&store).await;
    assert!(new.session.broker_epoch() > BrokerEpoch(0));
    let create = old.writer.create(new_topic("late", 1), &here).await;
    assert!(matches!(create, Err(TopicError::Fenced)), "{create:?}");
    new.view.reached(revision).await;
    assert!(new.view.topics().named("late").is_none());
}

#[tokio::test(start_paused = true)]
async fn partitions_without_a_topic_are_removed() {
    let broker = broker(&store()).await;
    let (kept, revision) = broker
        .writer
        .create(new_topic("kept", 2), &here)
        .await
        .expect("created");
    broker.view.reached(revision).await;
    // As a crash between the two steps of creation leaves them.
    let never = Compare::absent("never");
    let seen_by = Op::get("nobody");
    broker
        .writer
        .write_partitions(TopicId(Uuid::from_u128(9)), 0..3, &here, &never, seen_by)
        .await
        .expect("written")
        .expect("guard held");
    assert_eq!(partitions(&broker).await.len(), 5);
    let removed = broker.writer.remove_orphans(TopicId(Uuid::from_u128(9)));
    removed.await.expect("removed");
    let left = partitions(&broker).await;
    assert!(left.iter().all(|(tp, _)| tp.topic_id == kept.topic_id));
    assert_eq!(left.len(), 2);
}

/// Everything that a topic goes through, and what must stand in between.
async fn a_life(broker: &Broker) {
    let (writer, view) = (&broker.writer, &broker.view);
    let (created, revision) = writer
        .create(new_topic("orders", 110), &here)
        .await
        .expect("created");
    view.reached(revision).await;
    let again = writer.create(new_topic("orders", 1), &here).await;
    assert!(matches!(again, Err(TopicError::Exists(_))), "{again:?}");
    assert_eq!(partitions(broker).await.len(), 110);

    let (_, revision) = writer
        .create_partitions(&created.name, 112, &here)
        .await
        .expect("added");
    view.reached(revision).await;
    let set = |configs: &mut BTreeMap<String, String>| {
        configs.insert("retention.ms".to_owned(), "1000".to_owned());
        Ok(())
    };
    writer
        .alter_configs(&created.name, set)
        .await
        .expect("altered");
    let (altered, revision) = writer
        .alter_configs(&created.name, set)
        .await
        .expect("the same again");
    view.reached(revision).await;
    assert_eq!(
        (altered.partition_count, altered.topic_id),
        (112, created.topic_id)
    );
    assert_eq!(
        view.topics().named("orders").map(|topic| (**topic).clone()),
        Some(altered)
    );

    let tp = TopicPartition::new(created.topic_id, PartitionIndex(3));
    let at = |value| Offset::new(value).expect("offset");
    assert_eq!(writer.set_log_start(tp, at(9)).await.expect("moved"), at(9));
    let (_, revision) = writer.delete(&created.name).await.expect("deleted");
    view.reached(revision).await;
    assert!(view.topics().named("orders").is_none());
    assert!(partitions(broker).await.is_empty());
    let again = writer.delete(&created.name).await;
    assert!(matches!(again, Err(TopicError::Unknown)), "{again:?}");
}

/// F4 at every step: whichever one transaction's reply or request is lost, the result is the same.
#[tokio::test(start_paused = true)]
async fn a_lost_reply_changes_nothing() {
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        for calls_before in 0..11 {
            let faults = Faults::new(SeededRandom::new(1));
            let store: Arc<dyn MetadataStore> =
                Arc::new(FaultyStore::new(store(), Arc::clone(&faults)));
            let broker = broker(&store).await;
            faults.next(std::iter::repeat_n(Fault::None, calls_before).chain([fault, fault]));
            a_life(&broker).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_changes_no_topic() {
    let store = store();
    let old = broker(&store).await;
    let (topic, _) = old
        .writer
        .create(new_topic("orders", 1), &here)
        .await
        .expect("created");
    let _new = broker(&store).await;
    let set = |configs: &mut BTreeMap<String, String>| {
        configs.insert("retention.ms".to_owned(), "1000".to_owned());
        Ok(())
    };
    let altered = old.writer.alter_configs(&topic.name, set).await;
    assert!(matches!(altered, Err(TopicError::Fenced)), "{altered:?}");
    let tp = TopicPartition::new(topic.topic_id, PartitionIndex(0));
    let moved = old.writer.set_log_start(tp, Offset::ZERO.next()).await;
    assert!(matches!(moved, Err(TopicError::Fenced)), "{moved:?}");
    let added = old.writer.create_partitions(&topic.name, 2, &here).await;
    assert!(matches!(added, Err(TopicError::Fenced)), "{added:?}");
    let deleted = old.writer.delete(&topic.name).await;
    assert!(matches!(deleted, Err(TopicError::Fenced)), "{deleted:?}");
    assert!(!old.session.is_alive());
}

#[tokio::test(start_paused = true)]
async fn one_of_many_creates_wins_and_the_others_leave_nothing() {
    let broker = broker(&store()).await;
    let creates = (0..8).map(|_| broker.writer.create(new_topic("orders", 3), &here));
    let results = futures::future::join_all(creates).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(partitions(&broker).await.len(), 3);
}

#[test]
fn topic_ids_do_not_look_like_options() {
    #[derive(Debug)]
    struct Dashes;
    impl alluvium_common::rand::Random for Dashes {
        fn next_u64(&self) -> u64 {
            0xf8ff_ffff_ffff_ffff
        }
    }
    let random: SharedRandom = Arc::new(Dashes);
    assert_ne!(new_topic_id(&random).0.into_bytes()[0] >> 2, 62);
    assert_eq!(new_topic_id(&random).0.get_version_num(), 4);
}

//! Groups from before there were group shards.

use std::sync::Arc;

use alluvium_common::rand::{SeededRandom, SharedRandom};
use alluvium_common::topic::TopicName;
use bytes::Bytes;

use super::super::*;
use super::cluster::*;
use super::world::{group_shard, heartbeat, partition};
use crate::coordinator::group::{GroupRecord, MemberRecord, OffsetRecord};
use crate::coordinator::keys::OldGroupKeys;
use crate::coordinator::stored;
use crate::store::fault::{self, Fault, Faults};
use crate::store::{KeyRange, KeyValue, MetadataStoreExt, Op, RangeRequest, Txn};

const OFFSETS: i32 = 100;
const GROUPS: [&str; 4] = ["g", "orders", "a/b", ""];

/// A stable group of one member, and offsets that take several transactions and more than one page.
async fn put_old_layout(cluster: &Cluster) {
    let record = GroupRecord {
        generation: 1,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        leader: Some("m".into()),
        state_since_ms: 0,
        members: vec![MemberRecord {
            member_id: "m".into(),
            instance_id: None,
            client_id: "c".to_owned(),
            client_host: String::new(),
            session_timeout: std::time::Duration::from_secs(10),
            rebalance_timeout: std::time::Duration::from_secs(60),
            subscription: Bytes::new(),
            assignment: "all".into(),
        }],
    };
    put(cluster, "groups/state/g", stored::group::encode(&record)).await;
    put(
        cluster,
        "groups/writer",
        Bytes::from_static(b"of the old one"),
    )
    .await;
    for group in ["g", "orders", "a%2Fb", ""] {
        for index in 0..OFFSETS {
            let topic = partition(index).topic_id.0.simple();
            let key = format!("groups/offsets/{group}/{topic}/{index:010}");
            let record = OffsetRecord {
                topic: TopicName::new("t").expect("valid"),
                offset: alluvium_common::offset::Offset::new(i64::from(index)),
                leader_epoch: None,
                metadata: "x".repeat(2000),
                commit_ms: 1_000,
                expire_ms: None,
            };
            put(cluster, &key, stored::offset::encode(&record)).await;
        }
    }
}

async fn put(cluster: &Cluster, key: &str, value: Bytes) {
    let put = cluster.store.put(cluster.keys.below(key), value).await;
    put.expect("puts");
}

async fn all_below(cluster: &Cluster, folder: &str) -> Vec<KeyValue> {
    let range = KeyRange::prefix(cluster.keys.below(folder));
    cluster.store.list(range).await.expect("lists").1
}

fn random(seed: u64) -> SharedRandom {
    SeededRandom::new(seed)
}

async fn migrate(
    cluster: &Cluster,
    store: Arc<dyn MetadataStore>,
    broker: &Broker,
) -> Result<(), OpenError> {
    let fence: Arc<dyn Ownership> = broker.session.clone();
    migrate_groups(&store, &cluster.keys, &fence, &random(5)).await
}

async fn assert_moved(cluster: &Cluster, broker: &Broker) {
    let old = OldGroupKeys::new(&cluster.keys);
    let left = cluster.store.range(RangeRequest::new(old.all())).await;
    assert!(left.expect("reads").kvs.is_empty());
    assert_eq!(
        all_below(cluster, "groups/").await.len(),
        1 + GROUPS.len() * OFFSETS as usize
    );
    for group in GROUPS {
        cluster.give(group_shard(&group.into()), broker).await;
        let fetched = broker.groups.fetch_offsets(&group.into(), None).await;
        let offsets = fetched.expect("served").partitions.into_iter();
        let offsets = offsets.filter_map(|(_, record)| record.expect("stored").offset);
        assert!(
            offsets.map(|o| o.get()).eq(0..i64::from(OFFSETS)),
            "{group:?}"
        );
    }
    assert_eq!(broker.groups.heartbeat(&heartbeat(&"m".into(), 1)), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn old_groups_are_found_in_their_shards() {
    let cluster = Cluster::new();
    put_old_layout(&cluster).await;
    let (broker, store) = cluster.broker(1).await;
    migrate(&cluster, store.clone(), &broker)
        .await
        .expect("moves");
    let moves = store.seen.lock().len();
    assert!(moves > 7, "{moves} transactions");
    assert_moved(&cluster, &broker).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_nothing_old_nothing_is_written() {
    let cluster = Cluster::new();
    let (broker, store) = cluster.broker(1).await;
    for group in GROUPS {
        cluster.give(group_shard(&group.into()), &broker).await;
        assert_eq!(
            broker
                .commit(if group.is_empty() { "g" } else { group }, 1)
                .await,
            Ok(())
        );
    }
    let before = all_below(&cluster, "").await;
    let written = store.seen.lock().len();
    migrate(&cluster, store.clone(), &broker)
        .await
        .expect("moves");
    assert_eq!(all_below(&cluster, "").await, before);
    assert_eq!(store.seen.lock().len(), written, "not even a transaction");
}

/// Whatever becomes of one transaction, and wherever it is broken off.
#[tokio::test(start_paused = true)]
async fn a_broken_move_goes_on_where_it_was() {
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        for at in 0..9 {
            let cluster = Cluster::new();
            put_old_layout(&cluster).await;
            let (broker, _) = cluster.broker(1).await;
            let faults = Faults::new(random(1));
            let store = fault::FaultyStore::new(cluster.store.clone(), faults.clone());
            let store: Arc<dyn MetadataStore> = Arc::new(store);
            // One fault, which is got over; and one after which nobody goes on.
            faults.next((0..at).map(|_| Fault::None).chain([fault]));
            migrate(&cluster, store.clone(), &broker)
                .await
                .expect("moves");
            assert_moved(&cluster, &broker).await;

            let cluster = Cluster::new();
            put_old_layout(&cluster).await;
            let (broker, _) = cluster.broker(1).await;
            let store = fault::FaultyStore::new(cluster.store.clone(), faults.clone());
            faults.next((0..at).map(|_| Fault::None).chain([fault; 25]));
            let broken = migrate(&cluster, Arc::new(store), &broker).await;
            assert!(
                matches!(broken, Err(OpenError::Store(_))),
                "{fault:?} {at}: {broken:?}"
            );
            faults.clear();
            migrate(&cluster, cluster.store.clone(), &broker)
                .await
                .expect("moves");
            assert_moved(&cluster, &broker).await;
        }
    }
}

/// F4: copies that arrive when the shards are served already.
#[tokio::test(start_paused = true)]
async fn a_late_copy_overwrites_no_newer_offset() {
    let cluster = Cluster::new();
    put_old_layout(&cluster).await;
    let (broker, store) = cluster.broker(1).await;
    migrate(&cluster, store.clone(), &broker)
        .await
        .expect("moves");
    let sent: Vec<Txn> = store.seen.lock().clone();
    cluster.give(group_shard(&"orders".into()), &broker).await;
    assert_eq!(broker.commit("orders", 77).await, Ok(()));
    let before = all_below(&cluster, "groups/").await;
    for txn in sent {
        let response = cluster.store.txn(txn).await.expect("answers");
        assert!(!response.succeeded);
    }
    assert_eq!(all_below(&cluster, "groups/").await, before);
}

#[tokio::test(start_paused = true)]
async fn the_fence_is_part_of_it() {
    let cluster = Cluster::new();
    put_old_layout(&cluster).await;
    let before = all_below(&cluster, "groups/").await;
    let (broker, store) = cluster.broker(1).await;
    let _later = cluster.session(1).await;
    let refused = migrate(&cluster, store, &broker).await;
    assert!(matches!(refused, Err(OpenError::NotOwner)), "{refused:?}");
    assert_eq!(all_below(&cluster, "groups/").await, before);
}

#[tokio::test(start_paused = true)]
async fn two_brokers_that_move_at_once_lose_nothing() {
    let cluster = Cluster::new();
    put_old_layout(&cluster).await;
    let (one, _) = cluster.broker(1).await;
    let (two, _) = cluster.broker(2).await;
    let moved = tokio::join!(
        migrate(&cluster, cluster.store.clone(), &one),
        migrate(&cluster, cluster.store.clone(), &two)
    );
    assert!(matches!(moved, (Ok(()), Ok(()))), "{moved:?}");
    assert_moved(&cluster, &one).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_names_no_group_is_not_left_behind_in_silence() {
    let cluster = Cluster::new();
    let (broker, _) = cluster.broker(1).await;
    let key = cluster.keys.below("groups/state/%2");
    let txn = Txn::new().then(Op::put(key, "x"));
    cluster.store.txn(txn).await.expect("puts");
    let refused = migrate(&cluster, cluster.store.clone(), &broker).await;
    assert!(
        matches!(refused, Err(OpenError::Damaged { .. })),
        "{refused:?}"
    );
}

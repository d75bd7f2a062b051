//! Members that are dead, hang, or lose their leader.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_common::error::Outcome;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::BrokerRecord;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{
    EtcdOptions, EtcdStore, KeyRange, MetadataStore, MetadataStoreExt, Revision, StoreError,
    WatchRequest,
};
use alluvium_tests::broker::PATIENCE;
use alluvium_tests::etcd::{ClusterOptions, EtcdCluster, skipped};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// Nobody listens there.
const DEAD: &str = "127.0.0.1:1";

fn from(cluster: &EtcdCluster, endpoints: &[&str]) -> EtcdOptions {
    EtcdOptions {
        endpoints: endpoints.iter().map(|&one| one.to_owned()).collect(),
        ..cluster.options()
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::single().start().await;
    let alive = cluster.endpoints().remove(0);
    let store = cluster.store_with(&from(&cluster, &[DEAD, &alive])).await;
    store.put("k", "v").await.expect("the second one answers");
    let error = EtcdStore::open(&from(&cluster, &[DEAD])).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(DEAD) && text.contains("refused"), "{text}");
}

#[tokio::test]
async fn nothing_is_sent_to_nobody() {
    if skipped() {
        return;
    }
    let mut cluster = ClusterOptions::single().start().await;
    let store = cluster.store().await;
    cluster.kill(0);
    // The first may meet the connection that is just breaking; then nobody is there to send anything to.
    let _breaking = store.put("k", "v").await.unwrap_err();
    let began = Instant::now();
    let error = store.put("k", "v").await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NotDone, "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "a deadline");
    cluster.restart(0).await;
    store.put("k", "v").await.expect("it is back");
}

/// Writes until told to stop, and returns the acknowledged keys with their revisions.
async fn write(
    store: EtcdStore,
    writer: usize,
    stop: tokio::sync::watch::Receiver<bool>,
) -> Vec<(String, Revision)> {
    let mut acknowledged = Vec::new();
    let mut n = 0;
    while !*stop.borrow() {
        n += 1;
        let key = format!("w/{writer}/{n:05}");
        match store.put(key.clone(), "v").await {
            Ok(revision) => acknowledged.push((key, revision)),
            Err(StoreError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    acknowledged
}

fn broker_record() -> BrokerRecord {
    BrokerRecord {
        broker_id: BrokerId(1),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: Uuid::from_u128(7),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: alluvium_metadata::model::Roles::broker(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_the_leader_loses_nothing() {
    if skipped() {
        return;
    }
    let mut cluster = ClusterOptions::three().start().await;
    let store = cluster.store().await;
    let shared: Arc<dyn MetadataStore> = Arc::new(store.clone());
    let session = Session::open(
        shared,
        &Keys::new("test"),
        &broker_record(),
        Duration::from_secs(20),
    )
    .await
    .expect("a session");
    let mut watch = store
        .watch(WatchRequest::new(KeyRange::prefix("w/")))
        .await
        .expect("a watch");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers: Vec<_> = (0..4)
        .map(|writer| tokio::spawn(write(store.clone(), writer, stopped.clone())))
        .collect();
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.kill(leader);
        // A write that is acknowledged after the kill: the others have elected one of them.
        until_written(&store).await;
        cluster.restart(leader).await;
    }
    stop.send_replace(true);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("a writer"));
    }
    let end = until_written(&store).await;

    let (_, kvs) = store.list(KeyRange::prefix("w/")).await.expect("a list");
    for (key, revision) in &acknowledged {
        let stands = kvs.iter().find(|kv| kv.key == key);
        let stands = stands.unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
        assert_eq!(stands.mod_revision, *revision);
    }
    // Every write made one event, in the order of revisions, through every change of member.
    let mut seen = Vec::new();
    while seen.last().is_none_or(|(revision, _)| *revision < end) {
        let batch = timeout(PATIENCE, watch.next()).await.expect("in time");
        let batch = batch.expect("it goes on");
        assert_eq!(batch.events.len(), 1);
        seen.push((batch.revision, batch.events[0].key().clone()));
    }
    assert!(seen.is_sorted_by(|a, b| a.0 < b.0), "in order, none twice");
    let stand = kvs.iter().map(|kv| (kv.mod_revision, kv.key.clone()));
    for write in stand {
        assert!(seen.contains(&write), "the watch did not see {write:?}");
    }
    assert!(session.is_current().await.expect("a read"));
    assert!(session.is_alive(), "keep-alives went on");
}

/// Writes until a write is acknowledged, and returns its revision.
async fn until_written(store: &EtcdStore) -> Revision {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.put("w/marker", "v").await {
            Ok(revision) => return revision,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_member_that_hangs_is_left_for_another() {
    if skipped() {
        return;
    }
    let cluster = ClusterOptions::three().start().await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let endpoints = cluster.endpoints();
    let options = from(&cluster, &[&endpoints[follower], &endpoints[leader]]);
    let store = cluster.store_with(&options).await;
    store.put("k", "v").await.expect("put");
    cluster.freeze(follower);
    let began = Instant::now();
    let kv = store.get("k").await.expect("another member answers");
    assert_eq!(kv.expect("it is there").value, "v");
    assert!(began.elapsed() < options.call_timeout);
    store.put("k", "w").await.expect("later calls go there too");
    cluster.thaw(follower);
}

#[tokio::test]
async fn a_member_without_the_others_refuses_and_its_watches_go_on_elsewhere() {
    if skipped() {
        return;
    }
    let mut cluster = ClusterOptions::three().start().await;
    let endpoints = cluster.endpoints();
    let store = cluster.store_with(&from(&cluster, &[&endpoints[0]])).await;
    let first = store.put("k", "v").await.expect("put");
    let request = WatchRequest::new(KeyRange::key("k")).from(first);
    let mut watch = store.watch(request).await.expect("a watch");
    assert_eq!(watch.next().await.expect("the put").revision, first);
    cluster.kill(1);
    cluster.kill(2);
    // Once it knows that there is no leader, it says so before it does anything.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let error = store.put("k", "lost").await.expect_err("no majority");
        if error.outcome() == Outcome::NotDone {
            assert!(error.to_string().contains("no leader"), "{error}");
            break;
        }
        assert!(Instant::now() < deadline, "{error}");
    }
    cluster.spawn(1);
    cluster.restart(2).await;
    let deadline = Instant::now() + PATIENCE;
    let written = loop {
        match store.put("k", "x").await {
            Ok(revision) => break revision,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    loop {
        let batch = timeout(PATIENCE, watch.next()).await.expect("in time");
        // Writes of unknown outcome may have happened.
        if batch.expect("it goes on").revision == written {
            break;
        }
    }
}

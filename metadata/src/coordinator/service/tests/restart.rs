//! A coordinator that finds what another left.

use std::time::Duration;

use super::super::*;
use super::world::*;
use crate::store::{KeyRange, MetadataStoreExt, Op, RangeRequest, Txn};

#[tokio::test(start_paused = true)]
async fn members_go_on_without_a_rebalance() {
    let world = World::new();
    let old = world.open().await;
    let member = one_member(&old, "g").await;
    let request = CommitRequest {
        generation: Some(1),
        member_id: member.clone(),
        ..commit("g", 42)
    };
    assert_eq!(old.commit_offsets(request).await, Ok(vec![Ok(())]));
    drop(old);

    tokio::time::sleep(Duration::from_secs(3600)).await;
    let new = world.open().await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(new.heartbeat(&heartbeat(&member, 1)), Ok(()));
    assert_eq!(committed(&new, "g").await, Some(42));
    let synced = new.sync(sync("g", &member, 1)).await.expect("syncs");
    assert_eq!(synced.assignment, "all");

    tokio::time::sleep(Duration::from_secs(11)).await;
    let silent = new.heartbeat(&heartbeat(&member, 1));
    assert_eq!(
        silent,
        Err(GroupError::UnknownMemberId),
        "sessions run again"
    );
}

#[tokio::test(start_paused = true)]
async fn many_pages_of_offsets_are_loaded() {
    let world = World::new();
    let coordinator = world.open().await;
    let request = CommitRequest {
        offsets: (0..2500).map(|index| to_commit(index, 5)).collect(),
        ..commit("g", 0)
    };
    let result = coordinator.commit_offsets(request).await;
    assert_eq!(result, Ok(vec![Ok(()); 2500]));
    let reopened = world.open().await;
    let fetched = reopened
        .fetch_offsets(&"g".into(), None)
        .await
        .expect("served");
    assert_eq!(fetched.partitions.len(), 2500);
}

#[tokio::test(start_paused = true)]
async fn damage_is_reported_and_nothing_is_skipped() {
    let world = World::new();
    let coordinator = world.open().await;
    one_member(&coordinator, "g").await;
    let result = coordinator.commit_offsets(commit("other", 1)).await;
    assert_eq!(result, Ok(vec![Ok(())]));
    drop(coordinator);
    for key in world.keys().await {
        let store = world.store.inner();
        let range = RangeRequest::new(KeyRange::key(key.clone()));
        let kv = store.range(range).await.expect("reads").kvs.remove(0);
        let mut changed = kv.value.to_vec();
        changed[5] ^= 1;
        store
            .txn(Txn::new().then(Op::put(key.clone(), changed)))
            .await
            .expect("writes");
        match world.try_open(GroupConfig::default()).await {
            Err(OpenError::Damaged { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{key} is damaged and yet: {other:?}"),
        }
        store.put(key, kv.value).await.expect("writes");
    }
    assert!(world.try_open(GroupConfig::default()).await.is_ok());
}

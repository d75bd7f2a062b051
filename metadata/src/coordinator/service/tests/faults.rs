//! A store that fails, and ownership that ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::super::*;
use super::world::*;
use crate::store::MetadataStoreExt;

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_counts_once() {
    let world = World::new();
    let coordinator = world.open().await;
    world.store.set(Fault::AnswerLost);
    let result = coordinator.commit_offsets(commit("g", 1)).await;
    assert_eq!(result, Ok(vec![Ok(())]), "found by its writer's key");
    assert_eq!(committed(&coordinator, "g").await, Some(1));
    assert_eq!(coordinator.stats().transactions, 1);
    world.store.set(Fault::None);
    let result = coordinator.commit_offsets(commit("g", 2)).await;
    assert_eq!(result, Ok(vec![Ok(())]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_told_as_retriable_and_waited_for() {
    for fault in [Fault::Refused, Fault::Hangs] {
        let world = World::new();
        let coordinator = world.open().await;
        world.store.set(fault);
        let start = Instant::now();
        let result = coordinator.commit_offsets(commit("g", 1)).await;
        assert_eq!(result, Err(GroupError::CoordinatorNotAvailable));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert_eq!(committed(&coordinator, "g").await, None);
        world.store.set(Fault::None);
        let other = beside_g().next().expect("endless");
        let result = coordinator.commit_offsets(commit(&other, 2)).await;
        assert_eq!(result, Ok(vec![Ok(())]));
        let first = committed(&coordinator, "g").await;
        assert_eq!(first, Some(1), "in the order asked");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_of_a_transaction_overwrites_nothing() {
    let world = World::new();
    let coordinator = world.open().await;
    world.store.set(Fault::Delayed);
    let first = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.commit_offsets(commit("g", 1)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.store.set(Fault::None);
    assert_eq!(first.await.expect("runs"), Ok(vec![Ok(())]));
    let second = coordinator.commit_offsets(commit("g", 2)).await;
    assert_eq!(second, Ok(vec![Ok(())]));

    let late: Vec<_> = world.store.delayed.lock().drain(..).collect();
    assert!(!late.is_empty());
    for txn in late {
        let response = world.store.inner().txn(txn).await.expect("answers");
        assert!(!response.succeeded);
    }
    let reopened = world.open().await;
    assert_eq!(committed(&reopened, "g").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn an_assignment_is_not_handed_out_while_the_store_is_away() {
    let world = World::new();
    let coordinator = world.open().await;
    let joined = coordinator.join(join("g")).await.expect("joins");
    world.store.set(Fault::Hangs);
    let request = sync("g", &joined.member_id, 1);
    let result = coordinator.sync(request).await;
    assert_eq!(result, Err(GroupError::CoordinatorNotAvailable));
    world.store.set(Fault::None);
    let again = JoinRequest {
        member_id: joined.member_id.clone(),
        ..join("g")
    };
    let joined = coordinator.join(again).await.expect("joins");
    assert_eq!(joined.generation, 2);
    let request = sync("g", &joined.member_id, 2);
    assert!(coordinator.sync(request).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_coordinator_that_starts_later_wins() {
    let world = World::new();
    let old = world.open().await;
    let member = one_member(&old, "g").await;
    let new = world.open().await;
    let other = beside_g().next().expect("endless");
    let result = old.commit_offsets(commit(&other, 1)).await;
    assert_eq!(result, Err(GroupError::NotCoordinator));
    let heartbeat = heartbeat(&member, 1);
    assert_eq!(old.heartbeat(&heartbeat), Err(GroupError::NotCoordinator));
    let fetched = old.fetch_offsets(&"g".into(), None).await;
    assert_eq!(fetched, Err(GroupError::NotCoordinator));
    let joined = old.join(join("g")).await;
    assert_eq!(
        joined.map_err(|failure| failure.error),
        Err(GroupError::NotCoordinator)
    );
    assert_eq!(new.heartbeat(&heartbeat), Ok(()));
    assert_eq!(committed(&new, &other).await, None);
}

#[tokio::test(start_paused = true)]
async fn ownership_is_part_of_every_transaction() {
    let world = World::owned_by_key(Some("/owner"));
    let refused = world.try_open(GroupConfig::default()).await;
    assert!(matches!(refused, Err(OpenError::NotOwner)));

    let store = world.store.inner();
    store.put("/owner", "me").await.expect("puts");
    let coordinator = world.open().await;
    let result = coordinator.commit_offsets(commit("g", 1)).await;
    assert_eq!(result, Ok(vec![Ok(())]));
    store.delete("/owner").await.expect("deletes");
    let result = coordinator.commit_offsets(commit("g", 2)).await;
    assert_eq!(result, Err(GroupError::NotCoordinator));
    let stopped = StoppedShard {
        shard: group_shard(&"g".into()),
        error: GroupError::NotCoordinator,
    };
    assert_eq!(coordinator.stopped().await, stopped);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_prove_ownership_serves_nothing_from_memory() {
    let world = World::new();
    let coordinator = world.open().await;
    let result = coordinator.commit_offsets(commit("g", 1)).await;
    assert_eq!(result, Ok(vec![Ok(())]));
    world.ownership.held.store(false, Ordering::SeqCst);
    let fetched = coordinator.fetch_offsets(&"g".into(), None).await;
    assert_eq!(fetched, Err(GroupError::NotCoordinator));
    let listed = coordinator.list_groups(&ListFilter::default());
    assert_eq!(listed, Err(GroupError::NotCoordinator));
    // It may only have been frozen: what nobody took meanwhile is served again.
    world.ownership.held.store(true, Ordering::SeqCst);
    assert_eq!(committed(&coordinator, "g").await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_answers_everybody() {
    let world = World::new();
    let coordinator = world.open().await;
    let waiting = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.join(join("g")).await }
    });
    until(|| coordinator.stats().groups != 0).await;
    world.store.set(Fault::Stopped);
    let other = beside_g().next().expect("endless");
    let result = coordinator.commit_offsets(commit(&other, 1)).await;
    assert_eq!(result, Err(GroupError::CoordinatorNotAvailable));
    let joined = waiting.await.expect("runs");
    assert_eq!(
        joined.map_err(|failure| failure.error),
        Err(GroupError::CoordinatorNotAvailable)
    );
}

#[tokio::test(start_paused = true)]
async fn closing_answers_everybody() {
    let world = World::new();
    let coordinator = world.open().await;
    let waiting = tokio::spawn({
        let coordinator = coordinator.clone();
        async move { coordinator.join(join("g")).await }
    });
    until(|| coordinator.stats().groups != 0).await;
    coordinator.close();
    let joined = waiting.await.expect("runs");
    assert_eq!(
        joined.map_err(|failure| failure.error),
        Err(GroupError::NotCoordinator)
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_and_recovers() {
    let world = World::new();
    let coordinator = world.open().await;
    world.store.set(Fault::Hangs);
    // Each write is large, so that few of them fill the queue.
    let large = || {
        let offsets = (0..1000).map(|index| crate::coordinator::group::OffsetToCommit {
            metadata: "x".repeat(4000),
            ..to_commit(index, 1)
        });
        CommitRequest {
            offsets: offsets.collect(),
            ..commit("g", 0)
        }
    };
    let mut commits = JoinSet::new();
    for _ in 0..24 {
        let coordinator = coordinator.clone();
        commits.spawn(async move { coordinator.commit_offsets(large()).await });
    }
    let start = Instant::now();
    let first = commits.join_next().await.expect("some").expect("runs");
    assert_eq!(first, Err(GroupError::CoordinatorNotAvailable));
    assert_eq!(start.elapsed(), Duration::ZERO, "refused at once");
    world.store.set(Fault::None);
    let results = commits.join_all().await;
    assert!(results.iter().filter(|result| result.is_ok()).count() >= 15);
    let result = coordinator.commit_offsets(commit("g", 2)).await;
    assert_eq!(result, Ok(vec![Ok(())]));
}

//! Shards that move between brokers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::*;
use super::cluster::*;
use super::world::*;
use crate::store::MetadataStoreExt;

const NOT_HERE: GroupError = GroupError::NotCoordinator;

#[tokio::test(start_paused = true)]
async fn members_and_commits_move_along_without_a_rebalance() {
    let cluster = Cluster::new();
    let (old, _) = cluster.broker(1).await;
    let (new, _) = cluster.broker(2).await;
    cluster.give(shard(), &old).await;
    cluster.give(group_shard(&elsewhere().into()), &old).await;
    let member = one_member(&old.groups, "g").await;
    let in_generation = |offset| CommitRequest {
        generation: Some(1),
        member_id: member.clone(),
        ..commit("g", offset)
    };
    let committed = old.groups.commit_offsets(in_generation(42)).await;
    assert_eq!(committed, Ok(vec![Ok(())]));

    cluster.give(shard(), &new).await;
    assert_eq!(new.fetch("g").await, Ok(Some(42)));
    let alive = heartbeat(&member, 1);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert_eq!(new.groups.heartbeat(&alive), Ok(()));
    }
    let committed = new.groups.commit_offsets(in_generation(43)).await;
    assert_eq!(committed, Ok(vec![Ok(())]), "of the same generation");

    // The old one finds out with the first write.
    assert_eq!(old.commit("g", 7).await, Err(NOT_HERE));
    assert_eq!(old.groups.heartbeat(&alive), Err(NOT_HERE));
    assert_eq!(new.fetch("g").await, Ok(Some(43)));
}

#[tokio::test(start_paused = true)]
async fn a_fenced_shard_stops_alone_and_says_so() {
    let cluster = Cluster::new();
    let (old, _) = cluster.broker(1).await;
    let (new, _) = cluster.broker(2).await;
    let other = group_shard(&elsewhere().into());
    cluster.give(shard(), &old).await;
    cluster.give(other, &old).await;
    cluster.give(shard(), &new).await;
    assert_eq!(old.groups.owned().len(), 2, "it has not heard of it");
    assert_eq!(old.commit("g", 1).await, Err(NOT_HERE));
    let stopped = StoppedShard {
        shard: shard(),
        error: NOT_HERE,
    };
    assert_eq!(old.groups.stopped().await, stopped);
    assert_eq!(old.groups.owned(), [other]);
    assert_eq!(old.commit(elsewhere(), 1).await, Ok(()));

    // It is told of once, and not at all when it is open again, or was closed on purpose.
    cluster.give(shard(), &old).await;
    assert_eq!(new.commit("g", 1).await, Err(NOT_HERE));
    new.groups.close_shard(shard());
    old.groups.close_shard(other);
    for broker in [&old, &new] {
        let told = tokio::time::timeout(Duration::from_secs(60), broker.groups.stopped());
        assert!(told.await.is_err());
    }
}

/// I14: nobody is told an offset older than one that was acknowledged elsewhere.
#[tokio::test(start_paused = true)]
async fn who_has_not_heard_of_the_move_tells_no_old_offsets() {
    let cluster = Cluster::new();
    let (old, _) = cluster.broker(1).await;
    let (new, _) = cluster.broker(2).await;
    cluster.give(shard(), &old).await;
    assert_eq!(old.commit("g", 1).await, Ok(()));
    assert_eq!(old.fetch("g").await, Ok(Some(1)));
    cluster.give(shard(), &new).await;
    assert_eq!(new.commit("g", 2).await, Ok(()));
    assert!(old.session.is_alive());
    assert_eq!(old.fetch("g").await, Err(NOT_HERE));
    assert_eq!(old.groups.stopped().await.shard, shard());
    assert_eq!(new.fetch("g").await, Ok(Some(2)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_when_a_shard_moves_takes_no_effect() {
    for session_ends in [false, true] {
        let cluster = Cluster::new();
        let (old, old_store) = cluster.broker(1).await;
        let (new, _) = cluster.broker(2).await;
        cluster.give(shard(), &old).await;
        assert_eq!(old.commit("g", 1).await, Ok(()));

        // Frozen with one commit on its way and one behind it.
        old_store.set(Fault::Hangs);
        let sent = old.begin_commit("g", 2);
        until(|| old_store.hanging.load(Ordering::SeqCst) == 1).await;
        let queued = old.begin_commit("g", 3);
        until(|| old.groups.stats().queued_writes == 1).await;
        if session_ends {
            let key = cluster.keys.broker(old.session.broker_id());
            assert!(cluster.store.delete(key).await.expect("deletes"));
        }
        cluster.give(shard(), &new).await;
        assert_eq!(new.fetch("g").await, Ok(Some(1)));

        old_store.set(Fault::None);
        assert_eq!(sent.await.expect("runs"), Err(NOT_HERE));
        assert_eq!(queued.await.expect("runs"), Err(NOT_HERE));
        assert_eq!(old.commit("g", 4).await, Err(NOT_HERE));
        assert_eq!(new.fetch("g").await, Ok(Some(1)));
        assert_eq!(new.commit("g", 5).await, Ok(()));
        assert_eq!(new.fetch("g").await, Ok(Some(5)));
    }
}

/// The record alone fences, also before the new coordinator has done anything.
#[tokio::test(start_paused = true)]
async fn a_record_written_anew_ends_the_right_to_commit() {
    let cluster = Cluster::new();
    let (old, _) = cluster.broker(1).await;
    cluster.give(shard(), &old).await;
    assert_eq!(old.commit("g", 1).await, Ok(()));
    let revision = cluster.assign(shard(), 1).await;
    assert_eq!(old.commit("g", 2).await, Err(NOT_HERE));
    // Its own again: it opens it again and goes on.
    old.open(shard(), revision).await.expect("opens");
    assert_eq!(old.fetch("g").await, Ok(Some(1)));
    assert_eq!(old.commit("g", 3).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_in_a_move_is_seen_if_it_counts() {
    for is_taken_over in [false, true] {
        let cluster = Cluster::new();
        let (old, old_store) = cluster.broker(1).await;
        let (new, _) = cluster.broker(2).await;
        cluster.give(shard(), &old).await;
        old_store.set(Fault::AnswerLost);
        let commit = old.begin_commit("g", 1);
        until(|| !old_store.is(Fault::AnswerLost)).await;
        let revision = cluster.assign(shard(), 2).await;
        if is_taken_over {
            new.open(shard(), revision).await.expect("opens");
            // It may have counted: what cannot be looked up any more is not acknowledged.
            assert_eq!(commit.await.expect("runs"), Err(NOT_HERE));
        } else {
            assert_eq!(
                commit.await.expect("runs"),
                Ok(()),
                "found by its writer's key"
            );
            new.open(shard(), revision).await.expect("opens");
        }
        assert_eq!(new.fetch("g").await, Ok(Some(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_shard_answers_its_clients_and_no_others() {
    let cluster = Cluster::new();
    let (broker, store) = cluster.broker(1).await;
    cluster.give(shard(), &broker).await;
    cluster
        .give(group_shard(&elsewhere().into()), &broker)
        .await;
    store.set(Fault::Hangs);
    let here = broker.begin_commit("g", 1);
    let there = broker.begin_commit(elsewhere(), 1);
    until(|| broker.groups.stats().groups == 2).await;
    broker.groups.close_shard(shard());
    assert_eq!(here.await.expect("runs"), Err(NOT_HERE));
    assert_eq!(broker.fetch("g").await, Err(NOT_HERE));
    store.set(Fault::None);
    assert_eq!(there.await.expect("runs"), Ok(()));
    assert_eq!(broker.groups.stats().queued_writes, 0);
    let listed = broker.groups.list_groups(&ListFilter::default());
    let listed = listed.expect("served");
    assert!(
        listed
            .iter()
            .map(|group| group.group_id.as_str())
            .eq([elsewhere()])
    );
}

//! How a shard is opened, and what comes between.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::rand::SeededRandom;

use super::super::*;
use super::cluster::*;
use super::world::{
    Fault, beside_g, commit_on, create_topic, delete_topic, group_shard, heartbeat, topics_of,
    until,
};
use crate::store::Revision;
use crate::store::fault::{self, Faults};
use crate::view::ClusterView;

const LOADING: GroupError = GroupError::CoordinatorLoadInProgress;

#[tokio::test(start_paused = true)]
async fn a_shard_is_with_nobody_then_loading_then_served() {
    let cluster = Cluster::new();
    let (broker, store) = cluster.broker(1).await;
    cluster
        .give(group_shard(&elsewhere().into()), &broker)
        .await;
    assert_eq!(broker.commit("g", 1).await, Err(GroupError::NotCoordinator));

    store.set(Fault::Hangs);
    let revision = cluster.assign(shard(), 1).await;
    let opening = tokio::spawn({
        let broker = broker.clone();
        async move { broker.open(shard(), revision).await }
    });
    let silent = heartbeat(&"m".into(), 1);
    until(|| broker.groups.heartbeat(&silent) == Err(LOADING)).await;
    assert_eq!(broker.commit("g", 1).await, Err(LOADING));
    assert_eq!(broker.fetch("g").await, Err(LOADING));
    let listed = broker.groups.list_groups(&ListFilter::default());
    assert_eq!(listed, Err(LOADING), "the list would not be complete");
    assert_eq!(broker.fetch(elsewhere()).await, Ok(None), "others go on");

    store.set(Fault::None);
    opening.await.expect("runs").expect("opens");
    assert_eq!(broker.commit("g", 1).await, Ok(()));
    assert_eq!(
        broker
            .groups
            .list_groups(&ListFilter::default())
            .map(|l| l.len()),
        Ok(1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_when_it_is_of_no_more_use() {
    let cluster = Cluster::new();
    let (broker, store) = cluster.broker(1).await;
    let revision = cluster.assign(shard(), 1).await;
    let open = || {
        let broker = broker.clone();
        tokio::spawn(async move { broker.open(shard(), revision).await })
    };
    let silent = heartbeat(&"m".into(), 1);
    let is_loading = || broker.groups.heartbeat(&silent) == Err(LOADING);

    store.set(Fault::Hangs);
    let first = open();
    until(is_loading).await;
    broker.groups.close_shard(shard());
    let ended = first.await.expect("runs");
    assert!(matches!(ended, Err(OpenError::Closed)), "{ended:?}");
    assert!(!is_loading());

    let second = open();
    until(is_loading).await;
    let third = open();
    let ended = second.await.expect("runs");
    assert!(matches!(ended, Err(OpenError::Closed)), "{ended:?}");
    assert!(is_loading(), "by the one that came last");
    third.abort();
    assert!(third.await.is_err());
    assert!(!is_loading(), "nobody loads it any more");

    let fourth = open();
    store.set(Fault::None);
    fourth.await.expect("runs").expect("opens");
    assert_eq!(broker.commit("g", 1).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_the_owner_does_not_open_and_disturbs_nobody() {
    let cluster = Cluster::new();
    let (owner, _) = cluster.broker(1).await;
    let (stranger, _) = cluster.broker(2).await;
    let former = cluster.assign(shard(), 2).await;
    cluster.give(shard(), &owner).await;
    let start = tokio::time::Instant::now();
    for revision in [former, Revision::NONE] {
        let refused = stranger.open(shard(), revision).await;
        assert!(matches!(refused, Err(OpenError::NotOwner)), "{refused:?}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "at once");
    assert_eq!(
        stranger.commit("g", 1).await,
        Err(GroupError::NotCoordinator)
    );
    assert_eq!(owner.commit("g", 1).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn faults_while_a_shard_is_opened_are_got_over() {
    use fault::Fault::{Refused, ReplyLost, RequestLost};
    let cluster = Cluster::new();
    let (former, _) = cluster.broker(1).await;
    cluster.give(shard(), &former).await;
    assert_eq!(former.commit("g", 1).await, Ok(()));
    for script in [
        vec![ReplyLost],
        vec![RequestLost, ReplyLost],
        vec![Refused, RequestLost, Refused, ReplyLost],
    ] {
        let faults = Faults::new(SeededRandom::new(1));
        let store = fault::FaultyStore::new(cluster.store.clone(), faults.clone());
        let broker = cluster.broker_over(2, Arc::new(store)).await;
        faults.next(script);
        cluster.give(shard(), &broker).await;
        assert_eq!(broker.fetch("g").await, Ok(Some(1)));
        assert_eq!(broker.commit("g", 1).await, Ok(()));

        // Away for a while between take-over and reading, and then for longer than anybody waits.
        faults.away_for(Duration::from_secs(5));
        cluster.give(shard(), &broker).await;
        assert_eq!(broker.fetch("g").await, Ok(Some(1)));
        faults.away_for(Duration::from_secs(60));
        let revision = cluster.assign(shard(), 2).await;
        let failed = broker.open(shard(), revision).await;
        assert!(matches!(failed, Err(OpenError::Store(_))), "{failed:?}");
        assert_eq!(broker.fetch("g").await, Err(GroupError::NotCoordinator));
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_deleted_while_a_shard_was_with_nobody_is_noticed() {
    let cluster = Cluster::new();
    let (broker, _) = cluster.broker(1).await;
    for topic in ["t", "u", "v"] {
        create_topic(&cluster.store, topic).await;
    }
    let view = ClusterView::open(cluster.store.clone(), cluster.keys.clone()).await;
    broker.groups.follow_topics(Arc::new(view.expect("opens")));
    let others = beside_g().next().expect("endless");
    cluster.give(shard(), &broker).await;
    for topic in ["t", "u", "v"] {
        for group in ["g", &others] {
            let result = broker.groups.commit_offsets(commit_on(group, topic)).await;
            assert_eq!(result, Ok(vec![Ok(())]));
        }
    }
    broker.groups.close_shard(shard());
    delete_topic(&cluster.store, "u").await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    cluster.give(shard(), &broker).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for group in ["g", &others] {
        assert_eq!(topics_of(&broker.groups, group).await, ["t", "v"]);
    }
    delete_topic(&cluster.store, "v").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        topics_of(&broker.groups, "g").await,
        ["t"],
        "while it is open"
    );
}

/// The other broker knew of a topic before this one did.
#[tokio::test(start_paused = true)]
async fn offsets_of_topics_younger_than_the_picture_are_kept() {
    let cluster = Cluster::new();
    let (old, _) = cluster.broker(1).await;
    let (new, _) = cluster.broker(2).await;
    let faults = Faults::new(SeededRandom::new(1));
    let store = fault::FaultyStore::new(cluster.store.clone(), faults.clone());
    let view = ClusterView::open(Arc::new(store), cluster.keys.clone()).await;
    let view = Arc::new(view.expect("opens"));
    new.groups.follow_topics(view.clone());
    faults.away_for(Duration::from_secs(30));

    create_topic(&cluster.store, "t").await;
    cluster.give(shard(), &old).await;
    let result = old.groups.commit_offsets(commit_on("g", "t")).await;
    assert_eq!(result, Ok(vec![Ok(())]));
    cluster.give(shard(), &new).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(view.topics().named("t").is_none(), "still behind");
    assert_eq!(topics_of(&new.groups, "g").await, ["t"]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(view.topics().named("t").is_some());
    assert_eq!(topics_of(&new.groups, "g").await, ["t"]);
    // What is deleted is dropped all the same.
    delete_topic(&cluster.store, "t").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(topics_of(&new.groups, "g").await.is_empty());
}

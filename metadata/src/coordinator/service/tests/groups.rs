//! Groups from the first join to their deletion.

use std::time::Duration;

use tokio::time::Instant;

use super::super::*;
use super::world::*;
use crate::coordinator::group::GroupState;

#[tokio::test(start_paused = true)]
async fn a_member_joins_commits_and_leaves() {
    let world = World::new();
    let coordinator = world.open().await;
    let start = Instant::now();
    let member = one_member(&coordinator, "g").await;
    assert_eq!(start.elapsed(), Duration::from_secs(3), "the initial delay");
    assert!(member.as_str().starts_with("c-"));
    assert_eq!(coordinator.heartbeat(&heartbeat(&member, 1)), Ok(()));

    let request = CommitRequest {
        generation: Some(1),
        member_id: member.clone(),
        ..commit("g", 42)
    };
    assert_eq!(coordinator.commit_offsets(request).await, Ok(vec![Ok(())]));
    assert_eq!(committed(&coordinator, "g").await, Some(42));
    assert_eq!(committed(&coordinator, "other").await, None);

    let shown = coordinator.describe_group(&"g".into()).expect("exists");
    assert_eq!((shown.state, shown.members.len()), (GroupState::Stable, 1));
    assert_eq!(coordinator.leave(leave(&member)).await, Ok(vec![Ok(())]));
    assert_eq!(world.keys().await.len(), 2, "the group and its offset");
    assert_eq!(coordinator.delete_group(&"g".into()).await, Ok(()));
    assert!(world.keys().await.is_empty());
    assert_eq!(
        coordinator.describe_group(&"g".into()),
        Err(GroupError::GroupIdNotFound)
    );
}

#[tokio::test(start_paused = true)]
async fn sessions_end_in_real_time() {
    let world = World::new();
    let coordinator = world.open().await;
    let member = one_member(&coordinator, "g").await;
    tokio::time::sleep(Duration::from_millis(9_900)).await;
    assert_eq!(coordinator.heartbeat(&heartbeat(&member, 1)), Ok(()));
    tokio::time::sleep(Duration::from_millis(10_100)).await;
    let gone = coordinator.heartbeat(&heartbeat(&member, 1));
    assert_eq!(gone, Err(GroupError::UnknownMemberId));
    let shown = coordinator.describe_group(&"g".into()).expect("exists");
    assert_eq!(shown.state, GroupState::Empty);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_members_rebalance_together() {
    let world = World::new();
    let coordinator = world.open().await;
    let mut members = JoinSet::new();
    for _ in 0..1000 {
        let coordinator = coordinator.clone();
        members.spawn(async move {
            let joined = coordinator.join(join("g")).await.expect("joins");
            assert_eq!(joined.generation, 1);
            let is_leader = joined.leader == joined.member_id;
            assert_eq!(joined.members.len(), if is_leader { 1000 } else { 0 });
            let own = |member: &crate::coordinator::group::JoinedMember| {
                let id = member.member_id.clone();
                let text = id.as_str().as_bytes().to_vec();
                (id, text.into())
            };
            let request = SyncRequest {
                assignments: joined.members.iter().map(own).collect(),
                ..sync("g", &joined.member_id, 1)
            };
            let synced = coordinator.sync(request).await.expect("syncs");
            assert_eq!(synced.assignment, joined.member_id.as_str());
        });
    }
    let done = members.join_all().await;
    assert_eq!(done.len(), 1000);
    assert_eq!(
        coordinator.stats().transactions,
        1,
        "one record for the group"
    );
}

#[tokio::test(start_paused = true)]
async fn commits_of_many_groups_share_transactions() {
    let world = World::new();
    let coordinator = world.open().await;
    world.store.set(Fault::Hangs);
    let mut commits = JoinSet::new();
    for name in beside_g().take(500) {
        let coordinator = coordinator.clone();
        commits.spawn(async move { coordinator.commit_offsets(commit(&name, 1)).await });
    }
    until(|| coordinator.stats().groups >= 500).await;
    world.store.set(Fault::None);
    for result in commits.join_all().await {
        assert_eq!(result, Ok(vec![Ok(())]));
    }
    let stats = coordinator.stats();
    assert_eq!(stats.stored_writes, 500);
    assert!(
        stats.transactions <= 5,
        "{} transactions",
        stats.transactions
    );
    let seen = world.store.seen.lock();
    let largest = seen.iter().map(|txn| txn.then_ops.len()).max();
    assert_eq!(largest, Some(128), "as large as the store takes");
}

#[tokio::test(start_paused = true)]
async fn a_commit_larger_than_a_transaction_is_stored_whole() {
    let world = World::new();
    let coordinator = world.open().await;
    let request = CommitRequest {
        offsets: (0..1000).map(|index| to_commit(index, 5)).collect(),
        ..commit("g", 0)
    };
    let result = coordinator.commit_offsets(request).await;
    assert_eq!(result, Ok(vec![Ok(()); 1000]));
    assert_eq!(coordinator.stats().transactions, 8);
    let fetched = coordinator.fetch_offsets(&"g".into(), None).await;
    assert_eq!(fetched.expect("served").partitions.len(), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_group_too_large_to_be_stored_does_not_get_stable() {
    let world = World::new();
    let coordinator = world.open().await;
    let joined = coordinator.join(join("g")).await.expect("joins");
    let request = SyncRequest {
        assignments: vec![(joined.member_id.clone(), vec![0; 2 << 20].into())],
        ..sync("g", &joined.member_id, 1)
    };
    let refused = coordinator.sync(request).await;
    assert_eq!(refused, Err(GroupError::StateTooLarge));
    assert!(world.keys().await.is_empty());
    // The coordinator goes on.
    let other = coordinator.commit_offsets(commit("other", 1)).await;
    assert_eq!(other, Ok(vec![Ok(())]));
}

#[tokio::test(start_paused = true)]
async fn lists_filter_by_state_and_type() {
    let world = World::new();
    let coordinator = world.open().await;
    one_member(&coordinator, "b").await;
    coordinator
        .commit_offsets(commit("a", 1))
        .await
        .expect("commits")[0]
        .expect("commits");
    let list = |states: &[&str], types: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
        let filter = ListFilter {
            states: owned(states),
            types: owned(types),
        };
        let listed = coordinator.list_groups(&filter).expect("served");
        listed
            .into_iter()
            .map(|listing| listing.group_id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&[], &[]), ["a", "b"]);
    assert_eq!(list(&["stable"], &[]), ["b"]);
    assert_eq!(list(&["EMPTY", "Dead"], &["Classic"]), ["a"]);
    assert!(list(&["nonsense"], &[]).is_empty());
    assert!(list(&[], &["consumer"]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn old_offsets_are_dropped_from_the_store() {
    let world = World::new();
    let coordinator = world.open().await;
    let result = coordinator.commit_offsets(commit("g", 1)).await;
    assert_eq!(result, Ok(vec![Ok(())]));
    world.pass_wall_time(Duration::from_secs(7 * 24 * 3600));
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert!(world.keys().await.is_empty());
    assert_eq!(coordinator.stats().groups, 0);
}

#[tokio::test(start_paused = true)]
async fn offsets_of_deleted_topics_are_dropped_from_the_store() {
    let world = World::new();
    for name in ["t", "u"] {
        world.create_topic(name).await;
    }
    let coordinator = world.open().await;
    for topic in ["gone", "t", "u"] {
        let result = coordinator.commit_offsets(commit_on("g", topic)).await;
        assert_eq!(result, Ok(vec![Ok(())]));
    }
    let view = world.view().await;
    coordinator.follow_topics(view.clone());
    // The picture has to reach the revision at which the groups were loaded.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        topics_of(&coordinator, "g").await,
        ["t", "u"],
        "deleted while nobody followed"
    );

    world.delete_topic("u").await;
    until(|| coordinator.stats().stored_writes >= 5).await;
    assert_eq!(topics_of(&coordinator, "g").await, ["t"]);
    assert_eq!(world.keys().await.len(), 2, "the topic and its offset");
}

#[tokio::test(start_paused = true)]
async fn an_absurd_group_id_is_refused() {
    let world = World::new();
    let coordinator = world.open().await;
    let request = commit(&"g".repeat(2049), 1);
    let refused = coordinator.commit_offsets(request).await;
    assert_eq!(refused, Err(GroupError::InvalidGroupId));
    let longest = commit(&"/".repeat(2048), 1);
    let result = coordinator.commit_offsets(longest).await;
    assert_eq!(result, Ok(vec![Ok(())]));
}

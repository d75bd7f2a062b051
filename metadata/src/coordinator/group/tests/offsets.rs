//! OffsetCommit, OffsetFetch, OffsetDelete and retention.

use std::time::Duration;

use alluvium_common::offset::Offset;

use super::super::*;
use super::harness::*;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn offset_of(h: &Harness, partition_index: i32) -> Option<i64> {
    let asked = [partition(1, partition_index)];
    let fetched = h.registry.fetch_offsets(&"g".into(), Some(&asked));
    let (_, offset) = fetched.partitions.into_iter().next().expect("one answer");
    offset.and_then(|record| record.offset).map(Offset::get)
}

fn expire(h: &mut Harness) {
    let effects = h.registry.expire_offsets(h.now);
    h.take(effects);
}

fn delete(h: &mut Harness, partitions: &[(&str, i32)]) -> PartitionsResult {
    let waiter = h.waiter();
    let named = |(name, index): &(&str, i32)| {
        let id = if *name == "t" { 1 } else { 2 };
        (topic(name), partition(id, *index))
    };
    let request = OffsetDeleteRequest {
        group_id: "g".into(),
        partitions: partitions.iter().map(named).collect(),
    };
    let effects = h.registry.delete_offsets(&request, waiter, h.now);
    h.take(effects);
    match h.reply(waiter) {
        Some(Reply::OffsetDelete(result)) => result.clone(),
        other => panic!("no OffsetDelete answer: {other:?}"),
    }
}

#[test]
fn a_commit_counts_when_it_is_stored() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    h.store = None;
    let waiter = h.commit(commit(&ids[0], Some(1), 42));
    assert_eq!((h.reply(waiter), offset_of(&h, 0)), (None, None));
    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.committed(waiter), Ok(vec![Ok(())]));
    assert_eq!(offset_of(&h, 0), Some(42));

    let waiter = h.commit(commit(&ids[0], Some(1), 43));
    h.end_write(WriteOutcome::Failed(GroupError::NotCoordinator));
    assert_eq!(h.committed(waiter), Err(GroupError::NotCoordinator));
    assert_eq!(offset_of(&h, 0), Some(42));
}

#[test]
fn a_slow_commit_is_answered_and_still_counts() {
    let mut h = Harness::new();
    h.store = None;
    let waiter = h.commit(commit("", None, 42));
    let write = h.writes[0].clone();
    let effects = h
        .registry
        .on_slow_write(&write.group_id, write.token, h.now);
    h.take(effects);
    assert_eq!(
        h.committed(waiter),
        Err(GroupError::CoordinatorNotAvailable)
    );
    h.end_write(WriteOutcome::Applied);
    assert_eq!(offset_of(&h, 0), Some(42));
}

#[test]
fn who_may_commit() {
    let with = |member: &str, generation| commit(member, generation, 1);
    let fenced = CommitRequest {
        instance_id: Some("i".into()),
        ..with("a-1", Some(1))
    };
    // (state before, request, expected)
    let stable: [(CommitRequest, Result<(), GroupError>); 6] = [
        (with("a-1", Some(1)), Ok(())),
        (with("a-1", Some(0)), Err(GroupError::IllegalGeneration)),
        (with("a-1", None), Err(GroupError::IllegalGeneration)),
        (with("x", Some(1)), Err(GroupError::UnknownMemberId)),
        (with("", None), Err(GroupError::UnknownMemberId)),
        (fenced, Err(GroupError::UnknownMemberId)),
    ];
    for (request, expected) in stable {
        let mut h = Harness::new();
        h.stable_group(&["a"]);
        let waiter = h.commit(request.clone());
        let result = h.committed(waiter).map(|results| results[0]);
        assert_eq!(result.and_then(|r| r), expected, "{request:?}");
    }

    let mut h = Harness::new();
    let unknown = h.commit(with("a", Some(1)));
    assert_eq!(h.committed(unknown), Err(GroupError::GroupIdNotFound));
    assert!(h.registry.is_empty());
    let simple = h.commit(with("", None));
    assert_eq!(h.committed(simple), Ok(vec![Ok(())]));
    let stale = h.commit(with("a", Some(1)));
    assert_eq!(h.committed(stale), Err(GroupError::UnknownMemberId));

    // Members may commit what they are about to lose, not what they are about to get.
    let mut h = Harness::new();
    h.stable_group(&["a"]);
    h.add_member("b");
    let losing = h.commit(with("a-1", Some(1)));
    assert_eq!(h.committed(losing), Ok(vec![Ok(())]));
    h.join(rejoin("a-1"));
    let getting = h.commit(with("a-1", Some(2)));
    assert_eq!(h.committed(getting), Err(GroupError::RebalanceInProgress));
}

#[test]
fn metadata_is_bounded_partition_by_partition() {
    let mut h = Harness::new();
    let sized = |index, metadata: String| OffsetToCommit {
        metadata,
        ..to_commit("t", partition(1, index), 5)
    };
    let waiter = h.commit(CommitRequest {
        offsets: vec![
            sized(0, "x".repeat(4096)),
            sized(1, "x".repeat(4097)),
            // 4096 characters of two bytes each: Kafka counts UTF-16 units.
            sized(2, "ü".repeat(4096)),
            sized(3, "𝄞".repeat(2049)),
        ],
        ..commit("", None, 0)
    });
    let too_large = Err(GroupError::OffsetMetadataTooLarge);
    assert_eq!(
        h.committed(waiter),
        Ok(vec![Ok(()), too_large, Ok(()), too_large])
    );
    let stored = [0, 1, 2, 3].map(|index| offset_of(&h, index));
    assert_eq!(stored, [Some(5), None, Some(5), None]);
}

#[test]
fn of_two_commits_of_one_partition_in_a_request_the_later_counts() {
    let mut h = Harness::new();
    h.store = None;
    h.commit(CommitRequest {
        offsets: vec![
            to_commit("t", partition(1, 0), 1),
            to_commit("t", partition(1, 0), 2),
        ],
        ..commit("", None, 0)
    });
    assert_eq!(h.writes[0].ops.len(), 1, "a store takes each key once");
    h.end_write(WriteOutcome::Applied);
    assert_eq!(offset_of(&h, 0), Some(2));
}

#[test]
fn fetching_an_unknown_group_or_partition_is_no_error() {
    let mut h = Harness::new();
    assert_eq!(offset_of(&h, 0), None);
    let all = h.registry.fetch_offsets(&"g".into(), None);
    assert!(all.partitions.is_empty());
    h.commit(commit("", None, 9));
    assert_eq!(offset_of(&h, 1), None);
    let all = h.registry.fetch_offsets(&"g".into(), None);
    let (fetched, record) = &all.partitions[0];
    let record = record.as_ref().expect("committed");
    assert_eq!(*fetched, partition(1, 0));
    assert_eq!(
        (record.topic.as_str(), record.metadata.as_str()),
        ("t", "m")
    );
}

#[test]
fn offsets_in_use_are_not_deleted() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    h.commit(CommitRequest {
        offsets: vec![
            to_commit("t", partition(1, 0), 1),
            to_commit("u", partition(2, 0), 1),
        ],
        ..commit(&ids[0], Some(1), 0)
    });
    let result = delete(&mut h, &[("t", 0), ("u", 0), ("u", 7)]);
    let subscribed = Err(GroupError::GroupSubscribedToTopic);
    assert_eq!(result, Ok(vec![subscribed, Ok(()), Ok(())]));
    let left = h.registry.fetch_offsets(&"g".into(), None);
    assert_eq!(left.partitions.len(), 1);

    h.leave(&[(&ids[0], None)]);
    assert_eq!(delete(&mut h, &[("t", 0)]), Ok(vec![Ok(())]));
    assert_eq!(offset_of(&h, 0), None);
}

#[test]
fn offsets_of_a_group_whose_topics_are_unknown_need_it_empty() {
    assert_eq!(
        delete(&mut Harness::new(), &[("t", 0)]),
        Err(GroupError::GroupIdNotFound)
    );
    let mut h = Harness::new();
    let joined = h.join(JoinRequest {
        protocol_type: "connect".to_owned(),
        ..join("w")
    });
    h.advance(DELAY);
    assert_eq!(h.join_ok(joined).generation, 1);
    assert_eq!(delete(&mut h, &[("t", 0)]), Err(GroupError::NonEmptyGroup));

    // A consumer whose subscription cannot be read may be subscribed to anything.
    let mut h = Harness::new();
    h.join(JoinRequest {
        protocols: vec![Protocol {
            name: "range".to_owned(),
            metadata: "?".into(),
        }],
        ..join("c")
    });
    h.advance(DELAY);
    let result = delete(&mut h, &[("t", 0)]);
    assert_eq!(result, Ok(vec![Err(GroupError::GroupSubscribedToTopic)]));
}

#[test]
fn a_delete_comes_after_the_commit_before_it() {
    let mut h = Harness::new();
    h.store = None;
    h.commit(commit("", None, 1));
    let waiter = h.waiter();
    let request = OffsetDeleteRequest {
        group_id: "g".into(),
        partitions: vec![(topic("t"), partition(1, 0))],
    };
    let effects = h.registry.delete_offsets(&request, waiter, h.now);
    h.take(effects);
    assert_eq!(h.writes.len(), 2);
    h.end_write(WriteOutcome::Applied);
    h.end_write(WriteOutcome::Applied);
    assert_eq!(offset_of(&h, 0), None);
}

#[test]
fn an_empty_groups_offsets_expire_a_retention_after_it_became_empty() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    h.commit(commit(&ids[0], Some(1), 1));
    for _ in 0..9 {
        // Held for nine days by a member that only sends heartbeats, every 5 s of the last stretch.
        h.now.wall_ms += DAY.as_millis() as i64;
        expire(&mut h);
    }
    assert_eq!(offset_of(&h, 0), Some(1));
    h.leave(&[(&ids[0], None)]);
    h.now.wall_ms += 7 * DAY.as_millis() as i64 - 1;
    expire(&mut h);
    assert_eq!(offset_of(&h, 0), Some(1), "retention is never early (I23)");
    h.now.wall_ms += 1;
    expire(&mut h);
    assert!(h.registry.is_empty(), "nothing is left of the group");
}

#[test]
fn a_simple_groups_offsets_expire_a_retention_after_their_commit() {
    let mut h = Harness::new();
    h.commit(commit("", None, 1));
    h.now.wall_ms += 4 * DAY.as_millis() as i64;
    h.commit(CommitRequest {
        offsets: vec![to_commit("t", partition(1, 1), 2)],
        ..commit("", None, 0)
    });
    h.now.wall_ms += 4 * DAY.as_millis() as i64;
    expire(&mut h);
    assert_eq!((offset_of(&h, 0), offset_of(&h, 1)), (None, Some(2)));
}

#[test]
fn a_topic_nobody_subscribes_to_any_more_expires_in_a_stable_group() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    h.commit(CommitRequest {
        offsets: vec![
            to_commit("t", partition(1, 0), 1),
            to_commit("u", partition(2, 0), 1),
        ],
        ..commit(&ids[0], Some(1), 0)
    });
    h.now.wall_ms += 8 * DAY.as_millis() as i64;
    expire(&mut h);
    let left = h.registry.fetch_offsets(&"g".into(), None).partitions;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, partition(1, 0));
}

#[test]
fn a_commit_may_bring_its_own_retention() {
    let mut h = Harness::new();
    h.commit(CommitRequest {
        retention: Some(Duration::from_secs(60)),
        ..commit("", None, 1)
    });
    h.now.wall_ms += 59_999;
    expire(&mut h);
    assert_eq!(offset_of(&h, 0), Some(1));
    h.now.wall_ms += 1;
    expire(&mut h);
    assert_eq!(offset_of(&h, 0), None);
}

#[test]
fn a_group_with_a_commit_under_way_does_not_expire() {
    let mut h = Harness::new();
    h.commit(commit("", None, 1));
    h.now.wall_ms += 8 * DAY.as_millis() as i64;
    h.store = None;
    let waiter = h.commit(commit("", None, 2));
    expire(&mut h);
    assert_eq!(h.writes.len(), 1, "only the commit");
    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.committed(waiter), Ok(vec![Ok(())]));
    assert_eq!(offset_of(&h, 0), Some(2));
}

#[test]
fn offsets_of_deleted_topics_go() {
    let mut h = Harness::new();
    h.commit(CommitRequest {
        offsets: vec![
            to_commit("t", partition(1, 0), 1),
            to_commit("t", partition(1, 9), 1),
            to_commit("u", partition(2, 0), 1),
        ],
        ..commit("", None, 0)
    });
    let effects = h
        .registry
        .on_topics_deleted(&[partition(1, 0).topic_id], h.now);
    h.take(effects);
    let left = h.registry.fetch_offsets(&"g".into(), None).partitions;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, partition(2, 0));
}

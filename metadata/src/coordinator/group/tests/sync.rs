//! SyncGroup and Heartbeat.

use std::time::Duration;

use super::super::*;
use super::harness::*;

/// Two members that joined generation 1 and have not synced.
fn completing() -> Harness {
    let mut h = Harness::new();
    h.add_member("a");
    h.add_member("b");
    h.advance(DELAY * 3);
    assert_eq!(h.state(), GroupState::CompletingRebalance);
    h
}

fn ids() -> Vec<String> {
    vec!["a-1".to_owned(), "b-2".to_owned()]
}

#[test]
fn everybody_gets_what_the_leader_assigned_once_it_is_stored() {
    let mut h = completing();
    h.store = None;
    let waiters = h.sync_all(&ids(), 1);
    assert!(waiters.iter().all(|w| h.reply(*w).is_none()));
    let Some(WriteOp::PutGroup(record)) = h.writes[0].ops.first() else {
        panic!("the group is written")
    };
    assert_eq!((record.generation, record.members.len()), (1, 2));
    assert_eq!(record.members[1].assignment, "b-2");

    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.synced(waiters[0]), Ok("a-1".into()));
    assert_eq!(h.synced(waiters[1]), Ok("b-2".into()));
    assert_eq!(h.state(), GroupState::Stable);
}

#[test]
fn a_member_the_leader_forgot_gets_nothing_and_a_stranger_is_left_out() {
    let mut h = completing();
    let follower = h.sync(sync("b-2", 1));
    h.sync(SyncRequest {
        assignments: assign_own_ids(&["a-1".to_owned(), "stranger".to_owned()]),
        ..sync("a-1", 1)
    });
    assert_eq!(h.synced(follower), Ok("".into()));
    assert_eq!(h.describe().members.len(), 2);
}

#[test]
fn a_late_follower_gets_its_assignment_at_once() {
    let mut h = completing();
    h.sync(SyncRequest {
        assignments: assign_own_ids(&ids()),
        ..sync("a-1", 1)
    });
    let late = h.sync(sync("b-2", 1));
    assert_eq!(h.synced(late), Ok("b-2".into()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let with = |change: fn(&mut SyncRequest)| {
        let mut request = sync("a-1", 1);
        change(&mut request);
        request
    };
    let cases = [
        (with(|r| r.group_id = "".into()), GroupError::InvalidGroupId),
        (
            with(|r| r.group_id = "other".into()),
            GroupError::UnknownMemberId,
        ),
        (
            with(|r| r.member_id = "x".into()),
            GroupError::UnknownMemberId,
        ),
        (
            with(|r| r.instance_id = Some("i".into())),
            GroupError::UnknownMemberId,
        ),
        (with(|r| r.generation = 2), GroupError::IllegalGeneration),
        (
            with(|r| r.protocol = Some("sticky".to_owned())),
            GroupError::InconsistentGroupProtocol,
        ),
        (
            with(|r| r.protocol_type = Some("connect".to_owned())),
            GroupError::InconsistentGroupProtocol,
        ),
    ];
    for (request, error) in cases {
        let mut h = completing();
        let waiter = h.sync(request);
        assert_eq!(h.synced(waiter), Err(error));
    }
    // Versions before 5 name no protocol.
    let mut h = completing();
    let waiter = h.sync(with(|r| (r.protocol, r.protocol_type) = (None, None)));
    assert_eq!(h.synced(waiter), Ok("".into()));
}

#[test]
fn a_rebalance_sends_waiting_followers_back() {
    let mut h = completing();
    let follower = h.sync(sync("b-2", 1));
    h.add_member("c");
    assert_eq!(h.synced(follower), Err(GroupError::RebalanceInProgress));
    let during = h.sync(sync("a-1", 1));
    assert_eq!(h.synced(during), Err(GroupError::RebalanceInProgress));
}

#[test]
fn an_assignment_that_cannot_be_stored_is_not_handed_out() {
    let mut h = completing();
    h.store = None;
    let waiters = h.sync_all(&ids(), 1);
    h.end_write(WriteOutcome::Failed(GroupError::StateTooLarge));
    for waiter in waiters {
        assert_eq!(h.synced(waiter), Err(GroupError::StateTooLarge));
    }
    assert_eq!(h.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_assignment_stored_too_late_is_not_handed_out() {
    let mut h = completing();
    h.store = None;
    let waiters = h.sync_all(&ids(), 1);
    h.add_member("c");
    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.state(), GroupState::PreparingRebalance);
    for waiter in waiters {
        assert_eq!(h.synced(waiter), Err(GroupError::RebalanceInProgress));
    }
}

#[test]
fn a_slow_store_does_not_hold_members_for_ever() {
    let mut h = completing();
    h.store = None;
    let waiters = h.sync_all(&ids(), 1);
    let write = h.writes[0].clone();
    let effects = h
        .registry
        .on_slow_write(&write.group_id, write.token, h.now);
    h.take(effects);
    for waiter in waiters {
        assert_eq!(h.synced(waiter), Err(GroupError::CoordinatorNotAvailable));
    }
    assert_eq!(h.state(), GroupState::PreparingRebalance);
    h.end_write(WriteOutcome::Applied);
    assert_eq!(
        h.state(),
        GroupState::PreparingRebalance,
        "nobody would ask for it"
    );
}

#[test]
fn a_leader_that_asks_twice_stores_once() {
    let mut h = completing();
    h.store = None;
    let first = h.sync(sync("a-1", 1));
    let second = h.sync(sync("a-1", 1));
    assert_eq!(h.synced(first), Err(GroupError::RebalanceInProgress));
    assert_eq!(h.writes.len(), 1);
    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.synced(second), Ok("".into()));
}

#[test]
fn who_never_syncs_is_removed_at_the_rebalance_timeout() {
    let mut h = completing();
    h.sync(SyncRequest {
        assignments: assign_own_ids(&ids()),
        ..sync("a-1", 1)
    });
    for _ in 0..12 {
        h.advance(Duration::from_secs(5));
        let _ = (h.heartbeat("a-1", 1), h.heartbeat("b-2", 1));
    }
    assert_eq!(h.heartbeat("b-2", 1), Err(GroupError::UnknownMemberId));
    assert_eq!(h.heartbeat("a-1", 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn a_leader_that_never_syncs_is_removed_and_its_followers_try_again() {
    let mut h = completing();
    let follower = h.sync(sync("b-2", 1));
    h.advance(SESSION);
    assert_eq!(h.synced(follower), Err(GroupError::RebalanceInProgress));
    assert_eq!(h.describe().members.len(), 1);
    let alone = h.join(rejoin("b-2"));
    assert_eq!(h.join_ok(alone).leader.as_str(), "b-2");
}

#[test]
fn heartbeats_tell_each_member_where_it_stands() {
    let mut h = completing();
    assert_eq!(h.heartbeat("a-1", 1), Ok(()));
    assert_eq!(h.heartbeat("a-1", 0), Err(GroupError::IllegalGeneration));
    assert_eq!(h.heartbeat("x", 1), Err(GroupError::UnknownMemberId));
    h.sync_all(&ids(), 1);
    assert_eq!(h.heartbeat("b-2", 1), Ok(()));
    h.join(rejoin("a-1"));
    assert_eq!(h.heartbeat("b-2", 1), Err(GroupError::RebalanceInProgress));

    let mut empty = Harness::new();
    assert_eq!(empty.heartbeat("a", 1), Err(GroupError::UnknownMemberId));
    let nameless = HeartbeatRequest {
        group_id: "".into(),
        generation: 1,
        member_id: "a".into(),
        instance_id: None,
    };
    let result = empty.registry.heartbeat(&nameless, empty.now);
    assert_eq!(result, Err(GroupError::InvalidGroupId));
}

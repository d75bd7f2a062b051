//! Session time-outs.

use std::time::Duration;

use super::super::*;
use super::harness::*;

#[test]
fn a_silent_member_is_removed_and_the_others_rebalance() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    h.advance(SESSION - Duration::from_millis(1));
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
    h.advance(Duration::from_millis(1));
    assert_eq!(h.heartbeat(&ids[1], 1), Err(GroupError::UnknownMemberId));
    assert_eq!(
        h.heartbeat(&ids[0], 1),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_group_whose_members_all_fall_silent_is_empty_and_stored_so() {
    let mut h = Harness::new();
    h.stable_group(&["a"]);
    h.store = None;
    h.advance(SESSION);
    assert_eq!(h.state(), GroupState::Empty);
    let Some(WriteOp::PutGroup(record)) = h.writes[0].ops.first() else {
        panic!("the group is written")
    };
    assert_eq!((record.generation, record.members.len()), (2, 0));
    assert_eq!((&record.leader, &record.protocol), (&None, &None));
    assert_eq!(record.protocol_type.as_deref(), Some("consumer"));
}

#[test]
fn whoever_waits_for_an_answer_need_not_be_heard() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let waiting = h.join(rejoin(&ids[0]));
    for _ in 0..6 {
        h.advance(SESSION - Duration::from_secs(1));
        let other = h.heartbeat(&ids[1], 1);
        assert_eq!(other, Err(GroupError::RebalanceInProgress));
    }
    assert_eq!(h.reply(waiting), None);
    h.join(rejoin(&ids[1]));
    assert_eq!(h.join_ok(waiting).generation, 2);
    // The session counts from the answer.
    h.advance(SESSION - Duration::from_millis(1));
    assert_eq!(h.heartbeat(&ids[0], 2), Ok(()));
}

#[test]
fn a_newcomer_waits_five_minutes_and_not_for_ever() {
    let long = Duration::from_secs(3600);
    let mut h = Harness::new();
    let old = h.join(JoinRequest {
        rebalance_timeout: long,
        session_timeout: Duration::from_secs(1800),
        ..join("a")
    });
    h.advance(DELAY);
    let id = h.join_ok(old).member_id.to_string();
    h.sync(sync(&id, 1));
    let newcomer = h.join(JoinRequest {
        rebalance_timeout: long,
        ..join("b")
    });
    h.advance(Duration::from_secs(299));
    assert_eq!(h.reply(newcomer), None);
    h.advance(Duration::from_secs(1));
    assert_eq!(h.join_error(newcomer), (GroupError::UnknownMemberId, ""));
}

#[test]
fn commits_count_as_signs_of_life() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    for _ in 0..5 {
        h.advance(SESSION - Duration::from_secs(1));
        let waiter = h.commit(commit(&ids[0], Some(1), 7));
        assert_eq!(h.committed(waiter), Ok(vec![Ok(())]));
    }
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
}

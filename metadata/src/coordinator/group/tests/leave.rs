//! LeaveGroup.

use super::super::*;
use super::harness::*;

#[test]
fn the_others_rebalance_at_once() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let waiter = h.leave(&[(&ids[0], None)]);
    assert_eq!(h.left(waiter), Ok(vec![Ok(())]));
    assert_eq!(h.state(), GroupState::PreparingRebalance);
    let alone = h.join(rejoin(&ids[1]));
    assert_eq!(h.join_ok(alone).leader.as_str(), ids[1]);
}

#[test]
fn the_last_one_is_answered_when_the_empty_group_is_stored() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    h.store = None;
    let waiter = h.leave(&[(&ids[0], None)]);
    assert_eq!(h.reply(waiter), None);
    assert_eq!(h.state(), GroupState::Empty);
    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.left(waiter), Ok(vec![Ok(())]));
}

#[test]
fn a_batch_is_answered_member_by_member() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b", "c"]);
    h.join(JoinRequest {
        require_known_member_id: true,
        ..join("pending")
    });
    let waiter = h.leave(&[
        (&ids[0], None),
        ("stranger", None),
        (&ids[0], None),
        ("pending-4", None),
        ("", None),
        (&ids[1], Some("no-such-instance")),
    ]);
    let unknown = Err(GroupError::UnknownMemberId);
    let expected = vec![Ok(()), unknown, unknown, Ok(()), unknown, unknown];
    assert_eq!(h.left(waiter), Ok(expected));
    assert_eq!(h.describe().members.len(), 2);
}

#[test]
fn leaving_while_joining_answers_the_join_and_completes_it_for_the_others() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let staying = h.join(rejoin(&ids[0]));
    assert_eq!(h.reply(staying), None);
    h.leave(&[(&ids[1], None)]);
    assert_eq!(h.join_ok(staying).generation, 2);

    let ids = h.describe().members;
    let newcomer = h.add_member("d");
    let id = h.describe().members[1].member_id.to_string();
    assert_ne!(id, ids[0].member_id.as_str());
    h.leave(&[(&id, None)]);
    assert_eq!(h.join_error(newcomer), (GroupError::UnknownMemberId, ""));
}

#[test]
fn an_administrator_removes_static_members_by_instance_id() {
    let mut h = Harness::new();
    let joined = h.join(JoinRequest {
        instance_id: Some("i".into()),
        ..join("a")
    });
    h.advance(DELAY);
    let id = h.join_ok(joined).member_id.to_string();
    let waiter = h.leave(&[("other", Some("i")), ("", Some("j")), ("", Some("i"))]);
    let expected = vec![
        Err(GroupError::FencedInstanceId),
        Err(GroupError::UnknownMemberId),
        Ok(()),
    ];
    assert_eq!(h.left(waiter), Ok(expected));
    assert_eq!(h.heartbeat(&id, 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn nobody_leaves_a_group_that_is_not_there() {
    let mut h = Harness::new();
    let waiter = h.leave(&[("a", None)]);
    assert_eq!(h.left(waiter), Err(GroupError::UnknownMemberId));
    let nameless = LeaveRequest {
        group_id: "".into(),
        members: Vec::new(),
    };
    let waiter = h.waiter();
    let effects = h.registry.leave(&nameless, waiter, h.now);
    h.take(effects);
    assert_eq!(h.left(waiter), Err(GroupError::InvalidGroupId));
}

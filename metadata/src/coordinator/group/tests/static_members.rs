//! Static members (KIP-345, KIP-814).

use std::time::Duration;

use super::super::*;
use super::harness::*;

fn static_join(instance: &str) -> JoinRequest {
    JoinRequest {
        instance_id: Some(instance.into()),
        ..join("c")
    }
}

fn static_sync(instance: &str, member: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        instance_id: Some(instance.into()),
        ..sync(member, generation)
    }
}

/// A stable group of static members `i` (the leader) and `j`; returns their member ids.
fn stable(h: &mut Harness) -> [String; 2] {
    let i = h.join(static_join("i"));
    let j = h.join(static_join("j"));
    h.advance(DELAY * 3);
    let ids = [i, j].map(|waiter| h.join_ok(waiter).member_id.to_string());
    h.sync(static_sync("j", &ids[1], 1));
    h.sync(SyncRequest {
        assignments: assign_own_ids(&ids),
        ..static_sync("i", &ids[0], 1)
    });
    assert_eq!(h.state(), GroupState::Stable);
    ids
}

#[test]
fn a_restarted_member_takes_its_place_back_without_a_rebalance() {
    let mut h = Harness::new();
    let ids = stable(&mut h);
    h.store = None;
    let back = h.join(static_join("j"));
    assert_eq!(h.reply(back), None, "the new id is stored first");
    h.end_write(WriteOutcome::Applied);
    let joined = h.join_ok(back).clone();
    assert_eq!((joined.generation, joined.members.len()), (1, 0));
    assert_eq!(joined.member_id.as_str(), "j-3");
    assert_eq!(h.state(), GroupState::Stable);

    let again = h.sync(static_sync("j", "j-3", 1));
    assert_eq!(
        h.synced(again),
        Ok(ids[1].clone().into()),
        "its old assignment"
    );
    let fenced = h.sync(static_sync("j", &ids[1], 1));
    assert_eq!(h.synced(fenced), Err(GroupError::FencedInstanceId));
    let fenced = h.commit(CommitRequest {
        instance_id: Some("j".into()),
        ..commit(&ids[1], Some(1), 1)
    });
    assert_eq!(h.committed(fenced), Err(GroupError::FencedInstanceId));
    let fenced = h.join(JoinRequest {
        member_id: ids[1].as_str().into(),
        ..static_join("j")
    });
    assert_eq!(h.join_error(fenced).0, GroupError::FencedInstanceId);
}

#[test]
fn a_returning_leader_is_told_to_skip_the_assignment_or_not_to_lead() {
    let mut h = Harness::new();
    stable(&mut h);
    let new_client = h.join(JoinRequest {
        supports_skip_assignment: true,
        ..static_join("i")
    });
    let joined = h.join_ok(new_client);
    assert_eq!(joined.leader, joined.member_id);
    assert!(joined.skip_assignment);
    assert_eq!(joined.members.len(), 2);
    let leader = joined.leader.clone();

    let old_client = h.join(static_join("i"));
    let joined = h.join_ok(old_client);
    assert_eq!(joined.leader, leader, "the id that led before");
    assert_ne!(joined.leader, joined.member_id);
    assert!(!joined.skip_assignment && joined.members.is_empty());
}

#[test]
fn a_new_preference_that_changes_the_protocol_rebalances() {
    let both = |a: &str, b: &str| vec![protocol(a, &["t"]), protocol(b, &["t"])];
    let mut h = Harness::new();
    let first = h.join(JoinRequest {
        protocols: both("range", "sticky"),
        ..static_join("i")
    });
    h.advance(DELAY);
    let id = h.join_ok(first).member_id.to_string();
    h.sync(static_sync("i", &id, 1));
    let back = h.join(JoinRequest {
        protocols: both("sticky", "range"),
        ..static_join("i")
    });
    let joined = h.join_ok(back);
    assert_eq!(
        (joined.generation, joined.protocol.as_deref()),
        (2, Some("sticky"))
    );
}

#[test]
fn replacing_while_the_leader_assigns_starts_over() {
    let mut h = Harness::new();
    let i = h.join(static_join("i"));
    let j = h.join(static_join("j"));
    h.advance(DELAY * 3);
    let ids = [i, j].map(|waiter| h.join_ok(waiter).member_id.to_string());
    let parked = h.sync(static_sync("j", &ids[1], 1));
    let replaced = h.join(static_join("j"));
    assert_eq!(h.synced(parked), Err(GroupError::FencedInstanceId));
    let leader = h.join(JoinRequest {
        member_id: ids[0].as_str().into(),
        ..static_join("i")
    });
    assert_eq!(h.join_ok(leader).generation, 2);
    assert_eq!(h.join_ok(replaced).generation, 2);
}

#[test]
fn a_duplicate_fences_the_one_that_waits() {
    let mut h = Harness::new();
    let first = h.join(static_join("i"));
    let second = h.join(static_join("i"));
    assert_eq!(h.join_error(first).0, GroupError::FencedInstanceId);
    h.advance(DELAY * 2);
    let joined = h.join_ok(second);
    assert_eq!((joined.generation, joined.members.len()), (1, 1));
    assert_eq!(joined.leader, joined.member_id);
}

#[test]
fn of_two_that_take_a_place_at_one_time_the_earlier_is_fenced() {
    let mut h = Harness::new();
    stable(&mut h);
    h.store = None;
    let first = h.join(static_join("j"));
    let second = h.join(static_join("j"));
    h.end_write(WriteOutcome::Applied);
    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.join_error(first).0, GroupError::FencedInstanceId);
    assert_eq!(h.join_ok(second).generation, 1);
}

#[test]
fn a_place_that_could_not_be_stored_is_rebalanced() {
    let mut h = Harness::new();
    stable(&mut h);
    h.store = None;
    let back = h.join(static_join("j"));
    h.end_write(WriteOutcome::Failed(GroupError::StateTooLarge));
    assert_eq!(h.join_error(back), (GroupError::StateTooLarge, ""));
    assert_eq!(h.state(), GroupState::PreparingRebalance);
}

#[test]
fn static_members_keep_their_place_through_a_rebalance_they_miss() {
    let mut h = Harness::new();
    let ids = stable(&mut h);
    let newcomer = h.join(JoinRequest {
        rebalance_timeout: SESSION,
        ..join("d")
    });
    let leader = h.join(JoinRequest {
        member_id: ids[0].as_str().into(),
        ..static_join("i")
    });
    for _ in 0..12 {
        h.advance(Duration::from_secs(5));
        let _ = h.registry.heartbeat(
            &HeartbeatRequest {
                group_id: "g".into(),
                generation: 1,
                member_id: ids[1].as_str().into(),
                instance_id: Some("j".into()),
            },
            h.now,
        );
    }
    assert_eq!(h.join_ok(newcomer).generation, 2);
    assert_eq!(h.join_ok(leader).members.len(), 3, "the absent one too");
}

#[test]
fn when_only_absent_static_members_are_left_the_rebalance_waits_for_them() {
    let mut h = Harness::new();
    let ids = stable(&mut h);
    let newcomer = h.add_member("d");
    let id = h
        .describe()
        .members
        .iter()
        .find(|m| m.instance_id.is_none())
        .map(|m| m.member_id.to_string())
        .expect("the newcomer");
    h.leave(&[(&id, None)]);
    assert_eq!(h.join_error(newcomer).0, GroupError::UnknownMemberId);
    assert_eq!(h.state(), GroupState::PreparingRebalance);
    let back = h.join(JoinRequest {
        member_id: ids[1].as_str().into(),
        ..static_join("j")
    });
    h.advance(SESSION);
    let joined = h.join_ok(back);
    assert_eq!((joined.generation, joined.members.len()), (2, 1));
}

#[test]
fn no_rebalance_timeout_at_all_does_not_spin() {
    let mut h = Harness::new();
    let request = JoinRequest {
        rebalance_timeout: Duration::ZERO,
        ..static_join("i")
    };
    let joined = h.join(request.clone());
    h.advance(DELAY);
    let id = h.join_ok(joined).member_id.to_string();
    assert_eq!(h.describe().members.len(), 0, "no time to sync");
    assert_eq!(h.heartbeat(&id, 1), Err(GroupError::UnknownMemberId));
}

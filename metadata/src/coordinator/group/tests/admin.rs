//! ListGroups, DescribeGroups, DeleteGroups, and the end of a coordinator.

use super::super::*;
use super::harness::*;

fn delete(h: &mut Harness) -> WaiterId {
    let waiter = h.waiter();
    let effects = h.registry.delete_group(&"g".into(), waiter, h.now);
    h.take(effects);
    waiter
}

fn deleted(h: &Harness, waiter: WaiterId) -> Result<(), GroupError> {
    match h.reply(waiter) {
        Some(Reply::DeleteGroup(result)) => *result,
        other => panic!("no DeleteGroups answer: {other:?}"),
    }
}

#[test]
fn only_empty_groups_are_deleted_and_with_all_their_offsets() {
    let mut h = Harness::new();
    let waiter = delete(&mut h);
    assert_eq!(deleted(&h, waiter), Err(GroupError::GroupIdNotFound));
    let ids = h.stable_group(&["a"]);
    h.commit(commit(&ids[0], Some(1), 1));
    let waiter = delete(&mut h);
    assert_eq!(deleted(&h, waiter), Err(GroupError::NonEmptyGroup));
    h.leave(&[(&ids[0], None)]);

    h.store = None;
    let in_flight = h.commit(CommitRequest {
        offsets: vec![to_commit("t", partition(1, 5), 1)],
        ..commit("", None, 0)
    });
    let waiter = delete(&mut h);
    assert_eq!(h.state(), GroupState::Dead);
    let expected = [
        WriteOp::DeleteOffset(partition(1, 0)),
        WriteOp::DeleteOffset(partition(1, 5)),
        WriteOp::DeleteGroup,
    ];
    assert_eq!(h.writes[1].ops, expected);
    let again = delete(&mut h);
    assert_eq!(deleted(&h, again), Err(GroupError::GroupIdNotFound));
    let joining = h.add_member("b");
    assert_eq!(h.join_error(joining).0, GroupError::CoordinatorNotAvailable);

    h.end_write(WriteOutcome::Applied);
    assert_eq!(h.committed(in_flight), Ok(vec![Ok(())]));
    h.end_write(WriteOutcome::Applied);
    assert_eq!(deleted(&h, waiter), Ok(()));
    assert!(h.registry.is_empty());
}

#[test]
fn a_group_that_could_not_be_deleted_lives_on() {
    let mut h = Harness::new();
    h.commit(commit("", None, 1));
    h.store = Some(WriteOutcome::Failed(GroupError::CoordinatorNotAvailable));
    let waiter = delete(&mut h);
    assert_eq!(
        deleted(&h, waiter),
        Err(GroupError::CoordinatorNotAvailable)
    );
    assert_eq!(h.state(), GroupState::Empty);
}

#[test]
fn members_are_described_in_full_only_in_a_stable_group() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a"]);
    let stable = h.describe();
    assert_eq!(stable.protocol_type, "consumer");
    assert_eq!(stable.protocol, "range");
    let member = &stable.members[0];
    assert_eq!(member.member_id.as_str(), ids[0]);
    assert_eq!(member.client_id, "a");
    assert_eq!(member.client_host, "/127.0.0.1");
    assert_eq!(member.metadata, protocol("range", &["t"]).metadata);
    assert_eq!(member.assignment, ids[0]);

    h.add_member("b");
    let rebalancing = h.describe();
    assert_eq!(rebalancing.state, GroupState::PreparingRebalance);
    assert_eq!(rebalancing.protocol, "");
    assert!(rebalancing.members.iter().all(|m| m.metadata.is_empty()));
    let assignments = rebalancing.members.iter().map(|m| m.assignment.len());
    assert_eq!(assignments.collect::<Vec<_>>(), [ids[0].len(), 0]);
    assert_eq!(
        h.registry.describe(&"other".into()),
        Err(GroupError::GroupIdNotFound)
    );
}

#[test]
fn every_group_is_listed() {
    let mut h = Harness::new();
    h.stable_group(&["a"]);
    h.commit(CommitRequest {
        group_id: "simple".into(),
        ..commit("", None, 1)
    });
    let mut listed: Vec<_> = h.registry.list().collect();
    listed.sort_by_key(|listing| listing.group_id.clone());
    let shown: Vec<_> = listed
        .iter()
        .map(|l| {
            (
                l.group_id.as_str(),
                l.protocol_type.as_str(),
                l.state.name(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("g", "consumer", "Stable"), ("simple", "", "Empty")]
    );
}

#[test]
fn a_coordinator_that_stops_answers_everybody() {
    let mut h = Harness::new();
    let ids = h.stable_group(&["a", "b"]);
    let joining = h.join(rejoin(&ids[0]));
    h.store = None;
    let committing = h.commit(commit(&ids[1], Some(1), 1));
    let effects = h.registry.abandon(GroupError::NotCoordinator, h.now);
    h.take(effects);
    assert_eq!(h.join_error(joining).0, GroupError::NotCoordinator);
    assert_eq!(h.committed(committing), Err(GroupError::NotCoordinator));
    assert!(h.registry.is_empty());
    assert_eq!(h.registry.next_deadline(), None);
}

//! Groups as they come back from the store.

use super::super::*;
use super::harness::*;

/// The record that the group wrote last.
fn stored_record(h: &mut Harness, ids: &[String], generation: i32) -> GroupRecord {
    h.store = None;
    h.sync_all(ids, generation);
    match h.writes[0].ops.first() {
        Some(WriteOp::PutGroup(record)) => record.clone(),
        other => panic!("no group was written: {other:?}"),
    }
}

fn stable_record() -> (GroupRecord, Vec<String>) {
    let mut h = Harness::new();
    h.add_member("a");
    h.add_member("b");
    h.advance(DELAY * 3);
    let ids = vec!["a-1".to_owned(), "b-2".to_owned()];
    (stored_record(&mut h, &ids, 1), ids)
}

#[test]
fn members_go_on_as_if_nothing_had_happened() {
    let (record, ids) = stable_record();
    let mut h = Harness::new();
    h.registry
        .load_offset("g".into(), partition(1, 0), offset_record(7), h.now.wall_ms);
    let effects = h.registry.load_group("g".into(), record, h.now);
    h.take(effects);
    assert_eq!(h.state(), GroupState::Stable);
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
    assert_eq!(h.heartbeat(&ids[1], 1), Ok(()));
    let waiter = h.sync(sync(&ids[1], 1));
    assert_eq!(h.synced(waiter), Ok(ids[1].clone().into()));
    let unchanged = h.join(rejoin(&ids[1]));
    assert_eq!(h.join_ok(unchanged).generation, 1);
    let waiter = h.commit(commit(&ids[0], Some(1), 8));
    assert_eq!(h.committed(waiter), Ok(vec![Ok(())]));
    let offsets = h.registry.fetch_offsets(&"g".into(), None);
    assert_eq!(offsets.partitions.len(), 1);
}

#[test]
fn sessions_begin_anew() {
    let (record, ids) = stable_record();
    let mut h = Harness::new();
    h.advance(SESSION * 3);
    let effects = h.registry.load_group("g".into(), record, h.now);
    h.take(effects);
    h.advance(SESSION / 2);
    assert_eq!(h.heartbeat(&ids[0], 1), Ok(()));
    h.advance(SESSION / 2);
    assert_eq!(h.heartbeat(&ids[1], 1), Err(GroupError::UnknownMemberId));
}

#[test]
fn a_group_over_a_lowered_size_rebalances() {
    let (record, ids) = stable_record();
    let mut h = Harness::with(GroupConfig {
        max_size: 1,
        ..GroupConfig::default()
    });
    let effects = h.registry.load_group("g".into(), record, h.now);
    h.take(effects);
    assert_eq!(
        h.heartbeat(&ids[0], 1),
        Err(GroupError::RebalanceInProgress)
    );
    let first = h.join(rejoin(&ids[1]));
    let second = h.join(rejoin(&ids[0]));
    assert_eq!(h.join_error(second).0, GroupError::GroupMaxSizeReached);
    h.advance(REBALANCE);
    assert_eq!(h.join_ok(first).members.len(), 1);
}

#[test]
fn an_empty_group_keeps_its_generation_and_the_time_it_became_empty() {
    let record = GroupRecord {
        generation: 9,
        protocol_type: Some("consumer".to_owned()),
        protocol: None,
        leader: None,
        state_since_ms: 5,
        members: Vec::new(),
    };
    let mut h = Harness::new();
    let effects = h.registry.load_group("g".into(), record, h.now);
    h.take(effects);
    assert_eq!(h.state(), GroupState::Empty);
    let waiter = h.add_member("a");
    h.advance(DELAY);
    assert_eq!(h.join_ok(waiter).generation, 10);
}

fn offset_record(offset: i64) -> OffsetRecord {
    OffsetRecord {
        topic: topic("t"),
        offset: alluvium_common::offset::Offset::new(offset),
        leader_epoch: None,
        metadata: String::new(),
        commit_ms: 0,
        expire_ms: None,
    }
}

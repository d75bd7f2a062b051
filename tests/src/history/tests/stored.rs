//! Commit logs with gaps, forks, and entries that lead nowhere.

use super::super::stored::{Span, Stored, StoredCommit, StoredPartition, check_stored};
use super::*;

fn commit(broker_epoch: i64, seq: u64, from: i64, to: i64) -> StoredCommit {
    let partition = PARTITION;
    StoredCommit {
        broker: 1,
        broker_epoch,
        seq,
        writes: 1,
        object: format!("{broker_epoch}-{seq}"),
        is_whole: true,
        spans: vec![Span {
            partition,
            from,
            to,
        }],
    }
}

/// One partition in two commit logs.
fn orderly() -> Stored {
    Stored {
        commits: vec![
            commit(5, 0, 0, 4),
            commit(5, 1, 4, 9),
            commit(8, 0, 9, 10),
            commit(8, 1, 10, 30),
        ],
        dropped: Vec::new(),
        partitions: vec![StoredPartition {
            partition: PARTITION,
            log_start: 0,
            published_end: 0,
            epochs: vec![(0, 0), (2, 9)],
            tail: vec![(1, 5, 0, Some(1)), (1, 8, 0, None)],
        }],
    }
}

fn broken(change: impl FnOnce(&mut Stored)) {
    breaks("I24", change);
}

fn breaks(invariant: &str, change: impl FnOnce(&mut Stored)) {
    let mut stored = orderly();
    let mut report = Report::default();
    check_stored(&stored, &mut report);
    report.assert_clean();
    change(&mut stored);
    check_stored(&stored, &mut report);
    assert!(report.violates(invariant));
}

/// What is published may be gone, if that is known.
#[test]
fn a_commit_log_whose_start_is_gone() {
    let mut dropped = orderly();
    dropped.commits.remove(0);
    dropped.dropped = vec![(1, 5, 0)];
    dropped.partitions[0].published_end = 5;
    let mut report = Report::default();
    check_stored(&dropped, &mut report);
    report.assert_clean();
    let check = |change: fn(&mut Stored)| {
        let mut stored = dropped.clone();
        change(&mut stored);
        let mut report = Report::default();
        check_stored(&stored, &mut report);
        assert!(report.violates("I24"));
    };
    check(|stored| stored.dropped.clear());
    check(|stored| stored.partitions[0].published_end = 3);
}

#[test]
fn a_commit_log_with_a_gap() {
    broken(|stored| {
        stored.commits[1].spans.clear();
        stored.commits[1].seq = 2;
    });
}

#[test]
fn a_leader_epoch_that_was_not_raised() {
    for epochs in [
        vec![(2, 0), (2, 9)],
        vec![(3, 0), (2, 9)],
        vec![(0, 9), (2, 9)],
    ] {
        breaks("I15", |stored| stored.partitions[0].epochs = epochs);
    }
}

#[test]
fn an_entry_written_twice() {
    broken(|stored| stored.commits[0].writes = 2);
}

#[test]
fn an_object_committed_twice() {
    broken(|stored| stored.commits[2].object = "5-1".to_owned());
}

#[test]
fn an_object_that_is_not_there() {
    broken(|stored| stored.commits[3].is_whole = false);
}

#[test]
fn offsets_committed_twice() {
    broken(|stored| stored.commits[2].spans[0].from = 8);
}

#[test]
fn offsets_committed_by_nobody() {
    broken(|stored| stored.commits[2].spans[0].to = 9);
}

#[test]
fn a_take_over_that_overlooked_the_last_commit() {
    broken(|stored| stored.partitions[0].tail[0].3 = Some(0));
}

#[test]
fn a_log_that_is_not_named() {
    broken(|stored| stored.partitions[0].tail.truncate(1));
}

#[test]
fn what_lies_below_the_log_start_need_not_be_named() {
    let mut stored = orderly();
    stored.partitions[0].log_start = 12;
    stored.partitions[0].tail = vec![(1, 8, 1, None)];
    let mut report = Report::default();
    check_stored(&stored, &mut report);
    report.assert_clean();
}

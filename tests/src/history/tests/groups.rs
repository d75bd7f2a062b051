//! Groups with two owners, stale generations, and offsets that go back.

use super::*;

fn assigned(member: &str, generation: i32, joined: u64) -> Assignment {
    Assignment {
        group: "g".to_owned(),
        generation,
        member: member.to_owned(),
        partitions: vec![PARTITION],
        began: joined - 5,
        joined,
    }
}

fn commit(generation: i32, began: u64, offset: i64, outcome: CommitOutcome) -> OffsetCommit {
    OffsetCommit {
        group: "g".to_owned(),
        generation,
        member: "m".to_owned(),
        partition: PARTITION,
        offset,
        began,
        ended: (outcome != CommitOutcome::Unknown).then_some(began + 5),
        outcome,
    }
}

fn fetched(began: u64, offset: Option<i64>) -> OffsetRead {
    OffsetRead {
        group: "g".to_owned(),
        partition: PARTITION,
        began,
        ended: began + 5,
        offset,
    }
}

/// Two generations: 10 is committed in the first, 20 in the second, and a commit of 30 is of unknown fate.
fn orderly() -> History {
    use CommitOutcome::{Acknowledged, Refused, Unknown};
    History {
        assignments: vec![assigned("a", 1, 10), assigned("b", 2, 50)],
        offset_commits: vec![
            commit(1, 20, 10, Acknowledged),
            commit(1, 55, 15, Refused),
            commit(2, 60, 20, Acknowledged),
            commit(2, 80, 30, Unknown),
        ],
        offset_reads: vec![
            fetched(12, None),
            fetched(30, Some(10)),
            fetched(70, Some(20)),
            fetched(90, Some(30)),
            fetched(100, Some(20)),
        ],
        ..History::default()
    }
}

fn broken(change: impl FnOnce(&mut History)) {
    let mut history = orderly();
    check(&history).assert_clean();
    change(&mut history);
    assert!(check(&history).violates("I14"));
}

#[test]
fn two_owners_in_one_generation() {
    broken(|history| history.assignments.push(assigned("c", 2, 52)));
}

#[test]
fn a_member_that_is_told_its_own_again_is_no_second_owner() {
    let mut history = orderly();
    history.assignments.push(assigned("b", 2, 52));
    check(&history).assert_clean();
}

#[test]
fn a_generation_that_comes_back() {
    broken(|history| history.assignments.push(assigned("c", 1, 70)));
}

#[test]
fn a_stale_commit_that_is_acknowledged() {
    broken(|history| history.offset_commits[1].outcome = CommitOutcome::Acknowledged);
}

#[test]
fn a_stale_commit_may_have_been_sent_in_time() {
    let mut history = orderly();
    history.offset_commits[1] = commit(1, 48, 10, CommitOutcome::Acknowledged);
    check(&history).assert_clean();
}

#[test]
fn a_committed_offset_that_goes_back() {
    broken(|history| history.offset_reads[2].offset = Some(10));
}

#[test]
fn a_committed_offset_that_is_forgotten() {
    broken(|history| history.offset_reads[2].offset = None);
}

#[test]
fn an_offset_that_nobody_committed() {
    broken(|history| history.offset_reads[2].offset = Some(21));
}

#[test]
fn an_offset_whose_commit_was_refused() {
    broken(|history| history.offset_reads[2].offset = Some(15));
}

#[test]
fn an_offset_that_is_committed_later() {
    broken(|history| history.offset_reads[1].offset = Some(20));
}

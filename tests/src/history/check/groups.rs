//! Consumer groups (I14).
//!
//! A committed offset is a register: a read returns what was committed last, or what was being committed at the time. A
//! commit whose fate is unknown may happen at any time after it was sent.

use std::collections::{BTreeMap, HashMap};

use super::Report;
use crate::history::{Assignment, CommitOutcome, History, OffsetCommit, OffsetRead, Partition};

pub(super) fn check(history: &History, report: &mut Report) {
    owners(&history.assignments, report);
    let generations = generations(&history.assignments, report);
    for commit in &history.offset_commits {
        stale_commit(commit, &generations, report);
    }
    registers(history, report);
}

/// A partition has one owner in a generation.
fn owners(assignments: &[Assignment], report: &mut Report) {
    let mut owners: HashMap<(&str, i32, Partition), &str> = HashMap::new();
    for given in assignments {
        for partition in &given.partitions {
            let key = (given.group.as_str(), given.generation, *partition);
            let owner = *owners.entry(key).or_insert(&given.member);
            if owner != given.member {
                report.add(
                    "I14",
                    format!(
                        "{owner} and {} own partition {partition} in generation {} of group {}",
                        given.member, given.generation, given.group
                    ),
                );
            }
        }
    }
}

/// When each generation of a group is known to have begun, by group: (time, highest generation by then).
type Generations<'a> = BTreeMap<&'a str, Vec<(u64, i32)>>;

/// Generations of a group only rise.
fn generations<'a>(assignments: &'a [Assignment], report: &mut Report) -> Generations<'a> {
    let mut begun: Generations<'_> = BTreeMap::new();
    for given in assignments {
        let times = begun.entry(given.group.as_str()).or_default();
        times.push((given.joined, given.generation));
    }
    for times in begun.values_mut() {
        times.sort_unstable();
        let mut highest = i32::MIN;
        for (_, generation) in times {
            highest = highest.max(*generation);
            *generation = highest;
        }
    }
    for given in assignments {
        let before = known_at(&begun, &given.group, given.began);
        if before.is_some_and(|before| before > given.generation) {
            report.add(
                "I14",
                format!(
                    "{} joins generation {} of group {} after generation {} had begun",
                    given.member,
                    given.generation,
                    given.group,
                    before.unwrap_or_default()
                ),
            );
        }
    }
    begun
}

/// The highest generation that had begun before `when`.
fn known_at(begun: &Generations<'_>, group: &str, when: u64) -> Option<i32> {
    let times = begun.get(group)?;
    let before = times.partition_point(|(time, _)| *time < when);
    Some(times[before.checked_sub(1)?].1)
}

/// A commit of an old generation is refused.
fn stale_commit(commit: &OffsetCommit, begun: &Generations<'_>, report: &mut Report) {
    let current = known_at(begun, &commit.group, commit.began);
    let is_stale = current.is_some_and(|current| current > commit.generation);
    if is_stale && commit.outcome == CommitOutcome::Acknowledged {
        report.add(
            "I14",
            format!(
                "a commit of generation {} of group {} was acknowledged in generation {}",
                commit.generation,
                commit.group,
                current.unwrap_or_default()
            ),
        );
    }
}

fn registers(history: &History, report: &mut Report) {
    let mut commits: HashMap<(&str, Partition), Vec<&OffsetCommit>> = HashMap::new();
    for commit in &history.offset_commits {
        let key = (commit.group.as_str(), commit.partition);
        commits.entry(key).or_default().push(commit);
    }
    let mut reads: HashMap<(&str, Partition), Vec<&OffsetRead>> = HashMap::new();
    for read in &history.offset_reads {
        let key = (read.group.as_str(), read.partition);
        reads.entry(key).or_default().push(read);
    }
    for (key, reads) in reads {
        let register = Register::new(commits.remove(&key).unwrap_or_default());
        for read in reads {
            register.check(read, report);
        }
    }
}

/// All commits of one group to one partition.
struct Register<'a> {
    by_offset: HashMap<i64, Vec<&'a OffsetCommit>>,
    /// Ends of acknowledged commits, with the latest beginning of one that has ended by then.
    done: Vec<(u64, u64)>,
}

impl<'a> Register<'a> {
    fn new(commits: Vec<&'a OffsetCommit>) -> Self {
        let mut by_offset: HashMap<i64, Vec<_>> = HashMap::new();
        let mut done = Vec::new();
        for commit in commits {
            if commit.outcome == CommitOutcome::Acknowledged {
                done.push((commit.ended.unwrap_or(u64::MAX), commit.began));
            }
            if commit.outcome != CommitOutcome::Refused {
                by_offset.entry(commit.offset).or_default().push(commit);
            }
        }
        done.sort_unstable();
        let mut latest = 0;
        for (_, began) in &mut done {
            latest = latest.max(*began);
            *began = latest;
        }
        Self { by_offset, done }
    }

    fn check(&self, read: &OffsetRead, report: &mut Report) {
        let before = self.done.partition_point(|(ended, _)| *ended < read.began);
        // What had ended before this had been overwritten by the time of the read.
        let overwritten = before.checked_sub(1).map(|last| self.done[last].1);
        let is_possible = match read.offset {
            None => overwritten.is_none(),
            Some(offset) => self.by_offset.get(&offset).is_some_and(|commits| {
                commits.iter().any(|commit| {
                    let ended = match commit.outcome {
                        CommitOutcome::Acknowledged => commit.ended,
                        _ => None,
                    };
                    commit.began < read.ended
                        && overwritten
                            .is_none_or(|latest| ended.is_none_or(|ended| ended >= latest))
                })
            }),
        };
        if !is_possible {
            report.add(
                "I14",
                format!(
                    "group {} is told the committed offset {:?} of partition {}, which was overwritten or never committed",
                    read.group, read.offset, read.partition
                ),
            );
        }
    }
}

//! What is left in the metadata store and the bucket at the end (I24, I19, I15).
//!
//! `alluvium verify` reads every byte of what partitions refer to. This looks from the other side: at all commit logs,
//! whether a partition refers to them or not, since an entry that nobody refers to is a record that nobody finds.

use std::collections::{BTreeMap, HashMap};

use super::{Partition, Report};

/// An entry of a commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// Whose log.
    pub broker: i32,
    /// Of which session.
    pub broker_epoch: i64,
    /// Place in the log.
    pub seq: u64,
    /// How often its key was written.
    pub writes: u64,
    /// Name of the object.
    pub object: String,
    /// The object is there and its footer is the one that was committed.
    pub is_whole: bool,
    /// What the object holds.
    pub spans: Vec<Span>,
}

/// Offsets of a partition in an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which partition.
    pub partition: Partition,
    /// First offset.
    pub from: i64,
    /// The offset after the last.
    pub to: i64,
}

/// A partition's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPartition {
    /// Which.
    pub partition: Partition,
    /// First offset still readable.
    pub log_start: i64,
    /// First offset that is not published: segments below are not needed.
    pub published_end: i64,
    /// Its leader epochs and where they begin, oldest first.
    pub epochs: Vec<(i32, i64)>,
    /// The parts of commit logs that it names: broker, broker epoch, first and last place.
    pub tail: Vec<(i32, i64, u64, Option<u64>)>,
}

/// All that is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// In no particular order.
    pub commits: Vec<StoredCommit>,
    /// Logs whose start was dropped: broker, broker epoch, last place that is gone.
    pub dropped: Vec<(i32, i64, u64)>,
    /// Partitions of topics that are alive.
    pub partitions: Vec<StoredPartition>,
}

/// Checks what is stored; what is found is added to `report`.
pub fn check_stored(stored: &Stored, report: &mut Report) {
    let logs = logs(&stored.commits);
    for ((broker, epoch), log) in &logs {
        let mut dropped = stored.dropped.iter();
        let dropped = dropped.find(|(of, in_epoch, _)| (of, in_epoch) == (broker, epoch));
        let first = dropped.map_or(0, |(.., last)| last + 1);
        commit_log((*broker, *epoch), first, log, report);
    }
    objects(&stored.commits, report);
    for partition in &stored.partitions {
        epochs(partition, report);
        spans(partition, &logs, report);
    }
}

type Logs<'a> = BTreeMap<(i32, i64), Vec<&'a StoredCommit>>;

fn logs(commits: &[StoredCommit]) -> Logs<'_> {
    let mut logs: Logs<'_> = BTreeMap::new();
    for commit in commits {
        let log = logs
            .entry((commit.broker, commit.broker_epoch))
            .or_default();
        log.push(commit);
    }
    for log in logs.values_mut() {
        log.sort_by_key(|commit| commit.seq);
    }
    logs
}

/// One order, no gap, every entry written once; nothing is gone from its start but what is known to be.
fn commit_log((broker, epoch): (i32, i64), first: u64, log: &[&StoredCommit], report: &mut Report) {
    let name = format!("the commit log of broker {broker}, epoch {epoch},");
    if let Some(begins) = log.first().filter(|commit| commit.seq != first) {
        let seq = begins.seq;
        report.add(
            "I24",
            format!("{name} begins with {seq} and not with {first}"),
        );
    }
    for pair in log.windows(2) {
        if pair[1].seq != pair[0].seq + 1 {
            let (before, after) = (pair[0].seq, pair[1].seq);
            report.add("I24", format!("{name} goes from {before} to {after}"));
        }
    }
    for commit in log {
        if commit.writes != 1 {
            let (seq, writes) = (commit.seq, commit.writes);
            report.add(
                "I24",
                format!("{name} has entry {seq} written {writes} times"),
            );
        }
        if !commit.is_whole {
            let (seq, object) = (commit.seq, &commit.object);
            report.add(
                "I24",
                format!(
                    "{name} names in entry {seq} the object {object}, which is not there or another"
                ),
            );
        }
    }
}

/// An object is committed once.
fn objects(commits: &[StoredCommit], report: &mut Report) {
    let mut names: HashMap<&str, &StoredCommit> = HashMap::new();
    for commit in commits {
        if let Some(first) = names.insert(&commit.object, commit) {
            report.add(
                "I24",
                format!(
                    "object {} is committed as {}/{}/{} and {}/{}/{}",
                    commit.object,
                    first.broker,
                    first.broker_epoch,
                    first.seq,
                    commit.broker,
                    commit.broker_epoch,
                    commit.seq
                ),
            );
        }
    }
}

/// Every opening raised the leader epoch: what was written under one ends where the next begins (I15).
fn epochs(stored: &StoredPartition, report: &mut Report) {
    for pair in stored.epochs.windows(2) {
        let ((before, from), (after, to)) = (pair[0], pair[1]);
        if after <= before || to <= from {
            report.add(
                "I15",
                format!(
                    "partition {} goes from leader epoch {before}, which begins at {from}, to {after}, which begins at {to}",
                    stored.partition
                ),
            );
        }
    }
}

/// The offsets of a partition, in the order of its tail, follow each other; and nothing of it stands elsewhere.
fn spans(stored: &StoredPartition, logs: &Logs<'_>, report: &mut Report) {
    let partition = stored.partition;
    let needed_from = stored.log_start.max(stored.published_end);
    let mut next: Option<i64> = None;
    for (broker, epoch, first, last) in &stored.tail {
        let log = logs.get(&(*broker, *epoch)).map_or(&[][..], Vec::as_slice);
        let named = log
            .iter()
            .filter(|commit| commit.seq >= *first && last.is_none_or(|last| commit.seq <= last));
        let spans = named.flat_map(|commit| of(partition, commit));
        for span in spans.filter(|span| span.to > needed_from) {
            let fits = match next {
                Some(expected) => span.from == expected,
                None => span.from <= needed_from,
            };
            if !fits || span.to <= span.from {
                let expected = next.unwrap_or(needed_from);
                report.add(
                    "I24",
                    format!(
                        "partition {partition} goes on with offsets {} to {} where {expected} comes next",
                        span.from, span.to
                    ),
                );
            }
            next = Some(span.to);
        }
    }
    unnamed(stored, logs, report);
}

/// Committed offsets that the partition's record does not lead to.
fn unnamed(stored: &StoredPartition, logs: &Logs<'_>, report: &mut Report) {
    let partition = stored.partition;
    for commit in logs.values().flatten() {
        let is_named = stored.tail.iter().any(|(broker, epoch, first, last)| {
            (*broker, *epoch) == (commit.broker, commit.broker_epoch)
                && commit.seq >= *first
                && last.is_none_or(|last| commit.seq <= last)
        });
        for span in of(partition, commit) {
            if !is_named && span.to > stored.log_start.max(stored.published_end) {
                report.add(
                    "I24",
                    format!(
                        "commit {}/{}/{} holds offsets {} to {} of partition {partition}, whose record does not name it",
                        commit.broker, commit.broker_epoch, commit.seq, span.from, span.to
                    ),
                );
            }
        }
    }
}

fn of(partition: Partition, commit: &StoredCommit) -> impl Iterator<Item = &Span> {
    let spans = commit.spans.iter();
    spans.filter(move |span| span.partition == partition)
}

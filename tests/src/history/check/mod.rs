//! Judges a history.
//!
//! A lost reply leaves open whether a send happened: such records may be visible or not, but what holds for all
//! records holds for them too.

mod ends;
mod groups;
mod log;
mod records;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

pub use self::report::{Report, Violation};
use super::{End, History, Partition, Read, Send, SendOutcome};

/// I22: how long anything may take to succeed after everything has healed.
pub const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// Checks a history whose last reads are final ones.
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    count(history, &mut report);
    let homes = homes(history);
    for (partition, mut events) in by_partition(history) {
        events.reads.sort_by_key(|read| read.began);
        let log = log::one_value_per_offset(&events.reads, &mut report);
        log::each_read(&events.reads, &mut report);
        ends::check(partition, &events, &mut report);
        let placed = records::places(partition, &log, &mut report);
        let lives = records::Lives {
            history,
            homes: &homes,
        };
        records::contents(partition, &lives, &log, &mut report);
        let is_deleted = history
            .topics
            .get(&partition.topic)
            .is_some_and(|topic| topic.deleted);
        if !is_deleted {
            records::still_there(partition, &events, &log, &mut report);
        }
        records::acknowledged_places(partition, &events.sends, &placed, &mut report);
        records::refused(partition, &events.sends, &placed, &mut report);
        records::send_order(partition, &events.sends, &placed, &mut report);
    }
    groups::check(history, &mut report);
    recoveries(history, &mut report);
    for anomaly in &history.anomalies {
        report.add(anomaly.invariant, anomaly.what.clone());
    }
    report
}

/// What happened to one partition.
#[derive(Default)]
struct Events<'a> {
    sends: Vec<&'a Send>,
    reads: Vec<&'a Read>,
    ends: Vec<&'a End>,
}

fn by_partition(history: &History) -> BTreeMap<Partition, Events<'_>> {
    let mut partitions: BTreeMap<_, Events<'_>> = BTreeMap::new();
    for send in &history.sends {
        let events = partitions.entry(send.partition).or_default();
        events.sends.push(send);
    }
    for read in &history.reads {
        let events = partitions.entry(read.partition).or_default();
        events.reads.push(read);
    }
    for end in &history.ends {
        let events = partitions.entry(end.partition).or_default();
        events.ends.push(end);
    }
    partitions
}

/// Where each record was sent, and what it was, by id.
fn homes(history: &History) -> HashMap<u64, (Partition, u64)> {
    let count = history.sends.iter().map(|send| send.records.len()).sum();
    let mut homes = HashMap::with_capacity(count);
    for send in &history.sends {
        for content in &send.records {
            homes.insert(content.id, (send.partition, content.digest));
        }
    }
    homes
}

fn count(history: &History, report: &mut Report) {
    for send in &history.sends {
        let records = send.records.len() as u64;
        match send.outcome {
            SendOutcome::Acknowledged { .. } => report.acknowledged += records,
            SendOutcome::Failed => report.failed += records,
            SendOutcome::Unknown => report.unknown += records,
        }
    }
}

/// Everything succeeds again in time.
fn recoveries(history: &History, report: &mut Report) {
    for recovery in &history.recoveries {
        match recovery.took {
            Some(took) if took <= HEALED_WITHIN => {}
            Some(took) => report.add(
                "I22",
                format!("{} took {took:.1?} after the faults", recovery.what),
            ),
            None => report.add(
                "I22",
                format!("{} never succeeded after the faults", recovery.what),
            ),
        }
    }
}

/// A reader as messages name it.
fn place(read: &Read) -> String {
    let by = read
        .broker
        .map(|broker| format!(" at broker {broker}"))
        .unwrap_or_default();
    format!("reader {} of partition {}{by}", read.reader, read.partition)
}

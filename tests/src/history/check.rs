//! Judges a history.
//!
//! A lost reply leaves open whether a send happened: such records may be visible or not, but what holds for all
//! records holds for them too.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::{Content, History, Read, Send, SendOutcome};

/// Violations told in full; a broken broker breaks thousands at once.
const VIOLATIONS_TOLD_MAX: usize = 20;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Number on the list of invariants, such as `I2`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What a check found.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records whose fate no producer knows.
    pub unknown: u64,
    /// Records that were refused for good.
    pub failed: u64,
    /// Acknowledged records that nobody can read.
    pub lost: u64,
    /// Records that stand at more than one offset.
    pub duplicated: u64,
    /// Acknowledged records that stand elsewhere than the producer was told.
    pub misplaced: u64,
    /// All that must not be, those above included.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Panics with the violations, if there are any.
    pub fn assert_clean(&self) {
        let told: Vec<_> = self
            .violations
            .iter()
            .take(VIOLATIONS_TOLD_MAX)
            .map(ToString::to_string)
            .collect();
        let count = self.violations.len();
        assert!(
            count == 0,
            "{count} violations, among them:\n{}\n{self}",
            told.join("\n")
        );
    }

    fn add(&mut self, invariant: &'static str, what: String) {
        self.violations.push(Violation { invariant, what });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "acknowledged {}, unknown {}, failed {}, lost {}, duplicated {}, misplaced {}",
            self.acknowledged,
            self.unknown,
            self.failed,
            self.lost,
            self.duplicated,
            self.misplaced
        )
    }
}

/// Checks a history whose last reads are final ones.
pub fn check(history: &History) -> Report {
    let mut report = Report::default();
    count(history, &mut report);
    let partitions = partitions(history);
    for partition in partitions {
        let sends: Vec<_> = history
            .sends
            .iter()
            .filter(|s| s.partition == partition)
            .collect();
        let mut reads: Vec<_> = history
            .reads
            .iter()
            .filter(|r| r.partition == partition)
            .collect();
        reads.sort_by_key(|read| read.began);
        let log = one_value_per_offset(&reads, &mut report);
        each_read(&reads, &mut report);
        watermarks(&reads, &mut report);
        covered(&sends, &reads, &mut report);
        let placed = places(&log, &mut report);
        contents(&sends, &log, &mut report);
        acknowledged(partition, &sends, &reads, &placed, &mut report);
        refused(&sends, &placed, &mut report);
        send_order(&sends, &placed, &mut report);
    }
    report
}

fn partitions(history: &History) -> Vec<i32> {
    let sent = history.sends.iter().map(|send| send.partition);
    let mut partitions: Vec<_> = sent
        .chain(history.reads.iter().map(|r| r.partition))
        .collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
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

/// Offset to content, as all readers together saw it.
type Log = BTreeMap<i64, Content>;

fn one_value_per_offset(reads: &[&Read], report: &mut Report) -> Log {
    let mut log = Log::new();
    for read in reads {
        for (offset, content) in &read.records {
            let first = *log.entry(*offset).or_insert(*content);
            if first != *content {
                report.add(
                    "I1",
                    format!(
                        "{} sees {content:?} at offset {offset}, others saw {first:?}",
                        place(read)
                    ),
                );
            }
        }
    }
    log
}

/// No workload here compacts, aborts or deletes, so nothing explains a gap.
fn each_read(reads: &[&Read], report: &mut Report) {
    for read in reads {
        let mut expected = read.from.max(read.log_start);
        for (offset, _) in &read.records {
            if *offset != expected {
                report.add(
                    "I8",
                    format!(
                        "{} reads offset {offset} where {expected} comes next",
                        place(read)
                    ),
                );
            }
            expected = offset + 1;
        }
        if read.is_complete && expected < read.high_watermark {
            report.add(
                "I13",
                format!(
                    "{} ends before offset {expected}, the high watermark is {}",
                    place(read),
                    read.high_watermark
                ),
            );
        }
        if read
            .records
            .last()
            .is_some_and(|(last, _)| *last >= read.high_watermark)
        {
            report.add(
                "I13",
                format!(
                    "{} reads beyond its high watermark {}",
                    place(read),
                    read.high_watermark
                ),
            );
        }
    }
}

/// Reads of one reader follow each other; those of others may overlap, and what an overlapping read saw last is
/// later than its beginning. Only what began before counts.
fn watermarks(reads: &[&Read], report: &mut Report) {
    for read in reads {
        if read.log_start > read.high_watermark {
            report.add(
                "I13",
                format!(
                    "{}: log start {} above high watermark {}",
                    place(read),
                    read.log_start,
                    read.high_watermark
                ),
            );
        }
    }
    let mut latest: HashMap<&str, &Read> = HashMap::new();
    for read in reads {
        if let Some(before) = latest.insert(&read.reader, read) {
            let (was, is) = (before.high_watermark, read.high_watermark);
            if is < was {
                report.add(
                    "I13",
                    format!("{}: high watermark fell from {was} to {is}", place(read)),
                );
            }
            let (was, is) = (before.log_start, read.log_start);
            if is < was {
                report.add(
                    "I13",
                    format!("{}: log start fell from {was} to {is}", place(read)),
                );
            }
        }
    }
}

/// What was acknowledged before a read began is below the end that it is told.
fn covered(sends: &[&Send], reads: &[&Read], report: &mut Report) {
    let mut ends: Vec<(u64, i64)> = sends
        .iter()
        .filter_map(|send| match send.outcome {
            SendOutcome::Acknowledged { base_offset } => {
                Some((send.ended?, base_offset + send.records.len() as i64))
            }
            _ => None,
        })
        .collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    let mut highest = 0;
    for read in reads {
        while let Some((_, end)) = ends.next_if(|(ended, _)| *ended < read.began) {
            highest = highest.max(end);
        }
        if read.high_watermark < highest {
            report.add(
                "I12",
                format!(
                    "{} is told the high watermark {} after offset {} was acknowledged",
                    place(read),
                    read.high_watermark,
                    highest - 1
                ),
            );
        }
    }
}

/// Where each record stands.
fn places(log: &Log, report: &mut Report) -> HashMap<u64, i64> {
    let mut placed = HashMap::new();
    for (offset, content) in log {
        if let Some(first) = placed.insert(content.id, *offset) {
            report.duplicated += 1;
            report.add(
                "I10",
                format!(
                    "record {} stands at offsets {first} and {offset}",
                    content.id
                ),
            );
        }
    }
    placed
}

/// Nothing is read that was not sent, and nothing differs from what was.
fn contents(sends: &[&Send], log: &Log, report: &mut Report) {
    let sent: HashMap<u64, u64> = sends
        .iter()
        .flat_map(|send| &send.records)
        .map(|c| (c.id, c.digest))
        .collect();
    for (offset, content) in log {
        match sent.get(&content.id) {
            None => report.add(
                "I18",
                format!("nobody sent record {} at offset {offset}", content.id),
            ),
            Some(digest) if *digest != content.digest => {
                report.add(
                    "I18",
                    format!("record {} at offset {offset} was changed", content.id),
                );
            }
            Some(_) => {}
        }
    }
}

fn acknowledged(
    partition: i32,
    sends: &[&Send],
    reads: &[&Read],
    placed: &HashMap<u64, i64>,
    report: &mut Report,
) {
    let Some(last) = reads.iter().rfind(|read| read.is_final) else {
        report.add(
            "I3",
            format!("nobody read partition {partition} in the end"),
        );
        return;
    };
    let seen: HashMap<u64, i64> = last
        .records
        .iter()
        .map(|(o, content)| (content.id, *o))
        .collect();
    for send in sends {
        let SendOutcome::Acknowledged { base_offset } = send.outcome else {
            continue;
        };
        for (offset, content) in (base_offset..).zip(&send.records) {
            let id = content.id;
            if !seen.contains_key(&id) {
                report.lost += 1;
                report.add(
                    "I2",
                    format!("record {id}, acknowledged at {partition}:{offset}, is lost"),
                );
            }
            if let Some(found) = placed.get(&id)
                && *found != offset
            {
                report.misplaced += 1;
                report.add(
                    "I11",
                    format!("record {id}, acknowledged at {partition}:{offset}, stands at {found}"),
                );
            }
        }
    }
}

fn refused(sends: &[&Send], placed: &HashMap<u64, i64>, report: &mut Report) {
    for send in sends
        .iter()
        .filter(|send| send.outcome == SendOutcome::Failed)
    {
        for content in &send.records {
            if let Some(offset) = placed.get(&content.id) {
                report.add(
                    "I4",
                    format!(
                        "record {} was refused and stands at offset {offset}",
                        content.id
                    ),
                );
            }
        }
    }
}

/// Within a producer's session, offsets follow the order of sending; and a batch is visible whole, its records in a row.
fn send_order(sends: &[&Send], placed: &HashMap<u64, i64>, report: &mut Report) {
    let mut ordered = sends.to_vec();
    ordered.sort_by_key(|send| (send.producer, send.session, send.order));
    let mut last: HashMap<(u32, u32), i64> = HashMap::new();
    for send in ordered {
        let offsets: Vec<_> = send
            .records
            .iter()
            .filter_map(|c| placed.get(&c.id))
            .copied()
            .collect();
        let Some(first) = offsets.first() else {
            continue;
        };
        let in_a_row = offsets
            .iter()
            .zip(*first..)
            .all(|(offset, expected)| *offset == expected);
        if offsets.len() != send.records.len() || !in_a_row {
            report.add(
                "I9",
                format!(
                    "a batch of {} records stands at offsets {offsets:?}",
                    send.records.len()
                ),
            );
        }
        let before = last.entry((send.producer, send.session)).or_insert(-1);
        if *first <= *before {
            report.add(
                "I9",
                format!(
                    "producer {}'s later batch stands at {first}, an earlier one at {before}",
                    send.producer
                ),
            );
        }
        *before = (*before).max(offsets.last().copied().unwrap_or(*first));
    }
}

fn place(read: &Read) -> String {
    format!("reader {} of partition {}", read.reader, read.partition)
}

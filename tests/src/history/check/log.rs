//! The log as all readers together saw it, and each read by itself.

use super::{Read, Report, place};
use crate::history::Content;

/// Offset and content, ordered, each offset once.
pub(super) type Log = Vec<(i64, Content)>;

/// One value for each offset, whoever reads it, from wherever it comes.
pub(super) fn one_value_per_offset(reads: &[&Read], report: &mut Report) -> Log {
    let count = reads.iter().map(|read| read.records.len()).sum();
    let mut seen: Vec<(i64, Content, u32)> = Vec::with_capacity(count);
    for (number, read) in (0..).zip(reads) {
        let records = read.records.iter();
        seen.extend(records.map(|(offset, content)| (*offset, *content, number)));
    }
    // Stable, so that of one offset the earliest read comes first; made of long sorted runs, so that it is quick.
    seen.sort_by_key(|(offset, ..)| *offset);
    let mut log = Log::new();
    for (offset, content, number) in seen {
        match log.last() {
            Some((last, first)) if *last == offset => {
                if *first != content {
                    let who = place(reads[number as usize]);
                    report.add(
                        "I1",
                        format!("{who} sees {content:?} at offset {offset}, others saw {first:?}"),
                    );
                }
            }
            _ => log.push((offset, content)),
        }
    }
    log
}

/// No workload here compacts, aborts or deletes records, so nothing explains a gap.
pub(super) fn each_read(reads: &[&Read], report: &mut Report) {
    for read in reads {
        let expected = in_a_row(read, report);
        let (end, stable) = (read.high_watermark, read.last_stable);
        if read.is_complete && expected < end {
            report.add(
                "I13",
                format!(
                    "{} ends before offset {expected}, the high watermark is {end}",
                    place(read)
                ),
            );
        }
        if read.records.last().is_some_and(|(last, _)| *last >= end) {
            report.add(
                "I13",
                format!("{} reads beyond its high watermark {end}", place(read)),
            );
        }
        if read.log_start > stable || stable > end {
            report.add(
                "I13",
                format!(
                    "{}: log start {}, last stable offset {stable}, high watermark {end}",
                    place(read),
                    read.log_start,
                ),
            );
        }
    }
}

/// Each offset is one more than the one before it. Returns what would come next.
fn in_a_row(read: &Read, report: &mut Report) -> i64 {
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
    expected
}

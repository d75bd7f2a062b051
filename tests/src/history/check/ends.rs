//! What was said about the end of a partition, and about its beginning, in the course of time.
//!
//! Two statements are in order only when one was made before the other was asked for; those that overlap may be
//! either way round.

use std::collections::BTreeMap;

use super::{Events, Report, SendOutcome};
use crate::history::Partition;

/// A number that somebody was told.
#[derive(Debug, Clone, Copy)]
struct Told {
    began: u64,
    ended: u64,
    value: i64,
    broker: Option<i32>,
}

pub(super) fn check(partition: Partition, events: &Events<'_>, report: &mut Report) {
    let ends = ends(events);
    covered(partition, events, &ends, report);
    monotone("the end of the log", partition, ends, report);
    for (of, values) in by_broker(events) {
        monotone(of, partition, values, report);
    }
}

/// All that claims to be the end of the log, by whichever broker.
fn ends(events: &Events<'_>) -> Vec<Told> {
    let from_reads = events.reads.iter().filter(|read| read.tells_end);
    let from_reads = from_reads.map(|read| Told {
        began: read.began,
        ended: read.ended,
        value: read.high_watermark,
        broker: read.broker,
    });
    let from_ends = events.ends.iter().map(|end| Told {
        began: end.began,
        ended: end.ended,
        value: end.offset,
        broker: end.broker,
    });
    from_reads.chain(from_ends).collect()
}

/// What was acknowledged before somebody asked is below the end that they are told.
fn covered(partition: Partition, events: &Events<'_>, ends: &[Told], report: &mut Report) {
    let acknowledged = events.sends.iter().filter_map(|send| match send.outcome {
        SendOutcome::Acknowledged { base_offset } => {
            Some((send.ended?, base_offset + send.records.len() as i64))
        }
        _ => None,
    });
    let asked = ends.iter().map(|told| (told.began, *told)).collect();
    in_time(acknowledged.collect(), asked, |highest, told| {
        if told.value < highest {
            report.add(
                "I12",
                format!(
                    "{} says that partition {partition} ends at {} after offset {} was acknowledged",
                    speaker(told),
                    told.value,
                    highest - 1
                ),
            );
        }
    });
}

/// Nothing falls.
fn monotone(of: &str, partition: Partition, values: Vec<Told>, report: &mut Report) {
    let before = values.iter().map(|told| (told.ended, told.value)).collect();
    let asked = values.into_iter().map(|told| (told.began, told)).collect();
    in_time(before, asked, |highest, told| {
        if told.value < highest {
            report.add(
                "I13",
                format!(
                    "{of} of partition {partition} fell from {highest} to {}, says {}",
                    told.value,
                    speaker(told)
                ),
            );
        }
    });
}

/// Calls `each` with the highest value that was known before each question.
fn in_time(
    mut known: Vec<(u64, i64)>,
    mut asked: Vec<(u64, Told)>,
    mut each: impl FnMut(i64, &Told),
) {
    known.sort_unstable();
    asked.sort_by_key(|(began, _)| *began);
    let mut known = known.into_iter().peekable();
    let mut highest = 0;
    for (began, told) in &asked {
        while let Some((_, value)) = known.next_if(|(when, _)| when < began) {
            highest = highest.max(value);
        }
        each(highest, told);
    }
}

/// What each broker says of high watermark, last stable offset and log start.
fn by_broker(events: &Events<'_>) -> Vec<(&'static str, Vec<Told>)> {
    let mut told: BTreeMap<(&'static str, Option<i32>), Vec<Told>> = BTreeMap::new();
    for read in &events.reads {
        for (of, value) in [
            ("the high watermark", read.high_watermark),
            ("the last stable offset", read.last_stable),
            ("the log start", read.log_start),
        ] {
            let values = told.entry((of, read.broker)).or_default();
            values.push(Told {
                began: read.began,
                ended: read.ended,
                value,
                broker: read.broker,
            });
        }
    }
    told.into_iter()
        .map(|((of, _), values)| (of, values))
        .collect()
}

fn speaker(told: &Told) -> String {
    match told.broker {
        Some(broker) => format!("broker {broker}"),
        None => "the broker".to_owned(),
    }
}

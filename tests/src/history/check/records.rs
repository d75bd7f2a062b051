//! Records: where they stand, what they are, whether they are there.

use std::collections::{HashMap, HashSet};

use super::log::Log;
use super::{Events, Report, Send, SendOutcome, place};
use crate::history::{History, Partition};

/// Where each record stands.
pub(super) fn places(partition: Partition, log: &Log, report: &mut Report) -> HashMap<u64, i64> {
    let mut placed = HashMap::with_capacity(log.len());
    for (offset, content) in log {
        if let Some(first) = placed.insert(content.id, *offset) {
            report.duplicated += 1;
            report.add(
                "I10",
                format!(
                    "record {} stands at offsets {first} and {offset} of partition {partition}",
                    content.id
                ),
            );
        }
    }
    placed
}

/// Where records come from.
pub(super) struct Lives<'a> {
    pub history: &'a History,
    pub homes: &'a HashMap<u64, (Partition, u64)>,
}

impl Lives<'_> {
    fn name(&self, partition: Partition) -> Option<&str> {
        let topic = self.history.topics.get(&partition.topic)?;
        Some(&topic.name)
    }

    /// Two topics that had one name, one after the other.
    fn are_two_lives(&self, one: Partition, other: Partition) -> bool {
        let (name, others) = (self.name(one), self.name(other));
        one.topic != other.topic && name.is_some() && name == others
    }
}

/// Nothing is read that was not sent here, and nothing differs from what was.
pub(super) fn contents(partition: Partition, lives: &Lives<'_>, log: &Log, report: &mut Report) {
    for (offset, content) in log {
        let id = content.id;
        match lives.homes.get(&id) {
            None => report.add(
                "I18",
                format!("nobody sent record {id} at {partition}:{offset}"),
            ),
            Some((home, _)) if lives.are_two_lives(*home, partition) => report.add(
                "I23",
                format!(
                    "record {id} of the deleted topic of {home} stands at {partition}:{offset}"
                ),
            ),
            Some((home, _)) if *home != partition => report.add(
                "I18",
                format!("record {id} was sent to {home} and stands at {partition}:{offset}"),
            ),
            Some((_, digest)) if *digest != content.digest => report.add(
                "I18",
                format!("record {id} at {partition}:{offset} was changed"),
            ),
            Some(_) => {}
        }
    }
}

/// Every final reader sees all that was acknowledged, and all that anybody has seen.
pub(super) fn still_there(
    partition: Partition,
    events: &Events<'_>,
    log: &Log,
    report: &mut Report,
) {
    let mut lost = HashSet::new();
    let mut is_read = false;
    for read in events.reads.iter().filter(|read| read.is_final) {
        is_read = true;
        let seen: HashSet<u64> = read.records.iter().map(|(_, content)| content.id).collect();
        for (id, offset) in acknowledged(&events.sends) {
            if !seen.contains(&id) {
                lost.insert(id);
                report.add(
                    "I2",
                    format!(
                        "{} misses record {id}, acknowledged at {partition}:{offset}",
                        place(read)
                    ),
                );
            }
        }
        for (offset, content) in log.iter().filter(|(offset, _)| *offset >= read.log_start) {
            if !seen.contains(&content.id) {
                report.add(
                    "I1",
                    format!(
                        "{} misses record {}, which others have seen at offset {offset}",
                        place(read),
                        content.id
                    ),
                );
            }
        }
    }
    report.lost += lost.len() as u64;
    if !is_read {
        report.add(
            "I3",
            format!("nobody read partition {partition} in the end"),
        );
    }
}

/// Records that were acknowledged, with the offsets that the producers were told.
fn acknowledged<'a>(sends: &'a [&Send]) -> impl Iterator<Item = (u64, i64)> + 'a {
    sends.iter().flat_map(|send| {
        let base_offset = match send.outcome {
            SendOutcome::Acknowledged { base_offset } => Some(base_offset),
            _ => None,
        };
        base_offset.into_iter().flat_map(|base| {
            let ids = send.records.iter().map(|content| content.id);
            ids.zip(base..)
        })
    })
}

/// What was acknowledged stands where the producer was told.
pub(super) fn acknowledged_places(
    partition: Partition,
    sends: &[&Send],
    placed: &HashMap<u64, i64>,
    report: &mut Report,
) {
    for (id, offset) in acknowledged(sends) {
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

pub(super) fn refused(
    partition: Partition,
    sends: &[&Send],
    placed: &HashMap<u64, i64>,
    report: &mut Report,
) {
    let failed = sends
        .iter()
        .filter(|send| send.outcome == SendOutcome::Failed);
    for content in failed.flat_map(|send| &send.records) {
        if let Some(offset) = placed.get(&content.id) {
            let id = content.id;
            report.add(
                "I4",
                format!("record {id} was refused and stands at {partition}:{offset}"),
            );
        }
    }
}

/// Within a producer's session, offsets follow the order of sending; and a batch is visible whole, its records in a row.
pub(super) fn send_order(
    partition: Partition,
    sends: &[&Send],
    placed: &HashMap<u64, i64>,
    report: &mut Report,
) {
    let mut ordered = sends.to_vec();
    ordered.sort_by_key(|send| (send.producer, send.session, send.order));
    let mut last: HashMap<(u32, u32), i64> = HashMap::new();
    for send in ordered {
        let Some((first, end)) = whole(partition, send, placed, report) else {
            continue;
        };
        let before = last.entry((send.producer, send.session)).or_insert(-1);
        if first <= *before {
            report.add(
                "I9",
                format!(
                    "producer {}'s later batch stands at {partition}:{first}, an earlier one at {before}",
                    send.producer
                ),
            );
        }
        *before = (*before).max(end);
    }
}

/// First and last offset of a batch, if anything of it is visible.
fn whole(
    partition: Partition,
    send: &Send,
    placed: &HashMap<u64, i64>,
    report: &mut Report,
) -> Option<(i64, i64)> {
    let ids = send.records.iter().map(|content| content.id);
    let mut offsets = ids.clone().filter_map(|id| placed.get(&id)).copied();
    let first = offsets.next()?;
    let last = offsets.last().unwrap_or(first);
    let in_a_row = ids
        .zip(first..)
        .all(|(id, expected)| placed.get(&id) == Some(&expected));
    if !in_a_row {
        report.add(
            "I9",
            format!(
                "a batch of {} records stands in pieces from {partition}:{first} to {last}",
                send.records.len()
            ),
        );
    }
    Some((first, last))
}

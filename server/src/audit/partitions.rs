//! Whether tables, and then segments, cover a partition: pure.

use std::collections::BTreeSet;
use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::fold::LogId;
use alluvium_metadata::model::{PartitionRecord, TailEntry};
use alluvium_segment::manifest::Manifest;

use crate::restore::RESTORED_BROKER;

/// Offsets of one partition in one segment, in the order of its commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub log: LogId,
    pub seq: u64,
    pub base: Offset,
    pub next: Offset,
}

/// What is wrong with a partition. Its segments are contiguous and disjoint, in the order of the commit logs that it names,
/// from the published end on; below, they may be there still or deleted, and table files have what they had.
pub(super) fn check(
    tp: TopicPartition,
    record: &PartitionRecord,
    manifest: Option<&Manifest>,
    mut spans: Vec<Span>,
) -> Vec<String> {
    let published_end = manifest.map_or(Offset::ZERO, |manifest| {
        manifest.published_end(tp.partition)
    });
    let start = record.log_start.max(published_end);
    let place = |span: &Span| {
        let mut entries = record.tail.iter();
        let entry = entries.position(|entry| entry.names(span.log, span.seq));
        (entry, span.seq)
    };
    spans.sort_by_key(place);
    let mut findings = check_segments(tp, record, start, &spans, place);
    let named = spans.iter().filter(|span| place(span).0.is_some());
    let held = named.map(|span| span.base..span.next);
    let tables = manifest
        .into_iter()
        .flat_map(|manifest| manifest.spans_from(tp.partition, record.log_start));
    let held: Vec<_> = held.chain(tables.map(|span| span.offsets())).collect();
    // By their format, manifests may leave out offsets without any record, as those of control records alone. Nobody
    // writes such yet, but for key compaction, which tells up to where. So another gap is a loss, or a published end that
    // was invented.
    let removed_before = manifest.map_or(Offset::ZERO, |manifest| {
        manifest.removed_before(tp.partition)
    });
    let whole = record.log_start.max(removed_before)..published_end;
    let missing = gaps(&whole, held);
    findings.extend(missing.into_iter().map(|gap| {
        format!(
            "partition {tp}: offsets {} to before {} should be published, and are in no table file and no segment",
            gap.start, gap.end
        )
    }));
    findings
}

fn check_segments(
    tp: TopicPartition,
    record: &PartitionRecord,
    start: Offset,
    spans: &[Span],
    place: impl Fn(&Span) -> (Option<usize>, u64),
) -> Vec<String> {
    let named: BTreeSet<LogId> = record.tail.iter().map(log_of).collect();
    let mut findings = Vec::new();
    let mut expected = None;
    for span in spans {
        if span.next <= start {
            continue;
        }
        if place(span).0.is_none() {
            // A restored cluster holds segments of which another leader epoch has superseded a part; those lie in logs
            // that only the partitions with a part in use name.
            if named.contains(&span.log) || span.log.broker_id != RESTORED_BROKER {
                findings.push(format!(
                    "partition {tp}: offsets {} to {} stand in a part of a commit log that it does not name",
                    span.base, span.next
                ));
            }
            continue;
        }
        let fits = match expected {
            Some(expected) => span.base == expected,
            None => span.base <= start,
        };
        if !fits {
            findings.push(format!(
                "partition {tp}: offset {} follows offset {}",
                span.base,
                expected.unwrap_or(start)
            ));
        }
        expected = Some(span.next);
    }
    findings
}

fn log_of(entry: &TailEntry) -> LogId {
    LogId {
        broker_id: entry.broker_id,
        broker_epoch: entry.broker_epoch,
    }
}

/// What of `whole` is in none of `parts`.
pub(super) fn gaps(whole: &Range<Offset>, mut parts: Vec<Range<Offset>>) -> Vec<Range<Offset>> {
    parts.sort_unstable_by_key(|part| part.start);
    let (mut at, mut gaps) = (whole.start, Vec::new());
    for part in parts {
        let begins = part.start.min(whole.end);
        if begins > at {
            gaps.push(at..begins);
        }
        at = at.max(part.end);
    }
    if at < whole.end {
        gaps.push(at..whole.end);
    }
    gaps
}

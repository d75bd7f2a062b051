//! The manifest that comes next.

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::footer::{ProducerBatch, ProducerSummary};
use alluvium_segment::manifest::{ManifestContent, SpanEntry, TableEntry};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use alluvium_table::{FinishedTable, TableRef, TableSpan};
use uuid::Uuid;

use super::super::backlog::PendingSpan;
use super::super::manifests::next_manifest;
use super::plan::{block, offset, segment, span, tp};
use super::*;
use crate::tables::table_entry;

fn table_key(number: u128) -> ObjectKey {
    ObjectKey::table(&TableName {
        topic_id: tp(0).topic_id,
        written: SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(1),
            id: Uuid::from_u128(number),
        },
    })
}

fn table(number: u128, spans: &[(i32, i64, i64)]) -> TableEntry {
    let spans = spans.iter().map(|(partition, base, next)| SpanEntry {
        partition: PartitionIndex(*partition),
        base_offset: offset(*base),
        next_offset: offset(*next),
        records: 1,
        raw_bytes: 1,
        min_timestamp: 0,
        max_timestamp: 0,
    });
    TableEntry {
        object_key: table_key(number),
        size_bytes: 1,
        tail_length: 1,
        tail_crc: 0,
        spans: spans.collect(),
    }
}

/// Offsets, and perhaps a producer and when it was seen.
type SpanWith = (i64, i64, Option<(i64, i64)>);

/// Work on one partition, with a producer's batch of one record at each span's first offset.
fn work(partition: i32, spans: &[SpanWith]) -> TopicWork {
    let pending = (0..).zip(spans).map(|(seq, (base, next, producer))| {
        let blocks = vec![block(32, 10, *base..*next)];
        let mut held = PendingSpan::clone(&span(partition, (1, 5), seq, segment(seq), blocks));
        if let Some((id, seen_ms)) = producer {
            held.created_ms = *seen_ms;
            held.span.producers.push(summary(*id, *base));
        }
        Arc::new(held)
    });
    let spans: Vec<_> = pending.collect();
    TopicWork::of(
        vec![ReadyPartition {
            tp: tp(partition),
            from: spans[0].span.base_offset,
            end: spans[spans.len() - 1].span.next_offset,
            spans,
        }],
        u64::MAX,
    )
}

fn summary(id: i64, base: i64) -> ProducerSummary {
    ProducerSummary {
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(0),
        batches: vec![ProducerBatch {
            base_sequence: Sequence::ZERO,
            last_sequence: Sequence::ZERO,
            base_offset: offset(base),
            last_offset: offset(base),
            max_timestamp: 0,
        }],
    }
}

#[test]
fn a_manifest_says_what_the_one_before_said_and_what_is_new() {
    let empty = ManifestContent::empty(tp(0).topic_id);
    let first = work(0, &[(0, 10, Some((3, 100))), (10, 20, None)]);
    let one = next_manifest(empty, &first, vec![table(1, &[(0, 0, 20)])], 150, 1_000);
    assert_eq!(one.partitions.len(), 1);

    // Another partition; nothing changes of the first. Of its offsets no record came into a table.
    let second = next_manifest(
        one.clone(),
        &work(1, &[(0, 5, None)]),
        Vec::new(),
        160,
        1_000,
    );
    assert_eq!(second.tables, one.tables);
    assert_eq!(
        second.partitions[&PartitionIndex(0)],
        one.partitions[&PartitionIndex(0)]
    );
    let ends: Vec<_> = second
        .partitions
        .values()
        .map(|one| one.next_offset)
        .collect();
    assert_eq!(ends, [offset(20), offset(5)]);
    let manifest = Manifest::new(second).expect("well formed");
    assert_eq!(manifest.tables().len(), 1);
}

#[test]
fn producers_come_along_until_they_are_silent_for_too_long() {
    let empty = ManifestContent::empty(tp(0).topic_id);
    let known = |content: &ManifestContent, partition| -> Vec<(i64, usize, i64)> {
        let producers = content.partitions[&PartitionIndex(partition)]
            .producers
            .iter();
        let one = |known: &alluvium_segment::manifest::PublishedProducer| {
            let summary = &known.summary;
            (
                summary.producer_id.0,
                summary.batches.len(),
                known.last_seen_ms,
            )
        };
        producers.map(one).collect()
    };
    let first = work(0, &[(0, 10, Some((3, 100))), (10, 20, Some((2, 110)))]);
    let one = next_manifest(empty, &first, vec![table(1, &[(0, 0, 20)])], 120, 50);
    assert_eq!(known(&one, 0), [(2, 1, 110), (3, 1, 100)]);
    let second = work(0, &[(20, 30, Some((3, 130)))]);
    let two = next_manifest(one, &second, vec![table(2, &[(0, 20, 30)])], 140, 50);
    assert_eq!(known(&two, 0), [(2, 1, 110), (3, 2, 130)]);
    // Of partitions too that nothing new is published of.
    let third = work(1, &[(0, 5, Some((9, 161)))]);
    let three = next_manifest(two, &third, Vec::new(), 161, 50);
    assert_eq!(known(&three, 0), [(3, 2, 130)]);
    assert_eq!(known(&three, 1), [(9, 1, 161)]);
}

/// A file may answer for offsets without records, as of control batches: the manifest names no span for them.
#[test]
fn spans_without_records_are_not_named() {
    let of = |partition, records| TableSpan {
        partition: PartitionIndex(partition),
        base_offset: Offset::ZERO,
        next_offset: offset(7),
        records,
        min_timestamp: -1,
        max_timestamp: -1,
        raw_bytes: 0,
    };
    let finished = FinishedTable {
        chunks: Vec::new(),
        table: TableRef {
            size_bytes: 11,
            tail_length: 5,
            tail_crc: 9,
        },
        spans: vec![of(0, 0), of(1, 3), of(4, 0)],
    };
    let entry = table_entry(table_key(1), &finished);
    assert_eq!(
        (entry.size_bytes, entry.tail_length, entry.tail_crc),
        (11, 5, 9)
    );
    let partitions: Vec<_> = entry.spans.iter().map(|one| one.partition.0).collect();
    assert_eq!(partitions, [1]);
    assert_eq!(entry.spans[0].next_offset, offset(7));
}

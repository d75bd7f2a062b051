mod leaves;
mod segments;

use std::collections::BTreeMap;
use std::ops::Range;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::object_store::{ObjectStore, ObjectStoreExt};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::model::{PartitionRecord, TailEntry, TopicRecord};
use alluvium_segment::manifest::{
    Manifest, ManifestContent, PublishedPartition, SpanEntry, TableEntry,
};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use alluvium_segment::record_batch::{Codec, Record, RecordHeader, TimestampType};
use alluvium_table::{TableOptions, TableWriter};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use uuid::Uuid;

use super::Report;
use super::digest::{Comparison, Digest, Piece};
use super::known::Known;
use super::partitions::{self, Span, gaps};
use super::tables;

const TOPIC: TopicId = TopicId(Uuid::from_u128(7));
const KIND: TimestampType = TimestampType::CreateTime;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, PartitionIndex(partition))
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

fn offsets(range: Range<i64>) -> Range<Offset> {
    offset(range.start)..offset(range.end)
}

fn written(number: u128) -> SegmentName {
    SegmentName {
        broker_id: BrokerId(1),
        broker_epoch: BrokerEpoch(5),
        id: Uuid::from_u128(number),
    }
}

fn table_name(topic_id: TopicId, number: u128) -> ObjectKey {
    let written = written(number);
    ObjectKey::table(&TableName { topic_id, written })
}

fn record(at: i64) -> Record {
    // Of some length, and different for each offset.
    let value: Vec<u8> = (0..3_000u64)
        .map(|byte| (byte.wrapping_mul(0x9e37_79b9 + at.unsigned_abs()) >> 7) as u8)
        .collect();
    Record {
        offset: offset(at),
        timestamp: 1_000 + at % 10,
        key: (at % 2 == 0).then(|| Bytes::from(at.to_string())),
        value: Some(value.into()),
        headers: Vec::new(),
    }
}

/// What a segment holds of these.
fn piece(range: Range<i64>, records: &[Record]) -> Piece {
    let mut digest = Digest::default();
    records.iter().for_each(|record| digest.add(record, KIND));
    Piece {
        offsets: offsets(range),
        digest: digest.finish(),
        segment: ObjectKey::segment(&written(1)),
    }
}

fn compare(pieces: &[Piece], span: Range<i64>, rows: &[Record]) -> (u64, Vec<String>) {
    let mut comparison = Comparison::new(pieces, &offsets(span));
    rows.iter().for_each(|row| comparison.row(row, KIND));
    comparison.finish();
    (comparison.compared, comparison.findings)
}

#[test]
fn rows_are_compared_where_segments_are() {
    let records: Vec<_> = (0..40).map(record).collect();
    // The segments of 10 to 20 are deleted; 35 to 45 is of another file in part.
    let pieces = [
        piece(0..10, &records[..10]),
        piece(20..30, &records[20..30]),
        piece(30..35, &records[30..35]),
        piece(35..45, &records[35..]),
    ];
    assert_eq!(compare(&pieces, 0..35, &records[..35]), (25, Vec::new()));
    assert_eq!(compare(&pieces, 10..30, &records[10..30]), (10, Vec::new()));
    let found = |rows: &[Record]| compare(&pieces, 0..35, rows).1.len();
    assert_eq!(found(&records[..34]), 1, "the last row is missing");
    assert_eq!(found(&records[..5]), 3, "rows of all pieces are");
    let mut changed = records[..35].to_vec();
    changed[15].value = None;
    assert_eq!(found(&changed), 0, "nothing to compare it with");
    changed[25].timestamp += 1;
    assert_eq!(found(&changed), 1);
    let twice: Vec<_> = records[..35]
        .iter()
        .chain(&records[34..35])
        .cloned()
        .collect();
    assert_eq!(found(&twice), 1);
}

#[test]
fn whatever_a_consumer_sees_is_in_the_digest() {
    let original = Record {
        headers: vec![RecordHeader {
            key: "a".into(),
            value: None,
        }],
        ..record(0)
    };
    let digest = |record: &Record, kind| {
        let mut digest = Digest::default();
        digest.add(record, kind);
        digest.finish()
    };
    let changes: [fn(&mut Record); 8] = [
        |record| record.offset = offset(1),
        |record| record.timestamp = -1,
        |record| record.key = None,
        |record| record.key = Some(Bytes::new()),
        |record| record.value = None,
        |record| record.headers.clear(),
        |record| record.headers[0].value = Some(Bytes::new()),
        |record| record.headers.push(record.headers[0].clone()),
    ];
    let mut seen = vec![
        digest(&original, KIND),
        digest(&original, TimestampType::LogAppendTime),
    ];
    for change in changes {
        let mut changed = original.clone();
        change(&mut changed);
        seen.push(digest(&changed, KIND));
    }
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn gaps_are_what_nothing_covers() {
    let found = |parts: &[Range<i64>]| {
        let parts = parts.iter().cloned().map(offsets).collect();
        let gaps = gaps(&offsets(10..50), parts).into_iter();
        gaps.map(|gap| (gap.start.get(), gap.end.get()))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&[]), [(10, 50)]);
    assert_eq!(found(&[0..20, 20..60]), []);
    assert_eq!(found(&[30..40, 0..20, 15..18]), [(20, 30), (40, 50)]);
    assert_eq!(found(&[0..5, 60..70]), [(10, 50)]);
}

fn span(base: i64, next: i64) -> SpanEntry {
    SpanEntry {
        partition: PartitionIndex(0),
        base_offset: offset(base),
        next_offset: offset(next),
        records: next.abs_diff(base),
        raw_bytes: 0,
        min_timestamp: 0,
        max_timestamp: 0,
    }
}

fn manifest(topic_id: TopicId, spans: &[(i64, i64)], end: i64) -> Manifest {
    let tables = (1..).zip(spans).map(|(number, (base, next))| TableEntry {
        object_key: table_name(topic_id, number),
        size_bytes: 1,
        tail_length: 1,
        tail_crc: 1,
        spans: vec![span(*base, *next)],
    });
    let published = PublishedPartition {
        next_offset: offset(end),
        ..PublishedPartition::default()
    };
    let content = ManifestContent {
        version: 1,
        tables: tables.collect(),
        partitions: [(PartitionIndex(0), published)].into(),
        ..ManifestContent::empty(TOPIC)
    };
    Manifest::new(content).expect("well formed")
}

const LOG: LogId = LogId {
    broker_id: BrokerId(1),
    broker_epoch: BrokerEpoch(5),
};

/// A partition that names all of [`LOG`].
fn named(log_start: i64) -> PartitionRecord {
    PartitionRecord {
        leader_epoch: LeaderEpoch(1),
        log_start: offset(log_start),
        tail: vec![TailEntry {
            broker_id: LOG.broker_id,
            broker_epoch: LOG.broker_epoch,
            first_seq: 0,
            last_seq: None,
        }],
        ..PartitionRecord::new(BrokerId(1))
    }
}

fn check(record: &PartitionRecord, manifest: Option<&Manifest>, spans: &[(i64, i64)]) -> usize {
    let spans = (0..).zip(spans).map(|(seq, (base, next))| Span {
        log: LOG,
        seq,
        base: offset(*base),
        next: offset(*next),
    });
    partitions::check(tp(0), record, manifest, spans.collect()).len()
}

#[test]
fn tables_and_then_segments_cover_a_partition() {
    let published = manifest(TOPIC, &[(0, 10), (10, 30)], 30);
    let with = |spans: &[(i64, i64)]| check(&named(0), Some(&published), spans);
    assert_eq!(with(&[(0, 10), (10, 30), (30, 40)]), 0, "all are there");
    assert_eq!(with(&[(30, 40), (40, 50)]), 0, "what is published is gone");
    assert_eq!(with(&[(0, 10), (30, 40)]), 0, "some of it is");
    assert_eq!(with(&[]), 0, "nothing else was committed");
    assert_eq!(with(&[(40, 50)]), 1, "30 to 40 are lost");
    assert_eq!(with(&[(30, 40), (50, 60)]), 1);
    assert_eq!(with(&[(0, 10), (20, 35), (30, 40)]), 1, "30 stands twice");
    assert_eq!(check(&named(0), None, &[(0, 10), (10, 20)]), 0);
    assert_eq!(check(&named(0), None, &[(10, 20)]), 1);
    assert_eq!(check(&named(15), Some(&published), &[]), 0);
    assert_eq!(check(&named(45), Some(&published), &[(40, 50)]), 0);
    assert_eq!(check(&named(45), Some(&published), &[(46, 50)]), 1);
}

#[test]
fn a_published_end_that_nothing_reaches_is_found() {
    let published = manifest(TOPIC, &[(0, 10), (20, 30)], 40);
    let with = |log_start, spans: &[(i64, i64)]| check(&named(log_start), Some(&published), spans);
    assert_eq!(with(0, &[]), 2);
    assert_eq!(with(0, &[(10, 20), (30, 50)]), 0, "segments know");
    assert_eq!(with(20, &[(30, 40)]), 0);
    assert_eq!(with(40, &[]), 0, "nobody reads that any more");
}

#[test]
fn what_key_compaction_removed_is_not_lost() {
    let with = |removed_before| {
        let mut content = manifest(TOPIC, &[(5, 10), (20, 30)], 40).to_content();
        let published = content.partitions.get_mut(&PartitionIndex(0));
        published.expect("there").clean.removed_before = offset(removed_before);
        let cleaned = Manifest::new(content).expect("well formed");
        check(&named(0), Some(&cleaned), &[])
    };
    assert_eq!(with(0), 3);
    assert_eq!(with(15), 2, "what is behind is");
    assert_eq!(with(20), 1);
    assert_eq!(with(40), 0);
}

fn topic(partition_count: i32) -> TopicRecord {
    TopicRecord {
        name: TopicName::new("orders").expect("a name"),
        topic_id: TOPIC,
        partition_count,
        replication_factor: 1,
        configs: BTreeMap::new(),
        created_ms: 0,
    }
}

#[test]
fn a_manifest_has_to_fit_its_topic() {
    let wrong = |manifest: &Manifest, count| {
        super::published::contradictions(manifest, &topic(count)).count()
    };
    let spans = [(0, 10), (10, 30)];
    assert_eq!(wrong(&manifest(TOPIC, &spans, 30), 1), 0);
    assert_eq!(wrong(&manifest(TOPIC, &spans, 30), 0), 1);
    let foreign = TopicId(Uuid::from_u128(8));
    assert_eq!(wrong(&manifest(foreign, &spans, 30), 1), 2);
    let mut content = manifest(TOPIC, &spans, 30).to_content();
    content.tables[1].object_key = content.tables[0].object_key.clone();
    let twice = Manifest::new(content).expect("well formed");
    assert_eq!(wrong(&twice, 1), 1);
}

/// A table of two partitions with some row groups and stripes, in a bucket, and what the manifest says of it.
async fn stored_table(objects: &InMemory) -> (TableEntry, Bytes) {
    let options = TableOptions {
        row_group_bytes: 600 << 10,
        stripe_bytes: 100 << 10,
        page_bytes: 30 << 10,
        ..TableOptions::default()
    };
    let mut writer = TableWriter::new(&options).expect("options");
    for partition in 0..2 {
        let partition = PartitionIndex(partition);
        writer.begin_partition(partition, offset(0)).expect("begun");
        for at in 0..400 {
            let mut record = record(at);
            if at > 300 {
                record.headers.push(RecordHeader {
                    key: "h".into(),
                    value: None,
                });
            }
            let pushed = writer.push_record(&record, KIND, Codec::None);
            pushed.expect("pushed");
        }
        writer.end_partition(offset(400)).expect("ended");
    }
    let mut chunks = writer.take_bytes();
    let finished = writer.finish().expect("finished");
    chunks.extend(finished.chunks);
    let bytes = Bytes::from(chunks.concat());
    let spans = finished.spans.iter().map(|span| SpanEntry {
        partition: span.partition,
        base_offset: span.base_offset,
        next_offset: span.next_offset,
        records: span.records,
        raw_bytes: span.raw_bytes,
        min_timestamp: span.min_timestamp,
        max_timestamp: span.max_timestamp,
    });
    let entry = TableEntry {
        object_key: table_name(TOPIC, 1),
        size_bytes: finished.table.size_bytes,
        tail_length: finished.table.tail_length,
        tail_crc: finished.table.tail_crc,
        spans: spans.collect(),
    };
    put(objects, &entry, bytes.clone()).await;
    (entry, bytes)
}

async fn put(objects: &InMemory, entry: &TableEntry, bytes: Bytes) {
    let path = Path::from(entry.object_key.as_str());
    objects.put(&path, bytes.into()).await.expect("put");
}

/// What the audit finds in a table that a manifest names so.
async fn audited(objects: &dyn ObjectStore, entry: &TableEntry, pieces: &[Piece]) -> Report {
    let mut known = Known::new(
        &alluvium_metadata::keys::Keys::new(""),
        Vec::new(),
        Vec::new(),
    );
    let partitions = [0, 1].map(|partition| {
        let published = PublishedPartition {
            next_offset: offset(1_000),
            ..PublishedPartition::default()
        };
        (PartitionIndex(partition), published)
    });
    let content = ManifestContent {
        tables: vec![entry.clone()],
        partitions: partitions.into(),
        ..ManifestContent::empty(TOPIC)
    };
    let manifest = Manifest::new(content).expect("well formed");
    known.manifests.insert(TOPIC, manifest);
    let pieces = [(tp(1), pieces.to_vec())].into();
    let mut report = Report::default();
    tables::check(objects, &known, &pieces, &mut report, &mut || {}).await;
    report
}

#[tokio::test]
async fn every_byte_of_a_table_is_read() {
    let objects = InMemory::new();
    let (entry, bytes) = stored_table(&objects).await;
    let report = audited(&objects, &entry, &[]).await;
    assert_eq!(report.findings, []);
    assert_eq!((report.tables, report.table_records), (1, 800));
    assert_eq!(report.table_bytes, bytes.len() as u64);
    for at in (0..bytes.len()).step_by(10_007).chain([bytes.len() - 1]) {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x10;
        put(&objects, &entry, damaged.into()).await;
        let found = audited(&objects, &entry, &[]).await.findings;
        let name = entry.object_key.as_str();
        assert!(
            found.len() == 1 && found[0].contains(name),
            "{at}: {found:?}"
        );
    }
    put(&objects, &entry, bytes.slice(..bytes.len() - 1)).await;
    assert_eq!(audited(&objects, &entry, &[]).await.findings.len(), 1);
    objects
        .delete(&Path::from(entry.object_key.as_str()))
        .await
        .expect("deleted");
    assert_eq!(audited(&objects, &entry, &[]).await.findings.len(), 1);
}

#[tokio::test]
async fn what_a_manifest_says_of_a_table_is_compared() {
    let objects = InMemory::new();
    let (entry, _) = stored_table(&objects).await;
    let changes: [fn(&mut SpanEntry); 6] = [
        |span| span.partition = PartitionIndex(5),
        |span| span.next_offset = offset(401),
        |span| span.records += 1,
        |span| span.raw_bytes -= 1,
        |span| span.min_timestamp -= 1,
        |span| span.max_timestamp += 1,
    ];
    for change in changes {
        let mut entry = entry.clone();
        change(&mut entry.spans[1]);
        if entry.spans[1].partition == PartitionIndex(5) {
            // The manifest says nothing of partition 5, and is refused before.
            entry.spans.truncate(1);
        }
        assert_eq!(audited(&objects, &entry, &[]).await.findings.len(), 1);
    }
}

#[tokio::test]
async fn rows_of_a_table_are_those_of_segments() {
    let objects = InMemory::new();
    let (entry, _) = stored_table(&objects).await;
    let records: Vec<_> = (0..300).map(record).collect();
    let mut pieces: Vec<_> = (0..30)
        .map(|at| piece(at * 10..at * 10 + 10, &records[at as usize * 10..][..10]))
        .collect();
    let report = audited(&objects, &entry, &pieces).await;
    assert_eq!(
        (report.findings, report.records_compared),
        (Vec::new(), 300)
    );
    pieces[7] = piece(70..80, &records[69..79]);
    let found = audited(&objects, &entry, &pieces).await.findings;
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("offsets 70 to before 80"), "{found:?}");
}

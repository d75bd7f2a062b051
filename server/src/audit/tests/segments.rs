//! Segments, named by a fold, of a topic of which some is published.

use std::collections::HashSet;

use alluvium_metadata::commit_log::LogEntry;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::FoldRecord;
use alluvium_segment::fold_object::{FoldBuilder, FoldedCommit};
use alluvium_segment::record_batch::{BatchBuilder, NO_HEADERS, StoredBatch};
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};

use super::*;
use crate::audit::segments;

/// Offsets of each segment.
const SEGMENTS: [Range<i64>; 3] = [0..10, 10..20, 20..30];

fn batch(offsets: Range<i64>, control: bool) -> StoredBatch {
    let mut builder = BatchBuilder::new(Codec::Lz4).base_offset(offset(offsets.start));
    if control {
        builder = builder.control();
    }
    for at in offsets {
        let record = record(at);
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(record.timestamp, key, value, NO_HEADERS);
    }
    StoredBatch::from_stored(builder.build().expect("small")).expect("valid")
}

/// Puts the segments and a fold that names them. The last record of each is a control record.
async fn stored(objects: &InMemory) -> (Vec<ObjectKey>, LogEntry) {
    let mut fold = FoldBuilder::new(LOG.broker_id, LOG.broker_epoch, 0, 0);
    let mut keys = Vec::new();
    for (number, offsets) in (1..).zip(SEGMENTS) {
        let header = SegmentHeader {
            broker_id: LOG.broker_id,
            broker_epoch: LOG.broker_epoch,
            created_ms: 0,
        };
        let last = offsets.end - 1;
        let batches = [
            batch(offsets.start..last, false),
            batch(last..offsets.end, true),
        ];
        let entries = batches.map(|batch| SegmentEntry { tp: tp(0), batch });
        let encoded = encode(&header, entries.into(), &EncodeOptions::default());
        let encoded = encoded.expect("encodes");
        let bytes = Bytes::from(encoded.chunks.concat());
        let footer_at = bytes.len() - encoded.footer_length as usize;
        let commit = FoldedCommit {
            object_key: ObjectKey::segment(&written(number)),
            size_bytes: encoded.size_bytes,
            footer_crc: encoded.footer_crc,
            footer: bytes.slice(footer_at..),
        };
        fold.push(&commit).expect("pushed");
        let path = Path::from(commit.object_key.as_str());
        objects.put(&path, bytes.into()).await.expect("put");
        keys.push(commit.object_key);
    }
    let object = fold.finish().expect("finished");
    let object_key = ObjectKey::fold(&written(9));
    let path = Path::from(object_key.as_str());
    let bytes = Bytes::from(object.chunks.concat());
    objects.put(&path, bytes.into()).await.expect("put");
    let record = FoldRecord {
        object_key,
        size_bytes: object.size_bytes,
        index_length: object.index_length,
        index_crc: object.index_crc,
        first_seq: 0,
        last_seq: 2,
    };
    (keys, LogEntry::Fold(record))
}

async fn checked(
    objects: &InMemory,
    entry: &LogEntry,
    published: Option<Manifest>,
) -> (Report, Vec<Piece>) {
    let keys = Keys::new("");
    let partitions = vec![(keys.partition(tp(0)), named(5))];
    let mut known = Known::new(&keys, Vec::new(), partitions);
    known.manifests = published.into_iter().map(|all| (TOPIC, all)).collect();
    let mut report = Report::default();
    let entries = [(LOG, entry.clone())];
    let mut referenced = HashSet::new();
    let mut step = || {};
    let check = segments::check(
        objects,
        &entries,
        &known,
        &mut referenced,
        &mut report,
        &mut step,
    );
    let mut found = check.await;
    assert_eq!(referenced.len(), SEGMENTS.len());
    (report, found.pieces.remove(&tp(0)).unwrap_or_default())
}

#[tokio::test]
async fn a_segment_may_be_missing_if_all_in_it_is_published() {
    let objects = InMemory::new();
    let (keys, entry) = stored(&objects).await;
    let (report, pieces) = checked(&objects, &entry, None).await;
    assert_eq!(
        (report.findings.len(), report.segments, pieces.len()),
        (0, 3, 0)
    );
    let path = Path::from(keys[1].as_str());
    objects.delete(&path).await.expect("deleted");
    for (end, findings, gone) in [(10, 1, 0), (19, 1, 0), (20, 0, 1), (30, 0, 1)] {
        let published = manifest(TOPIC, &[(5, end)], end);
        let (report, _) = checked(&objects, &entry, Some(published)).await;
        let found = (report.findings.len(), report.segments_gone);
        assert_eq!(found, (findings, gone), "{end}: {:?}", report.findings);
    }
    let (report, _) = checked(&objects, &entry, None).await;
    assert!(report.findings[0].contains(keys[1].as_str()));
}

#[tokio::test]
async fn what_segments_hold_of_tables_is_digested() {
    let objects = InMemory::new();
    let (keys, entry) = stored(&objects).await;
    // The table begins at the log start, within a batch.
    let published = manifest(TOPIC, &[(5, 20)], 20);
    let (report, pieces) = checked(&objects, &entry, Some(published)).await;
    assert_eq!(report.findings, []);
    let records: Vec<_> = (0..20).map(record).collect();
    let expected = [
        piece(5..10, &records[5..9]),
        Piece {
            segment: keys[1].clone(),
            ..piece(10..20, &records[10..19])
        },
    ];
    assert_eq!(pieces, expected);
    // Records that no table answers for; a control record need not be in one.
    for (spans, findings) in [
        ([(5, 10), (10, 20)], 0),
        ([(5, 9), (10, 19)], 0),
        ([(6, 10), (10, 20)], 1),
        ([(5, 10), (12, 20)], 1),
        ([(5, 8), (10, 18)], 2),
    ] {
        let published = manifest(TOPIC, &spans, 20);
        let (report, _) = checked(&objects, &entry, Some(published)).await;
        assert_eq!(report.findings.len(), findings, "{:?}", report.findings);
    }
}

#[tokio::test]
async fn what_key_compaction_may_have_removed_is_not_compared() {
    let objects = InMemory::new();
    let (keys, entry) = stored(&objects).await;
    let cleaned = |spans: &[(i64, i64)], removed_before| {
        let mut content = manifest(TOPIC, spans, 20).to_content();
        let published = content.partitions.get_mut(&PartitionIndex(0));
        published.expect("there").clean.removed_before = offset(removed_before);
        Manifest::new(content).expect("well formed")
    };
    let published = cleaned(&[(5, 20)], 12);
    let (report, pieces) = checked(&objects, &entry, Some(published)).await;
    assert_eq!(report.findings, []);
    let records: Vec<_> = (0..20).map(record).collect();
    let expected = Piece {
        segment: keys[1].clone(),
        ..piece(12..20, &records[12..19])
    };
    assert_eq!(pieces, [expected]);
    for (removed_before, findings) in [(5, 2), (10, 1), (14, 1), (15, 0), (20, 0)] {
        let published = cleaned(&[(7, 10), (15, 20)], removed_before);
        let (report, _) = checked(&objects, &entry, Some(published)).await;
        assert_eq!(report.findings.len(), findings, "{removed_before}");
    }
}

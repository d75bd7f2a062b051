use std::collections::BTreeMap;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_segment::manifest::{
    CleanState, Manifest, ManifestContent, PublishedPartition, SpanEntry, TableEntry, TombstoneMark,
};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use uuid::Uuid;

use super::super::plan::{Dirt, due};
use super::world::{TOPIC, at, offset};

const NOW_MS: i64 = 1_000_000;

/// A span: base and next offset, bytes, smallest and largest timestamp.
type Span = (i64, i64, u64, i64, i64);

fn settings(configs: &[(&str, &str)]) -> TopicSettings {
    let configs = configs.iter();
    let configs: BTreeMap<_, _> = configs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    TopicSettings::parse(&configs, &BTreeMap::new())
}

/// Each partition's spans, each in a file of its own.
fn manifest(partitions: &[(&[Span], CleanState)]) -> Manifest {
    let mut content = ManifestContent::empty(TOPIC);
    for (number, (spans, clean)) in (0..).zip(partitions) {
        let partition = PartitionIndex(number);
        let published = PublishedPartition {
            next_offset: offset(spans.last().map_or(0, |span| span.1)),
            clean: clean.clone(),
            ..PublishedPartition::default()
        };
        content.partitions.insert(partition, published);
        for (base, next, raw_bytes, min_timestamp, max_timestamp) in *spans {
            let written = SegmentName {
                broker_id: BrokerId(1),
                broker_epoch: BrokerEpoch(5),
                id: Uuid::from_u128(content.tables.len() as u128),
            };
            let span = SpanEntry {
                partition,
                base_offset: offset(*base),
                next_offset: offset(*next),
                records: 1,
                raw_bytes: *raw_bytes,
                min_timestamp: *min_timestamp,
                max_timestamp: *max_timestamp,
            };
            content.tables.push(TableEntry {
                object_key: ObjectKey::table(&TableName {
                    topic_id: TOPIC,
                    written,
                }),
                size_bytes: 1,
                tail_length: 1,
                tail_crc: 0,
                spans: vec![span],
            });
        }
    }
    Manifest::new(content).expect("well formed")
}

fn clean(next: i64, raw_bytes: u64) -> CleanState {
    CleanState {
        next_offset: offset(next),
        removed_before: offset(next),
        raw_bytes,
        ..CleanState::default()
    }
}

fn dirt(manifest: &Manifest, log_start: i64, configs: &[(&str, &str)]) -> Option<Dirt> {
    let log_start = offset(log_start);
    Dirt::of(
        manifest,
        PartitionIndex(0),
        log_start,
        &settings(configs),
        at(NOW_MS),
    )
}

fn due_partitions(manifest: &Manifest, configs: &[(&str, &str)]) -> Vec<i32> {
    let log_start = |_| Some(Offset::ZERO);
    let due = due(manifest, log_start, &settings(configs), at(NOW_MS));
    due.iter().map(|dirt| dirt.partition.0).collect()
}

const OLD: i64 = NOW_MS - 500_000;

#[test]
fn what_was_published_since_is_dirty() {
    let spans = [(0, 10, 100, OLD, OLD), (10, 30, 300, OLD, OLD)];
    let found = dirt(&manifest(&[(&spans, clean(10, 60))]), 0, &[]).expect("dirty");
    // What else was in the first file then was removed.
    assert_eq!((found.clean_bytes, found.dirty_bytes), (60, 340));
    assert_eq!((found.from, found.to), (offset(10), offset(30)));
    assert_eq!(found.ratio().to_bits(), 0.85f64.to_bits());
    assert_eq!(dirt(&manifest(&[(&spans, clean(30, 400))]), 0, &[]), None);
    assert_eq!(dirt(&manifest(&[(&[], clean(0, 0))]), 0, &[]), None);

    // Joined: the files do not tell.
    let joined = [(0, 30, 400, OLD, OLD)];
    let found = dirt(&manifest(&[(&joined, clean(10, 100))]), 0, &[]).expect("dirty");
    assert_eq!((found.clean_bytes, found.dirty_bytes), (100, 300));
}

#[test]
fn what_is_deleted_does_not_count() {
    let spans = [
        (0, 10, 100, OLD, OLD),
        (10, 20, 100, OLD, OLD),
        (20, 30, 50, OLD, OLD),
    ];
    let manifest = manifest(&[(&spans, clean(20, 200))]);
    let found = dirt(&manifest, 10, &[]).expect("dirty");
    assert_eq!((found.clean_bytes, found.dirty_bytes), (100, 50));
    let found = dirt(&manifest, 25, &[]).expect("dirty");
    assert_eq!(found.from, offset(25), "not from the clean end on");
    assert_eq!((found.clean_bytes, found.dirty_bytes), (0, 50));
    assert_eq!(dirt(&manifest, 30, &[]), None);
}

#[test]
fn more_than_the_least_share_has_to_be_dirty() {
    let spans = |dirty| [(0, 10, 100, OLD, OLD), (10, 20, dirty, OLD, OLD)];
    let due_with = |dirty, ratio: &str| {
        let manifest = manifest(&[(&spans(dirty), clean(10, 100))]);
        !due_partitions(&manifest, &[("min.cleanable.dirty.ratio", ratio)]).is_empty()
    };
    assert!(!due_with(100, "0.5"), "just half of it, as in Kafka");
    assert!(due_with(101, "0.5"));
    assert!(due_with(1, "0"));
    assert!(!due_with(1_000_000, "1.0"));
    let all_dirty = manifest(&[(&spans(9), clean(0, 0))]);
    assert_eq!(due_partitions(&all_dirty, &[]), [0]);
}

#[test]
fn young_records_are_not_cleaned_nor_counted() {
    let spans = [
        (0, 10, 100, OLD, OLD),
        (10, 20, 100, OLD, NOW_MS - 1_000),
        (20, 30, 100, OLD, OLD),
    ];
    let manifest = manifest(&[(&spans, clean(0, 0))]);
    let found = |lag: &str| dirt(&manifest, 0, &[("min.compaction.lag.ms", lag)]);
    let end = |lag| found(lag).map(|found| (found.to.get(), found.dirty_bytes));
    assert_eq!(end("0"), Some((30, 300)));
    assert_eq!(end("1000"), Some((30, 300)));
    assert_eq!(
        end("1001"),
        Some((10, 100)),
        "nor what is behind, however old"
    );
    assert_eq!(end("500001"), None);
}

#[test]
fn what_waits_for_too_long_is_cleaned_however_little_it_is() {
    let spans = [(0, 10, 1_000, OLD, OLD), (10, 20, 1, OLD, OLD)];
    let since = |dirty_since_ms| CleanState {
        dirty_since_ms,
        ..clean(10, 1_000)
    };
    let due_since = |dirty_since_ms: Option<u64>, lag: &str| {
        let manifest = manifest(&[(&spans, since(dirty_since_ms))]);
        !due_partitions(&manifest, &[("max.compaction.lag.ms", lag)]).is_empty()
    };
    let just = NOW_MS as u64 - 1_000;
    assert!(!due_since(Some(just), "1000"));
    assert!(due_since(Some(just - 1), "1000"));
    assert!(!due_since(None, "1000"));
    assert!(!due_since(Some(1), "9223372036854775807"), "no limit");
    let all_clean = manifest(&[(
        &spans,
        CleanState {
            dirty_since_ms: Some(1),
            ..clean(20, 1_001)
        },
    )]);
    assert_eq!(
        due_partitions(&all_clean, &[("max.compaction.lag.ms", "1")]),
        [0; 0]
    );
}

#[test]
fn partitions_that_are_nearly_due_come_along() {
    let spans = |dirty| [(0, 10, 100, OLD, OLD), (10, 20, dirty, OLD, OLD)];
    let (much, some, little) = (spans(200), spans(34), spans(33));
    let with = |parts: &[&[Span]]| {
        let parts: Vec<_> = parts.iter().map(|spans| (*spans, clean(10, 100))).collect();
        due_partitions(&manifest(&parts), &[])
    };
    assert_eq!(with(&[&much, &some, &little]), [0, 1]);
    assert_eq!(with(&[&some, &some]), [0; 0], "none is due");
}

#[test]
fn partitions_that_are_not_known_are_left_out() {
    let spans = [(0, 10, 100, OLD, OLD)];
    let manifest = manifest(&[(&spans, clean(0, 0)), (&spans, clean(0, 0))]);
    let log_start = |partition: PartitionIndex| (partition.0 == 1).then_some(Offset::ZERO);
    let due = due(&manifest, log_start, &settings(&[]), at(NOW_MS));
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].partition.0, 1);
}

#[test]
fn tombstones_go_by_the_topics_setting() {
    let spans = [(0, 10, 100, OLD, OLD), (10, 20, 100, OLD, OLD)];
    let state = CleanState {
        tombstones: vec![TombstoneMark {
            next_offset: offset(10),
            cleaned_ms: NOW_MS - 2_000,
        }],
        ..clean(10, 100)
    };
    let manifest = manifest(&[(&spans, state)]);
    let horizon = |retention| {
        let found = dirt(&manifest, 0, &[("delete.retention.ms", retention)]);
        found.expect("dirty").horizon.get()
    };
    assert_eq!(horizon("2000"), 10);
    assert_eq!(horizon("2001"), 0);
}

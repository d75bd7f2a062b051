use std::collections::BTreeMap;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_segment::manifest::{PublishedPartition, SpanEntry, TableEntry};
use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
use uuid::Uuid;

use super::*;

const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

/// Files of 100 bytes, each with ten offsets of partition 0 up to a timestamp.
fn manifest(timestamps: &[i64]) -> Manifest {
    let tables = timestamps.iter().enumerate().map(|(number, youngest)| {
        let base = 10 * number as i64;
        TableEntry {
            object_key: ObjectKey::table(&TableName {
                topic_id: TOPIC,
                written: SegmentName {
                    broker_id: BrokerId(1),
                    broker_epoch: BrokerEpoch(5),
                    id: Uuid::from_u128(number as u128),
                },
            }),
            size_bytes: 100,
            tail_length: 1,
            tail_crc: 0,
            spans: vec![SpanEntry {
                partition: PartitionIndex(0),
                base_offset: offset(base),
                next_offset: offset(base + 10),
                records: 10,
                raw_bytes: 1_000,
                min_timestamp: 0,
                max_timestamp: *youngest,
            }],
        }
    });
    let published = PublishedPartition {
        next_offset: offset(10 * timestamps.len() as i64),
        ..PublishedPartition::default()
    };
    let content = ManifestContent {
        tables: tables.collect(),
        partitions: [(PartitionIndex(0), published)].into(),
        ..ManifestContent::empty(TOPIC)
    };
    Manifest::new(content).expect("well formed")
}

fn start(timestamps: &[i64], from: i64, ms: Option<i64>, bytes: Option<u64>) -> i64 {
    let limits = RetentionLimits { ms, bytes };
    let manifest = manifest(timestamps);
    let kept = Kept {
        manifest: &manifest,
        partition: PartitionIndex(0),
        from: offset(from),
        unpublished_bytes: 50,
    };
    match kept.log_start(|_| None, &limits, 1_000) {
        LogStart::At(start) => start.get(),
        LogStart::In(leaf) => panic!("there is none: {leaf:?}"),
    }
}

/// I23: never early.
#[test]
fn what_is_too_old_goes_from_the_start_on() {
    assert_eq!(start(&[100, 200, 300], 0, Some(800), None), 10);
    assert_eq!(start(&[100, 199, 300], 0, Some(800), None), 20);
    assert_eq!(start(&[500, 100, 100], 0, Some(800), None), 0, "in order");
    assert_eq!(
        start(&[100, 100, 100], 0, Some(800), None),
        30,
        "all that is published"
    );
    assert_eq!(
        start(&[-1, 100], 0, Some(800), None),
        0,
        "its time is not known"
    );
    assert_eq!(start(&[5_000, 100], 0, Some(0), None), 0, "in the future");
    assert_eq!(start(&[100, 100], 0, None, None), 0, "for ever");
    assert_eq!(start(&[i64::MAX, 1], 0, Some(i64::MAX), None), 0);
}

#[test]
fn what_is_too_much_goes_from_the_start_on() {
    // 300 bytes in files and 50 that are not published.
    assert_eq!(start(&[0; 3], 0, None, Some(350)), 0);
    assert_eq!(
        start(&[0; 3], 0, None, Some(251)),
        0,
        "never less than the limit"
    );
    assert_eq!(start(&[0; 3], 0, None, Some(250)), 10);
    assert_eq!(start(&[0; 3], 0, None, Some(150)), 20);
    assert_eq!(start(&[0; 3], 0, None, Some(0)), 30);
    assert_eq!(
        start(&[0; 3], 10, None, Some(250)),
        10,
        "what is deleted counts no more"
    );
    assert_eq!(start(&[0; 3], 15, None, Some(150)), 20);
}

#[test]
fn only_the_policy_delete_deletes() {
    let settings = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter();
        let configs: BTreeMap<_, _> = pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        RetentionLimits::of(&TopicSettings::parse(&configs, &BTreeMap::new()))
    };
    let day = ("retention.ms", "86400000");
    assert_eq!(settings(&[]), None, "for ever");
    let limited = settings(&[day]).expect("limited");
    assert_eq!((limited.ms, limited.bytes), (Some(86_400_000), None));
    assert_eq!(settings(&[day, ("cleanup.policy", "compact")]), None);
    let both = settings(&[
        ("retention.bytes", "5"),
        ("cleanup.policy", "compact,delete"),
    ]);
    assert_eq!(both.expect("limited").bytes, Some(5));
    assert_eq!(settings(&[("retention.ms", "-1")]), None);
}

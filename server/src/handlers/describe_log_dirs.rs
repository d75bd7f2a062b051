//! DescribeLogDirs (KIP-113): how large partitions are, and where. Tiers are shown as log dirs: the data folder, with the
//! space of its disk; the segments and the table files of the object store. Each shows every partition, with its share
//! of the bytes, and as its lag how many records have not come so far.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use alluvium_cache::log::PartitionLog;
use alluvium_common::offset::Offset;
use alluvium_metadata::model::TopicRecord;
use alluvium_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use alluvium_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use alluvium_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::admin::Admin;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::tiers::Tier;

/// Says that the size of a disk is not known; buckets have none.
const UNKNOWN: i64 = -1;

/// Answers DescribeLogDirs.
pub async fn handle(
    broker: &Broker,
    request: DescribeLogDirsRequest,
    _info: &RequestInfo,
) -> DescribeLogDirsResponse {
    answer(&Admin::from(broker), request)
}

fn answer(admin: &Admin<'_>, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let measured = measured(admin, request.topics);
    let results = Tier::ALL.into_iter().map(|tier| {
        let path = admin.tiers.path(tier);
        let (total_bytes, usable_bytes) = match tier {
            Tier::Data => disk(Path::new(path)),
            Tier::Segments | Tier::Tables => (UNKNOWN, UNKNOWN),
        };
        DescribeLogDirsResult {
            error_code: ErrorCode::None.code(),
            log_dir: StrBytes::copy_of(path),
            topics: measured.iter().map(|topic| topic.within(tier)).collect(),
            total_bytes,
            usable_bytes,
            ..DescribeLogDirsResult::default()
        }
    });
    DescribeLogDirsResponse {
        results: results.collect(),
        ..DescribeLogDirsResponse::default()
    }
}

/// Size of the disk and what is left of it.
fn disk(folder: &Path) -> (i64, i64) {
    let Ok(disk) = rustix::fs::statvfs(folder) else {
        return (UNKNOWN, UNKNOWN);
    };
    let bytes =
        |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
    (bytes(disk.f_blocks), bytes(disk.f_bavail))
}

/// A topic's partitions that are served here.
struct MeasuredTopic {
    name: StrBytes,
    partitions: Vec<(i32, Measured)>,
}

/// One partition in all tiers, looked at once, so that the tiers fit together.
struct Measured {
    unuploaded_bytes: u64,
    segment_bytes: u64,
    table_bytes: u64,
    unuploaded: i64,
    unpublished: i64,
}

impl Measured {
    fn of(log: &PartitionLog) -> Self {
        // In the order in which bytes move on: what moves meanwhile is counted twice rather than not at all.
        let unuploaded_bytes = log.tail.unuploaded_bytes();
        let uploaded = log.tail.uploaded();
        let segment_bytes = log.index.read().stored_bytes();
        let published = log.published();
        let partition = log.tp.partition;
        // After what is published, which never goes beyond the high watermark.
        let offsets = log.tail.offsets();
        let end = published.as_ref().map(|m| m.published_end(partition));
        // What was deleted before it was published never will be.
        let kept = end.unwrap_or(Offset::ZERO).max(offsets.log_start);
        Self {
            unuploaded_bytes,
            segment_bytes,
            table_bytes: published.map_or(0, |m| m.stored_bytes(partition)),
            unuploaded: between(uploaded, offsets.log_end),
            unpublished: between(kept, offsets.high_watermark),
        }
    }

    /// Bytes in a tier, and records that have not come so far.
    fn within(&self, tier: Tier) -> (u64, i64) {
        match tier {
            Tier::Data => (self.unuploaded_bytes, self.unuploaded),
            Tier::Segments => (self.segment_bytes, 0),
            Tier::Tables => (self.table_bytes, self.unpublished),
        }
    }
}

fn between(from: Offset, to: Offset) -> i64 {
    to.get().saturating_sub(from.get()).max(0)
}

impl MeasuredTopic {
    fn new(admin: &Admin<'_>, topic: &TopicRecord, indexes: impl Iterator<Item = i32>) -> Self {
        let partition = |index| {
            let tp = Broker::partition(topic, index)?;
            Some((index, Measured::of(&*admin.logs.get(&tp)?)))
        };
        Self {
            name: StrBytes::copy_of(topic.name.as_str()),
            partitions: indexes.filter_map(partition).collect(),
        }
    }

    fn within(&self, tier: Tier) -> DescribeLogDirsTopic {
        let partition = |(partition_index, measured): &(i32, Measured)| {
            let (size, offset_lag) = measured.within(tier);
            DescribeLogDirsPartition {
                partition_index: *partition_index,
                partition_size: i64::try_from(size).unwrap_or(i64::MAX),
                offset_lag,
                is_future_key: false,
            }
        };
        DescribeLogDirsTopic {
            name: self.name.clone(),
            partitions: self.partitions.iter().map(partition).collect(),
        }
    }
}

/// `None`: all. Partitions that do not exist are left out, as Kafka does.
fn measured(admin: &Admin<'_>, wanted: Option<Vec<DescribableLogDirTopic>>) -> Vec<MeasuredTopic> {
    let topics = admin.view.topics();
    let Some(wanted) = wanted else {
        return topics
            .all()
            .map(|topic| MeasuredTopic::new(admin, topic, 0..topic.partition_count))
            .collect();
    };
    let mut merged: BTreeMap<StrBytes, BTreeSet<i32>> = BTreeMap::new();
    for topic in wanted {
        merged
            .entry(topic.topic)
            .or_default()
            .extend(topic.partitions);
    }
    let found = merged.into_iter().filter_map(|(name, indexes)| {
        let topic = topics.named(&name)?;
        Some(MeasuredTopic::new(admin, topic, indexes.into_iter()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
    use alluvium_common::topic::{PartitionIndex, TopicPartition};
    use alluvium_segment::footer::{BlockEncoding, BlockEntry, PartitionSpan};
    use alluvium_segment::manifest::{
        Manifest, ManifestContent, PublishedPartition, SpanEntry, TableEntry,
    };
    use alluvium_segment::object_key::{ObjectKey, SegmentName, TableName};
    use alluvium_segment::record_batch::{
        BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch,
    };
    use alluvium_segment::segment_index::SegmentRef;
    use uuid::Uuid;

    use super::*;
    use crate::config::Config;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire;
    use crate::tiers::Tiers;

    fn offset(offset: i64) -> Offset {
        Offset::new(offset).expect("offset")
    }

    fn name(id: u128) -> SegmentName {
        SegmentName {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(1),
            id: Uuid::from_u128(id),
        }
    }

    /// Tiers of a broker whose data folder is the root of the file system.
    fn tiers() -> Tiers {
        let config = Config {
            data_dir: "/".to_owned(),
            ..Config::default()
        };
        Tiers::new(&config, "s3://bucket/a")
    }

    fn log(scene: &Scene, topic: &str) -> Arc<PartitionLog> {
        let tp = TopicPartition::new(scene.topic(topic).topic_id, PartitionIndex(0));
        scene.logs.get(&tp).expect("served")
    }

    /// A batch at the end of the log, which nothing holds yet but the tail.
    fn append(log: &Arc<PartitionLog>, records: usize) {
        let mut builder = BatchBuilder::new(Codec::None);
        for _ in 0..records {
            builder.push(0, None, Some(b"value"), NO_HEADERS);
        }
        let raw = builder.build().expect("a small batch");
        let header = BatchHeader::decode(&raw).expect("just built");
        let base = log.tail.offsets().log_end;
        let batch = StoredBatch::stamp(raw, &header, base, LeaderEpoch(0)).expect("fits");
        log.tail.append(batch, None).expect("appended");
    }

    /// A committed segment of 100 bytes for each ten offsets up to `end`.
    fn upload(log: &PartitionLog, end: i64) {
        for base in (0..end).step_by(10) {
            let block = BlockEntry {
                position: 0,
                stored_length: 100,
                raw_length: 300,
                encoding: BlockEncoding::Zstd,
                crc: 0,
                base_offset: offset(base),
                next_offset: offset(base + 10),
                max_timestamp: 0,
                batch_count: 1,
            };
            let span = PartitionSpan {
                tp: log.tp,
                base_offset: block.base_offset,
                next_offset: block.next_offset,
                max_timestamp: 0,
                leader_epochs: vec![(LeaderEpoch(0), block.base_offset)],
                blocks: vec![block],
                producers: Vec::new(),
            };
            let segment = SegmentRef {
                object_key: ObjectKey::segment(&name(1)),
                size_bytes: 1_000,
            };
            let added = log.index.write().add(Arc::new(segment), &span);
            added.expect("the next one");
        }
    }

    /// A manifest with one table file of 70 bytes.
    fn publish(log: &PartitionLog, end: i64) {
        let mut content = ManifestContent::empty(log.tp.topic_id);
        content.version = 1;
        content.tables.push(TableEntry {
            object_key: ObjectKey::table(&TableName {
                topic_id: log.tp.topic_id,
                written: name(2),
            }),
            size_bytes: 70,
            tail_length: 1,
            tail_crc: 0,
            spans: vec![SpanEntry {
                partition: log.tp.partition,
                base_offset: Offset::ZERO,
                next_offset: offset(end),
                records: 1,
                raw_bytes: 1,
                min_timestamp: 0,
                max_timestamp: 0,
            }],
        });
        let partition = PublishedPartition {
            next_offset: offset(end),
            ..PublishedPartition::default()
        };
        content.partitions.insert(log.tp.partition, partition);
        log.set_published(&Arc::new(Manifest::new(content).expect("a manifest")));
    }

    /// Size and lag of partition 0 of the only topic, in each log dir.
    fn shown(scene: &Scene) -> Vec<(i64, i64)> {
        let answer = answer(&scene.admin(), DescribeLogDirsRequest { topics: None });
        let results = answer.results.iter();
        results
            .map(|result| {
                let partition = &result.topics[0].partitions[0];
                (partition.partition_size, partition.offset_lag)
            })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_are_shown_in_every_version() {
        let mut scene = Scene::new().await;
        scene.tiers = tiers();
        scene.create("t", 2).await;
        scene.create("u", 1).await;
        for version in 1..=5 {
            let all = over_the_wire(
                version,
                DescribeLogDirsRequest { topics: None },
                |request| answer(&scene.admin(), request),
            );
            let dirs = all.results.iter();
            let dirs: Vec<_> = dirs
                .map(|dir| (dir.log_dir.as_str(), dir.error_code))
                .collect();
            let all_dirs = [
                ("/", 0),
                ("s3://bucket/a/segments", 0),
                ("s3://bucket/a/tables", 0),
            ];
            assert_eq!(dirs, all_dirs);
            assert!(all.results.iter().all(|dir| dir.topics.len() == 2));
            let sizes = |dir: usize| (all.results[dir].total_bytes, all.results[dir].usable_bytes);
            if version >= 4 {
                let (total, usable) = sizes(0);
                assert!(total > 0 && usable <= total);
            }
            assert_eq!((sizes(1), sizes(2)), ((-1, -1), (-1, -1)));
            let one = DescribableLogDirTopic {
                topic: "t".into(),
                partitions: vec![1, 99],
            };
            let gone = DescribableLogDirTopic {
                topic: "gone".into(),
                partitions: vec![0],
            };
            let request = DescribeLogDirsRequest {
                topics: Some(vec![one, gone]),
            };
            let some = over_the_wire(version, request, |request| answer(&scene.admin(), request));
            for dir in &some.results {
                assert_eq!((dir.topics.len(), dir.topics[0].partitions.len()), (1, 1));
                assert_eq!(dir.topics[0].partitions[0].partition_index, 1);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_move_from_tier_to_tier() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        assert_eq!(shown(&scene), [(0, 0), (0, 0), (0, 0)]);
        scene.fill("t", 0, 40);
        let log = log(&scene, "t");
        upload(&log, 40);
        assert_eq!(shown(&scene), [(0, 0), (400, 0), (0, 40)]);
        publish(&log, 30);
        assert_eq!(shown(&scene), [(0, 0), (100, 0), (70, 10)]);
        append(&log, 5);
        let batch = log.tail.unuploaded_bytes();
        assert!(batch > 0);
        let batch = i64::try_from(batch).expect("small");
        // Not before it is durable is it something to publish.
        assert_eq!(shown(&scene), [(batch, 5), (100, 0), (70, 10)]);
        log.tail.advance_high_watermark(offset(45));
        assert_eq!(shown(&scene), [(batch, 5), (100, 0), (70, 15)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_waits_for_nothing() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        scene.fill("t", 0, 40);
        let log = log(&scene, "t");
        upload(&log, 40);
        log.set_log_start(offset(25));
        assert_eq!(shown(&scene)[2], (0, 15));
    }
}

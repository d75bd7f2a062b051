//! DescribeLogDirs (KIP-113): how large partitions are. They are in object storage; the one folder that is shown is
//! the data folder, with the space of its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

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

/// Says that the size of a disk is not known.
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
    let folder = Path::new(&admin.loaded.config.data_dir);
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let (total_bytes, usable_bytes) = disk(folder);
    let result = DescribeLogDirsResult {
        error_code: ErrorCode::None.code(),
        log_dir: absolute.to_string_lossy().into_owned().into(),
        topics: topics(admin, request.topics),
        total_bytes,
        usable_bytes,
        ..DescribeLogDirsResult::default()
    };
    DescribeLogDirsResponse {
        results: vec![result],
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

/// `None`: all. Partitions that do not exist are left out, as Kafka does.
fn topics(
    admin: &Admin<'_>,
    wanted: Option<Vec<DescribableLogDirTopic>>,
) -> Vec<DescribeLogDirsTopic> {
    let topics = admin.view.topics();
    let Some(wanted) = wanted else {
        return topics
            .all()
            .map(|topic| show(admin, topic, 0..topic.partition_count))
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
        Some(show(admin, topic, indexes.into_iter()))
    });
    found.collect()
}

fn show(
    admin: &Admin<'_>,
    topic: &TopicRecord,
    indexes: impl Iterator<Item = i32>,
) -> DescribeLogDirsTopic {
    let partition = |partition_index| {
        let tp = Broker::partition(topic, partition_index)?;
        let log = admin.logs.get(&tp)?;
        let size = log.index.read().stored_bytes() + log.tail.unuploaded_bytes();
        Some(DescribeLogDirsPartition {
            partition_index,
            partition_size: i64::try_from(size).unwrap_or(i64::MAX),
            offset_lag: 0,
            is_future_key: false,
        })
    };
    DescribeLogDirsTopic {
        name: StrBytes::copy_of(topic.name.as_str()),
        partitions: indexes.filter_map(partition).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire;

    #[tokio::test(start_paused = true)]
    async fn partitions_are_shown_in_every_version() {
        let mut scene = Scene::new().await;
        scene.loaded.config.data_dir = "/".to_owned();
        scene.create("t", 2).await;
        scene.create("u", 1).await;
        for version in 1..=5 {
            let all = over_the_wire(
                version,
                DescribeLogDirsRequest { topics: None },
                |request| answer(&scene.admin(), request),
            );
            let shown = &all.results[0];
            assert_eq!(
                (shown.error_code, shown.log_dir.as_str(), shown.topics.len()),
                (0, "/", 2)
            );
            if version >= 4 {
                assert!(shown.total_bytes > 0 && shown.usable_bytes <= shown.total_bytes);
            }
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
            let topics = &some.results[0].topics;
            assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
            assert_eq!(topics[0].partitions[0].partition_index, 1);
        }
    }
}

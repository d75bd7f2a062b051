//! DeleteRecords (KIP-107): moves the log start of partitions forward.

use alluvium_common::offset::Offset;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::delete_records_request::DeleteRecordsPartition;
use alluvium_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use alluvium_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::admin::{Admin, Refusal, topic_named};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// As an offset: up to the high watermark.
const HIGH_WATERMARK: i64 = -1;
/// As the answered log start: there is none.
const NO_OFFSET: i64 = -1;

/// Answers DeleteRecords.
pub async fn handle(
    broker: &Broker,
    request: DeleteRecordsRequest,
    _info: &RequestInfo,
) -> DeleteRecordsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(admin: &Admin<'_>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let record = topic_named(admin, &topic.name).await;
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let deleted = match &record {
                Ok(topic) => delete(admin, topic, partition).await,
                Err(refusal) => Err(refusal.clone()),
            };
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                low_watermark: deleted.as_ref().map_or(NO_OFFSET, |offset| offset.get()),
                error_code: deleted.err().map_or(0, |refusal| refusal.code.code()),
            });
        }
        topics.push(DeleteRecordsTopicResult {
            name: topic.name,
            partitions,
        });
    }
    DeleteRecordsResponse {
        topics,
        ..DeleteRecordsResponse::default()
    }
}

async fn delete(
    admin: &Admin<'_>,
    topic: &TopicRecord,
    partition: &DeleteRecordsPartition,
) -> Result<Offset, Refusal> {
    let unknown = || Refusal::new(ErrorCode::UnknownTopicOrPartition, "no such partition");
    let tp = Broker::partition(topic, partition.partition_index).ok_or_else(unknown)?;
    let log = admin.logs.get(&tp).ok_or_else(|| {
        Refusal::new(
            ErrorCode::NotLeaderOrFollower,
            "the partition is not served here",
        )
    })?;
    let policy = TopicSettings::parse(&topic.configs, admin.topics.defaults()).cleanup_policy;
    if !policy.delete {
        let message = "records of a topic that is only compacted cannot be deleted";
        return Err(Refusal::new(ErrorCode::PolicyViolation, message));
    }
    let high_watermark = log.tail.offsets().high_watermark;
    let to = match partition.offset {
        HIGH_WATERMARK => Some(high_watermark),
        offset => Offset::new(offset).filter(|offset| *offset <= high_watermark),
    };
    let to = to.ok_or_else(|| {
        let message = format!("the partition ends at {high_watermark}");
        Refusal::new(ErrorCode::OffsetOutOfRange, message)
    })?;
    Ok(admin.topics.delete_records(tp, to).await?)
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::delete_records_request::DeleteRecordsTopic;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    async fn delete(
        scene: &Scene,
        version: i16,
        topic: &'static str,
        index: i32,
        offset: i64,
    ) -> (i16, i64) {
        let partition = DeleteRecordsPartition {
            partition_index: index,
            offset,
        };
        let topics = vec![DeleteRecordsTopic {
            name: topic.into(),
            partitions: vec![partition],
        }];
        let request = DeleteRecordsRequest {
            topics,
            timeout_ms: 1000,
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        let partition = &response.topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_start_moves_in_every_version() {
        for version in 0..=2 {
            let scene = Scene::new().await;
            scene.create("t", 1).await;
            scene.fill("t", 0, 10);
            assert_eq!(delete(&scene, version, "t", 0, 4).await, (0, 4));
            assert_eq!(
                delete(&scene, version, "t", 0, 2).await,
                (0, 4),
                "never back"
            );
            assert_eq!(delete(&scene, version, "t", 0, -1).await, (0, 10), "all");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 1).await;
        scene.fill("t", 0, 10);
        let out_of_range = (ErrorCode::OffsetOutOfRange.code(), -1);
        assert_eq!(delete(&scene, 2, "t", 0, 11).await, out_of_range);
        assert_eq!(delete(&scene, 2, "t", 0, -2).await, out_of_range);
        let unknown = (ErrorCode::UnknownTopicOrPartition.code(), -1);
        assert_eq!(delete(&scene, 2, "t", 1, 0).await, unknown);
        assert_eq!(delete(&scene, 2, "none", 0, 0).await, unknown);
        let compact = |configs: &mut std::collections::BTreeMap<String, String>| {
            configs.insert("cleanup.policy".to_owned(), "compact".to_owned());
            Ok(())
        };
        scene
            .topics
            .alter_configs(&topic.name, compact)
            .await
            .unwrap();
        assert_eq!(
            delete(&scene, 2, "t", 0, 1).await,
            (ErrorCode::PolicyViolation.code(), -1)
        );
    }
}

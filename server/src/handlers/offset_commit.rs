//! OffsetCommit: how far a group has read.

use std::time::Duration;

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::coordinator::{
    CommitRequest, GroupCoordinator, GroupError, MemberId, OffsetToCommit, PartitionsResult,
};
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Topics;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use alluvium_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use alluvium_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};

use super::group_words::{TOPIC_ID_VERSION, find_partition, find_topic, group_id, instance_id};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Clients before this version do not know that a group can be missing.
const GROUP_NOT_FOUND_VERSION: i16 = 9;

/// Answers OffsetCommit, when the offsets are stored.
pub async fn handle(
    broker: &Broker,
    request: OffsetCommitRequest,
    info: &RequestInfo,
) -> OffsetCommitResponse {
    answer(&broker.groups, &broker.view.topics(), request, info.version).await
}

async fn answer(
    groups: &GroupCoordinator,
    topics: &Topics,
    request: OffsetCommitRequest,
    version: i16,
) -> OffsetCommitResponse {
    let mut commit = CommitRequest {
        group_id: group_id(&request.group_id),
        generation: Some(request.generation_id_or_member_epoch).filter(|number| *number >= 0),
        member_id: MemberId::new(&request.member_id),
        instance_id: instance_id(request.group_instance_id.as_ref()),
        retention: u64::try_from(request.retention_time_ms)
            .ok()
            .map(Duration::from_millis),
        offsets: Vec::new(),
    };
    // What the group is asked for stands in the response as NONE until the group has answered.
    let mut response = OffsetCommitResponse::default();
    for topic in request.topics {
        let offsets = &mut commit.offsets;
        response
            .topics
            .push(answer_topic(topics, topic, version, offsets));
    }
    if commit.offsets.is_empty() {
        return response;
    }
    let result = groups.commit_offsets(commit).await;
    enter_results(&mut response, result, version);
    response
}

fn answer_topic(
    topics: &Topics,
    asked: OffsetCommitRequestTopic,
    version: i16,
    offsets: &mut Vec<OffsetToCommit>,
) -> OffsetCommitResponseTopic {
    let by_id = version >= TOPIC_ID_VERSION;
    let topic = find_topic(topics, &asked.name, asked.topic_id, by_id);
    let mut partitions = Vec::with_capacity(asked.partitions.len());
    for partition in asked.partitions {
        let index = partition.partition_index;
        let found = topic.and_then(|topic| Ok((topic, find_partition(topic, index)?)));
        let code = match found {
            Err(code) => code,
            Ok((topic, tp)) => {
                offsets.push(offset(topic, tp, partition));
                ErrorCode::None
            }
        };
        partitions.push(OffsetCommitResponsePartition {
            partition_index: index,
            error_code: code.code(),
        });
    }
    OffsetCommitResponseTopic {
        name: asked.name,
        topic_id: asked.topic_id,
        partitions,
    }
}

fn offset(
    topic: &TopicRecord,
    partition: TopicPartition,
    asked: OffsetCommitRequestPartition,
) -> OffsetToCommit {
    let epoch = Some(asked.committed_leader_epoch).filter(|epoch| *epoch >= 0);
    OffsetToCommit {
        topic: topic.name.clone(),
        partition,
        offset: Offset::new(asked.committed_offset),
        leader_epoch: epoch.map(LeaderEpoch),
        metadata: asked
            .committed_metadata
            .map(String::from)
            .unwrap_or_default(),
    }
}

/// Fills in, in order, what the group answered for the partitions that it was asked for.
fn enter_results(response: &mut OffsetCommitResponse, result: PartitionsResult, version: i16) {
    let mut results = match &result {
        Ok(results) => results.iter(),
        Err(_) => [].iter(),
    };
    let all = result.as_ref().err().map(|error| code(*error, version));
    let asked = response
        .topics
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
        .filter(|partition| partition.error_code == ErrorCode::None.code());
    for partition in asked {
        let of_partition = results.next().and_then(|result| result.err());
        let code = all.or(of_partition.map(|error| code(error, version)));
        partition.error_code = code.unwrap_or(ErrorCode::None).code();
    }
}

fn code(error: GroupError, version: i16) -> ErrorCode {
    match error {
        GroupError::GroupIdNotFound if version < GROUP_NOT_FOUND_VERSION => {
            ErrorCode::IllegalGeneration
        }
        error => error_map::group(error),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};
    use crate::handlers::group_words::text;

    fn topic(version: i16, name: &str, id: Uuid, indexes: &[i32]) -> OffsetCommitRequestTopic {
        let by_id = version >= TOPIC_ID_VERSION;
        OffsetCommitRequestTopic {
            name: if by_id {
                Default::default()
            } else {
                text(name)
            },
            topic_id: if by_id { id } else { Uuid::nil() },
            partitions: indexes
                .iter()
                .map(|index| OffsetCommitRequestPartition {
                    partition_index: *index,
                    committed_offset: 42,
                    committed_metadata: Some("note".into()),
                    ..OffsetCommitRequestPartition::default()
                })
                .collect(),
        }
    }

    async fn commit(
        scene: &Scene,
        version: i16,
        generation: i32,
        topics: Vec<OffsetCommitRequestTopic>,
    ) -> Vec<Vec<i16>> {
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: generation,
            topics,
            ..OffsetCommitRequest::default()
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.groups, &scene.topics, request, version).await
        })
        .await;
        let codes = |topic: &OffsetCommitResponseTopic| {
            topic.partitions.iter().map(|p| p.error_code).collect()
        };
        response.topics.iter().map(codes).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn offsets_are_kept_in_every_version() {
        for version in 2..=10 {
            let scene = Scene::new().await;
            let asked = vec![
                topic(version, "gone", Uuid::from_u128(404), &[0]),
                topic(version, "t", scene.topic_id("t"), &[0, 99, 1]),
            ];
            let unknown_topic = match version >= TOPIC_ID_VERSION {
                true => ErrorCode::UnknownTopicId.code(),
                false => ErrorCode::UnknownTopicOrPartition.code(),
            };
            let unknown_partition = ErrorCode::UnknownTopicOrPartition.code();
            let codes = commit(&scene, version, -1, asked).await;
            let expected = [vec![unknown_topic], vec![0, unknown_partition, 0]];
            assert_eq!(codes, expected, "version {version}");
            assert_eq!(scene.committed("g", "t", 0).await, Some(42));
            assert_eq!(scene.committed("g", "t", 1).await, Some(42));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_not_there_is_told_by_version() {
        let scene = Scene::new().await;
        for (version, expected) in [
            (8, ErrorCode::IllegalGeneration),
            (9, ErrorCode::GroupIdNotFound),
        ] {
            let asked = vec![topic(version, "t", scene.topic_id("t"), &[0, 1])];
            let codes = commit(&scene, version, 3, asked).await;
            assert_eq!(codes, [vec![expected.code(), expected.code()]]);
        }
        let unknown_only = vec![topic(9, "gone", Uuid::nil(), &[0])];
        let codes = commit(&scene, 9, 3, unknown_only).await;
        assert_eq!(codes, [[ErrorCode::UnknownTopicOrPartition.code()]]);
    }

    #[tokio::test(start_paused = true)]
    async fn too_much_metadata_fails_its_partition_only() {
        let scene = Scene::new().await;
        let mut asked = topic(9, "t", Uuid::nil(), &[0, 77, 1]);
        asked.partitions[0].committed_metadata = Some(text("x".repeat(4097)));
        let codes = commit(&scene, 9, -1, vec![asked]).await;
        let too_large = ErrorCode::OffsetMetadataTooLarge.code();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(codes, [[too_large, unknown, 0]]);
        assert_eq!(scene.committed("g", "t", 0).await, None);
    }
}

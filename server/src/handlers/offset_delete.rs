//! OffsetDelete: forgets how far a group has read topics that it no longer subscribes to.

use alluvium_metadata::coordinator::{self as domain, GroupCoordinator};
use alluvium_metadata::view::Topics;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use alluvium_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use uuid::Uuid;

use super::group_words::{find_partition, find_topic, group_id};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Answers OffsetDelete.
pub async fn handle(
    broker: &Broker,
    request: OffsetDeleteRequest,
    _info: &RequestInfo,
) -> OffsetDeleteResponse {
    answer(&broker.groups, &broker.view.topics(), request).await
}

async fn answer(
    groups: &GroupCoordinator,
    topics: &Topics,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let mut asked = domain::OffsetDeleteRequest {
        group_id: group_id(&request.group_id),
        partitions: Vec::new(),
    };
    let mut response = OffsetDeleteResponse::default();
    for topic in request.topics {
        let found = find_topic(topics, &topic.name, Uuid::nil(), false);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let found = found.and_then(|topic| Ok((topic, find_partition(topic, index)?)));
            let code = match found {
                Err(code) => code,
                Ok((topic, tp)) => {
                    asked.partitions.push((topic.name.clone(), tp));
                    ErrorCode::None
                }
            };
            partitions.push(OffsetDeleteResponsePartition {
                partition_index: index,
                error_code: code.code(),
            });
        }
        response.topics.push(OffsetDeleteResponseTopic {
            name: topic.name,
            partitions,
        });
    }
    // Also when nothing is left to ask for: whether the group exists is told in any case.
    let results = match groups.delete_offsets(asked).await {
        Ok(results) => results,
        Err(error) => {
            return OffsetDeleteResponse {
                error_code: error_map::group(error).code(),
                ..OffsetDeleteResponse::default()
            };
        }
    };
    let partitions = response.topics.iter_mut().flat_map(|t| &mut t.partitions);
    let was_asked = |partition: &&mut OffsetDeleteResponsePartition| {
        partition.error_code == ErrorCode::None.code()
    };
    for (partition, result) in partitions.filter(was_asked).zip(results) {
        partition.error_code = error_map::group_result(result).code();
    }
    response
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::offset_delete_request::{
        OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    };

    use super::*;
    use crate::handlers::group_testing::{Scene, over_the_wire_async};
    use crate::handlers::group_words::text;

    async fn delete(scene: &Scene, group: &'static str, topics: &[&str]) -> (i16, Vec<Vec<i16>>) {
        let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
        let topic = |name: &&str| OffsetDeleteRequestTopic {
            name: text(name),
            partitions: vec![partition(0), partition(99)],
        };
        let request = OffsetDeleteRequest {
            group_id: group.into(),
            topics: topics.iter().map(topic).collect(),
        };
        let response = over_the_wire_async(0, request, async |request| {
            answer(&scene.groups, &scene.topics, request).await
        })
        .await;
        let codes = |topic: &OffsetDeleteResponseTopic| {
            topic.partitions.iter().map(|p| p.error_code).collect()
        };
        (
            response.error_code,
            response.topics.iter().map(codes).collect(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn each_partition_is_answered() {
        let scene = Scene::new().await;
        scene.commit("g", "t", 0, 1).await;
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let deleted = delete(&scene, "g", &["gone", "t"]).await;
        let expected = vec![vec![unknown, unknown], vec![0, unknown]];
        assert_eq!(deleted, (0, expected));
        assert_eq!(scene.committed("g", "t", 0).await, None);
        for topics in [&["t"][..], &["gone"], &[]] {
            let nobody = delete(&scene, "nobody", topics).await;
            assert_eq!(nobody, (ErrorCode::GroupIdNotFound.code(), vec![]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn topics_in_use_are_kept() {
        let scene = Scene::new().await;
        // Subscribed to `t` and nothing else.
        scene.stable("g").await;
        let in_use = ErrorCode::GroupSubscribedToTopic.code();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let deleted = delete(&scene, "g", &["t", "u"]).await;
        assert_eq!(deleted, (0, vec![vec![in_use, unknown], vec![0, unknown]]));
    }
}

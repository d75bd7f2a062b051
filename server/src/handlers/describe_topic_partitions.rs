//! DescribeTopicPartitions (KIP-966): topics and their partitions, page by page.

use std::collections::BTreeSet;

use alluvium_common::topic::TopicName;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Picture;
use alluvium_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use alluvium_protocol::messages::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::admin::Admin;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::shape;

/// Partitions of one answer, whatever the client allows (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: i32 = 2000;

/// What may be done with a topic where everything is allowed, as bits by number of Kafka's `AclOperation`: READ 3,
/// WRITE 4, CREATE 5, DELETE 6, ALTER 7, DESCRIBE 8, DESCRIBE_CONFIGS 10, ALTER_CONFIGS 11.
pub(super) const ALL_OPERATIONS: i32 =
    1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// Answers DescribeTopicPartitions.
pub async fn handle(
    broker: &Broker,
    request: DescribeTopicPartitionsRequest,
    _info: &RequestInfo,
) -> DescribeTopicPartitionsResponse {
    answer(&Admin::from(broker), request)
}

fn answer(
    admin: &Admin<'_>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let picture = admin.view.picture();
    let topics = &picture.topics;
    let mut names: BTreeSet<StrBytes> =
        request.topics.into_iter().map(|topic| topic.name).collect();
    if names.is_empty() {
        names = topics
            .all()
            .map(|topic| StrBytes::copy_of(topic.name.as_str()))
            .collect();
    }
    let (from_name, from_partition) = match request.cursor {
        Some(cursor) => (cursor.topic_name, cursor.partition_index.max(0)),
        None => (StrBytes::new(), 0),
    };
    let mut room = request.response_partition_limit.clamp(1, PARTITIONS_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.into_iter().filter(|name| *name >= from_name) {
        let Some(topic) = topics.named(&name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let start = if name == from_name { from_partition } else { 0 };
        if room == 0 {
            response.next_cursor = Some(Cursor {
                topic_name: name,
                partition_index: start,
            });
            break;
        }
        let end = topic.partition_count.min(start.saturating_add(room));
        room -= (end - start).max(0);
        response.topics.push(show(&picture, topic, start..end));
        if end < topic.partition_count {
            response.next_cursor = Some(Cursor {
                topic_name: name,
                partition_index: end,
            });
            break;
        }
    }
    response
}

fn unknown(name: StrBytes) -> DescribeTopicPartitionsResponseTopic {
    let code = match TopicName::new(&name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn show(
    picture: &Picture,
    topic: &TopicRecord,
    indexes: std::ops::Range<i32>,
) -> DescribeTopicPartitionsResponseTopic {
    let partition = |partition_index| {
        let shape = shape::partition(picture, topic, partition_index);
        DescribeTopicPartitionsResponsePartition {
            error_code: shape.error.code(),
            partition_index,
            leader_id: shape.leader_id(),
            leader_epoch: shape.leader_epoch,
            replica_nodes: shape.replicas,
            isr_nodes: shape.isr,
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
            offline_replicas: shape.offline,
        }
    };
    DescribeTopicPartitionsResponseTopic {
        name: Some(StrBytes::copy_of(topic.name.as_str())),
        topic_id: topic.topic_id.0,
        is_internal: topic.name.is_internal(),
        partitions: indexes.map(partition).collect(),
        topic_authorized_operations: ALL_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::describe_topic_partitions_request as request;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire;

    fn describe(
        scene: &Scene,
        names: &[&'static str],
        limit: i32,
        cursor: Option<Cursor>,
    ) -> DescribeTopicPartitionsResponse {
        let topic = |name: &&'static str| request::TopicRequest {
            name: StrBytes::from_static(name),
        };
        let request = DescribeTopicPartitionsRequest {
            topics: names.iter().map(topic).collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|cursor| request::Cursor {
                topic_name: cursor.topic_name,
                partition_index: cursor.partition_index,
            }),
        };
        over_the_wire(0, request, |request| answer(&scene.admin(), request))
    }

    #[tokio::test(start_paused = true)]
    async fn pages_make_up_the_whole() {
        let scene = Scene::new().await;
        for (name, count) in [("a", 3), ("b", 2), ("c", 1)] {
            scene.create(name, count).await;
        }
        for limit in 1..=7 {
            let mut seen = Vec::new();
            let mut cursor = None;
            loop {
                let page = describe(&scene, &[], limit, cursor);
                let mut count = 0;
                for topic in page.topics {
                    let name = topic.name.unwrap();
                    for partition in topic.partitions {
                        count += 1;
                        seen.push((name.clone(), partition.partition_index));
                        assert_eq!((partition.leader_id, partition.leader_epoch), (7, 0));
                    }
                }
                assert!(count <= limit);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let expected: Vec<_> = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)]
                .map(|(name, index)| (StrBytes::from_static(name), index))
                .to_vec();
            assert_eq!(seen, expected, "limit {limit}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_without_a_leader_say_so() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 2).await;
        scene.cluster.placed(&topic, 1, 3).await;
        let described = describe(&scene, &["t"], 100, None);
        let [served, waiting] = &described.topics[0].partitions[..] else {
            panic!("two partitions");
        };
        assert_eq!((served.error_code, served.leader_id), (0, 7));
        let none = ErrorCode::LeaderNotAvailable.code();
        assert_eq!((waiting.error_code, waiting.leader_id), (none, -1));
        assert_eq!(waiting.offline_replicas, [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn topics_may_be_unknown_or_gone() {
        let scene = Scene::new().await;
        scene.create("b", 2).await;
        let described = describe(&scene, &["b", "none", "a/b"], 100, None);
        let codes: Vec<_> = described
            .topics
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        let invalid = ErrorCode::InvalidTopicException.code();
        assert_eq!(
            codes,
            [invalid, 0, ErrorCode::UnknownTopicOrPartition.code()]
        );
        let gone = Cursor {
            topic_name: "a".into(),
            partition_index: 5,
        };
        let described = describe(&scene, &[], 100, Some(gone));
        assert_eq!(
            described.topics[0].partitions.len(),
            2,
            "the next topic, from its first partition"
        );
    }
}

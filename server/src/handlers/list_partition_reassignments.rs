//! ListPartitionReassignments (KIP-455): the partitions that their leaders shall hand over to others.

use alluvium_common::topic::TopicPartition;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Picture;
use alluvium_protocol::StrBytes;
use alluvium_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use alluvium_protocol::messages::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers ListPartitionReassignments.
pub async fn handle(
    broker: &Broker,
    request: ListPartitionReassignmentsRequest,
    _info: &RequestInfo,
) -> ListPartitionReassignmentsResponse {
    answer(&broker.view.picture(), request)
}

/// Partitions that do not exist are left out, as Kafka does.
fn answer(
    picture: &Picture,
    request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let topics = match request.topics {
        None => {
            let all = picture.topics.all();
            all.map(|topic| show(picture, topic, 0..topic.partition_count))
                .collect::<Vec<_>>()
        }
        Some(wanted) => wanted
            .into_iter()
            .filter_map(|wanted| {
                let topic = picture.topics.named(&wanted.name)?;
                Some(show(picture, topic, wanted.partition_indexes.into_iter()))
            })
            .collect(),
    };
    let moving = topics
        .into_iter()
        .filter(|topic| !topic.partitions.is_empty());
    ListPartitionReassignmentsResponse {
        topics: moving.collect(),
        ..ListPartitionReassignmentsResponse::default()
    }
}

fn show(
    picture: &Picture,
    topic: &TopicRecord,
    indexes: impl Iterator<Item = i32>,
) -> OngoingTopicReassignment {
    let tps = indexes.filter_map(|index| Broker::partition(topic, index));
    OngoingTopicReassignment {
        name: StrBytes::copy_of(topic.name.as_str()),
        partitions: tps.filter_map(|tp| reassignment(picture, tp)).collect(),
    }
}

fn reassignment(picture: &Picture, tp: TopicPartition) -> Option<OngoingPartitionReassignment> {
    let record = &picture.partitions.get(tp)?.record;
    let (leader, target) = (record.leader.0, record.moving_to?.0);
    Some(OngoingPartitionReassignment {
        partition_index: tp.partition.0,
        replicas: vec![target, leader],
        adding_replicas: vec![target],
        removing_replicas: vec![leader],
    })
}

#[cfg(test)]
mod tests {
    use alluvium_common::epoch::BrokerId;
    use alluvium_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::cluster_testing::tp;
    use crate::handlers::group_testing::over_the_wire;

    #[tokio::test(start_paused = true)]
    async fn what_moves_is_listed() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 3).await;
        scene.create("u", 1).await;
        scene.cluster.broker(8).await;
        let moved = scene.placement.move_to(tp(&topic, 1), BrokerId(8)).await;
        moved.expect("moving");
        let picture = scene.view.picture();
        let list = |topics| {
            let request = ListPartitionReassignmentsRequest {
                timeout_ms: 1000,
                topics,
            };
            over_the_wire(0, request, |request| answer(&picture, request)).topics
        };
        let all = list(None);
        assert_eq!((all.len(), &*all[0].name), (1, "t"));
        let moving = OngoingPartitionReassignment {
            partition_index: 1,
            replicas: vec![8, 7],
            adding_replicas: vec![8],
            removing_replicas: vec![7],
        };
        assert_eq!(all[0].partitions, [moving]);
        let named = |name: &'static str, indexes: &[i32]| ListPartitionReassignmentsTopics {
            name: name.into(),
            partition_indexes: indexes.to_vec(),
        };
        assert_eq!(list(Some(vec![named("t", &[0, 1, 9])])), all);
        let still = vec![named("t", &[0]), named("u", &[0]), named("none", &[0])];
        assert!(list(Some(still)).is_empty());
    }
}

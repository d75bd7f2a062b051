//! ElectLeaders (KIP-460): leadership follows load, not an order of replicas, so every partition has the leader it
//! should have.

use alluvium_protocol::messages::elect_leaders_request::TopicPartitions;
use alluvium_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use alluvium_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::admin::Admin;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers ElectLeaders.
pub async fn handle(
    broker: &Broker,
    request: ElectLeadersRequest,
    _info: &RequestInfo,
) -> ElectLeadersResponse {
    answer(&Admin::from(broker), request)
}

/// Who asks about all partitions is told of those that needed an election: none.
fn answer(admin: &Admin<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let named = request.topic_partitions.unwrap_or_default();
    ElectLeadersResponse {
        replica_election_results: named.into_iter().map(|topic| elect(admin, topic)).collect(),
        ..ElectLeadersResponse::default()
    }
}

fn elect(admin: &Admin<'_>, wanted: TopicPartitions) -> ReplicaElectionResult {
    let topics = admin.view.topics();
    let topic = topics.named(&wanted.topic);
    let result = |partition_id: i32| {
        let exists = topic.is_some_and(|topic| Broker::partition(topic, partition_id).is_some());
        let (code, message) = match exists {
            true => (ErrorCode::ElectionNotNeeded, "the partition has its leader"),
            false => (ErrorCode::UnknownTopicOrPartition, "no such partition"),
        };
        PartitionResult {
            partition_id,
            error_code: code.code(),
            error_message: Some(StrBytes::from_static(message)),
        }
    };
    ReplicaElectionResult {
        partition_result: wanted.partitions.into_iter().map(result).collect(),
        topic: wanted.topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire;

    #[tokio::test(start_paused = true)]
    async fn no_election_is_ever_needed() {
        let scene = Scene::new().await;
        scene.create("t", 1).await;
        for version in 0..=2 {
            let named = TopicPartitions {
                topic: "t".into(),
                partitions: vec![0, 1],
            };
            let request = ElectLeadersRequest {
                topic_partitions: Some(vec![named]),
                timeout_ms: 1000,
                ..ElectLeadersRequest::default()
            };
            let response =
                over_the_wire(version, request, |request| answer(&scene.admin(), request));
            let results = &response.replica_election_results[0].partition_result;
            let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            assert_eq!(codes, [ErrorCode::ElectionNotNeeded.code(), unknown]);
            let all = ElectLeadersRequest {
                topic_partitions: None,
                ..ElectLeadersRequest::default()
            };
            let response = over_the_wire(version, all, |request| answer(&scene.admin(), request));
            assert!(response.replica_election_results.is_empty());
        }
    }
}

//! ElectLeaders (KIP-460): leadership follows load, not an order of replicas, so who has a leader has the one it should
//! have. A partition without one waits for the controller, or for the broker whose write-ahead log holds the last of its
//! records.

use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Picture;
use alluvium_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use alluvium_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::admin::Admin;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;
use crate::shape;

/// The kind of election that may lose records (`org.apache.kafka.common.ElectionType`).
const UNCLEAN: i8 = 1;

/// Answers ElectLeaders.
pub async fn handle(
    broker: &Broker,
    request: ElectLeadersRequest,
    _info: &RequestInfo,
) -> ElectLeadersResponse {
    answer(&Admin::from(broker), request)
}

/// Who asks about all partitions is told of those that needed an election and got none.
fn answer(admin: &Admin<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let picture = admin.view.picture();
    let results: Vec<_> = match request.topic_partitions {
        Some(named) => named
            .into_iter()
            .map(|topic| {
                let indexes = topic.partitions.into_iter();
                elect(&picture, topic.topic, indexes, request.election_type)
            })
            .collect(),
        None => picture
            .topics
            .all()
            .map(|topic| {
                let without = (0..topic.partition_count)
                    .filter(|index| shape::partition(&picture, topic, *index).leader.is_none());
                let name = StrBytes::copy_of(topic.name.as_str());
                elect(&picture, name, without, request.election_type)
            })
            .filter(|topic| !topic.partition_result.is_empty())
            .collect(),
    };
    ElectLeadersResponse {
        replica_election_results: results,
        ..ElectLeadersResponse::default()
    }
}

fn elect(
    picture: &Picture,
    name: StrBytes,
    indexes: impl Iterator<Item = i32>,
    election_type: i8,
) -> ReplicaElectionResult {
    let topic = picture.topics.named(&name);
    let result = |partition_id: i32| {
        let (code, message) = judge(
            picture,
            topic.map(|topic| &**topic),
            partition_id,
            election_type,
        );
        PartitionResult {
            partition_id,
            error_code: code.code(),
            error_message: Some(StrBytes::from_static(message)),
        }
    };
    ReplicaElectionResult {
        partition_result: indexes.map(result).collect(),
        topic: name,
    }
}

fn judge(
    picture: &Picture,
    topic: Option<&TopicRecord>,
    index: i32,
    election_type: i8,
) -> (ErrorCode, &'static str) {
    let Some(topic) = topic.filter(|topic| Broker::partition(topic, index).is_some()) else {
        return (ErrorCode::UnknownTopicOrPartition, "no such partition");
    };
    match shape::partition(picture, topic, index).leader {
        Some(_) => (ErrorCode::ElectionNotNeeded, "the partition has its leader"),
        None if election_type == UNCLEAN => (
            ErrorCode::EligibleLeadersNotAvailable,
            "nobody may lead the partition now",
        ),
        None => (
            ErrorCode::PreferredLeaderNotAvailable,
            "the partition waits for a broker to open it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::elect_leaders_request::TopicPartitions;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire;

    #[tokio::test(start_paused = true)]
    async fn who_has_no_leader_is_told_so() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 2).await;
        scene.create("u", 1).await;
        scene.cluster.placed(&topic, 1, 3).await;
        let codes = |election_type, named| {
            let request = ElectLeadersRequest {
                election_type,
                topic_partitions: named,
                timeout_ms: 1000,
            };
            let response = over_the_wire(2, request, |request| answer(&scene.admin(), request));
            let results = response.replica_election_results.into_iter();
            results
                .flat_map(|topic| topic.partition_result)
                .map(|result| (result.partition_id, ErrorCode::from(result.error_code)))
                .collect::<Vec<_>>()
        };
        let both = || {
            Some(vec![TopicPartitions {
                topic: "t".into(),
                partitions: vec![0, 1],
            }])
        };
        for (election_type, code) in [
            (0, ErrorCode::PreferredLeaderNotAvailable),
            (UNCLEAN, ErrorCode::EligibleLeadersNotAvailable),
        ] {
            let named = codes(election_type, both());
            assert_eq!(named, [(0, ErrorCode::ElectionNotNeeded), (1, code)]);
            assert_eq!(codes(election_type, None), [(1, code)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_leader_needs_no_election() {
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

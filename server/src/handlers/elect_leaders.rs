//! ElectLeaders (KIP-460): leadership follows load, not an order of replicas, so who has a leader has the one it should
//! have. A partition without one waits for the controller, or for the broker whose write-ahead log holds the last of its
//! records.

use std::collections::BTreeMap;

use alluvium_common::topic::TopicPartition;
use alluvium_metadata::controller::unclean::UncleanElection;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Picture;
use alluvium_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use alluvium_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use tracing::warn;

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
    let admin = Admin::from(broker);
    let given_up = give_up_logs(&admin, &request).await;
    answer(&admin, request, &given_up)
}

/// What became of the write-ahead logs that partitions wait for, where an unclean election was asked for.
type GivenUp = BTreeMap<TopicPartition, UncleanElection>;

async fn give_up_logs(admin: &Admin<'_>, request: &ElectLeadersRequest) -> GivenUp {
    let Some(named) = &request.topic_partitions else {
        // Who gives records up must say of which partitions.
        return GivenUp::new();
    };
    if request.election_type != UNCLEAN {
        return GivenUp::new();
    }
    let picture = admin.view.picture();
    let tps = named.iter().filter_map(|named| {
        let topic = picture.topics.named(&named.topic)?;
        let indexes = named.partitions.iter();
        Some(indexes.filter_map(|index| Broker::partition(topic, *index)))
    });
    let tps: Vec<_> = tps.flatten().collect();
    admin
        .placement
        .elect_unclean(&tps)
        .await
        .unwrap_or_else(|error| {
            // The partitions are answered as they are: without a leader, so that the client may ask again.
            warn!(%error, "no unclean election took place");
            GivenUp::new()
        })
}

/// Who asks about all partitions is told of those that needed an election and got none.
fn answer(
    admin: &Admin<'_>,
    request: ElectLeadersRequest,
    given_up: &GivenUp,
) -> ElectLeadersResponse {
    let picture = admin.view.picture();
    let results: Vec<_> = match request.topic_partitions {
        Some(named) => named
            .into_iter()
            .map(|topic| {
                let indexes = topic.partitions.into_iter();
                elect(
                    &picture,
                    topic.topic,
                    indexes,
                    request.election_type,
                    given_up,
                )
            })
            .collect(),
        None => picture
            .topics
            .all()
            .map(|topic| {
                let without = (0..topic.partition_count)
                    .filter(|index| shape::partition(&picture, topic, *index).leader.is_none());
                let name = StrBytes::copy_of(topic.name.as_str());
                elect(&picture, name, without, request.election_type, given_up)
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
    given_up: &GivenUp,
) -> ReplicaElectionResult {
    let topic = picture.topics.named(&name);
    let result = |partition_id: i32| {
        let (code, message) = judge(
            picture,
            topic.map(|topic| &**topic),
            partition_id,
            election_type,
            given_up,
        );
        PartitionResult {
            partition_id,
            error_code: code.code(),
            error_message: (code != ErrorCode::None).then(|| StrBytes::from_static(message)),
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
    given_up: &GivenUp,
) -> (ErrorCode, &'static str) {
    let known = topic.and_then(|topic| Some((topic, Broker::partition(topic, index)?)));
    let Some((topic, tp)) = known else {
        return (ErrorCode::UnknownTopicOrPartition, "no such partition");
    };
    if let Some(UncleanElection::Done(_)) = given_up.get(&tp) {
        return (ErrorCode::None, "");
    }
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
            let response = over_the_wire(2, request, |request| {
                answer(&scene.admin(), request, &GivenUp::new())
            });
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
            let response = over_the_wire(version, request, |request| {
                answer(&scene.admin(), request, &GivenUp::new())
            });
            let results = &response.replica_election_results[0].partition_result;
            let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
            let unknown = ErrorCode::UnknownTopicOrPartition.code();
            assert_eq!(codes, [ErrorCode::ElectionNotNeeded.code(), unknown]);
            let all = ElectLeadersRequest {
                topic_partitions: None,
                ..ElectLeadersRequest::default()
            };
            let response = over_the_wire(version, all, |request| {
                answer(&scene.admin(), request, &GivenUp::new())
            });
            assert!(response.replica_election_results.is_empty());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unclean_election_gives_up_a_log_that_nobody_has() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 2).await;
        scene.cluster.placed(&topic, 1, 3).await;
        scene.cluster.logged(&topic, 1).await;
        let named = TopicPartitions {
            topic: "t".into(),
            partitions: vec![0, 1],
        };
        let request = ElectLeadersRequest {
            election_type: UNCLEAN,
            topic_partitions: Some(vec![named]),
            timeout_ms: 1000,
        };
        let given_up = give_up_logs(&scene.admin(), &request).await;
        let response = answer(&scene.admin(), request, &given_up);
        let results = &response.replica_election_results[0].partition_result;
        let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [ErrorCode::ElectionNotNeeded.code(), 0]);
        let record = scene.cluster.record(&topic, 1).expect("placed");
        assert_eq!(record.wal, None);
    }
}

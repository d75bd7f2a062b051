//! AlterPartitionReassignments (KIP-455): moves leadership to the first broker of each list, or calls that off. No data
//! moves with it.

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicPartition;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use alluvium_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use alluvium_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};

use super::admin::{Admin, Refusal, outcome, repeated, topic_named};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Replicas that a partition has, as clients see it.
const REPLICAS: usize = 1;

/// Answers AlterPartitionReassignments.
pub async fn handle(
    broker: &Broker,
    request: AlterPartitionReassignmentsRequest,
    _info: &RequestInfo,
) -> AlterPartitionReassignmentsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(
    admin: &Admin<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let any_number = request.allow_replication_factor_change;
    let mut responses = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let record = topic_named(admin, &topic.name).await;
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let reassigned = match &record {
                Ok(topic) => {
                    let tp = Broker::partition(topic, index);
                    reassign(admin, tp, &partition, any_number).await
                }
                Err(refusal) => Err(refusal.clone()),
            };
            let (error_code, error_message) = outcome(&reassigned);
            partitions.push(ReassignablePartitionResponse {
                partition_index: index,
                error_code,
                error_message,
            });
        }
        responses.push(ReassignableTopicResponse {
            name: topic.name,
            partitions,
        });
    }
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: any_number,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    }
}

async fn reassign(
    admin: &Admin<'_>,
    tp: Option<TopicPartition>,
    wanted: &ReassignablePartition,
    any_number: bool,
) -> Result<(), Refusal> {
    let unknown = || Refusal::new(ErrorCode::UnknownTopicOrPartition, "no such partition");
    let tp = tp.ok_or_else(unknown)?;
    let Some(replicas) = &wanted.replicas else {
        return Ok(admin.placement.stay(tp).await?);
    };
    let target = check(admin, replicas, any_number)?;
    Ok(admin.placement.move_to(tp, target).await?)
}

/// The new leader: the first of the list, all of which must exist, as in Kafka.
fn check(admin: &Admin<'_>, replicas: &[i32], any_number: bool) -> Result<BrokerId, Refusal> {
    let invalid = |message: &str| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    let first = replicas
        .first()
        .ok_or_else(|| invalid("the list of replicas is empty"))?;
    if !repeated(replicas.iter()).is_empty() {
        return Err(invalid("the list of replicas names a broker twice"));
    }
    for replica in replicas {
        admin.placement.check_target(BrokerId(*replica))?;
    }
    if !any_number && replicas.len() != REPLICAS {
        let message = "a partition has one replica, its leader: object storage replicates";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    Ok(BrokerId(*first))
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::alter_partition_reassignments_request::ReassignableTopic;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    async fn alter(
        scene: &Scene,
        version: i16,
        index: i32,
        replicas: Option<Vec<i32>>,
        any_number: bool,
    ) -> i16 {
        let partition = ReassignablePartition {
            partition_index: index,
            replicas,
        };
        let topic = ReassignableTopic {
            name: "t".into(),
            partitions: vec![partition],
        };
        let request = AlterPartitionReassignmentsRequest {
            topics: vec![topic],
            timeout_ms: 1000,
            allow_replication_factor_change: version < 1 || any_number,
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        assert_eq!(response.error_code, 0);
        response.responses[0].partitions[0].error_code
    }

    #[tokio::test(start_paused = true)]
    async fn leaders_move_and_moves_are_called_off_in_every_version() {
        for version in 0..=1 {
            let scene = Scene::new().await;
            let topic = scene.create("t", 2).await;
            for id in [8, 9] {
                scene.cluster.broker(id).await;
            }
            let moving = |index| {
                let record = scene.cluster.record(&topic, index).expect("exists");
                record.moving_to.map(|target| target.0)
            };
            assert_eq!(alter(&scene, version, 1, Some(vec![8, 7]), true).await, 0);
            assert_eq!((moving(0), moving(1)), (None, Some(8)));
            assert_eq!(alter(&scene, version, 1, Some(vec![9]), true).await, 0);
            assert_eq!(moving(1), Some(9), "another target");
            assert_eq!(alter(&scene, version, 1, None, true).await, 0);
            assert_eq!(moving(1), None);
            let none = ErrorCode::NoReassignmentInProgress.code();
            assert_eq!(alter(&scene, version, 1, None, true).await, none);
            assert_eq!(alter(&scene, version, 1, Some(vec![8]), true).await, 0);
            let back = alter(&scene, version, 1, Some(vec![7]), true).await;
            assert_eq!((back, moving(1)), (0, None), "to where it is");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused() {
        let scene = Scene::new().await;
        let topic = scene.create("t", 2).await;
        scene.cluster.broker(8).await;
        scene.cluster.broker(9).await;
        scene
            .placement
            .set_drained(BrokerId(9), true)
            .await
            .unwrap();
        scene.cluster.placed(&topic, 1, 3).await;
        let invalid = ErrorCode::InvalidReplicaAssignment;
        for (index, replicas, any_number, code) in [
            (0, vec![], true, invalid),
            (0, vec![6], true, invalid),
            (0, vec![8, 6], true, invalid),
            (0, vec![8, 8], true, invalid),
            (0, vec![-1], true, invalid),
            (0, vec![9], true, invalid),
            (0, vec![8, 7], false, ErrorCode::InvalidReplicationFactor),
            (1, vec![8], true, ErrorCode::LeaderNotAvailable),
            (2, vec![8], true, ErrorCode::UnknownTopicOrPartition),
        ] {
            let answered = alter(&scene, 1, index, Some(replicas.clone()), any_number).await;
            assert_eq!(answered, code.code(), "{index} to {replicas:?}");
        }
        let record = scene.cluster.record(&topic, 0).expect("exists");
        assert_eq!(record.moving_to, None);
    }
}

//! CreatePartitions: more partitions for topics that exist.

use alluvium_common::limits::PARTITIONS_PER_TOPIC_MAX;
use alluvium_protocol::ErrorCode;
use alluvium_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use alluvium_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use alluvium_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::admin::{Admin, Refusal, outcome, repeated, topic_name};
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// Answers CreatePartitions.
pub async fn handle(
    broker: &Broker,
    request: CreatePartitionsRequest,
    _info: &RequestInfo,
) -> CreatePartitionsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(admin: &Admin<'_>, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let twice = repeated(request.topics.iter().map(|topic| topic.name.clone()));
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let grown = match twice.contains(&topic.name) {
            true => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the request names the topic twice",
            )),
            false => grow(admin, &topic, request.validate_only).await,
        };
        let (error_code, error_message) = outcome(&grown);
        results.push(CreatePartitionsTopicResult {
            name: topic.name,
            error_code,
            error_message,
        });
    }
    CreatePartitionsResponse {
        results,
        ..CreatePartitionsResponse::default()
    }
}

async fn grow(
    admin: &Admin<'_>,
    topic: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = topic_name(&topic.name)?;
    let record = admin.topics.find(&name).await?;
    let added = i64::from(topic.count) - i64::from(record.partition_count);
    if added <= 0 || topic.count > PARTITIONS_PER_TOPIC_MAX {
        let message = format!(
            "the topic has {} partitions; it can have more, up to {PARTITIONS_PER_TOPIC_MAX}, not {}",
            record.partition_count, topic.count
        );
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    // Where replicas are is the cluster's matter; an assignment must only fit the request.
    if let Some(assignments) = &topic.assignments {
        let fits = i64::try_from(assignments.len()) == Ok(added)
            && assignments
                .iter()
                .all(|assignment| !assignment.broker_ids.is_empty());
        if !fits {
            let message =
                format!("an assignment names replicas for each of the {added} new partitions");
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        }
    }
    if !validate_only {
        admin.topics.create_partitions(&name, topic.count).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::create_partitions_request::CreatePartitionsAssignment;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    fn topic(name: &'static str, count: i32) -> CreatePartitionsTopic {
        CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
        }
    }

    async fn grow(
        scene: &Scene,
        version: i16,
        topics: Vec<CreatePartitionsTopic>,
        dry: bool,
    ) -> Vec<i16> {
        let request = CreatePartitionsRequest {
            topics,
            timeout_ms: 1000,
            validate_only: dry,
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        response
            .results
            .iter()
            .map(|topic| topic.error_code)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_are_added_in_every_version() {
        for version in 0..=3 {
            let scene = Scene::new().await;
            scene.create("t", 2).await;
            assert_eq!(grow(&scene, version, vec![topic("t", 5)], true).await, [0]);
            assert_eq!(scene.topic("t").partition_count, 2, "a dry run");
            assert_eq!(grow(&scene, version, vec![topic("t", 5)], false).await, [0]);
            assert_eq!((scene.topic("t").partition_count, scene.logs.len()), (5, 5));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused() {
        let scene = Scene::new().await;
        scene.create("t", 2).await;
        let mut assigned = topic("t", 4);
        assigned.assignments = Some(vec![CreatePartitionsAssignment {
            broker_ids: vec![1],
        }]);
        for (topic, code) in [
            (topic("none", 4), ErrorCode::UnknownTopicOrPartition),
            (topic("t", 2), ErrorCode::InvalidPartitions),
            (topic("t", 1), ErrorCode::InvalidPartitions),
            (topic("t", -1), ErrorCode::InvalidPartitions),
            (topic("t", i32::MAX), ErrorCode::InvalidPartitions),
            (assigned, ErrorCode::InvalidReplicaAssignment),
        ] {
            assert_eq!(grow(&scene, 3, vec![topic], false).await, [code.code()]);
        }
        let twice = grow(&scene, 3, vec![topic("t", 3), topic("t", 4)], false).await;
        assert_eq!(twice, [ErrorCode::InvalidRequest.code(); 2]);
        assert_eq!(scene.topic("t").partition_count, 2);
    }
}

//! CreateTopics: each topic for itself. When it is answered, its partitions take records.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::topics::NewTopic;
use alluvium_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use alluvium_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use alluvium_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::admin::{Admin, Refusal, outcome, repeated, topic_name};
use super::config_entries;
use crate::broker::Broker;
use crate::dispatch::RequestInfo;

/// "As the broker is configured", for partitions and replicas.
const UNSET: i32 = -1;

/// Answers CreateTopics.
pub async fn handle(
    broker: &Broker,
    request: CreateTopicsRequest,
    _info: &RequestInfo,
) -> CreateTopicsResponse {
    answer(&Admin::from(broker), request).await
}

async fn answer(admin: &Admin<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let twice = repeated(request.topics.iter().map(|topic| topic.name.clone()));
    let mut answered = BTreeSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        // A name that comes twice is refused once, as Kafka does.
        if twice.contains(&topic.name) && !answered.insert(topic.name.clone()) {
            continue;
        }
        let created = match twice.contains(&topic.name) {
            true => Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the request names the topic twice",
            )),
            false => create(admin, &topic, request.validate_only).await,
        };
        topics.push(show(admin, topic.name, created));
    }
    CreateTopicsResponse {
        topics,
        ..CreateTopicsResponse::default()
    }
}

/// What was created, or would have been.
struct Created {
    topic_id: Uuid,
    partition_count: i32,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
}

impl From<TopicRecord> for Created {
    fn from(record: TopicRecord) -> Self {
        Self {
            topic_id: record.topic_id.0,
            partition_count: record.partition_count,
            replication_factor: record.replication_factor,
            configs: record.configs,
        }
    }
}

async fn create(
    admin: &Admin<'_>,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<Created, Refusal> {
    let (partition_count, replication_factor) = shape(admin, topic)?;
    let new = NewTopic {
        name: topic_name(&topic.name)?,
        partition_count,
        replication_factor,
        configs: configs(&topic.configs)?,
    };
    if validate_only {
        admin.topics.check(&new)?;
        return Ok(Created {
            topic_id: Uuid::nil(),
            partition_count,
            replication_factor,
            configs: new.configs,
        });
    }
    Ok(admin.topics.create(new).await?.into())
}

/// Partitions and replicas, from counts or from an assignment. Any number of replicas is accepted: object
/// storage replicates.
fn shape(admin: &Admin<'_>, topic: &CreatableTopic) -> Result<(i32, i16), Refusal> {
    if !topic.assignments.is_empty() {
        return assigned(topic);
    }
    let config = &admin.loaded.config;
    let partition_count = match topic.num_partitions {
        UNSET => config.num_partitions,
        count => count,
    };
    if partition_count < 1 {
        let message = "the number of partitions must be larger than 0";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let replication_factor = match topic.replication_factor {
        -1 => config.default_replication_factor,
        factor => factor,
    };
    if replication_factor < 1 {
        let message = "the replication factor must be larger than 0";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
    }
    Ok((partition_count, replication_factor))
}

/// Who assigns replicas gets as many as he names; where they are is the cluster's matter.
fn assigned(topic: &CreatableTopic) -> Result<(i32, i16), Refusal> {
    if topic.num_partitions != UNSET || topic.replication_factor != -1 {
        let message = "an assignment and a number of partitions or replicas exclude each other";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let bad = |message: &str| Refusal::new(ErrorCode::InvalidReplicaAssignment, message);
    let mut indexes: Vec<_> = topic
        .assignments
        .iter()
        .map(|a| a.partition_index)
        .collect();
    indexes.sort_unstable();
    if !indexes.iter().copied().eq((0..).take(indexes.len())) {
        return Err(bad("partitions must be numbered from 0, each once"));
    }
    let replicas = topic.assignments[0].broker_ids.len();
    if replicas == 0
        || topic
            .assignments
            .iter()
            .any(|a| a.broker_ids.len() != replicas)
    {
        return Err(bad(
            "all partitions must have the same number of replicas, at least one",
        ));
    }
    if topic
        .assignments
        .iter()
        .any(|a| !repeated(a.broker_ids.iter()).is_empty())
    {
        return Err(bad("a broker holds a partition once"));
    }
    let count = i32::try_from(indexes.len()).map_err(|_| bad("too many partitions"))?;
    let factor = i16::try_from(replicas).map_err(|_| bad("too many replicas"))?;
    Ok((count, factor))
}

fn configs(given: &[CreatableTopicConfig]) -> Result<BTreeMap<String, String>, Refusal> {
    let pair = |config: &CreatableTopicConfig| match &config.value {
        Some(value) => Ok((config.name.as_str().to_owned(), value.as_str().to_owned())),
        None => {
            let message = format!("setting {} has no value", config.name);
            Err(Refusal::new(ErrorCode::InvalidConfig, message))
        }
    };
    given.iter().map(pair).collect()
}

fn show(
    admin: &Admin<'_>,
    name: StrBytes,
    created: Result<Created, Refusal>,
) -> CreatableTopicResult {
    let (error_code, error_message) = outcome(&created);
    let result = CreatableTopicResult {
        name,
        error_code,
        error_message,
        num_partitions: UNSET,
        replication_factor: -1,
        ..CreatableTopicResult::default()
    };
    let Ok(created) = created else {
        return result;
    };
    let config = |entry: config_entries::ConfigEntry| CreatableTopicConfigs {
        name: entry.name.into(),
        value: Some(entry.value.into()),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: false,
    };
    let entries = config_entries::of_topic(&created.configs, admin.topics.defaults());
    CreatableTopicResult {
        topic_id: created.topic_id,
        num_partitions: created.partition_count,
        replication_factor: created.replication_factor,
        configs: Some(entries.into_iter().map(config).collect()),
        ..result
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::messages::create_topics_request::CreatableReplicaAssignment;

    use super::*;
    use crate::handlers::admin_testing::Scene;
    use crate::handlers::group_testing::over_the_wire_async;

    fn topic(name: &'static str) -> CreatableTopic {
        CreatableTopic {
            name: name.into(),
            num_partitions: 3,
            replication_factor: 2,
            ..CreatableTopic::default()
        }
    }

    async fn create(
        scene: &Scene,
        version: i16,
        topics: Vec<CreatableTopic>,
    ) -> Vec<CreatableTopicResult> {
        let request = CreateTopicsRequest {
            topics,
            timeout_ms: 1000,
            ..CreateTopicsRequest::default()
        };
        let response = over_the_wire_async(version, request, async |request| {
            answer(&scene.admin(), request).await
        })
        .await;
        response.topics
    }

    #[tokio::test(start_paused = true)]
    async fn topics_are_created_in_every_version() {
        for version in 2..=7 {
            let scene = Scene::new().await;
            let mut first = topic("first");
            first.configs = vec![CreatableTopicConfig {
                name: "cleanup.policy".into(),
                value: Some("compact".into()),
            }];
            let created = create(&scene, version, vec![first, topic("second")]).await;
            assert!(
                created.iter().all(|topic| topic.error_code == 0),
                "{created:?}"
            );
            let record = scene.topic("first");
            assert_eq!((record.partition_count, record.replication_factor), (3, 2));
            if version >= 7 {
                assert_eq!(created[0].topic_id, record.topic_id.0);
            }
            if version >= 5 {
                assert_eq!(
                    (created[0].num_partitions, created[0].replication_factor),
                    (3, 2)
                );
                let configs = created[0].configs.as_ref().unwrap();
                let policy = configs
                    .iter()
                    .find(|config| config.name == "cleanup.policy")
                    .unwrap();
                assert_eq!(
                    (policy.value.as_deref(), policy.config_source),
                    (Some("compact"), 1)
                );
            }
            let again = create(&scene, version, vec![topic("first")]).await;
            assert_eq!(again[0].error_code, ErrorCode::TopicAlreadyExists.code());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_is_refused() {
        let scene = Scene::new().await;
        let with = |edit: fn(&mut CreatableTopic)| {
            let mut topic = topic("t");
            edit(&mut topic);
            topic
        };
        let config =
            |topic: &mut CreatableTopic, name: &'static str, value: Option<&'static str>| {
                let value = value.map(StrBytes::from_static);
                topic.configs.push(CreatableTopicConfig {
                    name: name.into(),
                    value,
                });
            };
        let mut unknown_config = topic("t");
        config(&mut unknown_config, "no.such", Some("x"));
        let mut no_value = topic("t");
        config(&mut no_value, "retention.ms", None);
        let cases = [
            (topic("a/b"), ErrorCode::InvalidTopicException),
            (
                topic("__consumer_offsets"),
                ErrorCode::InvalidTopicException,
            ),
            (with(|t| t.num_partitions = 0), ErrorCode::InvalidPartitions),
            (
                with(|t| t.num_partitions = i32::MAX),
                ErrorCode::InvalidPartitions,
            ),
            (
                with(|t| t.replication_factor = 0),
                ErrorCode::InvalidReplicationFactor,
            ),
            (unknown_config, ErrorCode::InvalidConfig),
            (no_value, ErrorCode::InvalidConfig),
            (
                with(|t| t.assignments = vec![CreatableReplicaAssignment::default()]),
                ErrorCode::InvalidRequest,
            ),
        ];
        for (topic, code) in cases {
            let refused = create(&scene, 7, vec![topic]).await;
            assert_eq!(refused[0].error_code, code.code(), "{refused:?}");
            assert!(refused[0].error_message.is_some());
        }
        let twice = create(&scene, 7, vec![topic("t"), topic("t")]).await;
        assert_eq!(twice.len(), 1);
        assert_eq!(twice[0].error_code, ErrorCode::InvalidRequest.code());
        assert_eq!(scene.view.topics().all().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn defaults_assignments_and_dry_runs() {
        let scene = Scene::new().await;
        let mut unset = topic("defaults");
        (unset.num_partitions, unset.replication_factor) = (-1, -1);
        let mut assigned = unset.clone();
        assigned.name = "assigned".into();
        assigned.assignments = [1, 0]
            .map(|partition_index| CreatableReplicaAssignment {
                partition_index,
                broker_ids: vec![1, 2, 3],
            })
            .to_vec();
        let created = create(&scene, 7, vec![unset, assigned]).await;
        assert_eq!(
            (created[0].num_partitions, created[0].replication_factor),
            (1, 1)
        );
        assert_eq!(
            (created[1].num_partitions, created[1].replication_factor),
            (2, 3)
        );
        let request = CreateTopicsRequest {
            topics: vec![topic("dry"), topic("assigned")],
            validate_only: true,
            ..CreateTopicsRequest::default()
        };
        let response = answer(&scene.admin(), request).await;
        let codes: Vec<_> = response
            .topics
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        assert_eq!(codes, [0, ErrorCode::TopicAlreadyExists.code()]);
        assert!(scene.view.topics().named("dry").is_none());
    }
}

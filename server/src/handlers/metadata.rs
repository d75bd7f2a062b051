//! Metadata: brokers, topics, leaders. Creates topics when asked and allowed to.

use alluvium_common::topic::TopicName;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::topics::{NewTopic, TopicError};
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use alluvium_protocol::messages::{MetadataRequest, MetadataResponse};
use alluvium_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

use super::{describe_cluster, describe_topic_partitions};
use crate::broker::{Broker, TopicRef};
use crate::dispatch::RequestInfo;
use crate::error_map;

/// Answers Metadata.
pub async fn handle(
    broker: &Broker,
    request: MetadataRequest,
    info: &RequestInfo,
) -> MetadataResponse {
    let create = (info.version < 4 || request.allow_auto_topic_creation)
        && broker.loaded.config.auto_create_topics_enable;
    let operations_asked = request.include_topic_authorized_operations;
    let cluster_authorized_operations = match request.include_cluster_authorized_operations {
        true => describe_cluster::ALL_OPERATIONS,
        false => i32::MIN,
    };
    let mut topics = Vec::new();
    match wanted(request.topics, info.version) {
        None => {
            for topic in broker.view.topics().all() {
                topics.push(describe(broker, topic));
            }
        }
        Some(wanted) => {
            for topic in wanted {
                topics.push(find(broker, topic, create, info.version).await);
            }
        }
    }
    if operations_asked {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = describe_topic_partitions::ALL_OPERATIONS;
        }
    }
    let identity = &broker.identity;
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: identity.broker_id.0,
            host: identity.endpoint.host.clone().into(),
            port: i32::from(identity.endpoint.port),
            rack: identity.rack.clone(),
        }],
        cluster_id: Some(identity.cluster_id.clone()),
        controller_id: identity.broker_id.0,
        cluster_authorized_operations,
        topics,
        ..MetadataResponse::default()
    }
}

/// `None`: all topics. Version 0 cannot say null and means all by an empty list.
fn wanted(
    topics: Option<Vec<MetadataRequestTopic>>,
    version: i16,
) -> Option<Vec<MetadataRequestTopic>> {
    topics.filter(|topics| version > 0 || !topics.is_empty())
}

async fn find(
    broker: &Broker,
    wanted: MetadataRequestTopic,
    create: bool,
    version: i16,
) -> MetadataResponseTopic {
    // As in Kafka an id wins over a name: the Java client sends an empty name beside it.
    let by_id = version >= 10 && (wanted.name.is_none() || !wanted.topic_id.is_nil());
    let name = wanted.name.unwrap_or_default();
    let topic_ref = if by_id {
        TopicRef::new("", wanted.topic_id)
    } else {
        TopicRef::Name(&name)
    };
    if let Some(topic) = broker.topic(&topic_ref) {
        return describe(broker, &topic);
    }
    if by_id {
        return MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId.code(),
            name: None,
            topic_id: wanted.topic_id,
            ..MetadataResponseTopic::default()
        };
    }
    match create_missing(broker, &name, create).await {
        Ok(topic) => describe(broker, &topic),
        Err(code) => MetadataResponseTopic {
            error_code: code.code(),
            // Older versions cannot carry a null name, newer ones answer with what was asked.
            name: Some(name),
            topic_id: Uuid::nil(),
            ..MetadataResponseTopic::default()
        },
    }
}

async fn create_missing(
    broker: &Broker,
    name: &StrBytes,
    create: bool,
) -> Result<TopicRecord, ErrorCode> {
    let name = TopicName::new(name).map_err(|_| ErrorCode::InvalidTopicException)?;
    if !create || name.is_internal() {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    let new = NewTopic {
        name: name.clone(),
        partition_count: broker.loaded.config.num_partitions,
        replication_factor: broker.loaded.config.default_replication_factor,
        configs: Default::default(),
    };
    match broker.topics.create(new).await {
        Ok(topic) => Ok(topic),
        // Another client was quicker.
        Err(TopicError::Exists(_)) => broker
            .topic(&TopicRef::Name(name.as_str()))
            .map(|topic| TopicRecord::clone(&topic))
            .ok_or(ErrorCode::LeaderNotAvailable),
        Err(error) => {
            tracing::warn!(topic = %name, %error, "topic was not created");
            Err(error_map::topic(&error))
        }
    }
}

fn describe(broker: &Broker, topic: &TopicRecord) -> MetadataResponseTopic {
    let me = broker.identity.broker_id.0;
    MetadataResponseTopic {
        name: Some(StrBytes::copy_of(topic.name.as_str())),
        topic_id: topic.topic_id.0,
        is_internal: topic.name.is_internal(),
        partitions: (0..topic.partition_count)
            .map(|index| MetadataResponsePartition {
                partition_index: index,
                leader_id: me,
                leader_epoch: broker.leader_epoch(topic, index),
                replica_nodes: vec![me],
                isr_nodes: vec![me],
                ..MetadataResponsePartition::default()
            })
            .collect(),
        ..MetadataResponseTopic::default()
    }
}

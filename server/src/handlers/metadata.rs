//! Metadata: brokers, topics, leaders. Creates topics when asked and allowed to.

use alluvium_common::topic::TopicName;
use alluvium_metadata::model::{BrokerRecord, TopicRecord};
use alluvium_metadata::topics::{NewTopic, TopicError};
use alluvium_metadata::view::Picture;
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
use crate::shape;

/// First version whose clients take replicas that they cannot connect to.
const DEAD_REPLICAS_VERSION_MIN: i16 = 1;

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
            let picture = broker.view.picture();
            let all = picture.topics.all();
            topics.extend(all.map(|topic| describe(&picture, topic, info.version)));
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
    let picture = broker.view.picture();
    MetadataResponse {
        brokers: shape::brokers(&picture).map(node).collect(),
        cluster_id: Some(broker.identity.cluster_id.clone()),
        controller_id: shape::controller_id(&picture),
        cluster_authorized_operations,
        topics,
        ..MetadataResponse::default()
    }
}

fn node(broker: &BrokerRecord) -> MetadataResponseBroker {
    MetadataResponseBroker {
        node_id: broker.broker_id.0,
        host: broker.host.clone().into(),
        port: i32::from(broker.port),
        rack: broker.rack.clone().map(Into::into),
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
        return describe(&broker.view.picture(), &topic, version);
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
        Ok(topic) => describe(&broker.view.picture(), &topic, version),
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

fn describe(picture: &Picture, topic: &TopicRecord, version: i16) -> MetadataResponseTopic {
    let partitions = 0..topic.partition_count;
    MetadataResponseTopic {
        name: Some(StrBytes::copy_of(topic.name.as_str())),
        topic_id: topic.topic_id.0,
        is_internal: topic.name.is_internal(),
        partitions: partitions
            .map(|index| show(picture, topic, index, version))
            .collect(),
        ..MetadataResponseTopic::default()
    }
}

fn show(
    picture: &Picture,
    topic: &TopicRecord,
    index: i32,
    version: i16,
) -> MetadataResponsePartition {
    let mut shape = shape::partition(picture, topic, index);
    if version < DEAD_REPLICAS_VERSION_MIN {
        shape.replicas.retain(|id| !shape.offline.contains(id));
    }
    MetadataResponsePartition {
        error_code: shape.error.code(),
        partition_index: index,
        leader_id: shape.leader_id(),
        leader_epoch: shape.leader_epoch,
        replica_nodes: shape.replicas,
        isr_nodes: shape.isr,
        offline_replicas: shape.offline,
    }
}

#[cfg(test)]
mod tests {
    use alluvium_protocol::ApiKey;

    use super::*;
    use crate::handlers::cluster_testing::TestCluster;
    use crate::handlers::group_testing::over_the_wire;

    #[tokio::test(start_paused = true)]
    async fn partitions_are_told_in_every_version() {
        let cluster = TestCluster::new().await;
        cluster.broker(1).await;
        let topic = cluster.topic("t", 2).await;
        cluster.served(&topic, 0, 1).await;
        cluster.placed(&topic, 1, 2).await;
        cluster.worker(3).await;
        let picture = cluster.picture().await;
        for version in ApiKey::Metadata.valid_versions() {
            let request = MetadataRequest::default();
            let response = over_the_wire(version, request, |_| MetadataResponse {
                brokers: shape::brokers(&picture).map(node).collect(),
                topics: vec![describe(&picture, &topic, version)],
                ..MetadataResponse::default()
            });
            let [broker] = &response.brokers[..] else {
                panic!("one broker");
            };
            assert_eq!(broker.host, "broker1.test");
            let [served, waiting] = &response.topics[0].partitions[..] else {
                panic!("two partitions");
            };
            assert_eq!((served.error_code, served.leader_id), (0, 1));
            assert_eq!(
                (&*served.replica_nodes, &*served.isr_nodes),
                (&[1][..], &[1][..])
            );
            let none = ErrorCode::LeaderNotAvailable.code();
            assert_eq!((waiting.error_code, waiting.leader_id), (none, -1));
            let dead: &[i32] = if version == 0 { &[] } else { &[2] };
            assert_eq!(
                (&*waiting.replica_nodes, waiting.isr_nodes.len()),
                (dead, 0)
            );
            let offline: &[i32] = if version < 5 { &[] } else { &[2] };
            assert_eq!(waiting.offline_replicas, offline);
        }
    }
}

//! A Kafka client for tests: every request in every version, and helpers for the few that all tests need.
//!
//! It stands on the client of our own commands. Nothing is retried here and no error is hidden: a test sees what the
//! broker answers. [`RawConnection`] goes one step lower, for bytes that are no requests.

mod batches;
mod raw;
mod read;

use std::time::Duration;

use alluvium::client::{ClientError, Connection};
use alluvium::config::Endpoint;
use alluvium_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use alluvium_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use alluvium_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use alluvium_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use alluvium_protocol::messages::produce_response::PartitionProduceResponse;
use alluvium_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, InitProducerIdRequest, ListOffsetsRequest,
    ProduceRequest, delete_topics_request::DeleteTopicState,
};
use alluvium_protocol::{ErrorCode, Records, Request, StrBytes};
use bytes::Bytes;
use tokio::time::timeout;
use uuid::Uuid;

pub use self::batches::{Producer, batch, batch_of, lying, reseal};
pub use self::raw::{RawConnection, header_bytes, request_bytes};
pub use self::read::{FetchAnswer, fetch_request};
use crate::broker::PATIENCE;
use crate::history::Partition;

/// The first version of Produce and of Fetch that names topics by their ids.
pub const BY_ID: i16 = 13;
/// `acks=all`.
pub const ALL: i16 = -1;
/// How long the broker may take to make a batch durable.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(60);

/// A topic as requests name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
}

impl Topic {
    /// One of its partitions, as histories name it.
    pub fn partition(&self, index: i32) -> Partition {
        let topic = self.id;
        Partition { topic, index }
    }

    /// Name and id as a request of `version` has them, where ids came with `by_id`.
    pub fn named(&self, version: i16, by_id: i16) -> (StrBytes, Uuid) {
        if version >= by_id {
            (StrBytes::default(), self.id)
        } else {
            (StrBytes::copy_of(&self.name), Uuid::nil())
        }
    }
}

/// A connection, with time limits.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects. Panics when that fails.
    pub async fn connect(endpoint: &Endpoint) -> Self {
        Self::try_connect(endpoint).await.expect("a connection")
    }

    /// Connects.
    pub async fn try_connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let connection = limited(Connection::open(endpoint, "alluvium-tests")).await?;
        Ok(Self { connection })
    }

    /// Asks in the newest version. Panics when there is no answer.
    pub async fn call<R: Request>(&mut self, request: &R) -> R::Response {
        let version = self.connection.version::<R>().expect("a version both know");
        self.call_version(request, version).await
    }

    /// Asks in a version of the caller's choice. Panics when there is no answer.
    pub async fn call_version<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.try_call(request, version).await.expect("an answer")
    }

    /// Asks in a version of the caller's choice.
    pub async fn try_call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        limited(self.connection.call_version(request, version)).await
    }

    /// Sends without waiting. Answers are received in the order of the requests.
    pub async fn send<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<i32, ClientError> {
        limited(self.connection.send_version(request, version)).await
    }

    /// The answer to the request that `id` was returned for.
    pub async fn receive<R: Request>(
        &mut self,
        id: i32,
        version: i16,
    ) -> Result<R::Response, ClientError> {
        limited(self.connection.receive::<R>(id, version)).await
    }

    /// Creates a topic. Panics when the broker refuses.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Topic {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: StrBytes::copy_of(name),
                num_partitions: partitions,
                replication_factor: -1,
                configs: configs
                    .iter()
                    .map(|(name, value)| CreatableTopicConfig {
                        name: StrBytes::copy_of(name),
                        value: Some(StrBytes::copy_of(value)),
                    })
                    .collect(),
                ..CreatableTopic::default()
            }],
            timeout_ms: 30_000,
            validate_only: false,
        };
        let created = self.call(&request).await.topics.remove(0);
        let code = ErrorCode::from(created.error_code);
        assert!(
            code.is_none(),
            "{name}: {code}: {:?}",
            created.error_message
        );
        Topic {
            name: name.to_owned(),
            id: created.topic_id,
        }
    }

    /// Deletes a topic and returns the broker's code.
    pub async fn delete_topic(&mut self, name: &str) -> ErrorCode {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState {
                name: Some(StrBytes::copy_of(name)),
                ..DeleteTopicState::default()
            }],
            timeout_ms: 30_000,
            ..DeleteTopicsRequest::default()
        };
        self.call(&request)
            .await
            .responses
            .remove(0)
            .error_code
            .into()
    }

    /// A new producer id with epoch 0.
    pub async fn producer(&mut self) -> Producer {
        self.try_producer().await.expect("a producer id")
    }

    /// A new producer id with epoch 0.
    pub async fn try_producer(&mut self) -> Result<Producer, ClientError> {
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let version = self.connection.version::<InitProducerIdRequest>()?;
        let response = self.try_call(&request, version).await?;
        match ErrorCode::from(response.error_code) {
            ErrorCode::None => Ok(Producer::new(response.producer_id, response.producer_epoch)),
            code => Err(ClientError::Refused {
                what: "InitProducerId".to_owned(),
                code,
            }),
        }
    }

    /// Produces one batch with `acks=all` in the newest version and returns what the broker says of it.
    pub async fn produce(
        &mut self,
        topic: &Topic,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let version = self
            .connection
            .version::<ProduceRequest>()
            .expect("Produce");
        self.produce_version(version, topic, partition, records)
            .await
    }

    /// The same in a version of the caller's choice.
    pub async fn produce_version(
        &mut self,
        version: i16,
        topic: &Topic,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(version, ALL, topic, vec![(partition, records)]);
        let response = self.call_version(&request, version).await;
        only(only(response.responses).partition_responses)
    }

    /// Produces records with these values in one batch and returns the offset of the first.
    pub async fn produce_values(&mut self, topic: &Topic, partition: i32, values: &[&str]) -> i64 {
        let answer = self.produce(topic, partition, batch(values)).await;
        let code = ErrorCode::from(answer.error_code);
        assert!(code.is_none(), "{code}: {:?}", answer.error_message);
        answer.base_offset
    }

    /// What ListOffsets says of one partition.
    pub async fn list_offsets(
        &mut self,
        version: i16,
        topic: &Topic,
        partition: i32,
        timestamp: i64,
    ) -> ListOffsetsPartitionResponse {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: StrBytes::copy_of(&topic.name),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp,
                    ..ListOffsetsPartition::default()
                }],
            }],
            ..ListOffsetsRequest::default()
        };
        let response = self.call_version(&request, version).await;
        only(only(response.topics).partitions)
    }
}

/// A Produce request for one topic.
pub fn produce_request(
    version: i16,
    acks: i16,
    topic: &Topic,
    batches: Vec<(i32, Bytes)>,
) -> ProduceRequest {
    let (name, topic_id) = topic.named(version, BY_ID);
    ProduceRequest {
        transactional_id: None,
        acks,
        timeout_ms: i32::try_from(PRODUCE_TIMEOUT.as_millis()).unwrap_or(i32::MAX),
        topic_data: vec![TopicProduceData {
            name,
            topic_id,
            partition_data: batches
                .into_iter()
                .map(|(index, records)| PartitionProduceData {
                    index,
                    records: Some(Records::from(records)),
                })
                .collect(),
        }],
    }
}

/// The one item of an answer that asked about one thing.
pub fn only<T>(mut items: Vec<T>) -> T {
    assert_eq!(items.len(), 1, "one thing was asked about");
    items.remove(0)
}

async fn limited<T>(call: impl Future<Output = Result<T, ClientError>>) -> Result<T, ClientError> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

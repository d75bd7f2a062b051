//! Topics, partitions and coordinators as the broker tells them.

use alluvium_protocol::messages::find_coordinator_response::Coordinator;
use alluvium_protocol::messages::metadata_request::MetadataRequestTopic;
use alluvium_protocol::messages::metadata_response::MetadataResponseTopic;
use alluvium_protocol::messages::{
    FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, MetadataResponse,
    list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
};
use alluvium_protocol::{ErrorCode, StrBytes};

use super::{ClientError, Connection};
use crate::config::Endpoint;

/// Asks for the first offset still readable.
pub const EARLIEST: i64 = -2;
/// Asks for the end of the log.
pub const LATEST: i64 = -1;

impl Connection {
    /// All topics, or the named ones.
    pub async fn metadata(
        &mut self,
        topics: Option<&[&str]>,
        create: bool,
    ) -> Result<MetadataResponse, ClientError> {
        let topics = topics.map(|names| {
            names
                .iter()
                .map(|name| MetadataRequestTopic {
                    name: Some(StrBytes::copy_of(name)),
                    ..MetadataRequestTopic::default()
                })
                .collect()
        });
        let request = MetadataRequest {
            topics,
            allow_auto_topic_creation: create,
            ..MetadataRequest::default()
        };
        self.call(&request).await
    }

    /// One topic; an error if it does not exist.
    pub async fn topic(
        &mut self,
        name: &str,
        create: bool,
    ) -> Result<MetadataResponseTopic, ClientError> {
        let response = self.metadata(Some(&[name]), create).await?;
        let topic = response
            .topics
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::BadAnswer("no topic in the answer".to_owned()))?;
        check(topic.error_code, &format!("topic {name:?}"))?;
        Ok(topic)
    }

    /// The offset of each of `partitions` for `timestamp`: [`EARLIEST`], [`LATEST`] or milliseconds.
    pub async fn offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<Vec<(i32, i64)>, ClientError> {
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: StrBytes::copy_of(topic),
                partitions: partitions
                    .iter()
                    .map(|partition| ListOffsetsPartition {
                        partition_index: *partition,
                        timestamp,
                        ..ListOffsetsPartition::default()
                    })
                    .collect(),
            }],
            ..ListOffsetsRequest::default()
        };
        let response = self.call(&request).await?;
        let answers = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions);
        answers
            .map(|answer| {
                check(
                    answer.error_code,
                    &format!("{topic}-{}", answer.partition_index),
                )?;
                Ok((answer.partition_index, answer.offset))
            })
            .collect()
    }

    /// Where the coordinator of `group` is.
    pub async fn group_coordinator(&mut self, group: &str) -> Result<Endpoint, ClientError> {
        let request = FindCoordinatorRequest {
            key_type: 0,
            coordinator_keys: vec![StrBytes::copy_of(group)],
            ..FindCoordinatorRequest::default()
        };
        let response = self.call(&request).await?;
        let coordinator: Coordinator = response
            .coordinators
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::BadAnswer("no coordinator in the answer".to_owned()))?;
        check(coordinator.error_code, &format!("group {group:?}"))?;
        Ok(Endpoint {
            host: coordinator.host.as_str().to_owned(),
            port: u16::try_from(coordinator.port).unwrap_or_default(),
        })
    }
}

/// Turns an error code of the broker into an error that names `what` it is about.
pub fn check(code: i16, what: &str) -> Result<(), ClientError> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::Refused {
            what: what.to_owned(),
            code,
        }),
    }
}

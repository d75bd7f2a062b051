//! What the handlers of the group APIs have in common: Kafka's words for the coordinator's types.

use std::time::Duration;

use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use alluvium_metadata::coordinator::{GroupId, InstanceId};
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::view::Topics;
use alluvium_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

/// First versions of OffsetCommit and OffsetFetch in which topics have ids instead of names (KIP-848).
pub const TOPIC_ID_VERSION: i16 = 10;

/// The group that a request names.
pub fn group_id(name: &StrBytes) -> GroupId {
    GroupId::new(name)
}

/// The static member that a request names.
pub fn instance_id(name: Option<&StrBytes>) -> Option<InstanceId> {
    name.map(|name| InstanceId::new(name))
}

/// Milliseconds of the wire; a negative number is no time at all.
pub fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Strings that the response carries in memory of its own.
pub fn text(text: impl AsRef<str>) -> StrBytes {
    StrBytes::copy_of(text.as_ref())
}

/// The topic that a request of a version with and without topic ids names, or the error for all of its
/// partitions.
pub fn find_topic<'a>(
    topics: &'a Topics,
    name: &str,
    id: Uuid,
    by_id: bool,
) -> Result<&'a TopicRecord, ErrorCode> {
    let found = match by_id {
        true => topics.with_id(TopicId(id)).ok_or(ErrorCode::UnknownTopicId),
        false => topics.named(name).ok_or(ErrorCode::UnknownTopicOrPartition),
    };
    found.map(|topic| &**topic)
}

/// A partition that exists, or the error for it.
pub fn find_partition(topic: &TopicRecord, index: i32) -> Result<TopicPartition, ErrorCode> {
    match (0..topic.partition_count).contains(&index) {
        true => Ok(TopicPartition::new(topic.topic_id, PartitionIndex(index))),
        false => Err(ErrorCode::UnknownTopicOrPartition),
    }
}

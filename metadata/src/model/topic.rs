//! A topic.

use std::collections::BTreeMap;

use alluvium_common::topic::{TopicId, TopicName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind;
use crate::value::StoredRecord;

/// A topic as its key holds it; the name is the key's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct TopicRecord {
    /// Its name.
    pub name: TopicName,
    /// Unique for ever: a topic created again under the same name has another (I23).
    pub topic_id: TopicId,
    /// Partitions 0 to this less one exist.
    pub partition_count: i32,
    /// As the client asked; nominal, since object storage replicates.
    pub replication_factor: i16,
    /// Settings that were given; what is absent stands at its default.
    pub configs: BTreeMap<String, String>,
    /// When it was created, in milliseconds since the epoch.
    pub created_ms: i64,
}

impl StoredRecord for TopicRecord {
    const KIND: u8 = kind::TOPIC;
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct Stored {
    name: String,
    topic_id: Uuid,
    partition_count: i32,
    replication_factor: i16,
    configs: BTreeMap<String, String>,
    created_ms: i64,
}

impl From<TopicRecord> for Stored {
    fn from(record: TopicRecord) -> Self {
        Self {
            name: record.name.as_str().to_owned(),
            topic_id: record.topic_id.0,
            partition_count: record.partition_count,
            replication_factor: record.replication_factor,
            configs: record.configs,
            created_ms: record.created_ms,
        }
    }
}

impl TryFrom<Stored> for TopicRecord {
    type Error = alluvium_common::topic::InvalidTopicName;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        Ok(Self {
            name: TopicName::new(&stored.name)?,
            topic_id: TopicId(stored.topic_id),
            partition_count: stored.partition_count,
            replication_factor: stored.replication_factor,
            configs: stored.configs,
            created_ms: stored.created_ms,
        })
    }
}

//! How far topics are published as table files, who does that, and what of it is wanted at once.

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicId;
use alluvium_segment::manifest::ManifestRef;
use alluvium_segment::object_key::ObjectKey;
use serde::{Deserialize, Serialize};

use super::{commit, kind};
use crate::value::StoredRecord;

/// The manifest of a topic that counts. Written by one compare-and-set for each that follows another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedRecord {
    /// Version of the manifest: one more than that of the one before.
    pub version: u64,
    /// Name of the manifest object.
    #[serde(with = "commit::object_key")]
    pub object_key: ObjectKey,
    /// Size of the object.
    pub size_bytes: u64,
    /// Length of its index, so that one ranged read gets it.
    pub index_length: u32,
    /// Checksum of its index: the object under that name is the one that was meant.
    pub index_crc: u32,
}

impl PublishedRecord {
    /// The manifest, as the record of `topic_id`.
    pub fn manifest(&self, topic_id: TopicId) -> ManifestRef {
        ManifestRef {
            topic_id,
            version: self.version,
            object_key: self.object_key.clone(),
            size_bytes: self.size_bytes,
            index_crc: self.index_crc,
        }
    }
}

impl StoredRecord for PublishedRecord {
    const KIND: u8 = kind::PUBLISHED;
    const VERSION: u8 = 1;
}

/// The process that compacts the topics of one shard, under the lease of its session. The revision that created the key
/// is the epoch of its claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRecord {
    /// The process.
    #[serde(with = "super::broker::broker_id")]
    pub broker_id: BrokerId,
}

impl StoredRecord for ClaimRecord {
    const KIND: u8 = kind::CLAIM;
    const VERSION: u8 = 1;
}

/// Somebody wants a topic published now, however little there is. Gone when that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequestRecord {
    /// When it was asked for, in milliseconds since the Unix epoch. For people.
    pub since_ms: i64,
}

impl StoredRecord for PublishRequestRecord {
    const KIND: u8 = kind::PUBLISH_REQUEST;
    const VERSION: u8 = 1;
}

//! One sealed segment in a commit log.

use alluvium_segment::object_key::ObjectKey;
use serde::{Deserialize, Serialize};

use super::kind;
use crate::value::StoredRecord;

/// Makes a segment part of the log. Everything else about it is in its footer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Name of the object. Names are unique and never reused.
    #[serde(with = "object_key")]
    pub object_key: ObjectKey,
    /// Size of the object.
    pub size_bytes: u64,
    /// Length of its footer, so that one ranged read gets it.
    pub footer_length: u32,
    /// Checksum of its footer: the object under that name is the one that was committed.
    pub footer_crc: u32,
}

impl StoredRecord for CommitRecord {
    const KIND: u8 = kind::COMMIT;
    const VERSION: u8 = 1;
}

pub(super) mod object_key {
    use alluvium_segment::object_key::ObjectKey;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(key: &ObjectKey, serializer: S) -> Result<S::Ok, S::Error> {
        key.as_str().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectKey, D::Error> {
        let text = String::deserialize(deserializer)?;
        ObjectKey::parse(&text).map_err(D::Error::custom)
    }
}

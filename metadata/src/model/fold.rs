//! A run of a commit log, folded into one entry; and the start of one, dropped.

use alluvium_segment::object_key::ObjectKey;
use serde::{Deserialize, Serialize};

use super::{commit, kind};
use crate::value::StoredRecord;

/// Stands in a commit log under the last sequence of the run in place of all of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldRecord {
    /// Name of the fold object.
    #[serde(with = "commit::object_key")]
    pub object_key: ObjectKey,
    /// Size of the object.
    pub size_bytes: u64,
    /// Length of its index, so that one ranged read gets it.
    pub index_length: u32,
    /// Checksum of its index: the object under that name is the one that was meant.
    pub index_crc: u32,
    /// First sequence of the run.
    pub first_seq: u64,
    /// Last sequence of the run, which is also that of the key.
    pub last_seq: u64,
}

impl StoredRecord for FoldRecord {
    const KIND: u8 = kind::FOLD;
    const VERSION: u8 = 1;
}

/// Stands in a commit log under the last sequence of all those from its start on that nothing needs any more. It keeps a
/// log whose start was dropped apart from one whose start is lost (I24), and what comes late of it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedRecord {
    /// The sequence, which is also that of the key.
    pub last_seq: u64,
}

impl StoredRecord for DroppedRecord {
    const KIND: u8 = kind::DROPPED;
    const VERSION: u8 = 1;
}

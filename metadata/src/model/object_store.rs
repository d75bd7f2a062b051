//! Which object store a cluster has.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind;
use crate::value::StoredRecord;

/// Stands in the metadata, and as a marker in the object store itself: the two belong together while both are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectStoreRecord {
    /// The cluster whose data it has.
    pub cluster_id: Uuid,
    /// Of the object store.
    pub store_id: Uuid,
}

impl StoredRecord for ObjectStoreRecord {
    const KIND: u8 = kind::OBJECT_STORE;
    const VERSION: u8 = 1;
}

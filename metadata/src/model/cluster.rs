//! Identity of a cluster.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind;
use crate::value::StoredRecord;

/// Written once, when the cluster is first started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Unique for ever. A bucket or a data folder of another cluster is refused.
    pub cluster_id: Uuid,
    /// When it was first started, in milliseconds since the epoch.
    pub created_ms: i64,
}

impl StoredRecord for ClusterRecord {
    const KIND: u8 = kind::CLUSTER;
    const VERSION: u8 = 1;
}

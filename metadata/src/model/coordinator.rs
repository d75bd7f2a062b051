//! Which broker coordinates a group shard.

use alluvium_common::epoch::BrokerId;
use serde::{Deserialize, Serialize};

use super::kind;
use crate::value::StoredRecord;

/// Written by the controller, one for each group shard. Its mod revision is part of the coordinator's fence:
/// writing it anew, whatever the value, ends the right of whoever coordinated the shard until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorRecord {
    /// Whose duty the shard is.
    #[serde(with = "super::broker::broker_id")]
    pub broker: BrokerId,
}

impl StoredRecord for CoordinatorRecord {
    const KIND: u8 = kind::COORDINATOR;
    const VERSION: u8 = 1;
}

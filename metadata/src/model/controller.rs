//! Who decides about placement, and which brokers an operator has emptied.

use alluvium_common::epoch::BrokerId;
use serde::{Deserialize, Serialize};

use super::kind;
use crate::value::StoredRecord;

/// The elected controller, under the lease of its session. The revision that created the key is its epoch (F5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerRecord {
    /// The broker.
    #[serde(with = "super::broker::broker_id")]
    pub broker_id: BrokerId,
}

impl StoredRecord for ControllerRecord {
    const KIND: u8 = kind::CONTROLLER;
    const VERSION: u8 = 1;
}

/// A broker that shall lead nothing, until the record is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// When it was asked for, in milliseconds since the epoch.
    pub since_ms: i64,
}

impl StoredRecord for DrainRecord {
    const KIND: u8 = kind::DRAIN;
    const VERSION: u8 = 1;
}

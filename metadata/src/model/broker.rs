//! Session of a broker.

use alluvium_common::epoch::BrokerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind;
use crate::value::StoredRecord;

/// What a broker tells the others while its session lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRecord {
    /// Its number.
    #[serde(with = "super::broker::broker_id")]
    pub broker_id: BrokerId,
    /// Name or address for clients.
    pub host: String,
    /// Port for clients.
    pub port: u16,
    /// Rack or availability zone.
    pub rack: Option<String>,
    /// Kept in the data folder: tells a broker's own past from another broker of the same number.
    pub instance_id: Uuid,
    /// Version of the program.
    pub version: String,
    /// When it started, in milliseconds since the epoch.
    pub started_ms: i64,
    /// Where other brokers reach it; `None` when it serves none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc: Option<RpcEndpoint>,
    /// It is about to stop: what it leads shall be given to others.
    #[serde(default)]
    pub draining: bool,
}

/// The address of a broker for other brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcEndpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl StoredRecord for BrokerRecord {
    const KIND: u8 = kind::BROKER;
    /// 2: `rpc` and `draining`.
    const VERSION: u8 = 2;
}

/// A broker id as a plain number.
pub(super) mod broker_id {
    use alluvium_common::epoch::BrokerId;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(id: &BrokerId, serializer: S) -> Result<S::Ok, S::Error> {
        id.0.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BrokerId, D::Error> {
        i32::deserialize(deserializer).map(BrokerId)
    }
}

//! Session of a broker, or of another process of its cluster.

use std::collections::BTreeSet;
use std::fmt;

use alluvium_common::epoch::BrokerId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind;
use crate::value::StoredRecord;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Kafka listener, write and read path, coordinators.
    Broker,
    /// Background rewriting of segments.
    Compactor,
    /// SQL over history and tail.
    Query,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Broker, Self::Compactor, Self::Query];

    /// As settings and records have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Compactor => "compactor",
            Self::Query => "query",
        }
    }
}

/// The roles of one process, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(pub BTreeSet<Role>);

impl Roles {
    /// Every role.
    pub fn all() -> Self {
        Self(Role::ALL.into())
    }

    /// A broker, and nothing else.
    pub fn broker() -> Self {
        Self([Role::Broker].into())
    }

    /// Does this process have `role`?
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

/// Separated by commas, as settings have it.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, role) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{}", role.name())?;
        }
        Ok(())
    }
}

/// What a broker, or another process of the cluster, tells the others while its session lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRecord {
    /// Its number.
    #[serde(with = "super::broker::broker_id")]
    pub broker_id: BrokerId,
    /// Name or address for clients; of a process without the role of a broker, that of its metrics.
    pub host: String,
    /// Port for the same; 0: there is none.
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
    /// What it does. Without the role of a broker it has no Kafka listener, leads and coordinates nothing, and is no
    /// controller. In older records it is not said: then it is a broker.
    #[serde(default = "Roles::broker")]
    pub roles: Roles,
}

impl BrokerRecord {
    /// Whether clients may connect to it, and it may be given something to lead.
    pub fn is_broker(&self) -> bool {
        self.roles.has(Role::Broker)
    }
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
    /// 2: `rpc` and `draining`. 3: `roles`, which whoever does not know it must not pass over, or it would have
    /// processes lead that cannot.
    const VERSION: u8 = 3;
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

//! What stands in the metadata store, a file for each entity.

mod broker;
mod cluster;
mod commit;
mod controller;
mod coordinator;
mod fold;
mod object_store;
mod partition;
mod published;
mod topic;

pub use broker::{BrokerRecord, Role, Roles, RpcEndpoint};
pub use cluster::ClusterRecord;
pub use commit::CommitRecord;
pub use controller::{ControllerRecord, DrainRecord};
pub use coordinator::CoordinatorRecord;
pub use fold::{DroppedRecord, FoldRecord};
pub use object_store::ObjectStoreRecord;
pub use partition::{EpochStart, Opener, PartitionRecord, TailEntry, WalHolder};
pub use published::{ClaimRecord, PublishRequestRecord, PublishedRecord};
pub use topic::TopicRecord;

/// Kinds of stored records. A number is never given to another kind.
mod kind {
    pub const CLUSTER: u8 = 1;
    pub const BROKER: u8 = 2;
    pub const COMMIT: u8 = 3;
    pub const TOPIC: u8 = 4;
    pub const PARTITION: u8 = 5;
    pub const PRODUCER_IDS: u8 = 6;
    pub const CONTROLLER: u8 = 7;
    pub const DRAIN: u8 = 8;
    pub const COORDINATOR: u8 = 9;
    pub const FOLD: u8 = 10;
    pub const OBJECT_STORE: u8 = 11;
    pub const PUBLISHED: u8 = 12;
    pub const CLAIM: u8 = 13;
    pub const PUBLISH_REQUEST: u8 = 14;
    pub const DROPPED: u8 = 15;
}
pub(crate) use kind::PRODUCER_IDS;

#[cfg(test)]
mod tests;

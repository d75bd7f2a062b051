//! What stands in the metadata store, a file for each entity.

mod broker;
mod cluster;
mod commit;
mod fold;
mod partition;
mod topic;

pub use broker::BrokerRecord;
pub use cluster::ClusterRecord;
pub use commit::CommitRecord;
pub use fold::FoldRecord;
pub use partition::{EpochStart, PartitionRecord, TailEntry};
pub use topic::TopicRecord;

/// Kinds of stored records. A number is never given to another kind.
mod kind {
    pub const CLUSTER: u8 = 1;
    pub const BROKER: u8 = 2;
    pub const COMMIT: u8 = 3;
    pub const TOPIC: u8 = 4;
    pub const PARTITION: u8 = 5;
    pub const PRODUCER_IDS: u8 = 6;
    pub const FOLD: u8 = 10;
}
pub(crate) use kind::PRODUCER_IDS;

#[cfg(test)]
mod tests;

//! The group coordinator: classic consumer groups and their committed offsets.
//!
//! [`group`] holds the state machines, which know neither store nor clock; [`service`] gives them both;
//! `stored` is what the store keeps of them, [`keys`] under which names.

pub mod group;
mod group_shard;
pub mod keys;
pub mod service;
mod stored;

pub use group::*;
pub use group_shard::{GROUP_SHARDS, GroupShard, group_shard};
pub use service::{
    CoordinatorOptions, CoordinatorStats, GroupCoordinator, ListFilter, OpenError, Ownership,
    ShardOwnership, SoleOwner, StoppedShard, migrate_groups,
};

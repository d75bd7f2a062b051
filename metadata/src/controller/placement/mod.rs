//! Which broker shall lead what: pure choices over how much each broker has.
//!
//! A **duty** is anything that one broker leads at a time: a partition, the coordination of a shard of groups. Duties
//! of one **group** (the partitions of a topic) are spread among the brokers for themselves, since a topic is as fast
//! as the brokers that share it.

mod create;
mod loads;
mod rebalance;

use std::fmt::Debug;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::{TopicId, TopicPartition};

use crate::view::{Brokers, Placed};

pub use create::place_new;
pub use loads::Loads;
pub use rebalance::{InFlight, Movable, Rebalance, RebalanceRules, rebalance};

/// Something that one broker leads at a time.
pub trait Duty: Copy + Ord + Debug {
    /// What duties are spread within.
    type Group: Copy + Ord + Debug;

    /// The group of this one.
    fn group(self) -> Self::Group;
}

impl Duty for TopicPartition {
    type Group = TopicId;

    fn group(self) -> TopicId {
        self.topic_id
    }
}

/// The broker whose load a partition is, or soon will be.
fn bearer(placed: &Placed, brokers: &Brokers) -> BrokerId {
    let moving_to = placed.record.moving_to;
    let target = moving_to.filter(|broker_id| brokers.is_usable(*broker_id));
    target.unwrap_or(placed.record.leader)
}

#[cfg(test)]
mod tests;

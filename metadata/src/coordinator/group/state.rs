//! The states of a classic group.

use std::fmt;

/// Kafka's states, under Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// No members; committed offsets may remain.
    Empty,
    /// Waiting for members to join the next generation.
    PreparingRebalance,
    /// Members have joined; waiting for the leader's assignment, and for it to be stored.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
    /// Being deleted.
    Dead,
}

impl GroupState {
    /// The name that ListGroups and DescribeGroups show and ListGroups filters by.
    pub const fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }

    /// Whether a rebalance may begin in this state.
    pub(super) const fn can_rebalance(self) -> bool {
        matches!(
            self,
            GroupState::Empty | GroupState::CompletingRebalance | GroupState::Stable
        )
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

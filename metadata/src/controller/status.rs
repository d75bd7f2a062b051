//! What the controller of one broker says of itself.

use std::collections::BTreeMap;

use alluvium_common::epoch::BrokerId;

use super::plan::{Plan, Until};
use crate::store::Revision;

/// What the controller of one broker is and does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControllerStatus {
    /// The controller epoch while this broker is elected. What follows is only known then.
    pub elected: Option<Revision>,
    /// How many partitions wait for the write-ahead log of which broker.
    pub waiting_for_log: BTreeMap<BrokerId, usize>,
    /// How many partitions wait for anything else: for their leader to start, or for a usable broker.
    pub waiting_otherwise: usize,
    /// How many partitions are to be handed over and are not yet.
    pub moves_in_flight: usize,
    /// How many topics have partitions without existing.
    pub orphan_topics: usize,
    /// Assignments written since this broker started.
    pub assignments_total: u64,
    /// Moves ordered since this broker started.
    pub moves_total: u64,
}

impl ControllerStatus {
    /// What a plan shows.
    pub(super) fn note<D>(&mut self, plan: &Plan<D>, orphan_topics: usize) {
        self.waiting_for_log.clear();
        self.waiting_otherwise = 0;
        for waiting in &plan.waiting {
            match waiting.until {
                Until::WriteAheadLog(_) => {
                    *self.waiting_for_log.entry(waiting.leader).or_default() += 1;
                }
                Until::LeaderStarts | Until::UsableBroker => self.waiting_otherwise += 1,
            }
        }
        self.moves_in_flight = plan.moves_in_flight;
        self.orphan_topics = orphan_topics;
    }

    /// Not elected any more; totals stay.
    pub(super) fn deposed(&mut self) {
        *self = Self {
            assignments_total: self.assignments_total,
            moves_total: self.moves_total,
            ..Self::default()
        };
    }
}

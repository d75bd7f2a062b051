//! The brokers of a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};

use crate::model::BrokerRecord;
use crate::store::Revision;

/// A broker whose session stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveBroker {
    /// What it says of itself.
    pub record: BrokerRecord,
    /// The revision that created its session key.
    pub broker_epoch: BrokerEpoch,
}

/// The broker that places partitions and coordinators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Controller {
    /// The broker.
    pub broker_id: BrokerId,
    /// The revision that created its key: the controller's epoch (F5).
    pub epoch: Revision,
}

/// Brokers with a session, by number, and what is wished of them. Cheap to share, never changed.
#[derive(Debug, Clone, Default)]
pub struct Brokers {
    live: BTreeMap<BrokerId, Arc<LiveBroker>>,
    drained: BTreeSet<BrokerId>,
}

impl Brokers {
    /// The broker of that number, if its session stands.
    pub fn get(&self, broker_id: BrokerId) -> Option<&Arc<LiveBroker>> {
        self.live.get(&broker_id)
    }

    /// All brokers with a session, by number.
    pub fn all(&self) -> impl Iterator<Item = &Arc<LiveBroker>> {
        self.live.values()
    }

    /// Whether that very session stands.
    pub fn is_live(&self, broker_id: BrokerId, broker_epoch: BrokerEpoch) -> bool {
        let live = self.live.get(&broker_id);
        live.is_some_and(|live| live.broker_epoch == broker_epoch)
    }

    /// Whether an operator wants the broker to lead nothing.
    pub fn is_drained(&self, broker_id: BrokerId) -> bool {
        self.drained.contains(&broker_id)
    }

    /// Whether the broker may be given something to lead.
    pub fn is_usable(&self, broker_id: BrokerId) -> bool {
        let live = self.live.get(&broker_id);
        live.is_some_and(|live| !live.record.draining) && !self.is_drained(broker_id)
    }

    pub(super) fn put(&mut self, live: LiveBroker) {
        self.live.insert(live.record.broker_id, Arc::new(live));
    }

    pub(super) fn remove(&mut self, broker_id: BrokerId) {
        self.live.remove(&broker_id);
    }

    pub(super) fn set_drained(&mut self, broker_id: BrokerId, drained: bool) {
        if drained {
            self.drained.insert(broker_id);
        } else {
            self.drained.remove(&broker_id);
        }
    }
}

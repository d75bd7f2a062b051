//! The brokers of a picture.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};

use crate::model::BrokerRecord;
use crate::store::Revision;

/// A process whose session stands: a broker, or one that only compacts.
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
///
/// Processes without the role of a broker have numbers and sessions too, and are kept apart, so that nobody who looks
/// for a broker finds one of them.
#[derive(Debug, Clone, Default)]
pub struct Brokers {
    live: BTreeMap<BrokerId, Arc<LiveBroker>>,
    workers: BTreeMap<BrokerId, Arc<LiveBroker>>,
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

    /// Processes with a session that are no brokers, by number: they only compact.
    pub fn workers(&self) -> impl Iterator<Item = &Arc<LiveBroker>> {
        self.workers.values()
    }

    /// Whether any process of that number has a session, a broker or not. What relies on a session being over (F2)
    /// asks this.
    pub fn has_session(&self, broker_id: BrokerId) -> bool {
        self.live.contains_key(&broker_id) || self.workers.contains_key(&broker_id)
    }

    /// Whether that very session of a broker stands.
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

    /// A number may change what it is from one session to the next.
    pub(super) fn put(&mut self, live: LiveBroker) {
        let broker_id = live.record.broker_id;
        self.remove(broker_id);
        let kind = match live.record.is_broker() {
            true => &mut self.live,
            false => &mut self.workers,
        };
        kind.insert(broker_id, Arc::new(live));
    }

    pub(super) fn remove(&mut self, broker_id: BrokerId) {
        self.live.remove(&broker_id);
        self.workers.remove(&broker_id);
    }

    pub(super) fn set_drained(&mut self, broker_id: BrokerId, drained: bool) {
        if drained {
            self.drained.insert(broker_id);
        } else {
            self.drained.remove(&broker_id);
        }
    }
}

//! What a broker has seen of the others over time, since one picture does not tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicId;
use tokio::time::Instant;

use crate::view::Brokers;

/// Which brokers have been there since this one started, and for how long the usable ones have been the same.
#[derive(Debug)]
pub(super) struct Presence {
    began: Instant,
    start_grace: Duration,
    seen: BTreeSet<BrokerId>,
    usable: BTreeSet<BrokerId>,
    usable_since: Instant,
}

impl Presence {
    /// Nobody was seen yet.
    pub(super) fn new(start_grace: Duration) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            start_grace,
            seen: BTreeSet::new(),
            usable: BTreeSet::new(),
            usable_since: now,
        }
    }

    /// Takes note of who is there.
    pub(super) fn observe(&mut self, brokers: &Brokers) {
        let ids: BTreeSet<_> = brokers.all().map(|live| live.record.broker_id).collect();
        self.seen.extend(&ids);
        let usable: BTreeSet<_> = ids
            .into_iter()
            .filter(|id| brokers.is_usable(*id))
            .collect();
        if usable != self.usable {
            self.usable = usable;
            self.usable_since = Instant::now();
        }
    }

    /// How long the set of usable brokers has been as it was last observed.
    pub(super) fn usable_for(&self) -> Duration {
        self.usable_since.elapsed()
    }

    /// Whether a broker that is not there may be about to start. When a whole cluster starts, the first broker there
    /// would else take everything away from the others. One that was here and went is not waited for.
    pub(super) fn is_expected(&self, broker_id: BrokerId) -> bool {
        self.began.elapsed() < self.start_grace && !self.seen.contains(&broker_id)
    }
}

/// Since when partitions have had no topic.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    since: BTreeMap<TopicId, Instant>,
}

impl Orphans {
    /// Takes note of the orphans of now, and answers with those that have been so for `grace`.
    pub(super) fn observe(&mut self, orphans: &[TopicId], grace: Duration) -> Vec<TopicId> {
        let now = Instant::now();
        let since = |topic_id| self.since.get(topic_id).copied().unwrap_or(now);
        self.since = orphans.iter().map(|id| (*id, since(id))).collect();
        let old = self.since.iter();
        let old = old.filter(|(_, since)| now.duration_since(**since) >= grace);
        old.map(|(topic_id, _)| *topic_id).collect()
    }
}

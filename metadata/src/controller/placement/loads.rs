//! How much every broker has that may be given something.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_common::epoch::BrokerId;

use crate::view::LiveBroker;

/// The brokers that may be given duties, what they have in all, and of which group how many.
///
/// They stand in an order in which racks take turns: the first broker of every rack, then the second of every rack.
#[derive(Debug, Clone)]
pub struct Loads<G> {
    brokers: Vec<Loaded>,
    places: BTreeMap<BrokerId, usize>,
    rack_count: usize,
    groups: BTreeMap<G, Counts>,
}

#[derive(Debug, Clone, Copy)]
struct Loaded {
    broker_id: BrokerId,
    rack: usize,
    total: u64,
}

/// Duties of one group: by the broker's place, and by rack.
#[derive(Debug, Clone)]
struct Counts {
    brokers: Vec<u32>,
    racks: Vec<u32>,
}

impl<G: Copy + Ord> Loads<G> {
    /// Those brokers, with nothing yet. A broker that names no rack is of the rack of all such.
    pub fn over<'a>(brokers: impl IntoIterator<Item = &'a LiveBroker>) -> Self {
        let records: Vec<_> = brokers.into_iter().map(|live| &live.record).collect();
        let racks: BTreeSet<_> = records.iter().map(|record| record.rack.as_ref()).collect();
        let racks: BTreeMap<_, _> = racks.into_iter().zip(0..).collect();
        let mut filled = vec![0; racks.len()];
        let mut order: Vec<(usize, usize, BrokerId)> = Vec::with_capacity(records.len());
        for record in records {
            let rack = racks[&record.rack.as_ref()];
            order.push((filled[rack], rack, record.broker_id));
            filled[rack] += 1;
        }
        order.sort_unstable();
        let loaded = order.iter().map(|(_, rack, broker_id)| Loaded {
            broker_id: *broker_id,
            rack: *rack,
            total: 0,
        });
        let brokers: Vec<_> = loaded.collect();
        let ids = brokers.iter().map(|broker| broker.broker_id);
        Self {
            places: ids.zip(0..).collect(),
            rack_count: racks.len(),
            groups: BTreeMap::new(),
            brokers,
        }
    }

    /// How many brokers there are.
    pub fn len(&self) -> usize {
        self.brokers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.brokers.is_empty()
    }

    /// What all have together.
    pub fn total(&self) -> u64 {
        self.brokers.iter().map(|broker| broker.total).sum()
    }

    /// What a broker has; `None`: it is not one of them.
    pub fn of(&self, broker_id: BrokerId) -> Option<u64> {
        let place = self.places.get(&broker_id)?;
        Some(self.brokers[*place].total)
    }

    /// The broker has something whose group does not matter. Of other brokers nothing is counted.
    pub fn weigh(&mut self, broker_id: BrokerId, weight: u64) {
        if let Some(place) = self.places.get(&broker_id) {
            self.brokers[*place].total += weight;
        }
    }

    /// The broker has a duty of that group. Of other brokers nothing is counted.
    pub fn add(&mut self, broker_id: BrokerId, group: G, weight: u64) {
        let Some(place) = self.places.get(&broker_id).copied() else {
            return;
        };
        self.brokers[place].total += weight;
        let rack = self.brokers[place].rack;
        let counts = self.counts(group);
        counts.brokers[place] += 1;
        counts.racks[rack] += 1;
    }

    /// The broker gives away a duty that was added.
    pub fn take(&mut self, broker_id: BrokerId, group: G, weight: u64) {
        let Some(place) = self.places.get(&broker_id).copied() else {
            return;
        };
        let loaded = &mut self.brokers[place];
        loaded.total = loaded.total.saturating_sub(weight);
        let rack = loaded.rack;
        let counts = self.counts(group);
        counts.brokers[place] = counts.brokers[place].saturating_sub(1);
        counts.racks[rack] = counts.racks[rack].saturating_sub(1);
    }

    /// Who has least; among those, who has least of the group, then whose rack has.
    pub fn least_loaded(&mut self, group: G) -> Option<BrokerId> {
        self.choose(group, |loaded, of_group, of_rack, _| {
            (loaded, u64::from(of_group), of_rack)
        })
    }

    /// Who has least of the group; among those, who has least in all as counted in steps of `step`, then whose rack
    /// has least of the group, then who is next behind the place `start`.
    pub fn least_of_group(&mut self, group: G, step: u64, start: usize) -> Option<BrokerId> {
        let count = self.brokers.len();
        self.choose(group, |total, of_group, of_rack, place| {
            let turn = (place + count - start % count) % count;
            (of_group, total / step.max(1), of_rack, turn)
        })
    }

    /// The broker with the smallest key, the first of them. The key is made of its total, its count and its rack's
    /// count of the group, and its place.
    fn choose<K: Ord>(
        &mut self,
        group: G,
        key: impl Fn(u64, u32, u32, usize) -> K,
    ) -> Option<BrokerId> {
        self.counts(group);
        let counts = self.groups.get(&group)?;
        let keyed = self.brokers.iter().enumerate().map(|(place, broker)| {
            let of_rack = counts.racks[broker.rack];
            let key = key(broker.total, counts.brokers[place], of_rack, place);
            (key, broker.broker_id)
        });
        let least = keyed.min_by(|(a, _), (b, _)| a.cmp(b))?;
        Some(least.1)
    }

    /// Who has most and what, and who has least and what; `None` without brokers.
    pub fn extremes(&self) -> Option<((BrokerId, u64), (BrokerId, u64))> {
        // Of equal ones the first, so that the same loads always lead to the same choice.
        let most = self
            .brokers
            .iter()
            .rev()
            .max_by_key(|broker| broker.total)?;
        let least = self.brokers.iter().min_by_key(|broker| broker.total)?;
        Some(((most.broker_id, most.total), (least.broker_id, least.total)))
    }

    /// How much more of the group `from` has than `to`, and how much more `from`'s rack has than `to`'s.
    pub fn surplus(&self, group: G, from: BrokerId, to: BrokerId) -> (i64, i64) {
        let places = (self.places.get(&from), self.places.get(&to));
        let ((Some(from), Some(to)), Some(counts)) = (places, self.groups.get(&group)) else {
            return (0, 0);
        };
        let racks = (self.brokers[*from].rack, self.brokers[*to].rack);
        (
            i64::from(counts.brokers[*from]) - i64::from(counts.brokers[*to]),
            i64::from(counts.racks[racks.0]) - i64::from(counts.racks[racks.1]),
        )
    }

    fn counts(&mut self, group: G) -> &mut Counts {
        let (brokers, racks) = (self.brokers.len(), self.rack_count);
        self.groups.entry(group).or_insert_with(|| Counts {
            brokers: vec![0; brokers],
            racks: vec![0; racks],
        })
    }
}

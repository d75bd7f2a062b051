//! Moves that make brokers equally loaded, as few as will do.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use alluvium_common::epoch::BrokerId;

use super::{Duty, Loads};

/// Difference between the most and the least loaded broker at which a rebalance ends.
const EVEN: u64 = 1;

/// When a rebalance pays.
#[derive(Debug, Clone, Copy)]
pub struct RebalanceRules {
    /// The difference between the most and the least loaded broker that is left alone, in percent of the average.
    pub tolerated_percent: u64,
    /// A rebalance is under way: it goes on until loads are even, however small the difference has become.
    pub under_way: bool,
}

/// A duty that its leader could hand over.
#[derive(Debug, Clone, Copy)]
pub struct Movable<D> {
    /// Which.
    pub duty: D,
    /// What it weighs.
    pub weight: u64,
}

/// What a rebalance shall do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalance<D> {
    /// Duty, from whom, to whom.
    pub moves: Vec<(D, BrokerId, BrokerId)>,
    /// More moves will be needed once there is room for them.
    pub unfinished: bool,
}

/// Moves under way, and how many there may be.
#[derive(Debug, Clone)]
pub struct InFlight {
    total_max: usize,
    per_broker_max: usize,
    total: usize,
    by_broker: BTreeMap<BrokerId, usize>,
}

impl InFlight {
    /// None yet; at most `total_max`, and `per_broker_max` from and to any one broker.
    pub fn new(total_max: usize, per_broker_max: usize) -> Self {
        Self {
            total_max,
            per_broker_max,
            total: 0,
            by_broker: BTreeMap::new(),
        }
    }

    /// Another one.
    pub fn add(&mut self, from: BrokerId, to: BrokerId) {
        self.total += 1;
        for broker_id in [from, to] {
            *self.by_broker.entry(broker_id).or_default() += 1;
        }
    }

    /// How many there are.
    pub fn total(&self) -> usize {
        self.total
    }

    fn has_room(&self, from: BrokerId, to: BrokerId) -> bool {
        let of = |broker_id| self.by_broker.get(broker_id).copied().unwrap_or(0);
        let busy = [from, to].iter().map(of).max();
        self.total < self.total_max && busy < Some(self.per_broker_max)
    }
}

/// Moves duties from whoever has most to whoever has least until they are even or there is no room for more moves in
/// flight. Every move goes from above the average to below it, as long as there is a broker above and one below, so
/// that no fewer would do. Of a broker's duties that one moves whose group gains most by it.
pub fn rebalance<D: Duty>(
    loads: &mut Loads<D::Group>,
    movable: &mut BTreeMap<BrokerId, Vec<Movable<D>>>,
    in_flight: &mut InFlight,
    rules: RebalanceRules,
) -> Rebalance<D> {
    let mut moves = Vec::new();
    if !pays(loads, rules) {
        let unfinished = false;
        return Rebalance { moves, unfinished };
    }
    while let Some(((from, most), (to, least))) = loads.extremes() {
        let difference = most - least;
        if difference <= EVEN {
            let unfinished = false;
            return Rebalance { moves, unfinished };
        }
        let room = in_flight.has_room(from, to);
        let duties = movable.get_mut(&from).filter(|_| room);
        let chosen = duties.and_then(|duties| {
            let index = best(duties, difference, |group| loads.surplus(group, from, to))?;
            Some(duties.swap_remove(index))
        });
        let Some(Movable { duty, weight }) = chosen else {
            break;
        };
        loads.take(from, duty.group(), weight);
        loads.add(to, duty.group(), weight);
        in_flight.add(from, to);
        moves.push((duty, from, to));
    }
    let unfinished = true;
    Rebalance { moves, unfinished }
}

fn pays<G: Copy + Ord>(loads: &Loads<G>, rules: RebalanceRules) -> bool {
    let Some(((_, most), (_, least))) = loads.extremes() else {
        return false;
    };
    let brokers = u64::try_from(loads.len()).unwrap_or(u64::MAX);
    let tolerated = loads.total() / brokers * rules.tolerated_percent / 100;
    let limit = if rules.under_way {
        EVEN
    } else {
        tolerated.max(EVEN)
    };
    most - least > limit
}

/// The duty whose move leaves the least difference between the two brokers; of equal ones that whose group has the
/// greatest surplus. One as heavy as the difference would only swap
/// the two, one without weight change nothing.
fn best<D: Duty>(
    duties: &[Movable<D>],
    difference: u64,
    surplus: impl Fn(D::Group) -> (i64, i64),
) -> Option<usize> {
    let lighter = duties.iter().enumerate();
    let lighter = lighter.filter(|(_, movable)| (1..difference).contains(&movable.weight));
    let best = lighter.min_by_key(|(_, movable)| {
        let left = difference.abs_diff(movable.weight.saturating_mul(2));
        (left, Reverse(surplus(movable.duty.group())), movable.duty)
    })?;
    Some(best.0)
}

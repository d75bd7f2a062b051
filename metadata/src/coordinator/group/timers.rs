//! The deadlines of one group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::MemberId;

/// What is to happen at a deadline. At most one deadline per key: setting it again moves it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// The join phase ends (or, in an initial rebalance, may be extended).
    Join,
    /// Members that have not sent SyncGroup are removed.
    Sync,
    /// The member has not been heard of for its session time-out.
    Session(MemberId),
}

/// Deadlines by key and in order of time. Times are monotonic, since the coordinator's start.
#[derive(Debug, Default)]
pub struct Timers {
    by_key: BTreeMap<TimerKey, Duration>,
    in_order: BTreeSet<(Duration, TimerKey)>,
}

impl Timers {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: TimerKey, at: Duration) {
        if let Some(old) = self.by_key.insert(key.clone(), at) {
            self.in_order.remove(&(old, key.clone()));
        }
        self.in_order.insert((at, key));
    }

    /// Forgets the deadline of `key`.
    pub fn cancel(&mut self, key: &TimerKey) {
        if let Some(old) = self.by_key.remove(key) {
            self.in_order.remove(&(old, key.clone()));
        }
    }

    /// Forgets all deadlines.
    pub fn clear(&mut self) {
        self.by_key.clear();
        self.in_order.clear();
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Duration> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest deadline that is not after `now`.
    pub fn pop_due(&mut self, now: Duration) -> Option<TimerKey> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.in_order.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_deadline_fires_once_and_late() {
        let mut timers = Timers::default();
        timers.set(TimerKey::Join, Duration::from_secs(1));
        timers.set(TimerKey::Join, Duration::from_secs(5));
        timers.set(TimerKey::Sync, Duration::from_secs(2));
        assert_eq!(timers.next(), Some(Duration::from_secs(2)));
        assert_eq!(timers.pop_due(Duration::from_secs(4)), Some(TimerKey::Sync));
        assert_eq!(timers.pop_due(Duration::from_secs(4)), None);
        assert_eq!(timers.pop_due(Duration::from_secs(5)), Some(TimerKey::Join));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_cancelled_deadline_is_gone() {
        let mut timers = Timers::default();
        timers.set(TimerKey::Join, Duration::ZERO);
        timers.cancel(&TimerKey::Join);
        assert_eq!(timers.pop_due(Duration::MAX), None);
    }
}

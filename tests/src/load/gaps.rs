//! How long each thing did not succeed.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::history::Partition;

/// When each thing succeeded last, and the longest pause between two successes.
#[derive(Debug, Default)]
pub struct Gaps {
    by_name: Mutex<BTreeMap<String, Gap>>,
}

#[derive(Debug, Clone, Copy)]
struct Gap {
    last: Instant,
    longest: Duration,
}

impl Gaps {
    /// `what` must succeed, though it has not yet.
    pub(super) fn expect(&self, what: &str, partition: Option<Partition>) {
        let last = Instant::now();
        let longest = Duration::ZERO;
        let mut by_name = self.by_name.lock();
        by_name
            .entry(name(what, partition))
            .or_insert(Gap { last, longest });
    }

    /// `what` has succeeded, on `partition` if it is about one.
    pub(super) fn done(&self, what: &str, partition: Option<Partition>) {
        let name = name(what, partition);
        let now = Instant::now();
        let mut by_name = self.by_name.lock();
        let gap = by_name.entry(name).or_insert(Gap {
            last: now,
            longest: Duration::ZERO,
        });
        gap.longest = gap.longest.max(now.duration_since(gap.last));
        gap.last = now;
    }

    /// Everything that has succeeded once, or must.
    pub fn names(&self) -> Vec<String> {
        self.by_name.lock().keys().cloned().collect()
    }

    /// When `name` succeeded last.
    pub fn last(&self, name: &str) -> Option<Instant> {
        self.by_name.lock().get(name).map(|gap| gap.last)
    }

    /// Forgets the pauses so far; one that goes on now counts from its beginning.
    pub fn measure_anew(&self) {
        for gap in self.by_name.lock().values_mut() {
            gap.longest = Duration::ZERO;
        }
    }

    /// The longest pause of everything whose name begins with `what`.
    pub fn longest(&self, what: &str) -> Duration {
        let by_name = self.by_name.lock();
        let matching = by_name.iter().filter(|(name, _)| name.starts_with(what));
        matching
            .map(|(_, gap)| gap.longest)
            .max()
            .unwrap_or_default()
    }
}

fn name(what: &str, partition: Option<Partition>) -> String {
    match partition {
        Some(partition) => format!("{what} {partition}"),
        None => what.to_owned(),
    }
}

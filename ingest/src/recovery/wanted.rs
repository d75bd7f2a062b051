//! Which parts of which commit logs partitions name: pure.

use std::collections::BTreeMap;

use alluvium_metadata::fold::LogId;
use alluvium_metadata::model::PartitionRecord;

/// The end of a range that has none: all that was ever added is wanted.
const ALL: u64 = u64::MAX;

/// The commit logs to read, each with the sequences that any partition wants.
pub(super) struct Wanted {
    pub(super) logs: BTreeMap<LogId, SeqRanges>,
}

impl Wanted {
    pub(super) fn of<'a>(records: impl Iterator<Item = &'a PartitionRecord>) -> Self {
        let mut ranges: BTreeMap<_, Vec<(u64, u64)>> = BTreeMap::new();
        for entry in records.flat_map(|record| &record.tail) {
            let log = LogId {
                broker_id: entry.broker_id,
                broker_epoch: entry.broker_epoch,
            };
            let last = entry.last_seq.unwrap_or(ALL);
            let of_log: &mut Vec<_> = ranges.entry(log).or_default();
            of_log.push((entry.first_seq, last));
        }
        let logs = ranges.into_iter();
        let logs = logs.map(|(log, ranges)| (log, SeqRanges::of(ranges)));
        Self {
            logs: logs.collect(),
        }
    }
}

/// Sequences as ranges with both ends, ascending and disjoint. At least one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeqRanges(Vec<(u64, u64)>);

impl SeqRanges {
    fn of(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// The first of all.
    pub(super) fn first(&self) -> u64 {
        self.0.first().map_or(0, |range| range.0)
    }

    /// Whether all that was ever added behind some sequence is wanted: who reads must know that nothing will be.
    pub(super) fn is_open(&self) -> bool {
        self.0.last().is_some_and(|range| range.1 == ALL)
    }

    /// Whether any of `first..=last` is wanted.
    pub(super) fn touches(&self, first: u64, last: u64) -> bool {
        let ends_before = self.0.partition_point(|range| range.1 < first);
        self.0.get(ends_before).is_some_and(|range| range.0 <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_are_joined() {
        let ranges = SeqRanges::of(vec![(20, 30), (0, 4), (5, 9), (22, 24), (40, ALL)]);
        assert_eq!(ranges, SeqRanges(vec![(0, 9), (20, 30), (40, ALL)]));
        assert!(ranges.is_open());
        assert!(!SeqRanges::of(vec![(0, 4), (3, 9)]).is_open());
        assert_eq!(ranges.first(), 0);
        for (first, last, touched) in [
            (0, 0, true),
            (10, 19, false),
            (10, 20, true),
            (30, 35, true),
            (31, 39, false),
            (41, 41, true),
        ] {
            assert_eq!(ranges.touches(first, last), touched, "{first}..={last}");
        }
    }
}

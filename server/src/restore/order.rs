//! Puts the segments in use into commit logs: pure.
//!
//! Within a log a partition names one run of entries, and everything in the run that is its own must be in use. A
//! segment of which some partition uses nothing although it has a span there (a younger leader epoch has superseded it)
//! therefore gets a log for itself, and the order goes on in another.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_common::topic::TopicPartition;

/// A part of a log that a partition names: which log, first and last entry.
pub type Named = (usize, u64, u64);

/// Segments in commit logs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// The segments of each log, oldest log first.
    pub logs: Vec<Vec<usize>>,
    /// What each partition names, oldest first.
    pub tails: BTreeMap<TopicPartition, Vec<Named>>,
}

/// `chains` are the segments of each partition in the order of their offsets; `alone` are those that need a log of
/// their own; `age` tells which of two segments that no partition orders comes first. `None` if the chains contradict each
/// other.
pub fn order<A: Ord>(
    chains: &BTreeMap<TopicPartition, Vec<usize>>,
    alone: &BTreeSet<usize>,
    age: impl Fn(usize) -> A,
) -> Option<Ordered> {
    let sorted = sort(chains, age)?;
    let mut ordered = Ordered::default();
    let mut place = BTreeMap::new();
    let mut joinable = false;
    for segment in sorted {
        let is_alone = alone.contains(&segment);
        if is_alone || !joinable {
            ordered.logs.push(Vec::new());
        }
        joinable = !is_alone;
        let log = ordered.logs.len() - 1;
        place.insert(segment, (log, ordered.logs[log].len() as u64));
        ordered.logs[log].push(segment);
    }
    for (tp, chain) in chains {
        let tail = ordered.tails.entry(*tp).or_default();
        for (log, seq) in chain.iter().filter_map(|segment| place.get(segment)) {
            match tail.last_mut().filter(|last| last.0 == *log) {
                Some(last) => last.2 = *seq,
                None => tail.push((*log, *seq, *seq)),
            }
        }
    }
    Some(ordered)
}

/// All segments such that every chain is in order.
fn sort<A: Ord>(
    chains: &BTreeMap<TopicPartition, Vec<usize>>,
    age: impl Fn(usize) -> A,
) -> Option<Vec<usize>> {
    let mut followers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut waits_for: BTreeMap<usize, usize> = BTreeMap::new();
    for chain in chains.values() {
        for segment in chain {
            waits_for.entry(*segment).or_default();
        }
        for pair in chain.windows(2) {
            followers.entry(pair[0]).or_default().push(pair[1]);
            *waits_for.entry(pair[1]).or_default() += 1;
        }
    }
    let free = waits_for.iter().filter(|(_, count)| **count == 0);
    let mut ready: BTreeSet<_> = free.map(|(segment, _)| (age(*segment), *segment)).collect();
    let mut sorted = Vec::with_capacity(waits_for.len());
    while let Some((_, segment)) = ready.pop_first() {
        sorted.push(segment);
        for follower in followers.remove(&segment).unwrap_or_default() {
            let count = waits_for.get_mut(&follower)?;
            *count -= 1;
            if *count == 0 {
                ready.insert((age(follower), follower));
            }
        }
    }
    (sorted.len() == waits_for.len()).then_some(sorted)
}

#[cfg(test)]
mod tests {
    use alluvium_common::topic::{PartitionIndex, TopicId};
    use uuid::Uuid;

    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(partition))
    }

    #[test]
    fn every_partition_finds_its_segments_in_order() {
        let chains = [
            (tp(0), vec![5, 1, 2]),
            (tp(1), vec![3, 1]),
            (tp(2), vec![2, 4]),
        ]
        .into();
        let ordered =
            order(&chains, &BTreeSet::new(), |segment| segment).expect("no contradiction");
        assert_eq!(ordered.logs, [[3, 5, 1, 2, 4]]);
        assert_eq!(ordered.tails[&tp(0)], [(0, 1, 3)]);
        assert_eq!(ordered.tails[&tp(1)], [(0, 0, 2)]);
        assert_eq!(ordered.tails[&tp(2)], [(0, 3, 4)]);
    }

    #[test]
    fn a_segment_that_is_superseded_in_part_is_named_by_those_who_use_it_only() {
        let chains = [(tp(0), vec![0, 2, 3]), (tp(1), vec![0, 1, 3])].into();
        let ordered = order(&chains, &[1].into(), |segment| segment).expect("no contradiction");
        assert_eq!(ordered.logs, [vec![0], vec![1], vec![2, 3]]);
        assert_eq!(ordered.tails[&tp(0)], [(0, 0, 0), (2, 0, 1)]);
        assert_eq!(ordered.tails[&tp(1)], [(0, 0, 0), (1, 0, 0), (2, 1, 1)]);
    }

    #[test]
    fn contradictions_are_noticed() {
        let chains = [(tp(0), vec![0, 1]), (tp(1), vec![1, 0])].into();
        assert_eq!(order(&chains, &BTreeSet::new(), |segment| segment), None);
    }
}

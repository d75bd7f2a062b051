//! The history of a partition's leader epochs, as Kafka's `LeaderEpochFileCache` answers from it.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;

/// Where an epoch's records end: the answer to OffsetForLeaderEpoch (KIP-101, KIP-279, KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch asked for, or the largest one below it that the log knows.
    pub leader_epoch: LeaderEpoch,
    /// First offset after that epoch's records.
    pub end_offset: Offset,
}

/// Which leader epoch began at which offset, ascending in both. Immutable: a partition opened under
/// a new epoch is a new log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochHistory {
    starts: Box<[(LeaderEpoch, Offset)]>,
}

impl EpochHistory {
    /// Takes pairs of an epoch and its start offset in any order. Of epochs that begin at one offset
    /// only the last wrote anything there, and of an epoch named twice the first start counts.
    pub fn new(starts: impl IntoIterator<Item = (LeaderEpoch, Offset)>) -> Self {
        let mut sorted: Vec<_> = starts.into_iter().collect();
        sorted.sort_unstable();
        sorted.dedup_by_key(|(epoch, _)| *epoch);
        let mut kept: Vec<(LeaderEpoch, Offset)> = Vec::with_capacity(sorted.len());
        for (epoch, start) in sorted {
            while kept.last().is_some_and(|(_, earlier)| *earlier >= start) {
                kept.pop();
            }
            kept.push((epoch, start));
        }
        Self {
            starts: kept.into_boxed_slice(),
        }
    }

    /// The youngest epoch known.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch under which the record at `offset` was written.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|index| self.starts[index].0)
    }

    /// Where the records of `epoch` end, given the log's end. `None` for an epoch younger than all
    /// that are known: Kafka answers "undefined" then.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        let higher = self.starts.partition_point(|(known, _)| *known <= epoch);
        match self.starts.get(higher) {
            None if self.latest() == Some(epoch) => Some(EpochEnd {
                leader_epoch: epoch,
                end_offset: log_end,
            }),
            None => None,
            Some((_, end_offset)) => Some(EpochEnd {
                // An epoch older than all that are known ended before the oldest of them began.
                leader_epoch: higher
                    .checked_sub(1)
                    .map_or(epoch, |index| self.starts[index].0),
                end_offset: *end_offset,
            }),
        }
    }

    /// The pairs, ascending.
    pub fn starts(&self) -> &[(LeaderEpoch, Offset)] {
        &self.starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("not negative")
    }

    fn history(starts: &[(i32, i64)]) -> EpochHistory {
        EpochHistory::new(starts.iter().map(|(e, o)| (LeaderEpoch(*e), offset(*o))))
    }

    fn end(history: &EpochHistory, epoch: i32) -> Option<(i32, i64)> {
        history
            .end_of(LeaderEpoch(epoch), offset(100))
            .map(|end| (end.leader_epoch.0, end.end_offset.get()))
    }

    #[test]
    fn ends_are_kafkas() {
        let history = history(&[(2, 10), (4, 30), (7, 60)]);
        assert_eq!(
            end(&history, 7),
            Some((7, 100)),
            "the latest ends at the log end"
        );
        assert_eq!(end(&history, 8), None, "younger than all");
        assert_eq!(end(&history, 4), Some((4, 60)));
        assert_eq!(end(&history, 5), Some((4, 60)), "a gap: the largest below");
        assert_eq!(end(&history, 1), Some((1, 10)), "older than all");
        assert_eq!(end(&EpochHistory::new([]), 0), None);
    }

    #[test]
    fn epochs_that_wrote_nothing_are_forgotten() {
        let history = history(&[(5, 20), (0, 0), (1, 20), (3, 20)]);
        assert_eq!(
            history.starts(),
            [(LeaderEpoch(0), offset(0)), (LeaderEpoch(5), offset(20))]
        );
        assert_eq!(history.epoch_at(offset(19)), Some(LeaderEpoch(0)));
        assert_eq!(history.epoch_at(offset(20)), Some(LeaderEpoch(5)));
        assert_eq!(history.latest(), Some(LeaderEpoch(5)));
    }
}

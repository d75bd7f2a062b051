//! A partition: who leads it, and which commit logs may hold its offsets.

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use serde::{Deserialize, Serialize};

use super::kind;
use crate::value::StoredRecord;

/// Leader epochs that a partition remembers. Who asks about an older one is answered with the oldest known.
/// Bounds a record that otherwise grows with every restart for ever.
pub const EPOCH_HISTORY_MAX: usize = 500;

/// A partition as its key holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct PartitionRecord {
    /// The broker that leads it.
    pub leader: BrokerId,
    /// Moves with every change of leadership and every restart of the leader.
    pub leader_epoch: LeaderEpoch,
    /// Which leader epoch began at which offset, oldest first; only epochs that hold records, and the current.
    pub epoch_history: Vec<EpochStart>,
    /// First offset still readable.
    pub log_start: Offset,
    /// The commit logs that may hold offsets of this partition, oldest first.
    pub tail: Vec<TailEntry>,
}

/// The first offset of a leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// A part of a commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailEntry {
    /// Whose log.
    pub broker_id: BrokerId,
    /// Of which session.
    pub broker_epoch: BrokerEpoch,
    /// First entry that may hold the partition.
    pub first_seq: u64,
    /// Last entry that may; `None`: still open.
    pub last_seq: Option<u64>,
}

impl PartitionRecord {
    /// A new partition, led by `leader` whose next commit is `first_seq`.
    pub fn new(leader: BrokerId, broker_epoch: BrokerEpoch, first_seq: u64) -> Self {
        Self {
            leader,
            leader_epoch: LeaderEpoch(0),
            epoch_history: vec![EpochStart {
                leader_epoch: LeaderEpoch(0),
                start: Offset::ZERO,
            }],
            log_start: Offset::ZERO,
            tail: vec![TailEntry {
                broker_id: leader,
                broker_epoch,
                first_seq,
                last_seq: None,
            }],
        }
    }

    /// Leadership by a new session, whose records begin at `end`. `holds` says which of the former commit logs
    /// hold records of this partition and up to which entry; the others are forgotten.
    #[must_use]
    pub fn taken_over(
        &self,
        leader: BrokerId,
        broker_epoch: BrokerEpoch,
        end: Offset,
        holds: impl Fn(&TailEntry) -> Option<(u64, u64)>,
    ) -> Self {
        let leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(1));
        let mut epoch_history: Vec<_> = self
            .epoch_history
            .iter()
            .copied()
            .filter(|epoch| epoch.start < end)
            .collect();
        epoch_history.push(EpochStart {
            leader_epoch,
            start: end,
        });
        let excess = epoch_history.len().saturating_sub(EPOCH_HISTORY_MAX);
        epoch_history.drain(..excess);
        let mut tail: Vec<_> = self
            .tail
            .iter()
            .filter_map(|entry| {
                let (first_seq, last_seq) = holds(entry)?;
                Some(TailEntry {
                    first_seq,
                    last_seq: Some(last_seq),
                    ..*entry
                })
            })
            .collect();
        tail.push(TailEntry {
            broker_id: leader,
            broker_epoch,
            first_seq: 0,
            last_seq: None,
        });
        Self {
            leader,
            leader_epoch,
            epoch_history,
            log_start: self.log_start,
            tail,
        }
    }
}

impl StoredRecord for PartitionRecord {
    const KIND: u8 = kind::PARTITION;
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct Stored {
    leader: i32,
    leader_epoch: i32,
    /// Pairs of leader epoch and first offset.
    epochs: Vec<(i32, i64)>,
    log_start: i64,
    /// Broker id, broker epoch, first and last sequence.
    tail: Vec<(i32, i64, u64, Option<u64>)>,
}

impl From<PartitionRecord> for Stored {
    fn from(record: PartitionRecord) -> Self {
        Self {
            leader: record.leader.0,
            leader_epoch: record.leader_epoch.0,
            epochs: record
                .epoch_history
                .iter()
                .map(|epoch| (epoch.leader_epoch.0, epoch.start.get()))
                .collect(),
            log_start: record.log_start.get(),
            tail: record
                .tail
                .iter()
                .map(|entry| {
                    (
                        entry.broker_id.0,
                        entry.broker_epoch.0,
                        entry.first_seq,
                        entry.last_seq,
                    )
                })
                .collect(),
        }
    }
}

impl TryFrom<Stored> for PartitionRecord {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let offset = |value| Offset::new(value).ok_or_else(|| format!("negative offset {value}"));
        let epochs = stored.epochs.into_iter().map(|(leader_epoch, start)| {
            Ok(EpochStart {
                leader_epoch: LeaderEpoch(leader_epoch),
                start: offset(start)?,
            })
        });
        let tail = stored
            .tail
            .into_iter()
            .map(|(broker_id, broker_epoch, first_seq, last_seq)| TailEntry {
                broker_id: BrokerId(broker_id),
                broker_epoch: BrokerEpoch(broker_epoch),
                first_seq,
                last_seq,
            });
        Ok(Self {
            leader: BrokerId(stored.leader),
            leader_epoch: LeaderEpoch(stored.leader_epoch),
            epoch_history: epochs.collect::<Result<_, String>>()?,
            log_start: offset(stored.log_start)?,
            tail: tail.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("offset")
    }

    #[test]
    fn take_over_keeps_logs_with_records_only() {
        let broker = BrokerId(1);
        let first = PartitionRecord::new(broker, BrokerEpoch(5), 3);
        let holds = |entry: &TailEntry| (entry.broker_epoch == BrokerEpoch(5)).then_some((4, 9));
        let second = first.taken_over(broker, BrokerEpoch(8), offset(100), holds);
        assert_eq!(second.leader_epoch, LeaderEpoch(1));
        assert_eq!(second.tail.len(), 2);
        assert_eq!(
            (second.tail[0].first_seq, second.tail[0].last_seq),
            (4, Some(9))
        );
        // The second session wrote nothing: neither its log nor its epoch is kept.
        let third = second.taken_over(broker, BrokerEpoch(11), offset(100), holds);
        assert_eq!(
            third
                .tail
                .iter()
                .map(|e| e.broker_epoch.0)
                .collect::<Vec<_>>(),
            [5, 11]
        );
        let epochs: Vec<_> = third
            .epoch_history
            .iter()
            .map(|e| (e.leader_epoch.0, e.start.get()))
            .collect();
        assert_eq!(epochs, [(0, 0), (2, 100)]);
    }

    #[test]
    fn records_come_back() {
        let record = PartitionRecord::new(BrokerId(1), BrokerEpoch(5), 3);
        assert_eq!(value::decode(&value::encode(&record)), Ok(record));
    }

    #[test]
    fn the_epoch_history_is_bounded() {
        let broker = BrokerId(1);
        let mut record = PartitionRecord::new(broker, BrokerEpoch(5), 0);
        for n in 1..1000 {
            record = record.taken_over(broker, BrokerEpoch(5 + n), offset(n), |_| None);
        }
        assert_eq!(record.epoch_history.len(), EPOCH_HISTORY_MAX);
        let newest = EpochStart {
            leader_epoch: LeaderEpoch(999),
            start: offset(999),
        };
        assert_eq!(record.epoch_history.last(), Some(&newest));
    }
}

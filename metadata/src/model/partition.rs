//! A partition: who leads it, and which commit logs may hold its offsets.

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::kind;
use crate::fold::LogId;
use crate::value::StoredRecord;

/// Leader epochs that a partition remembers. Who asks about an older one is answered with the oldest known.
/// Bounds a record that otherwise grows with every restart for ever.
pub const EPOCH_HISTORY_MAX: usize = 500;

/// A partition as its key holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct PartitionRecord {
    /// The broker whose duty it is to lead. It does so once it has opened the partition, see [`Self::open_by`].
    pub leader: BrokerId,
    /// Raised by every opening: by a new leader, and by the old one in a new session. -1 before the first.
    pub leader_epoch: LeaderEpoch,
    /// Which leader epoch began at which offset, oldest first; only epochs that hold records, and the current.
    pub epoch_history: Vec<EpochStart>,
    /// First offset still readable.
    pub log_start: Offset,
    /// The commit logs that may hold offsets of this partition, oldest first.
    pub tail: Vec<TailEntry>,
    /// To whom the leader shall hand the partition over.
    pub moving_to: Option<BrokerId>,
    /// Whose write-ahead log may hold acknowledged records that are not committed.
    pub wal: Option<WalHolder>,
}

/// The data folder, by its instance id, whose write-ahead log may hold acknowledged records of a partition beyond
/// what is committed. Only a broker with that folder may open the partition, or they would be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalHolder(pub Uuid);

impl WalHolder {
    /// Records of version 1 did not say: only the broker that led may open the partition, whatever its folder.
    const UNTOLD: Self = Self(Uuid::nil());

    /// Whether a broker with the data folder `instance_id` has that log.
    pub fn is(self, instance_id: Uuid) -> bool {
        self == Self::UNTOLD || self.0 == instance_id
    }
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

impl TailEntry {
    /// Whether the entry `seq` of that log belongs to it.
    pub fn names(&self, log: LogId, seq: u64) -> bool {
        (self.broker_id, self.broker_epoch) == (log.broker_id, log.broker_epoch)
            && self.first_seq <= seq
            && self.last_seq.is_none_or(|last| seq <= last)
    }
}

impl PartitionRecord {
    /// A new partition, which `leader` shall open.
    pub fn new(leader: BrokerId) -> Self {
        Self {
            leader,
            leader_epoch: LeaderEpoch(-1),
            epoch_history: Vec::new(),
            log_start: Offset::ZERO,
            tail: Vec::new(),
            moving_to: None,
            wal: None,
        }
    }

    /// The session that has opened the partition and has not given it away. Whether that session still lasts is
    /// another question.
    pub fn open_by(&self) -> Option<(BrokerId, BrokerEpoch)> {
        let last = self.tail.last()?;
        let open = last.last_seq.is_none() && last.broker_id == self.leader;
        open.then_some((last.broker_id, last.broker_epoch))
    }

    /// Another broker shall open the partition, because its leader's session is over.
    #[must_use]
    pub fn assigned_to(&self, leader: BrokerId) -> Self {
        Self {
            leader,
            moving_to: None,
            ..self.clone()
        }
    }

    /// The leader has committed all that it appended, `last_seq` being the last entry of its commit log then, and
    /// leaves the partition to `leader`. `holds`: whether its session appended anything.
    #[must_use]
    pub fn handed_over(&self, leader: BrokerId, last_seq: Option<u64>, holds: bool) -> Self {
        let mut tail = self.tail.clone();
        match (tail.last_mut(), last_seq) {
            (Some(own), Some(last_seq)) if holds && last_seq >= own.first_seq => {
                own.last_seq = Some(last_seq);
            }
            _ => drop(tail.pop()),
        }
        Self {
            leader,
            tail,
            moving_to: None,
            wal: None,
            ..self.clone()
        }
    }

    /// Opened by a new session, whose records begin at `end`. `holds` says which of the former commit logs hold
    /// records of this partition and up to which entry; the others are forgotten.
    #[must_use]
    pub fn opened(
        &self,
        by: &Opener,
        end: Offset,
        holds: impl Fn(&TailEntry) -> Option<(u64, u64)>,
    ) -> Self {
        let raised = i32::from(!seeded_bug::is("epoch-not-raised") || self.leader_epoch.0 < 0);
        let leader_epoch = LeaderEpoch(self.leader_epoch.0.saturating_add(raised));
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
            broker_id: by.broker_id,
            broker_epoch: by.broker_epoch,
            first_seq: by.first_seq,
            last_seq: None,
        });
        Self {
            leader: by.broker_id,
            leader_epoch,
            epoch_history,
            log_start: self.log_start,
            tail,
            moving_to: None,
            wal: by.wal,
        }
    }
}

/// The session that opens a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opener {
    /// Its broker.
    pub broker_id: BrokerId,
    /// Its epoch.
    pub broker_epoch: BrokerEpoch,
    /// The first entry of its commit log that may hold the partition.
    pub first_seq: u64,
    /// Its write-ahead log, if that will take, or still has, records of the partition.
    pub wal: Option<WalHolder>,
}

impl StoredRecord for PartitionRecord {
    const KIND: u8 = kind::PARTITION;
    /// 2: `moving_to` and `wal`.
    const VERSION: u8 = 2;
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moving_to: Option<i32>,
    #[serde(default = "untold")]
    wal: Option<Uuid>,
}

fn untold() -> Option<Uuid> {
    Some(WalHolder::UNTOLD.0)
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
            moving_to: record.moving_to.map(|broker_id| broker_id.0),
            wal: record.wal.map(|holder| holder.0),
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
            moving_to: stored.moving_to.map(BrokerId),
            wal: stored.wal.map(WalHolder),
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

    fn opener(broker_epoch: i64) -> Opener {
        Opener {
            broker_id: BrokerId(1),
            broker_epoch: BrokerEpoch(broker_epoch),
            first_seq: 3,
            wal: None,
        }
    }

    #[test]
    fn opening_keeps_logs_with_records_only() {
        let new = PartitionRecord::new(BrokerId(1));
        assert_eq!(new.open_by(), None);
        let first = new.opened(&opener(5), offset(0), |_| None);
        assert_eq!(first.leader_epoch, LeaderEpoch(0));
        assert_eq!(first.open_by(), Some((BrokerId(1), BrokerEpoch(5))));
        let holds = |entry: &TailEntry| (entry.broker_epoch == BrokerEpoch(5)).then_some((4, 9));
        let second = first.opened(&opener(8), offset(100), holds);
        assert_eq!(second.leader_epoch, LeaderEpoch(1));
        assert_eq!(second.tail.len(), 2);
        assert_eq!(
            (second.tail[0].first_seq, second.tail[0].last_seq),
            (4, Some(9))
        );
        // The second session wrote nothing: neither its log nor its epoch is kept.
        let third = second.opened(&opener(11), offset(100), holds);
        let logs = third.tail.iter().map(|entry| entry.broker_epoch.0);
        assert_eq!(logs.collect::<Vec<_>>(), [5, 11]);
        let epochs = third.epoch_history.iter();
        let epochs: Vec<_> = epochs.map(|e| (e.leader_epoch.0, e.start.get())).collect();
        assert_eq!(epochs, [(0, 0), (2, 100)]);
    }

    #[test]
    fn a_partition_that_was_given_away_is_open_no_more() {
        let wal = Some(WalHolder(Uuid::from_u128(7)));
        let by = Opener { wal, ..opener(5) };
        let open = PartitionRecord::new(BrokerId(1)).opened(&by, offset(0), |_| None);
        let moving = PartitionRecord {
            moving_to: Some(BrokerId(2)),
            ..open.clone()
        };
        let moved = moving.handed_over(BrokerId(2), Some(9), true);
        assert_eq!((moved.leader, moved.moving_to), (BrokerId(2), None));
        assert_eq!((moved.open_by(), moved.wal), (None, None));
        assert_eq!(moved.tail[0].last_seq, Some(9));
        // What was never written to leaves no trace.
        for (last_seq, holds) in [(Some(9), false), (Some(2), true), (None, true)] {
            let moved = moving.handed_over(BrokerId(2), last_seq, holds);
            assert_eq!(moved.tail, []);
        }
        // Of a leader that is gone the log is still named, whoever comes next.
        let assigned = moving.assigned_to(BrokerId(3));
        assert_eq!((assigned.open_by(), assigned.moving_to), (None, None));
        assert_eq!((assigned.tail.len(), assigned.wal), (1, wal));
    }

    #[test]
    fn records_come_back() {
        let record = PartitionRecord {
            moving_to: Some(BrokerId(2)),
            wal: Some(WalHolder(Uuid::from_u128(7))),
            ..PartitionRecord::new(BrokerId(1)).opened(&opener(5), offset(0), |_| None)
        };
        assert_eq!(value::decode(&value::encode(&record)), Ok(record));
    }

    /// They may name a write-ahead log, so only the leader of then may go on.
    #[test]
    fn records_of_version_one_are_read_with_care() {
        #[derive(Serialize, Deserialize)]
        struct Version1 {
            leader: i32,
            leader_epoch: i32,
            epochs: Vec<(i32, i64)>,
            log_start: i64,
            tail: Vec<(i32, i64, u64, Option<u64>)>,
        }
        impl StoredRecord for Version1 {
            const KIND: u8 = kind::PARTITION;
            const VERSION: u8 = 1;
        }
        let old = value::encode(&Version1 {
            leader: 1,
            leader_epoch: 4,
            epochs: vec![(4, 7)],
            log_start: 2,
            tail: vec![(1, 9, 0, None)],
        });
        let record: PartitionRecord = value::decode(&old).expect("read");
        assert_eq!(record.open_by(), Some((BrokerId(1), BrokerEpoch(9))));
        assert!(record.wal.expect("may be").is(Uuid::from_u128(3)));
    }

    #[test]
    fn the_epoch_history_is_bounded() {
        let mut record = PartitionRecord::new(BrokerId(1));
        for n in 0..1000 {
            record = record.opened(&opener(5 + n), offset(n), |_| None);
        }
        assert_eq!(record.epoch_history.len(), EPOCH_HISTORY_MAX);
        let newest = EpochStart {
            leader_epoch: LeaderEpoch(999),
            start: offset(999),
        };
        assert_eq!(record.epoch_history.last(), Some(&newest));
    }
}

//! Unclean elections: partitions are led again though the write-ahead log that may hold the last of their acknowledged
//! records is not there.
//!
//! Any broker may do it, on an operator's word. It only gives up the log; who leads is then the controller's decision
//! as with any partition whose leader is gone.

use std::collections::{BTreeMap, BTreeSet};

use alluvium_common::epoch::BrokerId;
use alluvium_common::topic::TopicPartition;

use super::standing::{Standing, of_partition};
use crate::keys::Keys;
use crate::leadership::{LeadershipError, PartitionChange, PartitionWriter, Written};
use crate::model::PartitionRecord;
use crate::session::Session;
use crate::store::{Compare, Revision, StoreError};
use crate::view::{Picture, Placed};

/// What an unclean election did for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UncleanElection {
    /// Its write-ahead log was given up, at that revision. It will have a leader as soon as the controller has seen it.
    Done(Revision),
    /// It has a leader, or will have one without an unclean election.
    NotNeeded,
    /// There is no such partition.
    Unknown,
    /// Its record changed, or its leader came back, while it was looked at. Look again.
    Changed,
}

/// Why no unclean election took place. Those of some of the partitions may have.
#[derive(Debug, thiserror::Error)]
pub enum UncleanError {
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// The store did not do it, or it is unknown whether it did; asking again finds out (F4).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Gives up the write-ahead logs that `partitions` wait for, as seen in `picture`. Answers with what became of each.
///
/// # Errors
/// The session is over, or the store failed.
pub async fn elect_unclean(
    writer: &PartitionWriter,
    keys: &Keys,
    session: &Session,
    picture: &Picture,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, UncleanElection>, UncleanError> {
    let mut results = BTreeMap::new();
    let mut by_absence: BTreeMap<Option<BrokerId>, Vec<PartitionChange>> = BTreeMap::new();
    // Each once, however often it was named.
    let partitions: BTreeSet<_> = partitions.iter().copied().collect();
    for tp in partitions {
        match look(picture, tp) {
            Look::Waits(placed) => {
                results.insert(tp, UncleanElection::Changed);
                let leader = placed.record.leader;
                let gone = (!picture.brokers.has_session(leader)).then_some(leader);
                let changes = by_absence.entry(gone).or_default();
                changes.push(given_up(tp, placed));
            }
            Look::NotNeeded => drop(results.insert(tp, UncleanElection::NotNeeded)),
            Look::Unknown => drop(results.insert(tp, UncleanElection::Unknown)),
        }
    }
    for (gone, changes) in by_absence {
        let written = write(writer, keys, session, gone, &changes).await?;
        for (change, written) in changes.iter().zip(written) {
            if let Written::Done(revision) = written {
                results.insert(change.tp, UncleanElection::Done(revision));
            }
        }
    }
    Ok(results)
}

enum Look<'a> {
    Waits(&'a Placed),
    NotNeeded,
    Unknown,
}

fn look(picture: &Picture, tp: TopicPartition) -> Look<'_> {
    let topic = picture.topics.with_id(tp.topic_id);
    let placed = picture.partitions.get(tp);
    let (Some(_), Some(placed)) = (topic, placed) else {
        return Look::Unknown;
    };
    match of_partition(placed, &picture.brokers, false) {
        Standing::Waiting { .. } => Look::Waits(placed),
        _ => Look::NotNeeded,
    }
}

fn given_up(tp: TopicPartition, placed: &Placed) -> PartitionChange {
    PartitionChange {
        tp,
        record: PartitionRecord {
            wal: None,
            ..placed.record.clone()
        },
        read_at: placed.mod_revision,
    }
}

/// Writes under this session's fence (F1) and, unless the leader lives with another data folder, its absence (F2): what
/// a leader that came back would replay may not be given up.
async fn write(
    writer: &PartitionWriter,
    keys: &Keys,
    session: &Session,
    gone: Option<BrokerId>,
    changes: &[PartitionChange],
) -> Result<Vec<Written>, UncleanError> {
    let mut guard = vec![session.fence()];
    guard.extend(gone.map(|broker_id| Compare::absent(keys.broker(broker_id))));
    match writer.write(&guard, changes).await {
        Ok(written) => Ok(written),
        Err(LeadershipError::Guard { index: 0, .. }) => {
            session.fenced();
            Err(UncleanError::Fenced)
        }
        // What earlier transactions wrote is found by asking again.
        Err(LeadershipError::Guard { .. }) => Ok(vec![Written::Changed; changes.len()]),
        Err(LeadershipError::Store(error)) => Err(error.into()),
    }
}

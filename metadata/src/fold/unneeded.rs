//! Whole commit logs that no partition names any more.
//!
//! **Why nobody can need them again.** A tail names logs of several sessions, but a log is put into it by its own session
//! only: when that opens the partition, in a transaction that compares its session key (F1). Everybody else (who opens,
//! hands over, assigns or orders a move) writes no more of other logs than the record named as it was read, closed or
//! shortened perhaps, in a transaction that compares that record's revision: who has read an older record, which named
//! more, is refused. So once a session is over, the set of records that name its log can only shrink. [`overview`]
//! therefore reads in this order: first the logs, then the sessions, then the partitions, those at one revision. A log
//! that was there before the sessions were read, and whose session was not among them, belongs to a session that was over
//! by then; and if no partition read later names it, none ever will. A leader that is about to name its log has a
//! session, so its log stays; so does a log that a moved partition names up to the sequence at which it was handed over.
//!
//! What a dropped log's segments hold is of topics that are deleted, or lies below the log start. They are garbage from
//! then on, like every segment that no log names.

use std::collections::BTreeSet;

use alluvium_common::epoch::BrokerEpoch;

use super::LogId;
use crate::keys::Keys;
use crate::model::PartitionRecord;
use crate::store::{
    Compare, Comparison, DELETE_KEYS_MAX, KeyRange, MetadataStore, MetadataStoreExt, Op,
    RangeRequest, Revision, StoreError, Target, Txn,
};
use crate::value::{self, ValueError};

/// Logs, sessions and what partitions name, read in that order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    /// Logs that have entries.
    pub logs: BTreeSet<LogId>,
    /// Sessions that were open after that.
    pub sessions: BTreeSet<LogId>,
    /// Logs that partitions named after that.
    pub named: BTreeSet<LogId>,
}

impl Overview {
    /// Logs to which nothing can be added any more (F2).
    pub fn frozen(&self) -> impl Iterator<Item = LogId> {
        self.logs.difference(&self.sessions).copied()
    }
}

/// The logs that can be dropped.
pub fn unneeded_logs(overview: &Overview) -> Vec<LogId> {
    overview
        .frozen()
        .filter(|log| !overview.named.contains(log))
        .collect()
}

/// Why logs were not dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// The store did not answer. Dropping again is harmless.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A partition's record is unreadable, so what it names is unknown.
    #[error("record of {key}: {source}")]
    Unreadable {
        /// Its key.
        key: String,
        /// Why.
        source: ValueError,
    },
}

/// Reads what [`unneeded_logs`] decides on.
pub async fn overview(store: &dyn MetadataStore, keys: &Keys) -> Result<Overview, DropError> {
    let logs = commit_logs(store, keys).await?;
    let (_, sessions) = store.list(keys.brokers()).await?;
    let sessions = sessions.iter().filter_map(|kv| {
        let broker_id = keys.parse_broker(&kv.key)?;
        Some(LogId {
            broker_id,
            broker_epoch: BrokerEpoch::from(kv.create_revision),
        })
    });
    let sessions = sessions.collect();
    let (_, partitions) = store.list(keys.partitions()).await?;
    let mut named = BTreeSet::new();
    for kv in partitions {
        let record: PartitionRecord =
            value::decode(&kv.value).map_err(|source| DropError::Unreadable {
                key: String::from_utf8_lossy(&kv.key).into_owned(),
                source,
            })?;
        named.extend(record.tail.iter().map(|entry| LogId {
            broker_id: entry.broker_id,
            broker_epoch: entry.broker_epoch,
        }));
    }
    Ok(Overview {
        logs,
        sessions,
        named,
    })
}

/// Which logs there are, by a key of each: their entries are not read.
pub async fn commit_logs(
    store: &dyn MetadataStore,
    keys: &Keys,
) -> Result<BTreeSet<LogId>, StoreError> {
    let mut logs = BTreeSet::new();
    let mut rest = keys.all_commits();
    loop {
        let first = store
            .range(RangeRequest::new(rest.clone()).limit(1))
            .await?;
        let Some(kv) = first.kvs.into_iter().next() else {
            return Ok(logs);
        };
        rest = match keys.parse_commit(&kv.key) {
            Some((broker_id, broker_epoch, _)) => {
                logs.insert(LogId {
                    broker_id,
                    broker_epoch,
                });
                rest.after(&keys.commit(broker_id, broker_epoch, u64::MAX))
            }
            None => rest.after(&kv.key),
        };
    }
}

/// What [`drop_unneeded`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Logs that are gone.
    pub logs: usize,
    /// Whether the fence has ceased to hold: others decide now.
    pub refused: bool,
}

/// Deletes all entries of `logs`, as long as all of `fence` holds. A log of which some are gone is nobody's.
pub async fn drop_unneeded(
    store: &dyn MetadataStore,
    keys: &Keys,
    logs: &[LogId],
    fence: &[Compare],
) -> Result<Dropped, DropError> {
    let mut dropped = Dropped::default();
    for log in logs {
        let range = keys.commits_from(log.broker_id, log.broker_epoch, 0);
        while let Some(chunk) = next_chunk(store, &range).await? {
            // Holds for ever once the session is over; repeated here because being wrong would lose records.
            let over = Compare::new(
                keys.broker(log.broker_id),
                Comparison::NotEqual,
                Target::CreateRevision(Revision(log.broker_epoch.0.unsigned_abs())),
            );
            let mut txn = Txn::new().when(over).then(Op::delete_range(chunk));
            txn.compares.extend(fence.iter().cloned());
            if !store.txn_repeatable(txn).await?.succeeded {
                dropped.refused = true;
                return Ok(dropped);
            }
        }
        dropped.logs += 1;
    }
    Ok(dropped)
}

/// The first keys of a range, as many as one transaction may delete.
async fn next_chunk(
    store: &dyn MetadataStore,
    range: &KeyRange,
) -> Result<Option<KeyRange>, StoreError> {
    let page = store
        .range(RangeRequest::new(range.clone()).limit(DELETE_KEYS_MAX))
        .await?;
    let (Some(first), Some(last)) = (page.kvs.first(), page.kvs.last()) else {
        return Ok(None);
    };
    let behind = range.after(&last.key).from;
    Ok(Some(KeyRange::between(first.key.clone(), behind)))
}

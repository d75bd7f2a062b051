//! The transactions that put a fold in place of its entries, or nothing in place of those that nothing needs.

use std::ops::Range;

use alluvium_common::error::ErrorKind;
use bytes::Bytes;

use super::LogId;
use crate::commit_log::{LogEntry, ReadCommitsError, drop_covered, missing_seq};
use crate::keys::Keys;
use crate::model::{DroppedRecord, FoldRecord};
use crate::store::{Compare, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn};
use crate::value;

/// A commit log with what is needed to change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// Which log.
    pub log: LogId,
    /// Its entries from the first on, in order, without gaps.
    pub entries: Vec<LogEntry>,
    /// When each was put.
    pub put_at: Vec<Revision>,
    /// As of when.
    pub read_at: Revision,
}

/// Reads a whole log.
pub async fn read_log(
    store: &dyn MetadataStore,
    keys: &Keys,
    log: LogId,
) -> Result<LogState, ReadCommitsError> {
    let LogId {
        broker_id,
        broker_epoch,
    } = log;
    let (read_at, kvs) = store
        .list(keys.commits_from(broker_id, broker_epoch, 0))
        .await?;
    let mut all = Vec::with_capacity(kvs.len());
    let mut put_at = std::collections::BTreeMap::new();
    for kv in kvs {
        let Some((_, _, seq)) = keys.parse_commit(&kv.key) else {
            continue;
        };
        let entry =
            LogEntry::decode(seq, &kv.value).map_err(|source| ReadCommitsError::Unreadable {
                broker_id,
                broker_epoch,
                seq,
                source,
            })?;
        put_at.insert(entry.last_seq(), kv.mod_revision);
        all.push(entry);
    }
    let entries = drop_covered(all);
    if let Some(seq) = missing_seq(&entries) {
        return Err(ReadCommitsError::Gap {
            broker_id,
            broker_epoch,
            seq,
        });
    }
    let put_at = entries
        .iter()
        .filter_map(|entry| put_at.get(&entry.last_seq()));
    Ok(LogState {
        log,
        put_at: put_at.copied().collect(),
        entries,
        read_at,
    })
}

/// What became of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// It stands.
    Done,
    /// The fence does not hold any more, or somebody else has folded some of the entries. Nothing was changed; read
    /// the log again, or stop.
    Refused,
}

/// Why a fold may or may not stand.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The run is not what the fold says.
    #[error("the fold of {} to {} is not of the entries given", .0.first_seq, .0.last_seq)]
    NotThatRun(FoldRecord),
    /// The store did not answer. The object may be named, now or later: it must stay.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReplaceError {
    /// What to do next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotThatRun(_) => ErrorKind::GiveUp,
            Self::Store(error) => error.kind(),
        }
    }
}

/// Puts `fold` in place of `run`, entries of `state`, as long as all of `fence` holds.
pub async fn replace(
    store: &dyn MetadataStore,
    keys: &Keys,
    state: &LogState,
    run: Range<usize>,
    fold: &FoldRecord,
    fence: &[Compare],
) -> Result<Replaced, ReplaceError> {
    let of_run = state.sequences(&run);
    if run.len() < 2 || of_run != Some((fold.first_seq, fold.last_seq)) {
        return Err(ReplaceError::NotThatRun(fold.clone()));
    }
    let replaced = put_in_place(store, keys, state, run, value::encode(fold), fence).await?;
    Ok(replaced)
}

/// Drops the first `count` entries of `state`, which nothing needs any more, as long as all of `fence` holds. One small
/// entry stays in their place.
pub async fn drop_start(
    store: &dyn MetadataStore,
    keys: &Keys,
    state: &LogState,
    count: usize,
    fence: &[Compare],
) -> Result<Replaced, StoreError> {
    let Some((_, last_seq)) = state.sequences(&(0..count)) else {
        return Ok(Replaced::Done);
    };
    let stored = value::encode(&DroppedRecord { last_seq });
    put_in_place(store, keys, state, 0..count, stored, fence).await
}

impl LogState {
    /// First and last sequence of a run of entries.
    fn sequences(&self, run: &Range<usize>) -> Option<(u64, u64)> {
        let entries = self.entries.get(run.clone())?;
        Some((entries.first()?.first_seq(), entries.last()?.last_seq()))
    }
}

/// Puts `stored` in place of `run`.
async fn put_in_place(
    store: &dyn MetadataStore,
    keys: &Keys,
    state: &LogState,
    run: Range<usize>,
    stored: Bytes,
    fence: &[Compare],
) -> Result<Replaced, StoreError> {
    let (first, last) = (&state.entries[run.start], &state.entries[run.end - 1]);
    let LogId {
        broker_id,
        broker_epoch,
    } = state.log;
    let key = |seq| keys.commit(broker_id, broker_epoch, seq);
    let (first_key, last_key) = (key(first.last_seq()), key(last.last_seq()));
    // From the run's first sequence on: what a late copy of a commit has left below the first key goes too.
    let (from, to) = (first.first_seq(), last.last_seq());
    let replaced = keys.commits_between(broker_id, broker_epoch, from, to);
    let mut txn = Txn::new()
        .when(Compare::unchanged_since(first_key, state.put_at[run.start]))
        .when(Compare::unchanged_since(
            last_key.clone(),
            state.put_at[run.end - 1],
        ))
        .then(Op::delete_range(replaced))
        .then(Op::put(last_key.clone(), stored.clone()))
        .or_else(Op::get(last_key));
    txn.compares.extend(fence.iter().cloned());
    let response = store.txn_repeatable(txn).await?;
    // F4: our own write, whose reply was lost; the object's name is ours alone.
    let stands = response.first_kv(0).is_some_and(|kv| kv.value == stored);
    Ok(match response.succeeded || stands {
        true => Replaced::Done,
        false => Replaced::Refused,
    })
}

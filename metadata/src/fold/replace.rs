//! The transaction that puts a fold in place of its entries.

use alluvium_common::error::ErrorKind;

use super::LogId;
use crate::commit_log::{LogEntry, ReadCommitsError, drop_covered, missing_seq};
use crate::keys::Keys;
use crate::model::FoldRecord;
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
    let (_, kvs) = store
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
    run: std::ops::Range<usize>,
    fold: &FoldRecord,
    fence: &[Compare],
) -> Result<Replaced, ReplaceError> {
    let (Some(first), Some(last)) = (
        state.entries.get(run.start),
        run.end
            .checked_sub(1)
            .and_then(|last| state.entries.get(last)),
    ) else {
        return Err(ReplaceError::NotThatRun(fold.clone()));
    };
    let of_run = (first.first_seq(), last.last_seq());
    if run.len() < 2 || of_run != (fold.first_seq, fold.last_seq) {
        return Err(ReplaceError::NotThatRun(fold.clone()));
    }
    let LogId {
        broker_id,
        broker_epoch,
    } = state.log;
    let key = |seq| keys.commit(broker_id, broker_epoch, seq);
    let (first_key, last_key) = (key(first.last_seq()), key(last.last_seq()));
    let stored = value::encode(fold);
    // From the run's first sequence on: what a late copy of a commit has left below the first key goes too.
    let replaced = keys.commits_between(broker_id, broker_epoch, fold.first_seq, fold.last_seq);
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

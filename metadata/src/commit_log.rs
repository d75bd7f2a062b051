//! The commit log of a broker session: what makes sealed segments part of the log.
//!
//! One small key for each segment, written strictly in sequence order, several in one transaction. The
//! transaction compares the session key's create revision (F1), so that a session that is over can add nothing
//! (F2), and the absence of the keys, so that an entry is written once (I24). A lost reply is looked up (F4).
//!
//! A run of entries may be folded into one ([`crate::fold`]); [`read_commit_log`] gives both kinds.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::error::{ErrorKind, Outcome};
use alluvium_common::seeded_bug;
use bytes::Bytes;
use tokio::sync::watch;
use tracing::warn;

use crate::keys::Keys;
use crate::model::{CommitRecord, DroppedRecord, FoldRecord};
use crate::session::Session;
use crate::store::{
    Compare, MetadataStore, MetadataStoreExt, Op, StoreError, TXN_OPERATIONS_MAX, Txn, TxnResponse,
};
use crate::value::{self, StoredRecord, ValueError};

/// Entries of one transaction: each takes a comparison, and one more compares the session.
pub const COMMITS_PER_TXN_MAX: usize = 100;
const _: () = assert!(COMMITS_PER_TXN_MAX + 1 < TXN_OPERATIONS_MAX);

/// Pause between two attempts while the store is away; doubles up to the second.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Why segments were not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The session is over; nothing of it will ever be committed again (F1, F2). Stop leading.
    #[error("the session of this broker is over")]
    Fenced,
    /// The store was away until the session could not be proved alive any more (F3). What was committed
    /// is unknown until somebody reads the log.
    #[error("the metadata store did not answer while the session lasted: {0}")]
    Unavailable(StoreError),
    /// Another entry stands under one of the sequences: two writers used one session. Stop.
    #[error("commit {seq} exists with other content")]
    Conflict {
        /// Where.
        seq: u64,
    },
    /// The store refuses for ever.
    #[error(transparent)]
    Refused(StoreError),
}

impl CommitError {
    /// Did it certainly not happen?
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unavailable(_) => Outcome::Unknown,
            Self::Fenced | Self::Conflict { .. } => Outcome::NotDone,
            Self::Refused(error) => error.outcome(),
        }
    }

    /// What the caller should do next.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) => error.kind(),
            _ => ErrorKind::Fenced,
        }
    }
}

/// Writes the commit log of one session.
#[derive(Debug)]
pub struct CommitLog {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    session: Arc<Session>,
    acknowledged: watch::Sender<u64>,
}

impl CommitLog {
    /// The log of `session`.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys, session: Arc<Session>) -> Self {
        Self {
            store,
            keys,
            session,
            acknowledged: watch::Sender::new(0),
        }
    }

    /// How many entries, from the first, are known to stand. What lies beyond may stand too, or may be tried again:
    /// it must not be folded, for the second attempt looks for the entry itself.
    pub fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// The session whose log it is.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Commits `records` as `first_seq` and the following, at most [`COMMITS_PER_TXN_MAX`], all or none. The same
    /// call may be repeated: what already stands is not an error (F4). Tries as long as the session lives.
    pub async fn commit(
        &self,
        first_seq: u64,
        records: &[CommitRecord],
    ) -> Result<(), CommitError> {
        self.try_commit(first_seq, records).await?;
        let end = first_seq + records.len() as u64;
        self.acknowledged
            .send_if_modified(|known| end > std::mem::replace(known, end.max(*known)));
        Ok(())
    }

    async fn try_commit(
        &self,
        first_seq: u64,
        records: &[CommitRecord],
    ) -> Result<(), CommitError> {
        let txn = self.transaction(first_seq, records);
        let (mut pause, mut unknown) = (RETRY_PAUSE.0, false);
        loop {
            let error = match self.store.txn(txn.clone()).await {
                Ok(response) if response.succeeded => return Ok(()),
                Ok(response) => return self.explain(first_seq, records, &response),
                Err(error) => error,
            };
            // Every attempt is the same transaction: if an earlier one went through after all, this one's
            // comparison fails and `explain` finds our own records.
            unknown |= error.outcome() == Outcome::Unknown;
            if unknown && seeded_bug::is("unknown-commit-assumed") {
                return Ok(());
            }
            if error.kind() != ErrorKind::Retry {
                let error = if unknown {
                    error.after_unknown()
                } else {
                    error
                };
                return Err(CommitError::Refused(error));
            }
            if !self.session.is_alive() {
                return Err(CommitError::Unavailable(error));
            }
            warn!(first_seq, %error, "commit is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE.1);
        }
    }

    fn transaction(&self, first_seq: u64, records: &[CommitRecord]) -> Txn {
        let fence = self.session.fence();
        let session_key = fence.key.clone();
        let mut txn = Txn::new().or_else(Op::get(session_key));
        if !seeded_bug::is("fence-dropped") {
            txn = txn.when(fence);
        }
        for (seq, record) in (first_seq..).zip(records) {
            let key = self.key(seq);
            txn = txn
                .when(Compare::absent(key.clone()))
                .then(Op::put(key.clone(), value::encode(record)))
                .or_else(Op::get(key));
        }
        txn
    }

    fn key(&self, seq: u64) -> Bytes {
        self.keys
            .commit(self.session.broker_id(), self.session.broker_epoch(), seq)
    }

    /// The comparison failed: is the session over, or is it our own write of before (F4)?
    fn explain(
        &self,
        first_seq: u64,
        records: &[CommitRecord],
        response: &TxnResponse,
    ) -> Result<(), CommitError> {
        let ours = (first_seq..)
            .zip(records)
            .enumerate()
            .map(|(i, (seq, record))| {
                let stands = response.first_kv(i + 1).map(|kv| kv.value.clone());
                (seq, stands == Some(value::encode(record)), stands.is_some())
            });
        let (mut all_ours, mut taken) = (true, None);
        for (seq, is_ours, exists) in ours {
            all_ours &= is_ours;
            if exists && !is_ours {
                taken = Some(seq);
            }
        }
        if all_ours {
            return Ok(());
        }
        let current = response
            .first_kv(0)
            .is_some_and(|session| self.session.fence().holds(Some(session)));
        if let (true, Some(seq)) = (current, taken) {
            return Err(CommitError::Conflict { seq });
        }
        self.session.fenced();
        Err(CommitError::Fenced)
    }
}

/// Why a commit log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadCommitsError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry is unreadable.
    #[error("commit {seq} of broker {broker_id}, epoch {broker_epoch}: {source}")]
    Unreadable {
        /// Whose log.
        broker_id: BrokerId,
        /// Of which session.
        broker_epoch: BrokerEpoch,
        /// Which entry.
        seq: u64,
        /// Why.
        source: ValueError,
    },
    /// An entry is missing between two others (I24).
    #[error("commit {seq} of broker {broker_id}, epoch {broker_epoch} is missing")]
    Gap {
        /// Whose log.
        broker_id: BrokerId,
        /// Of which session.
        broker_epoch: BrokerEpoch,
        /// Which entry.
        seq: u64,
    },
}

/// What stands under one key of a commit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEntry {
    /// One segment.
    Commit {
        /// Its place in the log.
        seq: u64,
        /// The segment.
        record: CommitRecord,
    },
    /// A run of them.
    Fold(FoldRecord),
    /// All from the start of the log on, which nothing needs any more.
    Dropped(DroppedRecord),
}

impl LogEntry {
    /// Its first sequence.
    pub fn first_seq(&self) -> u64 {
        match self {
            Self::Commit { seq, .. } => *seq,
            Self::Fold(fold) => fold.first_seq,
            Self::Dropped(_) => 0,
        }
    }

    /// Its last sequence, which is that of its key.
    pub fn last_seq(&self) -> u64 {
        match self {
            Self::Commit { seq, .. } => *seq,
            Self::Fold(fold) => fold.last_seq,
            Self::Dropped(dropped) => dropped.last_seq,
        }
    }

    /// The entry that the value of the key of `seq` holds.
    pub fn decode(seq: u64, value: &[u8]) -> Result<Self, ValueError> {
        let misplaced = |kind, why| Err(ValueError::Damaged { kind, why });
        match value::kind_of(value) {
            Some(FoldRecord::KIND) => {}
            Some(DroppedRecord::KIND) => {
                let dropped: DroppedRecord = value::decode(value)?;
                return match dropped.last_seq == seq {
                    true => Ok(Self::Dropped(dropped)),
                    false => misplaced(
                        DroppedRecord::KIND,
                        format!("it drops up to {} under {seq}", dropped.last_seq),
                    ),
                };
            }
            _ => {
                let record = value::decode(value)?;
                return Ok(Self::Commit { seq, record });
            }
        }
        let fold: FoldRecord = value::decode(value)?;
        if fold.first_seq > fold.last_seq || fold.last_seq != seq {
            let (first, last) = (fold.first_seq, fold.last_seq);
            return misplaced(
                FoldRecord::KIND,
                format!("it folds {first} to {last} under {seq}"),
            );
        }
        Ok(Self::Fold(fold))
    }
}

/// The entries of a commit log from `first_seq` on, in order, without gaps. A fold that begins before `first_seq`
/// is the first then.
pub async fn read_commit_log(
    store: &dyn MetadataStore,
    keys: &Keys,
    broker_id: BrokerId,
    broker_epoch: BrokerEpoch,
    first_seq: u64,
) -> Result<Vec<LogEntry>, ReadCommitsError> {
    let range = keys.commits_from(broker_id, broker_epoch, first_seq);
    let (_, kvs) = store.list(range).await?;
    let mut entries = Vec::with_capacity(kvs.len());
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
        entries.push(entry);
    }
    let mut without_copies = drop_covered(entries);
    if seeded_bug::is("last-commit-not-read") {
        without_copies.pop();
    }
    match missing_seq(&without_copies) {
        None => Ok(without_copies),
        Some(seq) => Err(ReadCommitsError::Gap {
            broker_id,
            broker_epoch,
            seq,
        }),
    }
}

/// Leaves out what a later fold holds too. A commit that was sent twice, because its first reply was late, may be
/// applied once more after its entry was folded; it is the same commit then, and the fold has it.
pub fn drop_covered(entries: Vec<LogEntry>) -> Vec<LogEntry> {
    let mut kept: Vec<LogEntry> = Vec::with_capacity(entries.len());
    for entry in entries {
        while kept
            .last()
            .is_some_and(|last| last.first_seq() >= entry.first_seq())
        {
            kept.pop();
        }
        kept.push(entry);
    }
    kept
}

/// The first sequence that is missing between two entries, or stands in both (I24).
pub fn missing_seq(entries: &[LogEntry]) -> Option<u64> {
    let next = |pair: &[LogEntry]| pair[0].last_seq() + 1;
    let broken = entries
        .windows(2)
        .find(|pair| pair[1].first_seq() != next(pair));
    broken.map(next)
}

#[cfg(test)]
mod tests;

//! What can go wrong with a call to the store, and what the caller should do about it.

use std::time::Duration;

use alluvium_common::error::{ErrorKind, Outcome};
use bytes::Bytes;

use super::types::{LeaseId, Revision};

/// A failed call to a [`super::MetadataStore`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A transaction has too many comparisons or operations. Split it.
    #[error("{count} operations in a transaction, at most {limit} are allowed")]
    TooManyOperations {
        /// The longest of its three lists.
        count: usize,
        /// [`super::TXN_OPERATIONS_MAX`].
        limit: usize,
    },
    /// A transaction is too large. Split it, or store less.
    #[error("a transaction of {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its size as [`super::Txn::size_bytes`] counts.
        bytes: usize,
        /// [`super::TXN_BYTES_MAX`].
        limit: usize,
    },
    /// A delete by range would delete too many keys. Delete in several transactions.
    #[error("a transaction would delete more than {limit} keys")]
    TooManyDeletes {
        /// [`super::DELETE_KEYS_MAX`].
        limit: usize,
    },
    /// Keys may not be empty. A mistake of the caller.
    #[error("empty key")]
    EmptyKey,
    /// A list of operations writes one key twice, or puts what it also deletes. A mistake of the caller.
    #[error("key {key:?} written twice in one transaction")]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// The lease does not exist: it expired, was revoked, or never was. Get a new one.
    #[error("lease {lease} not found")]
    LeaseNotFound {
        /// The lease.
        lease: LeaseId,
    },
    /// A lease's time to live is outside of what is allowed. A mistake of the caller.
    #[error("lease time to live of {ttl:?} is out of range")]
    LeaseTtlOutOfRange {
        /// What was asked for.
        ttl: Duration,
    },
    /// The revision was forgotten. Read at the newest revision instead.
    #[error("revision {requested} was compacted, the oldest readable is {compacted}")]
    Compacted {
        /// What was asked for.
        requested: Revision,
        /// The oldest that can still be read.
        compacted: Revision,
    },
    /// The revision does not exist yet.
    #[error("revision {requested} lies in the future, the newest is {newest}")]
    FutureRevision {
        /// What was asked for.
        requested: Revision,
        /// The newest there is.
        newest: Revision,
    },
    /// The store cannot be reached or did not answer in time. Try again later; see `outcome` first.
    #[error("metadata store unavailable: {reason}")]
    Unavailable {
        /// Whether the call may have had its effect.
        outcome: Outcome,
        /// What was met.
        reason: String,
    },
    /// The store stopped after a failure it must not repeat (a failed sync, a full disk), or was closed.
    /// Nothing works until it is opened again.
    #[error("metadata store stopped: {reason}")]
    Stopped {
        /// Whether the call may have had its effect.
        outcome: Outcome,
        /// What was met.
        reason: String,
    },
    /// The store refuses this user or this request, and would refuse it again: wrong credentials, a missing permission, a
    /// limit of its own. Nothing was done; somebody has to change its configuration or ours.
    #[error("metadata store refused: {reason}")]
    Refused {
        /// What was met.
        reason: String,
    },
    /// Stored bytes are not what was written. Do not go on: restore.
    #[error("metadata store is damaged: {what}")]
    Damaged {
        /// What was found where.
        what: String,
    },
}

impl StoreError {
    /// Whether the failed call may have had its effect.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unavailable { outcome, .. } | Self::Stopped { outcome, .. } => *outcome,
            _ => Outcome::NotDone,
        }
    }

    /// What the caller should do next. Look at [`Self::outcome`] before doing the same again.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Retry,
            Self::LeaseNotFound { .. } | Self::Compacted { .. } | Self::FutureRevision { .. } => {
                ErrorKind::Refresh
            }
            Self::Damaged { .. } => ErrorKind::BadData,
            _ => ErrorKind::GiveUp,
        }
    }

    /// This error of a repeated call, when an earlier attempt may have had its effect: then so may the
    /// call, whatever became of its last attempt.
    #[must_use]
    pub fn after_unknown(self) -> Self {
        let outcome = Outcome::Unknown;
        match self {
            Self::Stopped { reason, .. } => Self::Stopped { outcome, reason },
            Self::Unavailable { reason, .. } => Self::Unavailable { outcome, reason },
            other => Self::Unavailable {
                outcome,
                reason: other.to_string(),
            },
        }
    }
}

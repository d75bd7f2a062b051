//! Why a store does not open, and what redb's errors mean to a caller.

use std::io;
use std::path::PathBuf;

use alluvium_common::error::Outcome;
use redb::{DatabaseError, StorageError, TableError, TransactionError};

use crate::store::error::StoreError;

/// Why an embedded store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("data folder {} is in use by another process", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// It was written by a newer version of Alluvium. Use that version.
    #[error(
        "metadata has format version {found}, this version of alluvium reads up to {supported}"
    )]
    NewerFormat {
        /// What is stored.
        found: u32,
        /// The newest that is understood.
        supported: u32,
    },
    /// It holds another cluster's metadata. Name that cluster, or another folder.
    #[error("metadata belongs to cluster {found:?}, not to {wanted:?}")]
    OtherCluster {
        /// Whose it is.
        found: String,
        /// Whose it was asked to be.
        wanted: String,
    },
    /// The file is not what was written. Restore it.
    #[error("metadata is damaged: {what}")]
    Damaged {
        /// What was found.
        what: String,
    },
    /// The folder or the file cannot be read or written.
    #[error("cannot open metadata at {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store failed while it was made ready.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// An I/O error with its path, for `map_err`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// What redb says about opening `path`.
    pub(super) fn from_redb(path: &std::path::Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse {
                folder: path.parent().unwrap_or(path).to_owned(),
            },
            DatabaseError::Storage(StorageError::Io(source))
                if source.kind() != io::ErrorKind::InvalidData =>
            {
                Self::Io {
                    path: path.to_owned(),
                    source,
                }
            }
            other => Self::Damaged {
                what: other.to_string(),
            },
        }
    }
}

/// What any of redb's errors means while nothing was committed yet.
pub(super) fn not_done(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(what) => StoreError::Damaged { what },
        other => StoreError::Stopped {
            outcome: Outcome::NotDone,
            reason: other.to_string(),
        },
    }
}

/// A table that must be there but is not, among other things.
pub(super) fn no_table(error: TableError) -> StoreError {
    match error {
        TableError::Storage(error) => not_done(error),
        other => StoreError::Damaged {
            what: other.to_string(),
        },
    }
}

/// A transaction that cannot begin.
pub(super) fn no_transaction(error: TransactionError) -> StoreError {
    not_done(redb::Error::from(error))
}

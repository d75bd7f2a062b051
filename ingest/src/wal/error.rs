//! What can go wrong.

use std::io;

use alluvium_common::error::Outcome;
use alluvium_segment::FormatError;

/// Why an append was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// The disk is full or the log's limit is reached. The batch was not written.
    #[error("the write-ahead log has no room: {0}")]
    NoSpace(String),
    /// Writing or syncing failed while the batch was in the group: it may be on disk.
    #[error("the write-ahead log failed: {0}")]
    Failed(String),
    /// The log had failed before: the batch was not written.
    #[error("the write-ahead log has failed before: {0}")]
    Stopped(String),
}

impl WalError {
    /// Whether the batch may come back when the log is recovered.
    pub fn outcome(&self) -> Outcome {
        match self {
            WalError::NoSpace(_) | WalError::Stopped(_) => Outcome::NotDone,
            WalError::Failed(_) => Outcome::Unknown,
        }
    }
}

/// Why the log cannot be opened, or a recovered frame not be read.
#[derive(Debug, thiserror::Error)]
pub enum WalOpenError {
    /// The disk fails.
    #[error("write-ahead log: {0}")]
    Io(#[from] io::Error),
    /// A file cannot be understood: a newer version wrote it, or its header is damaged.
    #[error("write-ahead log file {file}: {source}")]
    File {
        /// Name of the file in its folder.
        file: String,
        /// What is wrong.
        source: FormatError,
    },
    /// Frames that were durable are damaged or missing. Nothing was changed; acknowledged records
    /// may be lost, which a person has to decide about.
    #[error(
        "write-ahead log file {file} is corrupt at position {position}: {what}; \
         records acknowledged after that point would be lost, so it is not opened"
    )]
    Corrupt {
        /// Name of the file in its folder.
        file: String,
        /// Position of the first bad frame.
        position: u64,
        /// What shows that it is no torn tail.
        what: String,
    },
}

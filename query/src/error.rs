//! Why a read failed.

use std::io;
use std::sync::Arc;

use alluvium_cache::segment_cache::CacheError;
use alluvium_cache::tail::CloseReason;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::LogOffsets;
use alluvium_segment::record_batch::BatchError;

/// Why a read failed. Reads change nothing, so every one may be repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// This broker serves no such partition.
    #[error("the partition is not served here")]
    UnknownPartition,
    /// The partition was deleted, or is led by another broker now.
    #[error("the partition is no longer served here ({0:?})")]
    Closed(CloseReason),
    /// This broker cannot prove that it still leads, so it says nothing about the end of the log (F3).
    #[error("this broker cannot prove that nobody else leads the partition")]
    EndUnknown,
    /// The offset is below the log start or above the log end.
    #[error("the offset is outside of the log, {}..={}", offsets.log_start, offsets.log_end)]
    OffsetOutOfRange {
        /// The bounds.
        offsets: LogOffsets,
    },
    /// The leader has the offset, and this broker, which follows it, does not know it yet (Kafka's
    /// OFFSET_NOT_AVAILABLE).
    #[error("the offset is not known here yet")]
    OffsetNotAvailable,
    /// The client knows an older leader epoch (Kafka's FENCED_LEADER_EPOCH).
    #[error("the client's leader epoch is older than {current}")]
    FencedLeaderEpoch {
        /// The epoch under which this broker leads.
        current: LeaderEpoch,
    },
    /// The client knows a younger leader epoch (Kafka's UNKNOWN_LEADER_EPOCH).
    #[error("the client's leader epoch is younger than {current}")]
    UnknownLeaderEpoch {
        /// The epoch under which this broker leads.
        current: LeaderEpoch,
    },
    /// Segments could not be read, or are damaged.
    #[error(transparent)]
    Segment(#[from] CacheError),
    /// The write-ahead log could not be read back.
    #[error("the write-ahead log cannot be read back: {0}")]
    WriteAheadLog(Arc<io::Error>),
    /// A batch whose checksum is right cannot be opened: its producer sent it so.
    #[error("a record batch cannot be opened: {0}")]
    Batch(#[from] BatchError),
    /// A task of this broker died.
    #[error("the read was not finished: {0}")]
    Internal(String),
}

impl From<tokio::task::JoinError> for ReadError {
    fn from(error: tokio::task::JoinError) -> Self {
        ReadError::Internal(error.to_string())
    }
}

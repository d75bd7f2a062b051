//! Why an append fails, in domain words. Each error knows whether the batch certainly was not
//! appended ([`Outcome::NotDone`]) or may yet become visible ([`Outcome::Unknown`]).

use alluvium_common::error::Outcome;

use crate::producer_state::SequenceError;

/// One record of a batch that breaks a rule. Kafka's `ProduceResponse.RecordError`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record within its batch.
    pub index: i32,
    /// Fit to be sent to a client.
    pub message: String,
}

/// Why an append failed. Messages are fit to be sent to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The partition is not led by this broker, or the broker may no longer act as its leader. With
    /// [`Outcome::Unknown`] the batch was taken before that turned out.
    #[error("this broker does not lead the partition")]
    NotLeader(Outcome),
    /// The topic was deleted.
    #[error("the topic was deleted")]
    Deleted(Outcome),
    /// Checksum or length of the batch are wrong.
    #[error("corrupt record batch: {0}")]
    Corrupt(String),
    /// The batch is larger than the topic's `max.message.bytes`.
    #[error("batch of {size_bytes} bytes exceeds max.message.bytes = {max_bytes}")]
    TooLarge {
        /// Size of the batch with its header.
        size_bytes: usize,
        /// The topic's limit.
        max_bytes: usize,
    },
    /// The batch's format version is not 2, the only one since Kafka 4.
    #[error("record format version {0} is not supported; only 2 is")]
    UnsupportedMagic(i8),
    /// The codec is unknown, or too new for the request's version.
    #[error("compression type is not supported: {0}")]
    UnsupportedCodec(String),
    /// The batch, or records in it, break a rule of Kafka or of the topic.
    #[error("{message}")]
    InvalidRecord {
        /// What is wrong.
        message: String,
        /// Which records, if it can be told.
        record_errors: Vec<RecordError>,
    },
    /// Timestamps are outside of what the topic allows.
    #[error("{message}")]
    InvalidTimestamp {
        /// What is wrong.
        message: String,
        /// Which records, if it can be told.
        record_errors: Vec<RecordError>,
    },
    /// The sequence does not follow (Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER), or the epoch is old
    /// (INVALID_PRODUCER_EPOCH).
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A transactional batch outside of a transaction this broker knows of.
    #[error("the record batch is not part of an ongoing transaction")]
    InvalidTransactionState,
    /// The disk or the object store did not do its part.
    #[error("storage: {message}")]
    Storage {
        /// Whether the batch may yet become visible.
        outcome: Outcome,
        /// What went wrong.
        message: String,
    },
}

impl AppendError {
    /// Whether the batch certainly was not appended.
    pub fn outcome(&self) -> Outcome {
        match self {
            AppendError::NotLeader(outcome)
            | AppendError::Deleted(outcome)
            | AppendError::Storage { outcome, .. } => *outcome,
            _ => Outcome::NotDone,
        }
    }

    /// A rule broken by the batch as a whole.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        AppendError::InvalidRecord {
            message: message.into(),
            record_errors: Vec::new(),
        }
    }
}

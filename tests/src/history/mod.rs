//! What clients did and saw, and [`check`], which says what of it must not have been.
//!
//! A history is a list of sends with their outcomes and a list of reads. Both are stamped by one [`Ticks`] counter, so
//! that "was acknowledged before the read began" has a meaning. Every record has an id of its own and a digest of all
//! its bytes. The numbers I1, I2 ... are those of the project's list of invariants.

mod check;
#[cfg(test)]
mod tests;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_protocol::ErrorCode;
use alluvium_segment::record_batch::Record;
use parking_lot::Mutex;

pub use self::check::{Report, Violation, check};

/// One after the other, for the whole test.
#[derive(Debug, Default)]
pub struct Ticks(AtomicU64);

impl Ticks {
    /// A tick later than all before.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A record's identity and a digest of key, value, headers and timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content {
    /// Different for every record ever sent.
    pub id: u64,
    /// Of everything a consumer sees of it.
    pub digest: u64,
}

/// What a client may conclude from the answer to a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// Acknowledged; the first record stands at this offset.
    Acknowledged {
        /// As the broker told it.
        base_offset: i64,
    },
    /// It did not happen and never will.
    Failed,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// One batch given to the broker, with all its retries.
#[derive(Debug, Clone)]
pub struct Send {
    /// Who sent it. Order is promised within a producer's session.
    pub producer: u32,
    /// Raised whenever the producer begins anew without knowing what became of its earlier sends.
    pub session: u32,
    /// Whether the broker promised to see through retries.
    pub idempotent: bool,
    /// Where to.
    pub partition: i32,
    /// Counts the sends of a producer to a partition.
    pub order: u64,
    /// The records.
    pub records: Vec<Content>,
    /// When its fate was known; `None` if it never was.
    pub ended: Option<u64>,
    /// What is known.
    pub outcome: SendOutcome,
}

/// A pass of one reader over one partition.
#[derive(Debug, Clone)]
pub struct Read {
    /// Who read, for messages.
    pub reader: String,
    /// What.
    pub partition: i32,
    /// When it asked.
    pub began: u64,
    /// Where it began to read.
    pub from: i64,
    /// First offset still readable, as told.
    pub log_start: i64,
    /// First offset not yet readable, as told by its last answer.
    pub high_watermark: i64,
    /// What it saw, in the order in which it came.
    pub records: Vec<(i64, Content)>,
    /// It went on until it had reached the high watermark.
    pub is_complete: bool,
    /// It read the whole partition after everything had healed.
    pub is_final: bool,
}

/// All that happened.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// In no particular order.
    pub sends: Vec<Send>,
    /// In no particular order.
    pub reads: Vec<Read>,
}

/// A history while it happens.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
    ticks: Arc<Ticks>,
}

impl Recorder {
    /// The present.
    pub fn tick(&self) -> u64 {
        self.ticks.next()
    }

    /// Adds a send whose fate is known or never will be.
    pub fn sent(&self, send: Send) {
        self.history.lock().sends.push(send);
    }

    /// Adds a read.
    pub fn read(&self, read: Read) {
        self.history.lock().reads.push(read);
    }

    /// What happened so far.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }
}

/// Can it still become visible after this answer?
pub fn is_definite(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::MessageTooLarge
            | ErrorCode::RecordListTooLarge
            | ErrorCode::InvalidRecord
            | ErrorCode::CorruptMessage
            | ErrorCode::TopicAuthorizationFailed
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::ProducerFenced
            | ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::UnsupportedVersion
            | ErrorCode::UnsupportedCompressionType
            | ErrorCode::UnsupportedForMessageFormat
            | ErrorCode::InvalidRequiredAcks
            | ErrorCode::InvalidTimestamp
            | ErrorCode::PolicyViolation
    )
}

/// Everything of a record that a consumer sees, but for its offset.
pub fn digest(record: &Record) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&record.key, &record.value, record.timestamp).hash(&mut hasher);
    for header in &record.headers {
        (&header.key, &header.value).hash(&mut hasher);
    }
    hasher.finish()
}

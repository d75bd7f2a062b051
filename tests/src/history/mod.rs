//! What clients did and saw, and [`check`], which says what of it must not have been.
//!
//! A history is a list of sends with their outcomes, a list of reads, and what groups were given and have committed. All
//! are stamped by one [`Ticks`] counter, so that "was acknowledged before the read began" has a meaning. Every record has
//! an id of its own and a digest of all its bytes. The numbers I1, I2 ... are those of the project's list of invariants.
//!
//! [`stored`] judges what is left in the metadata store and the bucket at the end.

mod check;
pub mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_protocol::ErrorCode;
use alluvium_segment::record_batch::Record;
use parking_lot::Mutex;
use uuid::Uuid;

pub use self::check::{HEALED_WITHIN, Report, Violation, check};

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

/// A partition of one life of a topic: a topic that is deleted and created again under its name is another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Id of the topic.
    pub topic: Uuid,
    /// Index within the topic.
    pub index: i32,
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell the topics of a test apart.
        let id = self.topic.simple().to_string();
        write!(f, "{}-{}", &id[..8], self.index)
    }
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
    pub partition: Partition,
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
    /// Which broker answered, in a cluster.
    pub broker: Option<i32>,
    /// What.
    pub partition: Partition,
    /// When it asked.
    pub began: u64,
    /// When it was answered.
    pub ended: u64,
    /// Where it began to read.
    pub from: i64,
    /// First offset still readable, as told.
    pub log_start: i64,
    /// First offset not yet readable by `read_committed`, as told by its last answer.
    pub last_stable: i64,
    /// First offset not yet readable, as told by its last answer.
    pub high_watermark: i64,
    /// What it saw, in the order in which it came.
    pub records: Vec<(i64, Content)>,
    /// The high watermark is a statement about the end of the log. A leader that cannot prove that it still leads may
    /// serve what it knows to be committed; then its high watermark says nothing of what others may have added.
    pub tells_end: bool,
    /// It went on until it had reached the high watermark.
    pub is_complete: bool,
    /// It read the whole partition after everything had healed.
    pub is_final: bool,
}

/// An answer to ListOffsets(latest).
#[derive(Debug, Clone)]
pub struct End {
    /// Which broker answered, in a cluster.
    pub broker: Option<i32>,
    /// Of which partition.
    pub partition: Partition,
    /// When it was asked.
    pub began: u64,
    /// When it answered.
    pub ended: u64,
    /// What it said.
    pub offset: i64,
}

/// A topic's name, and whether it is gone.
#[derive(Debug, Clone)]
pub struct TopicLife {
    /// Its name, which other lives may have too.
    pub name: String,
    /// Somebody began to delete it.
    pub deleted: bool,
}

/// What a group's member was given.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Which group.
    pub group: String,
    /// Which generation.
    pub generation: i32,
    /// To whom.
    pub member: String,
    /// What.
    pub partitions: Vec<Partition>,
    /// When it asked to join.
    pub began: u64,
    /// When it knew its generation.
    pub joined: u64,
}

/// An OffsetCommit of one partition.
#[derive(Debug, Clone)]
pub struct OffsetCommit {
    /// Which group.
    pub group: String,
    /// Under which generation.
    pub generation: i32,
    /// By whom.
    pub member: String,
    /// Of which partition.
    pub partition: Partition,
    /// What.
    pub offset: i64,
    /// When it was sent.
    pub began: u64,
    /// When its fate was known.
    pub ended: Option<u64>,
    /// What is known: acknowledged, refused for good, or nothing.
    pub outcome: CommitOutcome,
}

/// What a member may conclude from the answer to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It stands.
    Acknowledged,
    /// It did not happen and never will.
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// An answer to OffsetFetch of one partition.
#[derive(Debug, Clone)]
pub struct OffsetRead {
    /// Which group.
    pub group: String,
    /// Of which partition.
    pub partition: Partition,
    /// When it was asked.
    pub began: u64,
    /// When it answered.
    pub ended: u64,
    /// The committed offset; `None`: there is none.
    pub offset: Option<i64>,
}

/// How long something took to succeed after everything had healed.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// What.
    pub what: String,
    /// How long; `None`: it never did.
    pub took: Option<Duration>,
}

/// An answer that breaks an invariant by itself.
#[derive(Debug, Clone)]
pub struct Anomaly {
    /// Which.
    pub invariant: &'static str,
    /// What was answered.
    pub what: String,
}

/// All that happened.
#[derive(Debug, Default, Clone)]
pub struct History {
    /// In no particular order.
    pub sends: Vec<Send>,
    /// In no particular order.
    pub reads: Vec<Read>,
    /// In no particular order.
    pub ends: Vec<End>,
    /// Topics by id; those that are not here are alive and have names of their own.
    pub topics: BTreeMap<Uuid, TopicLife>,
    /// In no particular order.
    pub assignments: Vec<Assignment>,
    /// In no particular order.
    pub offset_commits: Vec<OffsetCommit>,
    /// In no particular order.
    pub offset_reads: Vec<OffsetRead>,
    /// In no particular order.
    pub recoveries: Vec<Recovery>,
    /// In no particular order.
    pub anomalies: Vec<Anomaly>,
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

    /// Adds an answer to ListOffsets(latest).
    pub fn end(&self, end: End) {
        self.history.lock().ends.push(end);
    }

    /// A topic was created. An id that a topic has had already is none for another (I23).
    pub fn created(&self, id: Uuid, name: &str) {
        let life = TopicLife {
            name: name.to_owned(),
            deleted: false,
        };
        let before = self.history.lock().topics.insert(id, life);
        if before.is_some() {
            self.anomaly(
                "I23",
                format!("topic {name} is created with the id {id} again"),
            );
        }
    }

    /// Whether somebody has begun to delete the topic.
    pub fn is_deleted(&self, id: Uuid) -> bool {
        let history = self.history.lock();
        history.topics.get(&id).is_some_and(|life| life.deleted)
    }

    /// Somebody begins to delete a topic: from now on nothing that was sent to it need be there.
    pub fn deleting(&self, id: Uuid) {
        if let Some(life) = self.history.lock().topics.get_mut(&id) {
            life.deleted = true;
        }
    }

    /// Adds a group's assignment.
    pub fn assigned(&self, assignment: Assignment) {
        self.history.lock().assignments.push(assignment);
    }

    /// Adds an OffsetCommit whose fate is known or never will be.
    pub fn committed(&self, commit: OffsetCommit) {
        self.history.lock().offset_commits.push(commit);
    }

    /// Adds an answer to OffsetFetch.
    pub fn offset_read(&self, read: OffsetRead) {
        self.history.lock().offset_reads.push(read);
    }

    /// Adds what succeeded, or did not, after everything had healed.
    pub fn recovered(&self, what: impl Into<String>, took: Option<Duration>) {
        let what = what.into();
        let recovery = Recovery { what, took };
        self.history.lock().recoveries.push(recovery);
    }

    /// Adds an answer that breaks an invariant by itself.
    pub fn anomaly(&self, invariant: &'static str, what: String) {
        let anomaly = Anomaly { invariant, what };
        self.history.lock().anomalies.push(anomaly);
    }

    /// What happened so far.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    /// The same, without keeping it.
    pub fn take(&self) -> History {
        std::mem::take(&mut self.history.lock())
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

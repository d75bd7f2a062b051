//! What the write path needs from its neighbours, as narrow as it can be, so that the pipeline runs
//! over in-memory doubles with faults in tests and over the real things in a broker.

use std::sync::Arc;

use alluvium_cache::tail::SpilledBatch;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::model::CommitRecord;
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::record_batch::StoredBatch;
use alluvium_segment::segment_object::EncodedSegment;
use futures::future::BoxFuture;

use crate::partition::WalDone;

/// What a write-ahead log can do at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalState {
    /// It takes batches.
    Accepting,
    /// The disk is full: nothing new is taken until space comes back. Nothing was lost.
    Full,
    /// A write or sync failed. It takes nothing for the rest of the process's life: what the failed
    /// sync covered is unknown, and asking again would be answered wrongly.
    Failed,
}

/// One batch in the write-ahead log.
pub trait WalCopy: SpilledBatch {
    /// The log need not keep the batch any more. A copy that is dropped without this stays on disk
    /// for the next start: an ending process must not lose what it has acknowledged.
    fn release(&self);
}

/// The write-ahead log of this broker.
pub trait WalSink: Send + Sync {
    /// Queues a batch; never blocks. The order of calls is the order in the file. `done` is told once
    /// the batch is synced, or that it cannot be. The answer reads the batch back after that.
    fn append(&self, tp: TopicPartition, batch: &StoredBatch, done: WalDone) -> Arc<dyn WalCopy>;

    /// Cheap: asked before every batch of class `local`.
    fn state(&self) -> WalState;

    /// Whether so many bytes wait for their upload that producers must be slowed down.
    fn is_pressed(&self) -> bool;

    /// Bytes on disk that wait for their upload.
    fn bytes(&self) -> u64;
}

/// Why a commit did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitFailure {
    /// The broker's session is gone (F1, F2). Nothing can be committed under it any more.
    #[error("the broker's session is gone")]
    Fenced,
    /// The metadata store did not answer, or not clearly. The same commit is to be tried again: it
    /// looks up what became of the attempt before (F4).
    #[error("metadata store: {0}")]
    Unavailable(String),
}

/// The commit log of this broker's session.
pub trait CommitSink: Send + Sync {
    /// Commits `records` under `first_sequence` and the sequences that follow, all or none. Repeating
    /// a commit with the same arguments is harmless.
    fn commit(
        &self,
        first_sequence: u64,
        records: Vec<CommitRecord>,
    ) -> BoxFuture<'_, Result<(), CommitFailure>>;
}

/// Takes segments as they are written, so that reading them soon after costs no GET.
pub trait SegmentSink: Send + Sync {
    /// The object exists; it may not be committed yet. Must not block.
    fn insert(&self, object_key: &ObjectKey, segment: &EncodedSegment);
}

/// This broker's session with the metadata store.
pub trait SessionGuard: Send + Sync {
    /// Whether the session is provably alive now, by a monotonic deadline shorter than the lease (F3).
    /// Cheap: asked before every acknowledgement.
    fn is_alive(&self) -> bool;

    /// Resolves when the session is lost for good.
    fn lost(&self) -> BoxFuture<'static, ()>;

    /// The broker.
    fn broker_id(&self) -> BrokerId;

    /// Its epoch: every object and commit of this session carries it.
    fn broker_epoch(&self) -> BrokerEpoch;
}

//! A store in one file of a local folder, over redb: the metadata of a single server.
//!
//! Flow: a command waits in a bounded queue; one thread takes all that wait, runs them in one redb
//! transaction, syncs once (two-phase: twice), and only then answers and lets watches see them. Readers use
//! redb's snapshots of what is durable and never wait for writers.
//!
//! Files in the folder: `metadata.redb`; `metadata.lock`, locked while the store is open; `metadata.redb.new`
//! only while a store is made for the first time.
//!
//! Tables (all bytes to bytes, big-endian, layouts in `codec.rs`): `kv` key -> record; `by_revision`
//! revision, index -> event with what it replaced; `lease` id -> time to live; `attached` lease, key ->
//! nothing; `meta` name -> format, cluster, counters. Every value carries a version and a checksum of its own,
//! because redb verifies its checksums only when it repairs.
//!
//! Rules for redb: two-phase commit always, no savepoints, no renamed tables, nothing less than immediate
//! durability; it may panic on a damaged file, so opening and committing catch that. A failed write or sync is
//! never repeated on the open file: the store stops, and opening it again shows what became durable.
//!
//! Leases end when the store is opened. Whoever held one lived in the process that had the store open
//! and is gone; nobody can keep one alive across a restart, and no safety rests on a lease (F1), so waiting
//! for the rest of its time would only keep a restarted server from serving.

mod codec;
mod committer;
mod core;
mod error;
mod open;
mod tables;

use std::fs::File;
use std::path::Path;

use async_trait::async_trait;
use redb::StorageBackend;
use tokio::sync::watch;

use self::committer::Committer;
use self::core::Core;
use super::engine::{Command, EventsPage, EventsRequest, Reply};
use super::error::StoreError;
use super::local::{Backing, LocalStore};
use super::range::{RangeRequest, RangeResponse};
use super::types::Revision;
pub use error::OpenError;

/// A store in a local folder. Must be used inside a tokio runtime, which times its leases. Dropping the
/// last handle waits for the commit in progress and closes the file.
pub type EmbeddedStore = LocalStore<EmbeddedBacking>;

/// How an [`EmbeddedStore`] runs.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The cluster whose metadata this is: recorded in a new store, compared with an old one.
    pub cluster: String,
    /// Memory for redb's pages, in bytes. More saves reads from the file, which the system caches anyway.
    pub cache_bytes: usize,
    /// Events kept for watches and reads of the past; older revisions are compacted with each commit.
    pub history_events_max: u64,
    /// Bytes of events kept likewise.
    pub history_bytes_max: u64,
    /// Who runs commits.
    pub commit_by: CommitBy,
}

/// Who runs an [`EmbeddedStore`]'s commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitBy {
    /// A thread of its own, many transactions to a commit: for real disks.
    Thread,
    /// The caller, one transaction to a commit, without any thread: for simulations, whose time
    /// would not stand still while another thread works.
    Caller,
}

impl EmbeddedOptions {
    /// The defaults, for a cluster of this name.
    #[must_use]
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            cache_bytes: 4 * 1024 * 1024,
            history_events_max: super::HISTORY_EVENTS_MAX,
            history_bytes_max: super::HISTORY_BYTES_MAX,
            commit_by: CommitBy::Thread,
        }
    }
}

impl EmbeddedStore {
    /// Opens the store in `folder`, or makes one. Blocks for a few milliseconds, longer after a crash, when
    /// redb reads its whole file to repair it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let (core, lock) = open::folder(folder, options)?;
        Self::start(core, Some(lock), options)
    }

    /// Opens the store that a disk of the caller's own holds, or makes one there.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with_backend(
        disk: impl StorageBackend,
        options: &EmbeddedOptions,
    ) -> Result<Self, OpenError> {
        Self::start(open::backend(disk, options)?, None, options)
    }

    fn start(core: Core, lock: Option<File>, options: &EmbeddedOptions) -> Result<Self, OpenError> {
        let committer = Committer::start(core, options.commit_by)?;
        Ok(Self::over(EmbeddedBacking {
            committer,
            _lock: lock,
        }))
    }
}

/// The medium of [`EmbeddedStore`].
#[derive(Debug)]
pub struct EmbeddedBacking {
    committer: Committer,
    /// Released after the file is closed: fields are dropped in order.
    _lock: Option<File>,
}

#[async_trait]
#[expect(private_interfaces, reason = "the trait is sealed")]
impl Backing for EmbeddedBacking {
    async fn submit(&self, command: Command) -> Result<Reply, StoreError> {
        self.committer.submit(command).await
    }

    /// Reads on the caller's thread: an answer is bounded, and its pages are in one cache or the other.
    fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        self.committer.core().range(request)
    }

    fn events(&self, request: &EventsRequest) -> Result<EventsPage, StoreError> {
        self.committer.core().events(request)
    }

    fn newest(&self) -> watch::Receiver<Revision> {
        self.committer.core().newest()
    }
}

#[cfg(test)]
mod crash_disk;
#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;

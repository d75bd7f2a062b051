//! The `MetadataStore` seam: ordered keys with the contract of etcd v3.
//!
//! Nouns: a **key** is a string of bytes; a **revision** is the store's one monotone number, moved by
//! every transaction that writes; a **transaction** is a list of comparisons and the operations to run
//! when they hold, or do not; a **lease** keeps keys alive and deletes them when it ends; a **watch**
//! delivers what was written, in revision order, first from history, then live.
//!
//! Flow: everything that changes the store is one [`Txn`] (or a lease call), decided in one place and
//! applied as a whole or not at all. State is confirmed by reading; a watch is a hint (F6 of the design).
//!
//! Implementations: [`MemoryStore`] for tests and simulations, [`EmbeddedStore`] on a local disk for a single
//! server, [`EtcdStore`] in an etcd. Decorators: [`fault`] and [`metrics`]. All pass `conformance`, which is the
//! contract in executable form. What differs from etcd is listed on [`MetadataStore`].

#[cfg(any(test, feature = "conformance"))]
#[allow(
    clippy::unwrap_used,
    reason = "a test suite, compiled as a library so that other crates can run it"
)]
pub mod conformance;
pub mod embedded;
mod engine;
mod error;
pub mod etcd;
mod ext;
pub mod fault;
mod limits;
mod local;
mod memory;
pub mod metrics;
mod range;
mod txn;
mod types;
mod watch;

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub use alluvium_common::error::Outcome;
pub use embedded::{CommitBy, EmbeddedOptions, EmbeddedStore, OpenError};
pub use error::StoreError;
pub use etcd::{EtcdOpenError, EtcdOptions, EtcdStore, EtcdUrlError};
pub use ext::{
    Cas, Change, FAULT_ATTEMPTS_MAX, FAULT_PATIENCE, LOST_RACES_MAX, MetadataStoreExt, Updated,
};
pub use limits::*;
pub use local::LocalStore;
pub use memory::{MemoryBacking, MemoryStore};
pub use range::{KeyRange, RangeRequest, RangeResponse};
pub use txn::{Compare, Comparison, Op, OpResult, Target, Txn, TxnResponse};
pub use types::{Event, KeyValue, Lease, LeaseId, Revision, StoreSpace};
pub use watch::{Watch, WatchBatch, WatchError, WatchRequest, WatchSource};

/// An ordered, transactional, watched key-value store.
///
/// Promises, to be cited beside code that relies on them:
///
/// - **M1** Linearizable: a call that began after another was answered sees its effects, on every handle.
/// - **M2** A transaction is applied as a whole under one new revision, or not at all. One that changes
///   nothing leaves the revision as it was.
/// - **M3** An answered write survives a crash ([`MemoryStore`]: of nothing but its user).
/// - **M4** An error says whether the call certainly had no effect ([`Outcome::NotDone`]) or may have had
///   one ([`Outcome::Unknown`]). Unknown outcomes are looked up, never assumed (F4).
/// - **M5** A watch delivers every matching event of every revision from its start, in order, a revision
///   at a time, or ends with an error. It never skips silently.
/// - **M6** A lease is not a lock (F1): it may outlive its holder's belief or end before it. Only comparisons
///   in a transaction fence.
///
/// Differences from etcd v3, all on the side of what a caller must expect from both: times to live have
/// millisecond resolution where the store can (etcd rounds up to seconds); a range response may be
/// shorter than its limit, with `more` set; a range does not count what it leaves out.
///
/// Dropping a returned future before it is ready leaves the outcome unknown.
#[async_trait]
pub trait MetadataStore: Send + Sync + Debug {
    /// Reads keys in order, at the newest or at a given revision.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::FutureRevision`], or unavailability.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError>;

    /// Compares and then runs one of two lists of operations, atomically. Comparisons that do not hold are
    /// a result (`succeeded == false`), not an error.
    ///
    /// # Errors
    /// A limit or rule of [`Txn`] broken, [`StoreError::LeaseNotFound`], or unavailability.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError>;

    /// Watches a range from a revision on.
    ///
    /// # Errors
    /// Unavailability. A start revision that was compacted is reported by the watch itself.
    async fn watch(&self, request: WatchRequest) -> Result<Watch, StoreError>;

    /// Grants a lease of at least `ttl` (see [`LEASE_TTL_MIN`], [`LEASE_TTL_MAX`]).
    ///
    /// # Errors
    /// [`StoreError::LeaseTtlOutOfRange`], or unavailability.
    async fn lease_grant(&self, ttl: Duration) -> Result<Lease, StoreError>;

    /// Restarts the lease's time to live and returns it.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`] when it expired or was revoked, or unavailability.
    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError>;

    /// Ends a lease: its keys are deleted as one revision. Returns the store's revision afterwards.
    ///
    /// # Errors
    /// [`StoreError::LeaseNotFound`], or unavailability.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<Revision, StoreError>;

    /// Forgets history before `revision`: reads and watches must start there or later. The current
    /// state of every key stays.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] when it is forgotten already, [`StoreError::FutureRevision`], or unavailability.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// How much space the store takes. `None`: it has no bound of its own, or does not tell.
    ///
    /// # Errors
    /// Unavailability.
    async fn space(&self) -> Result<Option<StoreSpace>, StoreError> {
        Ok(None)
    }
}

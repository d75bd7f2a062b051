//! The contract of [`MetadataStore`] in executable form: every implementation runs all of it.
//!
//! A case takes a harness, makes the fresh stores it needs, and panics where the store breaks its word. Cases
//! wait on conditions, never for a while, so they are as fast as the store. With a store that computes in
//! its caller's task they also run under paused time.

mod concurrency;
mod history;
mod leases;
mod limits;
mod ranges;
mod transactions;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{MetadataStore, MetadataStoreExt, Revision, StoreError, Watch, WatchBatch};

/// Makes stores for the suite.
#[async_trait]
pub trait Harness: Send + Sync {
    /// An empty store, apart from all others.
    async fn store(&self) -> Arc<dyn MetadataStore>;

    /// The shortest lease that this store can keep alive reliably: real time is spent on it.
    fn ttl(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// Runs everything. Panics at the first broken promise.
pub async fn run(harness: &impl Harness) {
    transactions::run(harness).await;
    ranges::run(harness).await;
    limits::run(harness).await;
    history::run(harness).await;
    watches::run(harness).await;
    leases::run(harness).await;
    concurrency::run(harness).await;
}

/// Puts a key and returns the revision.
async fn put(store: &dyn MetadataStore, key: &'static str, value: &'static str) -> Revision {
    store.put(key, value).await.expect("put")
}

/// The keys of a listing as text.
fn keys(kvs: &[super::KeyValue]) -> Vec<String> {
    kvs.iter()
        .map(|kv| String::from_utf8_lossy(&kv.key).into_owned())
        .collect()
}

/// The store's revision.
async fn revision(store: &dyn MetadataStore) -> Revision {
    let nothing = super::RangeRequest::new(super::KeyRange::key("-"));
    store.range(nothing).await.expect("range").revision
}

/// The next batch of a watch, which must come.
async fn next(watch: &mut Watch) -> WatchBatch {
    /// Far more than any store needs; a watch that delivers nothing fails here instead of hanging.
    const PATIENCE: Duration = Duration::from_secs(60);
    tokio::time::timeout(PATIENCE, watch.next())
        .await
        .expect("a watch must deliver what was written")
        .expect("a watch must not end")
}

/// Asserts an error without needing the success to be comparable.
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreError {
    result.expect_err("this must be refused")
}

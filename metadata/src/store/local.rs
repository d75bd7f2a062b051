//! A store inside this process: the engine over some medium, with leases timed and watches served here.

mod backing;
mod lease_clock;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use backing::Backing;
use lease_clock::LeaseClock;
use watch::LocalWatch;

use super::MetadataStore;
use super::engine::{Command, Reply};
use super::error::StoreError;
use super::limits::{LEASE_TTL_MAX, LEASE_TTL_MIN};
use super::range::{RangeRequest, RangeResponse};
use super::txn::{Txn, TxnResponse};
use super::types::{Lease, LeaseId, Revision};
use super::watch::{Watch, WatchRequest};

/// A [`MetadataStore`] in this process; see [`super::MemoryStore`].
#[derive(Debug)]
pub struct LocalStore<B: Backing> {
    backing: Arc<B>,
    leases: Arc<LeaseClock>,
}

impl<B: Backing> LocalStore<B> {
    pub(super) fn over(backing: B) -> Self {
        Self {
            backing: Arc::new(backing),
            leases: Arc::new(LeaseClock::default()),
        }
    }
}

impl<B: Backing> Drop for LocalStore<B> {
    fn drop(&mut self) {
        self.leases.stop();
    }
}

#[async_trait]
impl<B: Backing> MetadataStore for LocalStore<B> {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.backing.range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        txn.check()?;
        match self.backing.submit(Command::Txn(txn)).await? {
            Reply::Txn(response) => Ok(response),
            other => unreachable!("a transaction is answered by its response, not {other:?}"),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, StoreError> {
        Ok(Watch::new(LocalWatch::new(&self.backing, request)))
    }

    /// Runs as a task, so that a lease whose caller gave up waiting is timed, and so ends, all the same.
    async fn lease_grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        if !(LEASE_TTL_MIN..=LEASE_TTL_MAX).contains(&ttl) {
            return Err(StoreError::LeaseTtlOutOfRange { ttl });
        }
        self.leases.start(&self.backing);
        let (backing, leases) = (self.backing.clone(), self.leases.clone());
        let granted = tokio::spawn(async move {
            match backing.submit(Command::Grant { ttl }).await? {
                Reply::Granted(id) => {
                    leases.insert(id, ttl);
                    Ok(Lease { id, ttl })
                }
                other => unreachable!("a grant is answered by a lease, not {other:?}"),
            }
        });
        granted
            .await
            .unwrap_or_else(|error| Err(backing::task_lost(&error)))
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.leases
            .keep_alive(lease)
            .ok_or(StoreError::LeaseNotFound { lease })
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<Revision, StoreError> {
        if !self.leases.remove(lease) {
            return Err(StoreError::LeaseNotFound { lease });
        }
        // A task, for once the lease is no longer timed, only the revocation ends it.
        let backing = self.backing.clone();
        let revoked = tokio::spawn(async move {
            match backing.submit(Command::Revoke { lease }).await? {
                Reply::Revoked(revision) => Ok(revision),
                other => unreachable!("a revocation is answered by a revision, not {other:?}"),
            }
        });
        revoked
            .await
            .unwrap_or_else(|error| Err(backing::task_lost(&error)))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.backing
            .submit(Command::Compact { revision })
            .await
            .map(|_| ())
    }
}

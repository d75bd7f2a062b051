//! A store in an etcd cluster (v3 API; 3.4 or newer, best 3.4.34, 3.5.16 or newer).
//!
//! ```text
//! EtcdStore   the seam: rules of a transaction, then one call, then what its failure means (this file)
//!   range       pages of bounded bytes
//!   watch       a stream each, opened again when it breaks; batches joins pieces into revisions
//!   caller      deadline, endpoints, token, repetition
//!     auth        the token
//!     endpoints   the members and their channels
//!     error       what a failed attempt means
//!     wire        the calls themselves; proto has their messages
//!   namespace   keys below a prefix; convert has everything else that is written differently there
//! ```
//!
//! Beyond what the seam says: times to live are rounded up to seconds, and to at least what etcd allows (1.5 times its
//! election time-out). [`StoreError::TooManyDeletes`] is checked by a count before the transaction, for either of its
//! lists, so keys that are put meanwhile may be deleted beyond the limit. A range inside a transaction is cut to the limits of
//! an answer, but etcd sends all of its keys' values up to [`RANGE_KEYS_MAX`](super::RANGE_KEYS_MAX) of them.

mod auth;
mod batches;
mod caller;
mod convert;
mod endpoints;
mod error;
mod namespace;
mod options;
mod proto;
mod range;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::error::Outcome;
use async_trait::async_trait;
use tracing::info;

use super::MetadataStore;
use super::error::StoreError;
use super::limits::{DELETE_KEYS_MAX, LEASE_TTL_MAX, LEASE_TTL_MIN};
use super::range::{KeyRange, RangeRequest, RangeResponse};
use super::txn::{Op, Txn, TxnResponse};
use super::types::{Lease, LeaseId, Revision, StoreSpace};
use super::watch::{Watch, WatchRequest};
use caller::{Caller, Repeat};
use convert::{signed, unsigned};
pub use endpoints::EtcdOpenError;
use error::{Class, Failure};
use namespace::{Namespace, Span};
pub use options::{
    ATTEMPT_TIMEOUT, CALL_TIMEOUT, CONNECT_TIMEOUT, Credentials, ETCD_SCHEME, EtcdOptions,
    EtcdUrlError, TlsOptions,
};
use range::PageSize;
use watch::EtcdWatch;

/// Reads that chase a revision which was the future a moment ago.
const FUTURE_READS_MAX: usize = 3;

/// A [`MetadataStore`] in etcd. Cheap to clone: clones share connections and token.
#[derive(Debug, Clone)]
pub struct EtcdStore {
    caller: Arc<Caller>,
    space: Namespace,
    page_size: Arc<PageSize>,
    patience: Duration,
}

impl EtcdStore {
    /// Opens the store. etcd must answer: what keeps it from that is told now, not by the first call.
    ///
    /// # Errors
    /// See [`EtcdOpenError`].
    pub async fn open(options: &EtcdOptions) -> Result<Self, EtcdOpenError> {
        let store = Self {
            caller: Arc::new(Caller::new(options).await?),
            space: Namespace::new(options.prefix.clone()),
            page_size: Arc::default(),
            patience: options.attempt_timeout,
        };
        let status = store.status().await;
        let status = status.map_err(|failure| EtcdOpenError::Unusable {
            endpoints: options.endpoints.join(","),
            source: failure.not_done().into_error(),
        })?;
        info!(version = status.version, endpoints = ?options.endpoints, "etcd answers");
        Ok(store)
    }

    async fn status(&self) -> Result<proto::StatusResponse, Failure> {
        self.caller.call(Repeat::Freely, |wire| wire.status()).await
    }

    /// What etcd means by "compacted": it names no revision. `otherwise` is the least that it can mean.
    async fn compacted(
        &self,
        range: &KeyRange,
        requested: Revision,
        otherwise: Revision,
    ) -> StoreError {
        let told = watch::compacted(&self.caller, &self.space, range, self.patience).await;
        StoreError::Compacted {
            requested,
            compacted: told.unwrap_or(otherwise),
        }
    }

    /// What etcd means by "a future revision", unless that has come to pass.
    async fn future(
        &self,
        range: &KeyRange,
        requested: Revision,
    ) -> Result<Option<StoreError>, StoreError> {
        let newest = watch::newest(&self.caller, &self.space, range).await?;
        Ok((newest < requested).then_some(StoreError::FutureRevision { requested, newest }))
    }

    /// Why a transaction failed.
    async fn txn_error(&self, txn: &Txn, failure: Failure) -> StoreError {
        let range = convert::any_range(txn);
        match failure.class {
            Class::LeaseNotFound => match convert::lease_of(txn) {
                Some(lease) => StoreError::LeaseNotFound { lease },
                None => failure.into_error(),
            },
            Class::Compacted => match convert::revisions_of(txn).min() {
                Some(requested) => self.compacted(&range, requested, requested.next()).await,
                None => failure.into_error(),
            },
            Class::FutureRevision => match convert::revisions_of(txn).max() {
                Some(requested) => match self.future(&range, requested).await {
                    Ok(Some(error)) | Err(error) => error,
                    Ok(None) => failure.into_error(),
                },
                None => failure.into_error(),
            },
            _ => failure.into_error(),
        }
    }

    /// [`DELETE_KEYS_MAX`] is no limit of etcd's.
    async fn check_deletes(&self, ops: &[Op]) -> Result<(), StoreError> {
        let mut deletes = 0;
        for op in ops {
            let Op::Delete { range } = op else { continue };
            deletes += match self.space.span(range) {
                Span::Keys { range_end, .. } if range_end.is_empty() => 1,
                _ => range::count(&self.caller, &self.space, range)
                    .await
                    .map_err(not_begun)?,
            };
            if deletes > DELETE_KEYS_MAX as u64 {
                return Err(StoreError::TooManyDeletes {
                    limit: DELETE_KEYS_MAX,
                });
            }
        }
        Ok(())
    }
}

/// Of a read, which has no effect to be unsure of.
fn not_begun(failure: Failure) -> StoreError {
    failure.not_done().into_error()
}

#[async_trait]
impl MetadataStore for EtcdStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        let requested = request.revision.unwrap_or(Revision::NONE);
        for _ in 0..FUTURE_READS_MAX {
            let read = range::read(&self.caller, &self.space, &self.page_size, &request).await;
            let failure = match read {
                Ok(page) => return Ok(page),
                Err(failure) => failure,
            };
            match failure.class {
                Class::Compacted => {
                    let (range, least) = (&request.range, requested.next());
                    return Err(self.compacted(range, requested, least).await);
                }
                Class::FutureRevision => {
                    if let Some(error) = self.future(&request.range, requested).await? {
                        return Err(error);
                    }
                }
                _ => return Err(not_begun(failure)),
            }
        }
        Err(StoreError::Unavailable {
            outcome: Outcome::NotDone,
            reason: format!("etcd calls revision {requested} the future, and yet has reached it"),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        txn.check()?;
        self.check_deletes(&txn.then_ops).await?;
        self.check_deletes(&txn.else_ops).await?;
        let reads_only = convert::reads_only(&txn);
        let repeat = if reads_only {
            Repeat::Freely
        } else {
            Repeat::WhenNotDone
        };
        let message = convert::txn(&self.space, &txn);
        match self
            .caller
            .call(repeat, |wire| wire.txn(message.clone()))
            .await
        {
            Ok(answer) => convert::txn_response(&self.space, &txn, answer),
            Err(failure) if reads_only => Err(self.txn_error(&txn, failure.not_done()).await),
            Err(failure) => Err(self.txn_error(&txn, failure).await),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, StoreError> {
        let (caller, space) = (Arc::clone(&self.caller), self.space.clone());
        Ok(Watch::new(EtcdWatch::start(caller, space, request).await?))
    }

    /// Repeated when its answer is lost: a lease that nobody knows of ends by itself and holds nothing.
    async fn lease_grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        if !(LEASE_TTL_MIN..=LEASE_TTL_MAX).contains(&ttl) {
            return Err(StoreError::LeaseTtlOutOfRange { ttl });
        }
        let ttl = convert::ttl_seconds(ttl);
        let answer = self
            .caller
            .call(Repeat::Freely, |wire| {
                wire.lease_grant(proto::LeaseGrantRequest { ttl })
            })
            .await
            .map_err(Failure::into_error)?;
        Ok(Lease {
            id: LeaseId(unsigned(answer.id)),
            ttl: Duration::from_secs(unsigned(answer.ttl)),
        })
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        let id = signed(lease.0);
        let answer = self
            .caller
            .call(Repeat::Freely, |wire| {
                wire.lease_keep_alive(proto::LeaseKeepAliveRequest { id })
            })
            .await;
        match answer {
            Ok(answer) if answer.ttl > 0 => Ok(Duration::from_secs(unsigned(answer.ttl))),
            // etcd answers for a lease that is gone with no time left.
            Ok(_) => Err(StoreError::LeaseNotFound { lease }),
            Err(failure) if failure.class == Class::LeaseNotFound => {
                Err(StoreError::LeaseNotFound { lease })
            }
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<Revision, StoreError> {
        let id = signed(lease.0);
        let answer = self
            .caller
            .call(Repeat::WhenNotDone, |wire| {
                wire.lease_revoke(proto::LeaseRevokeRequest { id })
            })
            .await;
        match answer {
            Ok(answer) => Ok(proto::revision(&answer.header)),
            Err(failure) if failure.class == Class::LeaseNotFound => {
                Err(StoreError::LeaseNotFound { lease })
            }
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let message = || proto::CompactionRequest {
            revision: signed(revision.0),
        };
        let failure = match self
            .caller
            .call(Repeat::WhenNotDone, |wire| wire.compact(message()))
            .await
        {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        match failure.class {
            Class::Compacted => Err(self.compacted(&KeyRange::all(), revision, revision).await),
            Class::FutureRevision => {
                let status = self.status().await.map_err(not_begun)?;
                Err(StoreError::FutureRevision {
                    requested: revision,
                    newest: proto::revision(&status.header),
                })
            }
            _ => Err(failure.into_error()),
        }
    }

    /// Of the member that answers: all have about the same.
    async fn space(&self) -> Result<Option<StoreSpace>, StoreError> {
        let status = self.status().await.map_err(not_begun)?;
        Ok(Some(convert::space(&status)))
    }
}

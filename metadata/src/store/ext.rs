//! Conveniences over the seam, the same for every store.

use std::time::Duration;

use alluvium_common::error::{ErrorKind, Outcome};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use super::MetadataStore;
use super::error::StoreError;
use super::range::{KeyRange, RangeRequest};
use super::txn::{Compare, Op, Txn, TxnResponse};
use super::types::{KeyValue, LeaseId, Revision};

/// Attempts after faults that certainly changed nothing: a few seconds of patience, then the caller decides.
pub const FAULT_ATTEMPTS_MAX: u32 = 100;

/// After this time no further attempt begins. A store over a network is patient itself, so that a hundred of its
/// attempts would take minutes.
pub const FAULT_PATIENCE: Duration = Duration::from_secs(5);

/// Lost races of one [`MetadataStoreExt::update`]. Every one means that another writer won, so all together
/// make progress; a key that loses this often is contended by far too many.
pub const LOST_RACES_MAX: u32 = 1000;

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// The result of a compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cas {
    /// It was put, under this revision.
    Done(Revision),
    /// The key stood otherwise; this is how it stands.
    Conflict(Option<KeyValue>),
}

/// What [`MetadataStoreExt::update`] shall do with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Put this value.
    Put(Bytes),
    /// Delete the key.
    Delete,
    /// Leave it as it is.
    Keep,
}

/// What [`MetadataStoreExt::update`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated<T> {
    /// The store's revision with the change in it.
    pub revision: Revision,
    /// What the decision returned beside its change.
    pub output: T,
}

/// Conveniences over [`MetadataStore`].
#[async_trait]
pub trait MetadataStoreExt: MetadataStore {
    /// Reads one key.
    ///
    /// # Errors
    /// As [`MetadataStore::range`].
    async fn get(&self, key: impl Into<Bytes> + Send) -> Result<Option<KeyValue>, StoreError> {
        let response = self.range(RangeRequest::new(KeyRange::key(key))).await?;
        Ok(response.kvs.into_iter().next())
    }

    /// Puts a key without condition and returns the revision.
    ///
    /// # Errors
    /// As [`MetadataStore::txn`].
    async fn put(
        &self,
        key: impl Into<Bytes> + Send,
        value: impl Into<Bytes> + Send,
    ) -> Result<Revision, StoreError> {
        let txn = Txn::new().then(Op::put(key, value));
        Ok(self.txn(txn).await?.revision)
    }

    /// Deletes a key without condition; whether it existed.
    ///
    /// # Errors
    /// As [`MetadataStore::txn`].
    async fn delete(&self, key: impl Into<Bytes> + Send) -> Result<bool, StoreError> {
        let key = key.into();
        let txn = Txn::new()
            .when(Compare::exists(key.clone()))
            .then(Op::delete(key));
        Ok(self.txn(txn).await?.succeeded)
    }

    /// Creates a key unless it exists.
    ///
    /// # Errors
    /// As [`MetadataStore::txn`].
    async fn put_if_absent(
        &self,
        key: impl Into<Bytes> + Send,
        value: impl Into<Bytes> + Send,
        lease: Option<LeaseId>,
    ) -> Result<Cas, StoreError> {
        let put = Op::Put {
            key: key.into(),
            value: value.into(),
            lease,
        };
        self.compare_and_run(Revision::NONE, put).await
    }

    /// Puts a key if it was last put by `expected`, keeping it under `lease`.
    ///
    /// # Errors
    /// As [`MetadataStore::txn`].
    async fn compare_and_set(
        &self,
        key: impl Into<Bytes> + Send,
        expected: Revision,
        value: impl Into<Bytes> + Send,
        lease: Option<LeaseId>,
    ) -> Result<Cas, StoreError> {
        let put = Op::Put {
            key: key.into(),
            value: value.into(),
            lease,
        };
        self.compare_and_run(expected, put).await
    }

    /// Runs a write of one key if that was last put by `expected`; otherwise reads it.
    #[doc(hidden)]
    async fn compare_and_run(&self, expected: Revision, write: Op) -> Result<Cas, StoreError> {
        let key = match &write {
            Op::Put { key, .. } => key.clone(),
            Op::Delete { range } => range.from.clone(),
            Op::Range(request) => request.range.from.clone(),
        };
        let compare = Compare::unchanged_since(key.clone(), expected);
        let response = self
            .txn(Txn::new().when(compare).then(write).or_else(Op::get(key)))
            .await?;
        Ok(if response.succeeded {
            Cas::Done(response.revision)
        } else {
            Cas::Conflict(response.first_kv(0).cloned())
        })
    }

    /// Reads a whole range page by page, all as of one revision, which it returns: watch from behind it.
    /// When that revision is compacted underneath, it starts again.
    ///
    /// The caller must know that the range fits in memory; else page with [`MetadataStore::range`].
    ///
    /// # Errors
    /// As [`MetadataStore::range`].
    async fn list(&self, range: KeyRange) -> Result<(Revision, Vec<KeyValue>), StoreError> {
        let mut attempt = 0;
        loop {
            match self.list_once(range.clone()).await {
                Err(StoreError::Compacted { .. }) if attempt < FAULT_ATTEMPTS_MAX => attempt += 1,
                other => return other,
            }
        }
    }

    /// One attempt of [`Self::list`].
    #[doc(hidden)]
    async fn list_once(&self, range: KeyRange) -> Result<(Revision, Vec<KeyValue>), StoreError> {
        let first = self.range(RangeRequest::new(range.clone())).await?;
        let revision = first.revision;
        let mut rest = first.continuation(&range);
        let mut kvs = first.kvs;
        while let Some(left) = rest {
            let page = self
                .range(RangeRequest::new(left.clone()).at(revision))
                .await?;
            rest = page.continuation(&left);
            kvs.extend(page.kvs);
        }
        Ok((revision, kvs))
    }

    /// Reads a key, decides, writes if the key is still as it was read, and starts over if it is not:
    /// `decide` may run several times. It also starts over after faults that certainly changed nothing.
    ///
    /// An error of unknown outcome is returned: only the caller can tell its own change from another's (F4).
    /// The key keeps the lease it has.
    ///
    /// # Errors
    /// What `decide` returns, or a store error; `E: From<StoreError>` carries both.
    async fn update<T, E>(
        &self,
        key: impl Into<Bytes> + Send,
        mut decide: impl for<'a> FnMut(Option<&'a KeyValue>) -> Result<(Change, T), E> + Send,
    ) -> Result<Updated<T>, E>
    where
        T: Send,
        E: From<StoreError> + Send,
    {
        let key = key.into();
        let (mut patience, mut lost_races) = (Patience::new(), 0);
        loop {
            let read = retrying(&mut patience, || {
                self.range(RangeRequest::new(KeyRange::key(key.clone())))
            })
            .await?;
            let current = read.kvs.into_iter().next();
            let (change, output) = decide(current.as_ref())?;
            let write = match change {
                Change::Keep => {
                    return Ok(Updated {
                        revision: read.revision,
                        output,
                    });
                }
                Change::Put(value) => {
                    let lease = current.as_ref().and_then(|kv| kv.lease);
                    Op::Put {
                        key: key.clone(),
                        value,
                        lease,
                    }
                }
                Change::Delete => Op::delete(key.clone()),
            };
            let expected = current.map_or(Revision::NONE, |kv| kv.mod_revision);
            let compare = Compare::unchanged_since(key.clone(), expected);
            let txn = Txn::new().when(compare).then(write);
            let response = retrying(&mut patience, || self.txn(txn.clone())).await?;
            if response.succeeded {
                return Ok(Updated {
                    revision: response.revision,
                    output,
                });
            }
            lost_races += 1;
            if lost_races >= LOST_RACES_MAX {
                return Err(gave_up(lost_races).into());
            }
            // At once: the winner is done. Yielding lets others move where nothing ever waits.
            tokio::task::yield_now().await;
        }
    }

    /// Runs a transaction, again after faults that certainly changed nothing.
    ///
    /// # Errors
    /// As [`MetadataStore::txn`]; of unknown outcome at once, of retriable kind after [`FAULT_ATTEMPTS_MAX`] or [`FAULT_PATIENCE`].
    async fn txn_retrying(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        retrying(&mut Patience::new(), || self.txn(txn.clone())).await
    }

    /// Runs a transaction that may be applied twice without harm, again after every fault that may pass. When an
    /// earlier attempt was applied after all, this one's comparisons fail: the caller recognises its own
    /// values in what its `or_else` reads (F4).
    ///
    /// # Errors
    /// As [`MetadataStore::txn`], after [`FAULT_ATTEMPTS_MAX`] or [`FAULT_PATIENCE`]; of unknown outcome if any attempt was.
    async fn txn_repeatable(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        let (mut patience, mut unknown) = (Patience::new(), false);
        loop {
            let error = match self.txn(txn.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            unknown |= error.outcome() == Outcome::Unknown;
            let passing = error.kind() == ErrorKind::Retry;
            if !passing || patience.pause().await.is_err() {
                return Err(if unknown {
                    error.after_unknown()
                } else {
                    error
                });
            }
        }
    }
}

impl<S: MetadataStore + ?Sized> MetadataStoreExt for S {}

/// Repeats a call while it certainly had no effect and may have one later.
async fn retrying<T, F>(
    patience: &mut Patience,
    mut call: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match call().await {
            Err(error)
                if error.kind() == ErrorKind::Retry && error.outcome() == Outcome::NotDone =>
            {
                if patience.pause().await.is_err() {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

/// What is left of it: [`FAULT_ATTEMPTS_MAX`] and [`FAULT_PATIENCE`].
struct Patience {
    attempts: u32,
    began: Instant,
}

impl Patience {
    fn new() -> Self {
        Self {
            attempts: 0,
            began: Instant::now(),
        }
    }

    /// Counts an attempt and waits a little longer each time; fails when there were enough.
    async fn pause(&mut self) -> Result<(), StoreError> {
        self.attempts += 1;
        if self.attempts >= FAULT_ATTEMPTS_MAX || self.began.elapsed() >= FAULT_PATIENCE {
            return Err(gave_up(self.attempts));
        }
        let pause = Duration::from_millis(1 << (self.attempts / 4).min(6));
        tokio::time::sleep(pause.min(PAUSE_MAX)).await;
        Ok(())
    }
}

fn gave_up(attempts: u32) -> StoreError {
    let reason = format!("gave up after {attempts} attempts");
    StoreError::Unavailable {
        outcome: Outcome::NotDone,
        reason,
    }
}

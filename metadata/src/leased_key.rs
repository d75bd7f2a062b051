//! A key that one session holds at a time: who creates it has what it stands for, for as long as the key stands.
//!
//! The key is under the lease of the session, so that it ends with it, and the revision that created it, its **epoch**,
//! is compared by everything that its holder writes. Holding it is therefore only a reason to write, never a proof (F1).

use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use bytes::Bytes;

use crate::session::Session;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn,
};

/// Why it is not known who holds a key.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// The store did not do it, or it is unknown whether it did: take it again, which finds out (F4).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes and gives up keys on behalf of one session.
#[derive(Debug, Clone)]
pub struct KeyHolder {
    store: Arc<dyn MetadataStore>,
    session: Arc<Session>,
}

impl KeyHolder {
    /// On behalf of `session`.
    pub fn new(store: Arc<dyn MetadataStore>, session: Arc<Session>) -> Self {
        Self { store, session }
    }

    /// The broker on whose behalf.
    pub fn broker_id(&self) -> BrokerId {
        self.session.broker_id()
    }

    /// Takes `key` unless somebody else holds it. `value` names this broker and nothing that changes from one session
    /// of it to the next. Answers with the epoch of this session's hold, also of an earlier one that it did not learn
    /// of (F4); `None`: another broker holds it.
    ///
    /// # Errors
    /// The session is over, or the store failed.
    pub async fn take(&self, key: &Bytes, value: &Bytes) -> Result<Option<Revision>, HoldError> {
        match self.create(key, value).await? {
            Created::Ours(epoch) => Ok(Some(epoch)),
            Created::Another => Ok(None),
            Created::OwnPast(epoch) => {
                // That session is over: the key of its successor, ours, stands in its place. Without this others would
                // have to wait for its lease.
                self.give_up(key, epoch).await?;
                match self.create(key, value).await? {
                    Created::Ours(epoch) => Ok(Some(epoch)),
                    Created::Another | Created::OwnPast(_) => Ok(None),
                }
            }
        }
    }

    /// Deletes the key if it is of that epoch.
    ///
    /// # Errors
    /// The session is over, and so the hold will be, or the store failed.
    pub async fn give_up(&self, key: &Bytes, epoch: Revision) -> Result<(), HoldError> {
        let txn = self
            .fenced()
            .when(Compare::created_at(key.clone(), epoch))
            .then(Op::delete(key.clone()));
        let response = self.store.txn_repeatable(txn).await?;
        if response.succeeded {
            return Ok(());
        }
        // Else it is gone already: by our own hand, if a reply was lost (F4).
        self.check_session(response.first_kv(0))
    }

    async fn create(&self, key: &Bytes, value: &Bytes) -> Result<Created, HoldError> {
        let put = Op::put_leased(key.clone(), value.clone(), self.session.lease());
        let txn = self
            .fenced()
            .when(Compare::absent(key.clone()))
            .then(put)
            .or_else(Op::get(key.clone()));
        let response = self.store.txn_repeatable(txn).await?;
        if response.succeeded {
            return Ok(Created::Ours(response.revision));
        }
        self.check_session(response.first_kv(0))?;
        Ok(match response.first_kv(1) {
            // A broker id alone does not tell: our past sessions had it too.
            Some(stands) if stands.lease == Some(self.session.lease()) => {
                Created::Ours(stands.create_revision)
            }
            Some(stands) if stands.value == *value => Created::OwnPast(stands.create_revision),
            Some(_) => Created::Another,
            // It has gone between the attempts of this transaction; it will be tried again.
            None => Created::Another,
        })
    }

    /// A transaction with F1, and with a look at the session for when it fails.
    fn fenced(&self) -> Txn {
        let fence = self.session.fence();
        let key: Bytes = fence.key.clone();
        Txn::new().when(fence).or_else(Op::get(key))
    }

    fn check_session(&self, stands: Option<&KeyValue>) -> Result<(), HoldError> {
        if self.session.fence().holds(stands) {
            return Ok(());
        }
        self.session.fenced();
        Err(HoldError::Fenced)
    }
}

/// What stands where the key was to be created.
enum Created {
    /// The key of this session.
    Ours(Revision),
    /// The key of an earlier session of this broker.
    OwnPast(Revision),
    /// Another broker's.
    Another,
}

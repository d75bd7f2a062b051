//! The election of the controller: who creates its key is it, for as long as the key stands.
//!
//! The key is under the lease of the broker's session, so that it ends with the session, and the revision that created
//! it, the **controller epoch**, is compared by everything that the controller writes (F5). Being elected is therefore
//! only a reason to write, never a proof.

use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use bytes::Bytes;

use crate::keys::Keys;
use crate::model::ControllerRecord;
use crate::session::Session;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, Txn,
};
use crate::value::{self, ValueError};

/// Why it is not known who is elected.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// The session of this broker is over (F1).
    #[error("this broker's session is over")]
    Fenced,
    /// The controller's key holds something else.
    #[error("the controller's key is unreadable: {0}")]
    Unreadable(#[from] ValueError),
    /// The store did not do it, or it is unknown whether it did: campaign again, which finds out (F4).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One broker's part in elections.
#[derive(Debug)]
pub struct Election {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    session: Arc<Session>,
}

impl Election {
    /// On behalf of `session`.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys, session: Arc<Session>) -> Self {
        Self {
            store,
            keys,
            session,
        }
    }

    /// The broker that takes part.
    pub fn broker_id(&self) -> BrokerId {
        self.session.broker_id()
    }

    /// Becomes the controller unless somebody else is. Answers with the controller epoch of this session's election,
    /// also of an earlier one that it did not learn of (F4); `None`: another broker is elected.
    ///
    /// # Errors
    /// The session is over, or the store failed.
    pub async fn campaign(&self) -> Result<Option<Revision>, ElectionError> {
        match self.create().await? {
            Created::Ours(epoch) => Ok(Some(epoch)),
            Created::Another => Ok(None),
            Created::OwnPast(epoch) => {
                // That session is over: the key of its successor, ours, stands in its place. Without this the cluster
                // would have to wait for its lease.
                self.remove(epoch).await?;
                match self.create().await? {
                    Created::Ours(epoch) => Ok(Some(epoch)),
                    Created::Another | Created::OwnPast(_) => Ok(None),
                }
            }
        }
    }

    /// Gives up the election of that epoch, so that another is elected at once.
    ///
    /// # Errors
    /// The session is over, then so is the election, or the store failed.
    pub async fn resign(&self, epoch: Revision) -> Result<(), ElectionError> {
        self.remove(epoch).await
    }

    /// F5: the comparison that everything carries that is written by the controller of that epoch.
    pub fn guard(&self, epoch: Revision) -> Compare {
        Compare::created_at(self.keys.controller(), epoch)
    }

    async fn create(&self) -> Result<Created, ElectionError> {
        let key = self.keys.controller();
        let record = ControllerRecord {
            broker_id: self.session.broker_id(),
        };
        let put = Op::put_leased(key.clone(), value::encode(&record), self.session.lease());
        let txn = self
            .fenced()
            .when(Compare::absent(key.clone()))
            .then(put)
            .or_else(Op::get(key));
        let response = self.store.txn_repeatable(txn).await?;
        if response.succeeded {
            return Ok(Created::Ours(response.revision));
        }
        self.check_session(response.first_kv(0))?;
        match response.first_kv(1) {
            Some(stands) => self.judge(stands),
            // It has gone between the attempts of this transaction; there will be a next campaign.
            None => Ok(Created::Another),
        }
    }

    /// Whose the key is that stands there. A broker id alone does not tell: our past sessions had it too.
    fn judge(&self, stands: &KeyValue) -> Result<Created, ElectionError> {
        if stands.lease == Some(self.session.lease()) {
            return Ok(Created::Ours(stands.create_revision));
        }
        let record: ControllerRecord = value::decode(&stands.value)?;
        Ok(if record.broker_id == self.session.broker_id() {
            Created::OwnPast(stands.create_revision)
        } else {
            Created::Another
        })
    }

    /// Deletes the key if it is of that epoch.
    async fn remove(&self, epoch: Revision) -> Result<(), ElectionError> {
        let txn = self
            .fenced()
            .when(self.guard(epoch))
            .then(Op::delete(self.keys.controller()));
        let response = self.store.txn_repeatable(txn).await?;
        if response.succeeded {
            return Ok(());
        }
        // Else it is gone already: by our own hand, if a reply was lost (F4).
        self.check_session(response.first_kv(0))
    }

    /// A transaction with F1, and with a look at the session for when it fails.
    fn fenced(&self) -> Txn {
        let fence = self.session.fence();
        let key: Bytes = fence.key.clone();
        Txn::new().when(fence).or_else(Op::get(key))
    }

    fn check_session(&self, stands: Option<&KeyValue>) -> Result<(), ElectionError> {
        if self.session.fence().holds(stands) {
            return Ok(());
        }
        self.session.fenced();
        Err(ElectionError::Fenced)
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

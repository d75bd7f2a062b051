//! The election of the controller: who creates its key is it, for as long as the key stands.
//!
//! The revision that created it, the **controller epoch**, is compared by everything that the controller writes (F5).
//! Being elected is therefore only a reason to write, never a proof.

use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use bytes::Bytes;

use crate::keys::Keys;
use crate::leased_key::{HoldError, KeyHolder};
use crate::model::ControllerRecord;
use crate::session::Session;
use crate::store::{Compare, MetadataStore, Revision};
use crate::value;

/// One broker's part in elections.
#[derive(Debug)]
pub struct Election {
    holder: KeyHolder,
    key: Bytes,
    value: Bytes,
}

impl Election {
    /// On behalf of `session`.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys, session: Arc<Session>) -> Self {
        let record = ControllerRecord {
            broker_id: session.broker_id(),
        };
        Self {
            holder: KeyHolder::new(store, session),
            key: keys.controller(),
            value: value::encode(&record),
        }
    }

    /// The broker that takes part.
    pub fn broker_id(&self) -> BrokerId {
        self.holder.broker_id()
    }

    /// Becomes the controller unless somebody else is. Answers with the controller epoch of this session's election,
    /// also of an earlier one that it did not learn of (F4); `None`: another broker is elected.
    ///
    /// # Errors
    /// The session is over, or the store failed.
    pub async fn campaign(&self) -> Result<Option<Revision>, HoldError> {
        self.holder.take(&self.key, &self.value).await
    }

    /// Gives up the election of that epoch, so that another is elected at once.
    ///
    /// # Errors
    /// The session is over, then so is the election, or the store failed.
    pub async fn resign(&self, epoch: Revision) -> Result<(), HoldError> {
        self.holder.give_up(&self.key, epoch).await
    }

    /// F5: the comparison that everything carries that is written by the controller of that epoch.
    pub fn guard(&self, epoch: Revision) -> Compare {
        Compare::created_at(self.key.clone(), epoch)
    }
}

//! The one that writes below a folder, by putting the folder's writer key with everything it writes.
//!
//! A transaction compares the revision of the key that it changes, so it takes effect once at most, however often it
//! is asked for and however late a copy of it arrives. Whether one of unknown outcome took effect can be read from
//! the key (F4). Who puts the key anew, under a random name, ends the right of whoever wrote before.

use std::sync::Arc;

use alluvium_common::error::ErrorKind;
use alluvium_common::seeded_bug;
use bytes::Bytes;

use super::batch::BatchLimits;
use super::load::OpenError;
use super::ownership::Ownership;
use super::pauses::Pauses;
use crate::coordinator::stored::writer::WriterRecord;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, TXN_BYTES_MAX,
    TXN_OPERATIONS_MAX, Txn,
};

/// Bytes of a transaction that are not the batch: comparisons and the writer's own key.
const OVERHEAD_BYTES: usize = 16 * 1024;

/// What a transaction of an [`ExclusiveWriter`] takes.
pub(super) const BATCH_LIMITS: BatchLimits = BatchLimits {
    operations: TXN_OPERATIONS_MAX - 1,
    bytes: TXN_BYTES_MAX - OVERHEAD_BYTES,
};

#[derive(Debug)]
pub(super) struct ExclusiveWriter {
    store: Arc<dyn MetadataStore>,
    ownership: Arc<dyn Ownership>,
    key: Bytes,
    /// The last batch that took effect, and the revision it put the key at.
    last: WriterRecord,
    revision: Revision,
}

impl ExclusiveWriter {
    /// Puts the key, from which moment on a writer before this one writes nothing more. `name` is random.
    pub async fn take_over(
        store: Arc<dyn MetadataStore>,
        ownership: Arc<dyn Ownership>,
        key: Bytes,
        name: u128,
    ) -> Result<Self, OpenError> {
        let mut writer = Self {
            store,
            ownership,
            key,
            last: WriterRecord {
                coordinator: name,
                batch: 0,
            },
            revision: Revision::NONE,
        };
        let mut pauses = Pauses::bounded();
        loop {
            let failure = match writer.try_take_over().await {
                Ok(true) => return Ok(writer),
                Ok(false) => OpenError::NotOwner,
                Err(OpenError::Store(error)) if error.kind() == ErrorKind::Retry => error.into(),
                Err(error) => return Err(error),
            };
            if !writer.ownership.is_held() {
                return Err(OpenError::NotOwner);
            }
            if !pauses.further_attempt().await {
                return Err(failure);
            }
        }
    }

    /// False if somebody else put the key at the same time.
    async fn try_take_over(&mut self) -> Result<bool, OpenError> {
        let current = self.store.get(self.key.clone()).await?;
        if let Some(found) = self.own_record(current.as_ref(), self.last) {
            // An earlier attempt took effect, though the answer was lost.
            self.revision = found;
            return Ok(true);
        }
        self.revision = current.map_or(Revision::NONE, |kv| kv.mod_revision);
        let txn = self.txn(std::iter::empty(), self.last);
        let response = self.store.txn(txn).await?;
        if response.succeeded {
            self.revision = response.revision;
            return Ok(true);
        }
        let found = response.first_kv(0);
        let is_unchanged = found.map_or(Revision::NONE, |kv| kv.mod_revision) == self.revision;
        match is_unchanged {
            // So it was the ownership that did not hold, and that does not come back.
            true => Err(OpenError::NotOwner),
            false => Ok(false),
        }
    }

    /// Writes a batch, or finds it written by an earlier call whose answer was lost. False: somebody else writes by
    /// now, or the ownership ended. After an error, call it again with the same batch.
    pub async fn try_write(&mut self, ops: impl Iterator<Item = Op>) -> Result<bool, StoreError> {
        let next = WriterRecord {
            batch: self.last.batch + 1,
            ..self.last
        };
        // Also while ownership cannot be proved: the comparisons decide (F1), and it may come back.
        let response = self.store.txn(self.txn(ops, next)).await?;
        let revision = match response.succeeded {
            true => Some(response.revision),
            false => self.own_record(response.first_kv(0), next),
        };
        let Some(revision) = revision else {
            return Ok(false);
        };
        self.revision = revision;
        self.last = next;
        Ok(true)
    }

    /// Deletes the key unless it has changed; whether it is gone.
    pub async fn try_delete_key(&self) -> Result<bool, StoreError> {
        let mut txn = Txn::new().when(Compare::unchanged_since(self.key.clone(), self.revision));
        txn.compares.extend(self.ownership.compares());
        let txn = txn
            .then(Op::delete(self.key.clone()))
            .or_else(Op::get(self.key.clone()));
        let response = self.store.txn(txn).await?;
        Ok(response.succeeded || response.first_kv(0).is_none())
    }

    /// When the last batch took effect.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    fn txn(&self, ops: impl Iterator<Item = Op>, record: WriterRecord) -> Txn {
        let key = self.key.clone();
        let mut txn = Txn::new().when(Compare::unchanged_since(key.clone(), self.revision));
        txn.compares.extend(self.ownership.compares());
        if seeded_bug::is("two-coordinators") {
            txn.compares.clear();
        }
        txn.then_ops.extend(ops);
        txn.then(Op::put(key.clone(), record.encode()))
            .or_else(Op::get(key))
    }

    /// The revision of the key if it stands as `record` put it.
    fn own_record(&self, found: Option<&KeyValue>, record: WriterRecord) -> Option<Revision> {
        let found = found?;
        let is_own = WriterRecord::decode(&found.value) == Ok(record);
        is_own.then_some(found.mod_revision)
    }
}

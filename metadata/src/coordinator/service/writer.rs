//! The one that writes: batches of the queue as transactions, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alluvium_common::error::ErrorKind;
use tracing::{error, info, warn};

use super::Inner;
use super::batch::{Batch, BatchLimits, Batcher};
use super::load::OpenError;
use crate::coordinator::group::{GroupError, GroupId, WriteOutcome, WriteToken};
use crate::coordinator::keys::GroupKeys;
use crate::coordinator::stored::writer::WriterRecord;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, TXN_BYTES_MAX,
    TXN_OPERATIONS_MAX, Txn,
};

/// Bytes of a transaction that are not the batch: comparisons and the writer's own key.
const OVERHEAD_BYTES: usize = 16 * 1024;

/// Pause before a transaction is asked for again: doubled from the first to the last.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_secs(1);

/// Attempts to take the groups over before the start fails.
const TAKE_OVER_ATTEMPTS: u32 = 20;

pub(super) struct Writer {
    inner: Arc<Inner>,
    store: Arc<dyn MetadataStore>,
    keys: GroupKeys,
    batcher: Batcher,
    /// The last batch that took effect, and the revision it put the writer's key at.
    last: WriterRecord,
    revision: Revision,
}

/// Why a transaction did not take effect, for good.
enum Stop {
    /// Somebody else coordinates.
    Fenced,
    /// The store is of no more use.
    Store(StoreError),
}

impl Writer {
    /// Puts the writer's key, from which moment on a coordinator before this one writes nothing more.
    pub async fn take_over(
        inner: Arc<Inner>,
        store: Arc<dyn MetadataStore>,
        keys: GroupKeys,
    ) -> Result<Self, OpenError> {
        let limits = BatchLimits {
            operations: TXN_OPERATIONS_MAX - 1,
            bytes: TXN_BYTES_MAX - OVERHEAD_BYTES,
        };
        let last = WriterRecord {
            coordinator: inner.random.uuid().as_u128(),
            batch: 0,
        };
        let mut writer = Self {
            batcher: Batcher::new(keys.clone(), limits),
            inner,
            store,
            keys,
            last,
            revision: Revision::NONE,
        };
        let mut pause = PAUSE_FIRST;
        let mut failure = OpenError::NotOwner;
        for _ in 0..TAKE_OVER_ATTEMPTS {
            match writer.try_take_over().await {
                Ok(true) => return Ok(writer),
                Ok(false) if !writer.inner.ownership.is_held() => return Err(OpenError::NotOwner),
                Ok(false) => failure = OpenError::NotOwner,
                Err(error) if error.kind() == ErrorKind::Retry => failure = error.into(),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
        Err(failure)
    }

    async fn try_take_over(&mut self) -> Result<bool, StoreError> {
        let current = self.store.get(self.keys.writer()).await?;
        if let Some(found) = self.own_record(current.as_ref(), self.last) {
            // An earlier attempt took effect, though the answer was lost.
            self.revision = found;
            return Ok(true);
        }
        self.revision = current.map_or(Revision::NONE, |kv| kv.mod_revision);
        let response = self
            .store
            .txn(self.txn(&Batch::default(), self.last))
            .await?;
        if response.succeeded {
            self.revision = response.revision;
        }
        Ok(response.succeeded)
    }

    /// Writes until the coordinator stops.
    pub async fn run(mut self) {
        let inner = self.inner.clone();
        while !inner.queue.is_closed() {
            let batch = self.batcher.next_batch(|| inner.queue.pop());
            self.report(
                &batch.too_large,
                WriteOutcome::Failed(GroupError::StateTooLarge),
            );
            if batch.is_empty() && batch.ended.is_empty() {
                if batch.too_large.is_empty() {
                    inner.queue.filled().await;
                }
                continue;
            }
            match self.store_batch(&batch).await {
                Ok(()) => {
                    let count = batch.ended.len() as u64;
                    inner.stored_writes.fetch_add(count, Ordering::Relaxed);
                    self.report(&batch.ended, WriteOutcome::Applied);
                }
                Err(Stop::Fenced) => {
                    info!("another group coordinator has taken over");
                    return inner.stop(GroupError::NotCoordinator);
                }
                Err(Stop::Store(error)) => {
                    error!(%error, "the group coordinator stops, its store is of no more use");
                    return inner.stop(GroupError::CoordinatorNotAvailable);
                }
            }
        }
    }

    fn report(&self, writes: &[(GroupId, WriteToken)], outcome: WriteOutcome) {
        let inner = &self.inner;
        for write in writes {
            let shard = inner.shard(&write.0);
            shard.on_write(write, outcome, &inner.queue, &inner.config, inner.now());
        }
    }

    /// Asks until it is known that the batch took effect. Asking again is safe: the batch compares the
    /// revision that it changes.
    async fn store_batch(&mut self, batch: &Batch) -> Result<(), Stop> {
        let next = WriterRecord {
            batch: self.last.batch + 1,
            ..self.last
        };
        let mut pause = PAUSE_FIRST;
        loop {
            // Also while ownership cannot be proved: the comparisons decide (F1), and it may come back.
            match self.store.txn(self.txn(batch, next)).await {
                Ok(response) => {
                    let revision = match response.succeeded {
                        true => Some(response.revision),
                        false => self.own_record(response.first_kv(0), next),
                    };
                    self.revision = revision.ok_or(Stop::Fenced)?;
                    self.last = next;
                    self.inner.transactions.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Retry => {
                    warn!(%error, "groups cannot be stored, trying again");
                }
                Err(error) => return Err(Stop::Store(error)),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    fn txn(&self, batch: &Batch, record: WriterRecord) -> Txn {
        let key = self.keys.writer();
        let mut txn = Txn::new().when(Compare::unchanged_since(key.clone(), self.revision));
        txn.compares.extend(self.inner.ownership.compares());
        txn.then_ops.extend(batch.ops());
        txn.then(Op::put(key.clone(), record.encode()))
            .or_else(Op::get(key))
    }

    /// The revision of the writer's key if it stands as `record` put it.
    fn own_record(&self, found: Option<&KeyValue>, record: WriterRecord) -> Option<Revision> {
        let found = found?;
        let is_own = WriterRecord::decode(&found.value) == Ok(record);
        is_own.then_some(found.mod_revision)
    }
}

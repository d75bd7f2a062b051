//! The one that writes for a shard: batches of its queue as transactions, one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_common::error::ErrorKind;
use tracing::{error, info, warn};

use super::batch::{Batch, Batcher};
use super::exclusive::{BATCH_LIMITS, ExclusiveWriter};
use super::load::OpenError;
use super::pauses::Pauses;
use super::shard::Shard;
use crate::coordinator::group::{GroupError, GroupId, WriteOutcome, WriteToken};
use crate::store::{Revision, StoreError};

pub(super) struct Writer {
    shard: Arc<Shard>,
    batcher: Batcher,
    exclusive: ExclusiveWriter,
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
    pub async fn take_over(shard: Arc<Shard>) -> Result<Self, OpenError> {
        let exclusive = ExclusiveWriter::take_over(
            shard.host.store.clone(),
            shard.ownership.clone(),
            shard.keys.writer(),
            shard.coordinator,
        );
        Ok(Self {
            exclusive: exclusive.await?,
            batcher: Batcher::new(shard.keys.clone(), BATCH_LIMITS),
            shard,
        })
    }

    /// When the last batch took effect.
    pub fn revision(&self) -> Revision {
        self.exclusive.revision()
    }

    /// Writes until the shard stops.
    pub async fn run(mut self) {
        let shard = self.shard.clone();
        let queue = &shard.groups.queue;
        while !queue.is_closed() {
            let batch = self.batcher.next_batch(|| queue.pop());
            self.report(
                &batch.too_large,
                WriteOutcome::Failed(GroupError::StateTooLarge),
            );
            if batch.is_empty() && batch.ended.is_empty() {
                if batch.too_large.is_empty() {
                    queue.filled().await;
                }
                continue;
            }
            match self.store_batch(&batch).await {
                Ok(()) => {
                    let count = batch.ended.len() as u64;
                    shard.host.stored_writes.fetch_add(count, Ordering::Relaxed);
                    self.report(&batch.ended, WriteOutcome::Applied);
                }
                Err(Stop::Fenced) => {
                    info!(shard = %shard.id, "another group coordinator has taken over");
                    return shard.stop_by_itself(GroupError::NotCoordinator);
                }
                Err(Stop::Store(error)) => {
                    error!(shard = %shard.id, %error, "a group shard stops, its store is of no more use");
                    return shard.stop_by_itself(GroupError::CoordinatorNotAvailable);
                }
            }
        }
    }

    fn report(&self, writes: &[(GroupId, WriteToken)], outcome: WriteOutcome) {
        for write in writes {
            let now = self.shard.host.now();
            self.shard.groups.on_write(write, outcome, now);
        }
    }

    /// Asks until it is known that the batch took effect.
    async fn store_batch(&mut self, batch: &Batch) -> Result<(), Stop> {
        let mut pauses = Pauses::endless();
        loop {
            match self.exclusive.try_write(batch.ops()).await {
                Ok(true) => {
                    let transactions = &self.shard.host.transactions;
                    transactions.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Ok(false) => return Err(Stop::Fenced),
                Err(error) if error.kind() == ErrorKind::Retry => {
                    warn!(shard = %self.shard.id, %error, "groups cannot be stored, trying again");
                }
                Err(error) => return Err(Stop::Store(error)),
            }
            pauses.further_attempt().await;
        }
    }
}

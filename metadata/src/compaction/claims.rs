//! Who compacts which topics.

use std::collections::BTreeSet;
use std::sync::Arc;

use alluvium_common::epoch::BrokerId;
use bytes::Bytes;

use super::CompactionShard;
use crate::keys::Keys;
use crate::leased_key::{HoldError, KeyHolder};
use crate::model::ClaimRecord;
use crate::session::Session;
use crate::store::{Compare, MetadataStore, Revision};
use crate::value;

/// The shards that are `me`'s part when those in `compactors` divide them: as many for each as can be, and for most of
/// them the same when one comes or goes.
pub fn shards_of(me: BrokerId, compactors: &BTreeSet<BrokerId>) -> Vec<CompactionShard> {
    let mut taken = vec![0; compactors.len()];
    let compactors: Vec<_> = compactors.iter().copied().collect();
    let count = compactors.len().max(1);
    let fair = (super::COMPACTION_SHARDS as usize).div_ceil(count);
    let mut mine = Vec::new();
    for shard in CompactionShard::all() {
        // Everybody sees the same processes, so everybody comes to the same division.
        let free = (0..compactors.len()).filter(|at| taken[*at] < fair);
        let Some(at) = free.max_by_key(|at| weight(compactors[*at], shard)) else {
            return mine;
        };
        taken[at] += 1;
        if compactors[at] == me {
            mine.push(shard);
        }
    }
    mine
}

fn weight(broker_id: BrokerId, shard: CompactionShard) -> u32 {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&broker_id.0.to_le_bytes());
    bytes[4..].copy_from_slice(&shard.number().to_le_bytes());
    crc32c::crc32c(&bytes)
}

/// Claims shards on behalf of one session.
#[derive(Debug, Clone)]
pub struct Claims {
    holder: KeyHolder,
    keys: Keys,
    value: Bytes,
}

impl Claims {
    /// On behalf of `session`.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys, session: Arc<Session>) -> Self {
        let record = ClaimRecord {
            broker_id: session.broker_id(),
        };
        Self {
            holder: KeyHolder::new(store, session),
            keys,
            value: value::encode(&record),
        }
    }

    /// Says that this process compacts: from now on, for as long as its session lasts, it has its part of the shards.
    ///
    /// # Errors
    /// The session is over, or the store failed.
    pub async fn join(&self) -> Result<(), HoldError> {
        let key = self.keys.compactor(self.holder.broker_id());
        self.holder.take(&key, &self.value).await.map(|_| ())
    }

    /// Takes a shard unless another has it. Answers with the epoch of the claim.
    ///
    /// # Errors
    /// The session is over, or the store failed.
    pub async fn take(&self, shard: CompactionShard) -> Result<Option<Revision>, HoldError> {
        let key = self.keys.compaction_claim(shard);
        self.holder.take(&key, &self.value).await
    }

    /// Leaves a shard to others.
    ///
    /// # Errors
    /// The session is over, and so the claim will be, or the store failed.
    pub async fn release(&self, shard: CompactionShard, epoch: Revision) -> Result<(), HoldError> {
        let key = self.keys.compaction_claim(shard);
        self.holder.give_up(&key, epoch).await
    }

    /// The comparison that everything carries that is written by the holder of that claim.
    pub fn guard(&self, shard: CompactionShard, epoch: Revision) -> Compare {
        Compare::created_at(self.keys.compaction_claim(shard), epoch)
    }
}

//! Changes of leadership: partition records written under a guard.
//!
//! A leader opens a partition or hands it over under its session's fence (F1); the controller assigns partitions of
//! sessions that are over under its own election key (F5) and the absence of the old session's key (F2). Either way a
//! record is written only as it was read, so of two who decide about one partition one learns that it changed.

use std::sync::Arc;

use alluvium_common::topic::TopicPartition;
use bytes::Bytes;

use crate::keys::Keys;
use crate::model::PartitionRecord;
use crate::store::{
    Compare, KeyValue, MetadataStore, MetadataStoreExt, Op, Revision, StoreError, TXN_BYTES_MAX,
    TXN_OPERATIONS_MAX, Txn,
};
use crate::value::{self, ValueError};
use crate::view::Placed;

/// Bytes of records in one transaction: half of what the store takes leaves room for keys and comparisons.
const RECORD_BYTES_PER_TXN: usize = TXN_BYTES_MAX / 2;

/// A partition's record as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionChange {
    /// Which partition.
    pub tp: TopicPartition,
    /// Its new record.
    pub record: PartitionRecord,
    /// The revision at which the old one was read.
    pub read_at: Revision,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It stands at this revision.
    Done(Revision),
    /// Somebody else had changed or deleted the record; nothing was written.
    Changed,
}

/// Why changes were not written. Those of earlier transactions may have been.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// A comparison of the guard does not hold: the session or the election is over, or a broker came back.
    #[error("the guard on {key} does not hold")]
    Guard {
        /// Its key.
        key: String,
        /// Its place among the guards.
        index: usize,
    },
    /// The store did not do it, or it is unknown whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a record was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What stands there is damaged.
    #[error(transparent)]
    Unreadable(#[from] ValueError),
}

/// Writes partition records under guards.
#[derive(Debug, Clone)]
pub struct PartitionWriter {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
}

impl PartitionWriter {
    /// Over that store.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys) -> Self {
        Self { store, keys }
    }

    /// A partition's record as it stands.
    ///
    /// # Errors
    /// The store fails, or the record is unreadable.
    pub async fn read(&self, tp: TopicPartition) -> Result<Option<Placed>, ReadError> {
        let Some(kv) = self.store.get(self.keys.partition(tp)).await? else {
            return Ok(None);
        };
        Ok(Some(Placed {
            record: value::decode(&kv.value)?,
            mod_revision: kv.mod_revision,
        }))
    }

    /// Writes `changes` in their order, as many in one transaction as the store takes, each as long as every
    /// comparison of `guard` holds. Answers with what became of each.
    ///
    /// # Errors
    /// A comparison of `guard` does not hold, or the store fails.
    pub async fn write(
        &self,
        guard: &[Compare],
        changes: &[PartitionChange],
    ) -> Result<Vec<Written>, LeadershipError> {
        let mut written = Vec::with_capacity(changes.len());
        let mut rest = changes;
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(self.fitting(guard.len(), rest));
            written.extend(self.write_chunk(guard, chunk).await?);
            rest = behind;
        }
        Ok(written)
    }

    /// How many of `changes` one transaction takes; at least one.
    fn fitting(&self, guards: usize, changes: &[PartitionChange]) -> usize {
        let operations = TXN_OPERATIONS_MAX.saturating_sub(guards);
        let mut bytes = 0;
        let fits = |change: &&PartitionChange| {
            bytes += value::encode(&change.record).len();
            bytes <= RECORD_BYTES_PER_TXN
        };
        let fitting = changes.iter().take(operations).take_while(fits).count();
        fitting.max(1)
    }

    /// One transaction; when it fails because of some of the records, another one for the others.
    async fn write_chunk(
        &self,
        guard: &[Compare],
        chunk: &[PartitionChange],
    ) -> Result<Vec<Written>, LeadershipError> {
        let mut written: Vec<Option<Written>> = vec![None; chunk.len()];
        loop {
            let open: Vec<_> = (0..chunk.len()).filter(|i| written[*i].is_none()).collect();
            if open.is_empty() {
                return Ok(written.into_iter().flatten().collect());
            }
            let wanted: Vec<_> = open.iter().map(|index| &chunk[*index]).collect();
            let response = self.store.txn_repeatable(self.txn(guard, &wanted)).await?;
            if response.succeeded {
                for index in open {
                    written[index] = Some(Written::Done(response.revision));
                }
                continue;
            }
            check_guard(guard, |index| response.first_kv(index))?;
            for (place, index) in open.into_iter().enumerate() {
                let stands = response.first_kv(guard.len() + place);
                written[index] = judge(&chunk[index], stands);
            }
        }
    }

    fn txn(&self, guard: &[Compare], changes: &[&PartitionChange]) -> Txn {
        let mut txn = Txn::new();
        for compare in guard {
            txn = txn
                .when(compare.clone())
                .or_else(Op::get(compare.key.clone()));
        }
        for change in changes {
            let key: Bytes = self.keys.partition(change.tp);
            txn = txn
                .when(Compare::unchanged_since(key.clone(), change.read_at))
                .then(Op::put(key.clone(), value::encode(&change.record)))
                .or_else(Op::get(key));
        }
        txn
    }
}

fn check_guard<'a>(
    guard: &[Compare],
    stands: impl Fn(usize) -> Option<&'a KeyValue>,
) -> Result<(), LeadershipError> {
    let mut guards = guard.iter().enumerate();
    match guards.find(|(index, compare)| !compare.holds(stands(*index))) {
        None => Ok(()),
        Some((index, compare)) => Err(LeadershipError::Guard {
            key: String::from_utf8_lossy(&compare.key).into_owned(),
            index,
        }),
    }
}

/// What became of a change whose key stands so; `None`: nothing yet, it may be tried again.
fn judge(change: &PartitionChange, stands: Option<&KeyValue>) -> Option<Written> {
    match stands {
        // F4: our own write, whose reply was lost.
        Some(kv) if kv.value == value::encode(&change.record) => {
            Some(Written::Done(kv.mod_revision))
        }
        Some(kv) if kv.mod_revision == change.read_at => None,
        _ => Some(Written::Changed),
    }
}

#[cfg(test)]
mod tests;

//! Producer ids for idempotent producers, unique in the cluster for ever.

use std::ops::Range;
use std::sync::Arc;

use alluvium_common::producer::ProducerId;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::keys::Keys;
use crate::model;
use crate::store::{Change, MetadataStore, MetadataStoreExt, StoreError};
use crate::value::{self, StoredRecord, ValueError};

/// Ids taken from the store at a time. What a broker has not given out when it ends is lost, which is harmless:
/// there are 2^63.
const BLOCK: i64 = 1_000;

/// The first id that was not taken by any broker.
#[derive(Debug, Serialize, Deserialize)]
struct NextBlock {
    next: i64,
}

impl StoredRecord for NextBlock {
    const KIND: u8 = model::PRODUCER_IDS;
    const VERSION: u8 = 1;
}

/// Why there is no producer id.
#[derive(Debug, thiserror::Error)]
pub enum ProducerIdError {
    /// The store did not answer; try again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The record of the next block is unreadable.
    #[error(transparent)]
    Unreadable(#[from] ValueError),
}

/// Gives out producer ids.
#[derive(Debug)]
pub struct ProducerIds {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    block: Mutex<Range<i64>>,
}

impl ProducerIds {
    /// Starts without a block: most brokers restart more often than they give out ids.
    pub fn new(store: Arc<dyn MetadataStore>, keys: Keys) -> Self {
        Self {
            store,
            keys,
            block: Mutex::new(0..0),
        }
    }

    /// An id that nobody else was or will be given.
    pub async fn next(&self) -> Result<ProducerId, ProducerIdError> {
        let mut block = self.block.lock().await;
        loop {
            if let Some(id) = block.next() {
                return Ok(ProducerId(id));
            }
            *block = self.take_block().await?;
        }
    }

    async fn take_block(&self) -> Result<Range<i64>, ProducerIdError> {
        let taken = self
            .store
            .update(self.keys.producer_ids(), |current| {
                let next = match current {
                    Some(kv) => value::decode::<NextBlock>(&kv.value)?.next,
                    None => 0,
                };
                let after = NextBlock { next: next + BLOCK };
                Ok::<_, ProducerIdError>((Change::Put(value::encode(&after)), next..after.next))
            })
            .await?;
        Ok(taken.output)
    }
}

/// Makes sure that no id below `next` is given out any more. For a restored cluster, of which nobody knows which ids
/// were given out last.
pub async fn raise(
    store: &dyn MetadataStore,
    keys: &Keys,
    next: i64,
) -> Result<(), ProducerIdError> {
    store
        .update(keys.producer_ids(), |current| {
            let current = current.map(|kv| value::decode::<NextBlock>(&kv.value));
            Ok::<_, ProducerIdError>(match current.transpose()? {
                Some(block) if block.next >= next => (Change::Keep, ()),
                _ => (Change::Put(value::encode(&NextBlock { next })), ()),
            })
        })
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn ids_are_unique_across_brokers_and_restarts() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let keys = Keys::new("test");
        let mut seen = HashSet::new();
        for _restart in 0..3 {
            let brokers = [(); 2].map(|()| ProducerIds::new(Arc::clone(&store), keys.clone()));
            for _ in 0..BLOCK + 1 {
                for broker in &brokers {
                    assert!(seen.insert(broker.next().await.expect("id")));
                }
            }
        }
    }

    #[tokio::test]
    async fn raised_ids_are_not_given_out_and_never_lowered() {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let keys = Keys::new("test");
        for (to, expected) in [(5_000, 5_000), (10, 6_000)] {
            raise(&*store, &keys, to).await.expect("raised");
            let ids = ProducerIds::new(Arc::clone(&store), keys.clone());
            assert_eq!(ids.next().await.expect("id"), ProducerId(expected));
        }
    }
}

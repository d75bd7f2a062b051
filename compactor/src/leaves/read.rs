//! Reading leaves.

use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_segment::manifest::{Leaf, LeafEntry};
use alluvium_segment::object_key::ObjectKey;
use object_store::ObjectStore;
use parking_lot::Mutex;

use crate::fold::{ReadError, checked};

/// Bytes of leaves kept in memory: more than a hundred of topics with a dozen partitions. Retention looks into the oldest
/// leaf of each topic of which anything is let go, in every round.
const KEPT_BYTES: usize = 64 << 20;

/// Leaves that were read, the one that was wanted last at the end.
pub struct Leaves {
    objects: Arc<dyn ObjectStore>,
    kept_bytes: usize,
    kept: Mutex<VecDeque<(ObjectKey, Arc<Leaf>)>>,
}

impl Leaves {
    /// None is known yet.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self::bounded(objects, KEPT_BYTES)
    }

    pub(super) fn bounded(objects: Arc<dyn ObjectStore>, kept_bytes: usize) -> Self {
        Self {
            objects,
            kept_bytes,
            kept: Mutex::default(),
        }
    }

    /// A leaf of a topic's manifest.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub async fn read(&self, topic_id: TopicId, entry: &LeafEntry) -> Result<Arc<Leaf>, ReadError> {
        if let Some(known) = self.known(&entry.object_key) {
            return Ok(known);
        }
        let leaf = Arc::new(read_leaf(&*self.objects, topic_id, entry).await?);
        self.keep(&entry.object_key, &leaf);
        Ok(leaf)
    }

    fn known(&self, key: &ObjectKey) -> Option<Arc<Leaf>> {
        let mut kept = self.kept.lock();
        let place = kept.iter().position(|(known, _)| known == key)?;
        let found = kept.remove(place)?;
        let leaf = Arc::clone(&found.1);
        kept.push_back(found);
        Some(leaf)
    }

    fn keep(&self, key: &ObjectKey, leaf: &Arc<Leaf>) {
        let mut kept = self.kept.lock();
        kept.push_back((key.clone(), Arc::clone(leaf)));
        let mut bytes: usize = kept.iter().map(|(_, leaf)| leaf.memory_bytes()).sum();
        while bytes > self.kept_bytes
            && let Some((_, oldest)) = kept.pop_front()
        {
            bytes -= oldest.memory_bytes();
        }
    }
}

/// Reads a leaf of a topic's manifest.
///
/// # Errors
/// It cannot be read, or is damaged: twice it was not what the manifest says.
pub async fn read_leaf(
    objects: &dyn ObjectStore,
    topic_id: TopicId,
    entry: &LeafEntry,
) -> Result<Leaf, ReadError> {
    let whole = 0..entry.size_bytes;
    checked(objects, &entry.object_key, whole, |object| {
        entry.open(topic_id, &object)
    })
    .await
}

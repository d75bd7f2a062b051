//! Table files that a manifest lists in leaves: read when a reader comes there, checked, and kept for a while.

use std::sync::Arc;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::segment_cache::{CacheError, SegmentCache};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use alluvium_segment::manifest::{Holder, Leaf, LeafEntry, Manifest, SpanEntry, TableEntry};
use alluvium_segment::segment_index::SegmentRef;

use super::History;

/// What a table file holds of a partition.
pub(crate) struct FoundTable {
    /// The file.
    pub(crate) table: Arc<TableEntry>,
    /// The span in it.
    pub(crate) span: SpanEntry,
}

impl History {
    /// The table file that holds `from` of a partition, or else the first beyond.
    pub(crate) async fn table_from(
        &self,
        manifest: &Manifest,
        partition: PartitionIndex,
        from: Offset,
    ) -> Result<Option<FoundTable>, CacheError> {
        for found in manifest.spans_from(partition, from) {
            match found.holder {
                Holder::Table(table) => {
                    return Ok(Some(FoundTable {
                        table: Arc::clone(table),
                        span: *found.span,
                    }));
                }
                Holder::Leaf(entry) => {
                    let leaf = self.leaf(manifest, entry).await?;
                    if let Some(found) = leaf.spans_from(partition, from).next() {
                        return Ok(Some(FoundTable {
                            table: Arc::clone(found.table),
                            span: *found.span,
                        }));
                    }
                }
            }
        }
        Ok(None)
    }

    /// A leaf of a manifest.
    pub(super) async fn leaf(
        &self,
        manifest: &Manifest,
        entry: &Arc<LeafEntry>,
    ) -> Result<Arc<Leaf>, CacheError> {
        if let Some(known) = self.leaves.get(&entry.object_key) {
            return Ok(Arc::clone(&known));
        }
        let topic_id = manifest.content().topic_id;
        let (cache, named) = (self.cache.clone(), Arc::clone(entry));
        let read = self.leaves.get_or_fetch(&entry.object_key, || async move {
            read_leaf(&cache, topic_id, &named).await.map(Arc::new)
        });
        Ok(Arc::clone(&*read.await?))
    }

    /// Starts to fetch a leaf.
    pub(super) fn prefetch_leaf(&self, entry: &LeafEntry) {
        let whole = 0..entry.size_bytes;
        self.cache
            .prefetch(&object_of(entry), whole, ReadClass::Backfill);
    }
}

async fn read_leaf(
    cache: &SegmentCache,
    topic_id: TopicId,
    entry: &Arc<LeafEntry>,
) -> Result<Leaf, CacheError> {
    let open = |mut bytes: Vec<bytes::Bytes>| {
        let (entry, object) = (Arc::clone(entry), bytes.remove(0));
        async move {
            // Some milliseconds.
            let opened = tokio::task::spawn_blocking(move || entry.open(topic_id, &object));
            opened
                .await
                .map_err(|error| CacheError::Cache(error.to_string()))
        }
    };
    let whole = 0..entry.size_bytes;
    cache
        .read_checked(&object_of(entry), &[whole], ReadClass::Backfill, open)
        .await
}

fn object_of(entry: &LeafEntry) -> Arc<SegmentRef> {
    Arc::new(SegmentRef {
        object_key: entry.object_key.clone(),
        size_bytes: entry.size_bytes,
    })
}

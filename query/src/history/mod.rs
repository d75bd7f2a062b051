//! What is published: offsets in table files, found through a topic's manifest (and its `leaves`) and turned back into
//! record batches.
//!
//! The unit is the **stripe**: some thousand rows that are next to each other in a file, rebuilt as a whole into a block
//! of batches. Blocks made so are kept in memory beside those of segments, so that a reader that goes on, or another one
//! at the same place, does not rebuild again. Rebuilding takes a processor some milliseconds, and is done by a few
//! threads of low priority: readers of history must not take the processors from those who write.

mod leaves;
mod search;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::sync::Arc;

use alluvium_cache::budget::ReadClass;
use alluvium_cache::log::PartitionLog;
use alluvium_cache::segment_cache::{Block, CacheError, SegmentCache};
use alluvium_common::background::BackgroundThreads;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::{Holder, Leaf, Manifest, TableEntry};
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::SegmentRef;
use alluvium_table::{Stripe, TableFile, TableRef};
use foyer::{Cache, CacheBuilder, LruConfig};

/// Bytes of parsed tails of table files kept in memory. One is some hundred kilobytes.
const TAILS_BYTES: usize = 32 << 20;

/// Bytes of leaves of manifests kept in memory: some sixty of topics with a dozen partitions. A reader needs one for some
/// hundred table files.
const LEAVES_BYTES: usize = 32 << 20;

/// Threads that rebuild stripes, at most. Each does one at a time, which takes some times its raw bytes of memory. No more wait
/// for them than there are fetches.
const REBUILDERS_MAX: usize = 8;

/// One less than there are processors: with as many, producers waited longer, low priority or not.
fn rebuilders() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (processors - 1).clamp(1, REBUILDERS_MAX)
}

/// Reads table files. Cheap to clone.
#[derive(Clone)]
pub(crate) struct History {
    cache: SegmentCache,
    tails: Cache<ObjectKey, Arc<TableFile>>,
    leaves: Cache<ObjectKey, Arc<Leaf>>,
    /// `None`: they could not be started, and nothing is read.
    rebuilders: Option<Arc<BackgroundThreads>>,
}

/// A table file whose tail is known.
#[derive(Clone)]
pub(crate) struct OpenTable {
    object: Arc<SegmentRef>,
    file: Arc<TableFile>,
}

impl OpenTable {
    /// What it holds, for finding a stripe.
    pub(crate) fn file(&self) -> &TableFile {
        &self.file
    }

    /// A stripe of that number, if there is one.
    pub(crate) fn stripe(&self, number: usize) -> Option<&Stripe> {
        self.file.stripes().get(number)
    }
}

impl History {
    /// Reads through `cache`.
    pub(crate) fn new(cache: SegmentCache) -> Self {
        let tails = CacheBuilder::new(TAILS_BYTES)
            .with_name("table-tails")
            .with_shards(1)
            .with_eviction_config(LruConfig::default())
            .with_weighter(|_: &ObjectKey, file: &Arc<TableFile>| file.memory_bytes())
            .build();
        let leaves = CacheBuilder::new(LEAVES_BYTES)
            .with_name("manifest-leaves")
            .with_shards(1)
            .with_eviction_config(LruConfig::default())
            .with_weighter(|_: &ObjectKey, leaf: &Arc<Leaf>| leaf.memory_bytes())
            .build();
        Self {
            cache,
            tails,
            leaves,
            rebuilders: BackgroundThreads::start("history", rebuilders()).map(Arc::new),
        }
    }

    /// Opens a table file.
    pub(crate) async fn open(&self, table: &Arc<TableEntry>) -> Result<OpenTable, CacheError> {
        let object = object_of(table);
        if let Some(file) = self.tails.get(&table.object_key) {
            let file = Arc::clone(&file);
            return Ok(OpenTable { object, file });
        }
        let (cache, entry, read) = (self.cache.clone(), Arc::clone(table), Arc::clone(&object));
        let opened = self.tails.get_or_fetch(&table.object_key, || async move {
            open_tail(&cache, &read, &entry).await.map(Arc::new)
        });
        let file = Arc::clone(&*opened.await?);
        Ok(OpenTable { object, file })
    }

    /// The batches of a stripe of `log`'s partition.
    pub(crate) async fn block(
        &self,
        log: &Arc<PartitionLog>,
        table: &OpenTable,
        stripe: usize,
    ) -> Result<Arc<Block>, CacheError> {
        self.cache
            .made_block(&table.object.object_key, stripe as u64, || {
                let (history, log, table) = (self.clone(), Arc::clone(log), table.clone());
                async move { history.rebuild(&log, &table, stripe).await }
            })
            .await
    }

    async fn rebuild(
        &self,
        log: &Arc<PartitionLog>,
        table: &OpenTable,
        stripe: usize,
    ) -> Result<Block, CacheError> {
        let ranges = table.file.ranges(stripe);
        let open = |bytes: Vec<bytes::Bytes>| {
            let (log, file) = (Arc::clone(log), Arc::clone(&table.file));
            let rebuilders = self.rebuilders.clone();
            async move {
                let rebuilders = rebuilders.ok_or_else(|| {
                    CacheError::Cache("no thread could be started to read history".to_owned())
                })?;
                let rebuilt = rebuilders.run(move || {
                    let epoch = |offset| log.epochs.epoch_at(offset).unwrap_or(LeaderEpoch(-1));
                    let batches = file.rebuild(stripe, &bytes, &epoch)?;
                    Ok::<_, alluvium_table::TableError>(Block::of_batches(&batches))
                });
                rebuilt
                    .await
                    .map_err(|error| CacheError::Cache(error.to_string()))
            }
        };
        self.cache
            .read_checked(&table.object, &ranges, ReadClass::Backfill, open)
            .await
    }

    /// Starts to fetch what a reader of `manifest` that has come to `from` will want next, up to about `bytes` of it, as
    /// far as its leaves and the tails of its files are known.
    pub(crate) fn prefetch(
        &self,
        log: &PartitionLog,
        manifest: &Manifest,
        from: Offset,
        bytes: u64,
    ) {
        let partition = log.tp.partition;
        let mut left = bytes;
        for found in manifest.spans_from(partition, from) {
            let goes_on = match found.holder {
                Holder::Table(table) => self.prefetch_table(table, partition, from, &mut left),
                Holder::Leaf(entry) => match self.leaves.get(&entry.object_key) {
                    Some(leaf) => leaf
                        .spans_from(partition, from)
                        .all(|found| self.prefetch_table(found.table, partition, from, &mut left)),
                    None => {
                        self.prefetch_leaf(entry);
                        false
                    }
                },
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Whether there is more to fetch behind what the file has of the partition.
    fn prefetch_table(
        &self,
        table: &TableEntry,
        partition: PartitionIndex,
        from: Offset,
        left: &mut u64,
    ) -> bool {
        let object = object_of(table);
        let Some(file) = self.tails.get(&table.object_key) else {
            let tail = table_ref(table).tail_range();
            self.cache.prefetch(&object, tail, ReadClass::Backfill);
            return false;
        };
        let first = file.stripe_at(partition, from).unwrap_or(usize::MAX);
        let stripes = file.stripes().iter().enumerate().skip(first);
        for (number, _) in stripes.take_while(|(_, stripe)| stripe.partition == partition) {
            for range in file.ranges(number) {
                let wanted = range.end - range.start;
                if *left == 0 || self.cache.prefetch(&object, range, ReadClass::Backfill) < wanted {
                    return false;
                }
                *left = left.saturating_sub(wanted);
            }
        }
        true
    }
}

fn object_of(table: &TableEntry) -> Arc<SegmentRef> {
    Arc::new(SegmentRef {
        object_key: table.object_key.clone(),
        size_bytes: table.size_bytes,
    })
}

fn table_ref(table: &TableEntry) -> TableRef {
    TableRef {
        size_bytes: table.size_bytes,
        tail_length: table.tail_length,
        tail_crc: table.tail_crc,
    }
}

async fn open_tail(
    cache: &SegmentCache,
    object: &Arc<SegmentRef>,
    table: &TableEntry,
) -> Result<TableFile, CacheError> {
    let reference = table_ref(table);
    let open = |mut bytes: Vec<bytes::Bytes>| async move {
        Ok(TableFile::open(&reference, bytes.remove(0)))
    };
    let tail = [reference.tail_range()];
    cache
        .read_checked(object, &tail, ReadClass::Backfill, open)
        .await
}

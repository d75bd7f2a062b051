//! Memory and disk in front of the segments in the object store.
//!
//! Two units. A **page** is a piece of an object of fixed size: what one GET asks for, what memory
//! and disk keep (foyer), shared by all partitions whose blocks lie in it. A **block** is what
//! readers ask for: checked against its CRC-32C, decompressed, cut into batches. Decoded blocks have
//! a small memory of their own, so that many readers of one place decode it once.
//!
//! Everything has single flight: whoever asks for what is being fetched waits for it, and a fetch
//! goes on when those who asked have gone. A block that fails its check is read once more from the
//! object store itself; then it is an error, never a skipped record (I18). Objects never change, so
//! nothing here is ever stale.

mod block;
mod disk;
mod error;
mod page;
mod pages;
mod peers;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use alluvium_segment::FormatError;
use alluvium_segment::footer::{BlockEncoding, BlockEntry};
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::SegmentRef;
use alluvium_segment::segment_object::EncodedSegment;
use bytes::Bytes;
use foyer::{Cache, CacheBuilder, LruConfig};
use futures::future::try_join_all;
use object_store::ObjectStore;
use tracing::warn;

pub use block::{Block, BlockSlice};
pub use disk::DiskConfig;
pub use error::CacheError;
use pages::Pages;
pub use peers::PagePeers;

use crate::budget::ReadClass;
use crate::metrics::SegmentCacheMetrics;

/// Decompressing less than this is not worth a change of threads.
const DECODE_INLINE_BYTES: u32 = 64 << 10;

/// Sizes of the cache.
#[derive(Debug, Clone)]
pub struct SegmentCacheConfig {
    /// Bytes of a page, and so of a GET: fewer, larger GETs cost less money and more memory.
    /// Between 64 KiB and 16 MiB; without a disk tier at most a 32nd of `page_memory_bytes`.
    pub page_bytes: usize,
    /// Bytes of pages kept in memory. Below a few pages per reader of history, pages are fetched
    /// again and again unless there is a disk tier.
    pub page_memory_bytes: usize,
    /// Bytes of decoded blocks kept in memory.
    pub block_memory_bytes: usize,
    /// Bytes of GETs in flight for readers near the end of the log.
    pub tail_gets_bytes: usize,
    /// Bytes of GETs in flight for readers of history and for read-ahead.
    pub backfill_gets_bytes: usize,
    /// The disk tier, if there is to be one.
    pub disk: Option<DiskConfig>,
}

impl Default for SegmentCacheConfig {
    fn default() -> Self {
        Self {
            page_bytes: 4 << 20,
            page_memory_bytes: 64 << 20,
            block_memory_bytes: 32 << 20,
            tail_gets_bytes: 32 << 20,
            backfill_gets_bytes: 32 << 20,
            disk: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BlockKey {
    object_key: ObjectKey,
    position: u64,
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub struct SegmentCache {
    pages: Pages,
    blocks: Cache<BlockKey, Arc<Block>>,
}

impl SegmentCache {
    /// Opens the cache in front of `store`. A disk tier that cannot be had (no room, no permission)
    /// is left out with a warning: a cache is not worth refusing to start for.
    pub async fn open(
        config: SegmentCacheConfig,
        store: Arc<dyn ObjectStore>,
        metrics: SegmentCacheMetrics,
    ) -> Self {
        let blocks = CacheBuilder::new(config.block_memory_bytes)
            .with_name("blocks")
            .with_shards(1)
            .with_eviction_config(LruConfig::default())
            .with_weighter(|_: &BlockKey, block: &Arc<Block>| block.memory_bytes())
            .build();
        Self {
            pages: Pages::open(config, store, metrics).await,
            blocks,
        }
    }

    /// The decoded block that `entry` describes.
    pub async fn block(
        &self,
        segment: &Arc<SegmentRef>,
        entry: &BlockEntry,
        class: ReadClass,
    ) -> Result<Arc<Block>, CacheError> {
        let key = BlockKey {
            object_key: segment.object_key.clone(),
            position: entry.position,
        };
        if let Some(found) = self.blocks.get(&key) {
            self.pages.metrics().block_hits.inc();
            return Ok(Arc::clone(&found));
        }
        let (pages, segment, entry) = (self.pages.clone(), Arc::clone(segment), *entry);
        let fetched = self.blocks.get_or_fetch(&key, || async move {
            load_block(&pages, &segment, &entry, class)
                .await
                .map(Arc::new)
        });
        Ok(Arc::clone(&*fetched.await?))
    }

    /// The decoded block, if it is in memory already.
    pub fn block_in_memory(&self, segment: &SegmentRef, entry: &BlockEntry) -> Option<Arc<Block>> {
        let key = BlockKey {
            object_key: segment.object_key.clone(),
            position: entry.position,
        };
        let found = self.blocks.get(&key)?;
        self.pages.metrics().block_hits.inc();
        Some(Arc::clone(&found))
    }

    /// A block that is made from several pieces of an object, and told from its other blocks by `number`. It is kept in
    /// memory like any other, and made once however many want it.
    pub async fn made_block<F>(
        &self,
        object_key: &ObjectKey,
        number: u64,
        make: impl FnOnce() -> F,
    ) -> Result<Arc<Block>, CacheError>
    where
        F: Future<Output = Result<Block, CacheError>> + Send + 'static,
    {
        let key = BlockKey {
            object_key: object_key.clone(),
            position: number,
        };
        if let Some(found) = self.blocks.get(&key) {
            self.pages.metrics().block_hits.inc();
            return Ok(Arc::clone(&found));
        }
        let made = make();
        let fetched = self
            .blocks
            .get_or_fetch(&key, || async move { made.await.map(Arc::new) });
        Ok(Arc::clone(&*fetched.await?))
    }

    /// Reads pieces of an object and makes something of them with `open`, whose outer error is a decoder that died and
    /// whose inner one says what is wrong with the bytes. Those are read once more from the object store then.
    pub async fn read_checked<T, E, F>(
        &self,
        object: &Arc<SegmentRef>,
        positions: &[Range<u64>],
        class: ReadClass,
        open: impl Fn(Vec<Bytes>) -> F,
    ) -> Result<T, CacheError>
    where
        F: Future<Output = Result<Result<T, E>, CacheError>>,
        E: std::fmt::Display,
    {
        read_checked(&self.pages, object, positions, class, open).await
    }

    /// Starts to fetch the pages that hold `positions` of the object, without waiting, for a reader
    /// that will come there. Takes what is free of the budget of `class`, and stops when it is used up.
    /// Returns how many bytes from the start of `positions` are there or on their way.
    pub fn prefetch(
        &self,
        segment: &Arc<SegmentRef>,
        positions: std::ops::Range<u64>,
        class: ReadClass,
    ) -> u64 {
        self.pages.prefetch(segment, positions, class)
    }

    /// From now on asks `peers` for pages that are not here, before the object store. Once only.
    pub fn ask_first(&self, peers: Arc<dyn PagePeers>) {
        self.pages.ask_first(peers);
    }

    /// Bytes of an object for another broker: from here or from the object store, never from a third broker. What
    /// they are worth is checked where blocks are decoded.
    pub async fn read_for_peer(
        &self,
        segment: &Arc<SegmentRef>,
        positions: std::ops::Range<u64>,
        class: ReadClass,
    ) -> Result<Bytes, CacheError> {
        self.pages.read_for_peer(segment, positions, class).await
    }

    /// Takes in a segment that was just sealed, so that nobody need GET it soon. Copies no record
    /// bytes unless they lie in very small pieces. Meant for the thread that encoded the segment.
    pub fn insert_segment(&self, object_key: &ObjectKey, segment: &EncodedSegment) {
        self.pages.insert_segment(object_key, segment);
    }

    /// How many bytes to read ahead for one reader at most: beyond, its own pages would leave memory
    /// before it comes to them.
    pub fn read_ahead_bytes_max(&self) -> u64 {
        self.pages.memory_bytes() as u64 / 4
    }

    /// Whether there is a disk tier.
    pub fn has_disk(&self) -> bool {
        self.pages.has_disk()
    }

    /// Writes to the disk tier what memory still holds, and ends the cache's work.
    pub async fn close(&self) {
        self.pages.close().await;
    }
}

impl std::fmt::Debug for SegmentCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentCache").finish_non_exhaustive()
    }
}

async fn load_block(
    pages: &Pages,
    segment: &Arc<SegmentRef>,
    entry: &BlockEntry,
    class: ReadClass,
) -> Result<Block, CacheError> {
    let positions = entry.position..entry.position + u64::from(entry.stored_length);
    let open = |mut stored: Vec<Bytes>| decode(entry, stored.remove(0));
    read_checked(pages, segment, &[positions], class, open).await
}

/// Reads pieces of an object and makes something of them. Pieces that fail their check are read once more from the
/// object store itself; the outer error of `open` is a decoder that died, the inner one says what is wrong with them.
async fn read_checked<T, E, F>(
    pages: &Pages,
    segment: &Arc<SegmentRef>,
    positions: &[Range<u64>],
    class: ReadClass,
    open: impl Fn(Vec<Bytes>) -> F,
) -> Result<T, CacheError>
where
    F: Future<Output = Result<Result<T, E>, CacheError>>,
    E: std::fmt::Display,
{
    let read = positions
        .iter()
        .map(|one| pages.read(segment, one.clone(), class));
    let reason = match open(try_join_all(read).await?).await? {
        Ok(opened) => return Ok(opened),
        Err(reason) => reason,
    };
    let position = positions.first().map_or(0, |first| first.start);
    warn!(
        object = %segment.object_key,
        position,
        %reason,
        "stored bytes failed their check, reading them again from the object store"
    );
    pages.metrics().damaged_blocks.inc();
    positions.iter().for_each(|one| pages.forget(segment, one));
    let read = positions
        .iter()
        .map(|one| pages.read_past_cache(segment, one.clone(), class));
    open(try_join_all(read).await?).await?.map_err(|reason| {
        pages.metrics().damaged_blocks.inc();
        CacheError::Corrupt {
            object_key: segment.object_key.clone(),
            position,
            reason: reason.to_string(),
        }
    })
}

/// The outer error is a decoder that died, the inner one says what is wrong with the bytes.
fn decode(
    entry: &BlockEntry,
    stored: Bytes,
) -> impl Future<Output = Result<Result<Block, FormatError>, CacheError>> + use<> {
    decode_entry(*entry, stored)
}

async fn decode_entry(
    entry: BlockEntry,
    stored: Bytes,
) -> Result<Result<Block, FormatError>, CacheError> {
    if entry.encoding == BlockEncoding::Raw || entry.raw_length <= DECODE_INLINE_BYTES {
        return Ok(Block::decode(&entry, stored));
    }
    tokio::task::spawn_blocking(move || Block::decode(&entry, stored))
        .await
        .map_err(|error| CacheError::Cache(error.to_string()))
}

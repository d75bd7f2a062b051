//! The page cache: memory, disk, and the GETs behind them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_index::SegmentRef;
use alluvium_segment::segment_object::EncodedSegment;
use bytes::Bytes;
use foyer::{
    BlockEngineConfig, HybridCache, HybridCacheBuilder, HybridCachePolicy, LruConfig,
    PsyncIoEngineConfig, RecoverMode, Source,
};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tracing::{info, warn};

use super::disk::{self, DISK_FILE_BYTES, DiskConfig};
use super::page::{PAGE_BYTES_MAX, Page, PageKey, join};
use super::peers::{PagePeers, Way};
use super::{CacheError, SegmentCacheConfig, peers};
use crate::budget::{BytePermit, ClassBudgets, ReadClass};
use crate::metrics::SegmentCacheMetrics;

const PAGE_BYTES_MIN: usize = 64 << 10;

/// Pages that memory should be able to hold when it is the only tier.
const PAGES_IN_MEMORY_MIN: usize = 32;

/// Buffers through which pages go to disk. Pages beyond are not written, which a cache survives.
const DISK_BUFFER_BYTES: usize = 2 * PAGE_BYTES_MAX;

/// Pages of a sealed segment whose pieces are smaller than this on average are copied into one: the
/// bookkeeping would take more memory than the bytes.
const PIECE_BYTES_MIN: usize = 512;

/// Memory that one piece of a page takes besides its bytes.
const PIECE_OVERHEAD_BYTES: usize = size_of::<Bytes>();

#[derive(Clone)]
pub(super) struct Pages {
    cache: HybridCache<PageKey, Page>,
    store: Arc<dyn ObjectStore>,
    page_bytes: usize,
    budgets: ClassBudgets,
    peers: Arc<OnceLock<Arc<dyn PagePeers>>>,
    metrics: SegmentCacheMetrics,
}

impl Pages {
    pub(super) async fn open(
        config: SegmentCacheConfig,
        store: Arc<dyn ObjectStore>,
        metrics: SegmentCacheMetrics,
    ) -> Self {
        let cache = match &config.disk {
            None => in_memory(&config).await,
            Some(disk) => match with_disk(&config, disk).await {
                Ok(cache) => {
                    info!(folder = %disk.folder.display(), bytes = disk.capacity_bytes, "disk cache is open");
                    cache
                }
                Err(error) => {
                    warn!(folder = %disk.folder.display(), error, "going on without a disk cache");
                    in_memory(&config).await
                }
            },
        };
        Self {
            page_bytes: page_bytes(&config, cache.is_hybrid()),
            cache,
            store,
            budgets: ClassBudgets::new(config.tail_gets_bytes, config.backfill_gets_bytes),
            peers: Arc::default(),
            metrics,
        }
    }

    /// See [`super::SegmentCache::ask_first`].
    pub(super) fn ask_first(&self, peers: Arc<dyn PagePeers>) {
        if self.peers.set(peers).is_err() {
            warn!("the segment cache knows its peers already");
        }
    }

    pub(super) fn metrics(&self) -> &SegmentCacheMetrics {
        &self.metrics
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.cache.memory().capacity()
    }

    pub(super) fn has_disk(&self) -> bool {
        self.cache.is_hybrid()
    }

    /// Bytes of an object.
    pub(super) async fn read(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
    ) -> Result<Bytes, CacheError> {
        self.read_range(segment, positions, class, Way::PeersFirst)
            .await
    }

    /// See [`super::SegmentCache::read_for_peer`].
    pub(super) async fn read_for_peer(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
    ) -> Result<Bytes, CacheError> {
        self.read_range(segment, positions, class, Way::StoreOnly)
            .await
    }

    async fn read_range(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
        way: Way,
    ) -> Result<Bytes, CacheError> {
        let mut slices = Vec::new();
        for page in self.pages_of(&positions) {
            let start = self.range(segment, page).start;
            let found = self.page(segment, page, class, way).await?;
            let from = positions.start.saturating_sub(start) as usize;
            let to = (positions.end - start) as usize;
            found.slices(from, to, &mut slices);
        }
        Ok(join(slices))
    }

    /// Bytes of an object, from the object store whatever the cache holds.
    pub(super) async fn read_past_cache(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
    ) -> Result<Bytes, CacheError> {
        let budget = self.budgets.of(class);
        let length = positions.end.saturating_sub(positions.start) as usize;
        let _permit = budget.acquire(length).await;
        get(&self.store, &self.metrics, class, segment, positions).await
    }

    /// Drops the pages of those bytes from memory and disk.
    pub(super) fn forget(&self, segment: &SegmentRef, positions: &Range<u64>) {
        for page in self.pages_of(positions) {
            self.cache.remove(&self.key(&segment.object_key, page));
        }
    }

    /// See [`super::SegmentCache::prefetch`].
    pub(super) fn prefetch(
        &self,
        segment: &Arc<SegmentRef>,
        positions: Range<u64>,
        class: ReadClass,
    ) -> u64 {
        let end = positions.end.min(segment.size_bytes);
        for page in self.pages_of(&(positions.start..end)) {
            let range = self.range(segment, page);
            let key = self.key(&segment.object_key, page);
            if self.cache.contains(&key) {
                continue;
            }
            let budget = self.budgets.of(class);
            let Some(permit) = budget.try_acquire((range.end - range.start) as usize) else {
                return range.start.saturating_sub(positions.start);
            };
            self.metrics.prefetched_pages.inc();
            // The fetch runs on its own; nobody need wait for it.
            drop(self.fetch(key, segment, range, (class, Way::PeersFirst), Some(permit)));
        }
        end.saturating_sub(positions.start)
    }

    /// See [`super::SegmentCache::insert_segment`].
    pub(super) fn insert_segment(&self, object_key: &ObjectKey, segment: &EncodedSegment) {
        let mut pieces = Vec::new();
        let (mut page, mut length) = (0, 0);
        for chunk in &segment.chunks {
            let mut rest = chunk.clone();
            while !rest.is_empty() {
                let piece = rest.split_to(rest.len().min(self.page_bytes - length));
                length += piece.len();
                pieces.push(piece);
                if length == self.page_bytes {
                    self.insert(object_key, page, std::mem::take(&mut pieces), length);
                    (page, length) = (page + 1, 0);
                }
            }
        }
        if length > 0 {
            self.insert(object_key, page, pieces, length);
        }
    }

    fn insert(&self, object_key: &ObjectKey, page: u32, mut pieces: Vec<Bytes>, length: usize) {
        if length / pieces.len() < PIECE_BYTES_MIN {
            pieces = vec![join(pieces)];
        }
        let key = self.key(object_key, page);
        self.cache.insert(key, Page::new(pieces));
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.cache.close().await {
            warn!(%error, "the disk cache was not closed cleanly");
        }
    }

    async fn page(
        &self,
        segment: &Arc<SegmentRef>,
        page: u32,
        class: ReadClass,
        way: Way,
    ) -> Result<Page, CacheError> {
        let key = self.key(&segment.object_key, page);
        let range = self.range(segment, page);
        let entry = self.fetch(key, segment, range, (class, way), None).await?;
        match entry.source() {
            Source::Memory => self.metrics.memory_hits.inc(),
            Source::Disk => self.metrics.disk_hits.inc(),
            Source::Outer => self.metrics.misses.inc(),
        };
        Ok(Page::clone(&entry))
    }

    /// Begins at once, whether or not the future is awaited.
    fn fetch(
        &self,
        key: PageKey,
        segment: &Arc<SegmentRef>,
        range: Range<u64>,
        (class, way): (ReadClass, Way),
        permit: Option<BytePermit>,
    ) -> foyer::HybridGetOrFetch<PageKey, Page> {
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        let (budget, segment) = (self.budgets.of(class).clone(), Arc::clone(segment));
        let peers = match way {
            Way::PeersFirst => self.peers.get().cloned(),
            Way::StoreOnly => None,
        };
        self.cache.get_or_fetch(&key, || async move {
            let _permit = match permit {
                Some(permit) => permit,
                None => budget.acquire((range.end - range.start) as usize).await,
            };
            let bytes = match peers {
                Some(peers) => peers::ask(&*peers, &metrics, class, &segment, &range).await,
                None => None,
            };
            let bytes = match bytes {
                Some(bytes) => bytes,
                None => get(&store, &metrics, class, &segment, range).await?,
            };
            Ok::<_, CacheError>(Page::new(vec![bytes]))
        })
    }

    fn key(&self, object_key: &ObjectKey, page: u32) -> PageKey {
        PageKey {
            object_key: object_key.clone(),
            page_bytes: self.page_bytes as u32,
            page,
        }
    }

    fn pages_of(&self, positions: &Range<u64>) -> Range<u32> {
        let page_bytes = self.page_bytes as u64;
        let first = positions.start / page_bytes;
        let end = positions.end.div_ceil(page_bytes);
        // Objects are far smaller than 2^32 pages; a forged position finds nothing.
        u32::try_from(first).unwrap_or(u32::MAX)..u32::try_from(end).unwrap_or(u32::MAX)
    }

    fn range(&self, segment: &SegmentRef, page: u32) -> Range<u64> {
        let start = u64::from(page) * self.page_bytes as u64;
        let end = start + self.page_bytes as u64;
        start..end.min(segment.size_bytes).max(start)
    }
}

/// Without a disk tier pages must be small enough for memory to hold one for each of many readers: a
/// page that leaves before it was read to its end is fetched again.
fn page_bytes(config: &SegmentCacheConfig, has_disk: bool) -> usize {
    let wanted = if has_disk {
        config.page_bytes
    } else {
        config
            .page_bytes
            .min(config.page_memory_bytes / PAGES_IN_MEMORY_MIN)
    };
    wanted.clamp(PAGE_BYTES_MIN, PAGE_BYTES_MAX)
}

async fn get(
    store: &Arc<dyn ObjectStore>,
    metrics: &SegmentCacheMetrics,
    class: ReadClass,
    segment: &SegmentRef,
    range: Range<u64>,
) -> Result<Bytes, CacheError> {
    metrics.gets(class).inc();
    let path = Path::from(segment.object_key.as_str());
    let got = store.get_range(&path, range).await;
    let bytes = got.map_err(|error| CacheError::store(&segment.object_key, error))?;
    metrics.get_bytes(class).inc_by(bytes.len() as u64);
    Ok(bytes)
}

type MemoryPhase = foyer::HybridCacheBuilderPhaseMemory<PageKey, Page, foyer::DefaultHasher>;

fn memory(config: &SegmentCacheConfig) -> MemoryPhase {
    HybridCacheBuilder::new()
        .with_name("pages")
        .with_policy(HybridCachePolicy::WriteOnEviction)
        .memory(config.page_memory_bytes)
        // Few, large entries: shards would only make the capacity coarser.
        .with_shards(1)
        // Not S3-FIFO: its probation queue is smaller than the pages a read-ahead brings at once.
        .with_eviction_config(LruConfig::default())
        .with_weighter(|_: &PageKey, page: &Page| page.memory_bytes(PIECE_OVERHEAD_BYTES))
}

async fn in_memory(config: &SegmentCacheConfig) -> HybridCache<PageKey, Page> {
    let built = memory(config).storage().build().await;
    built.expect("without a disk tier there is nothing to fail")
}

async fn with_disk(
    config: &SegmentCacheConfig,
    disk: &DiskConfig,
) -> Result<HybridCache<PageKey, Page>, Box<dyn std::error::Error>> {
    let opened = disk.clone();
    let device = tokio::task::spawn_blocking(move || disk::open(&opened)).await??;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(DISK_FILE_BYTES)
        .with_indexer_shards(4)
        .with_buffer_pool_size(DISK_BUFFER_BYTES)
        .with_submit_queue_size_threshold(2 * DISK_BUFFER_BYTES);
    let cache = memory(config)
        .storage()
        // io_uring's engine spins a core while idle; this one costs nothing.
        .with_io_engine_config(PsyncIoEngineConfig::new())
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .build()
        .await?;
    let folder = disk.folder.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || disk::reserve(&folder)).await? {
        cache.close().await?;
        return Err(error.into());
    }
    Ok(cache)
}

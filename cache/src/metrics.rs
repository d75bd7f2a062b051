//! What this crate counts, for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::budget::ReadClass;

/// Counters of all tails of a broker together. Cheap to clone: clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct TailMetrics {
    /// Bytes of record batches that tails hold in memory.
    pub resident_bytes: Gauge,
    /// Bytes dropped from memory because a committed segment holds them.
    pub evicted_bytes: Counter,
    /// Bytes dropped from memory because the write-ahead log still holds them.
    pub spilled_bytes: Counter,
}

impl TailMetrics {
    /// Counters shown in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tail");
        registry.register(
            "resident_bytes",
            "Bytes of record batches held in memory behind the end of all logs",
            metrics.resident_bytes.clone(),
        );
        registry.register(
            "evicted_bytes",
            "Bytes dropped from memory after a committed segment held them",
            metrics.evicted_bytes.clone(),
        );
        registry.register(
            "spilled_bytes",
            "Bytes dropped from memory before upload, left in the write-ahead log",
            metrics.spilled_bytes.clone(),
        );
        metrics
    }
}

/// Counters of a segment cache. Cheap to clone: clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct SegmentCacheMetrics {
    tail_gets: Counter,
    tail_get_bytes: Counter,
    backfill_gets: Counter,
    backfill_get_bytes: Counter,
    /// Blocks found decoded in memory.
    pub block_hits: Counter,
    /// Pages found in memory.
    pub memory_hits: Counter,
    /// Pages found on disk.
    pub disk_hits: Counter,
    /// Pages that had to be fetched.
    pub misses: Counter,
    /// Pages whose fetch began before anybody asked for them.
    pub prefetched_pages: Counter,
    /// Pages that another broker of the rack gave.
    pub peer_pages: Counter,
    /// Pages that another broker of the rack should have given, and that were fetched from the object store.
    pub peer_fallbacks: Counter,
    /// Blocks that failed their check, counted each time they were read.
    pub damaged_blocks: Counter,
}

impl SegmentCacheMetrics {
    /// Counters shown in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("segment_cache");
        let counters: [(&str, &str, &Counter); 12] = [
            (
                "tail_gets",
                "GETs for readers near the end of a log",
                &metrics.tail_gets,
            ),
            (
                "tail_get_bytes",
                "Bytes of those GETs",
                &metrics.tail_get_bytes,
            ),
            (
                "backfill_gets",
                "GETs for readers of history and read-ahead",
                &metrics.backfill_gets,
            ),
            (
                "backfill_get_bytes",
                "Bytes of those GETs",
                &metrics.backfill_get_bytes,
            ),
            (
                "block_hits",
                "Blocks found decoded in memory",
                &metrics.block_hits,
            ),
            ("memory_hits", "Pages found in memory", &metrics.memory_hits),
            (
                "disk_hits",
                "Pages found on the local disk",
                &metrics.disk_hits,
            ),
            ("misses", "Pages that had to be fetched", &metrics.misses),
            (
                "prefetched_pages",
                "Pages fetched before they were asked for",
                &metrics.prefetched_pages,
            ),
            (
                "peer_pages",
                "Pages that another broker of the rack gave",
                &metrics.peer_pages,
            ),
            (
                "peer_fallbacks",
                "Pages that another broker of the rack did not give when asked",
                &metrics.peer_fallbacks,
            ),
            (
                "damaged_blocks",
                "Blocks that failed their check",
                &metrics.damaged_blocks,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }

    /// GETs made for `class`.
    pub fn gets(&self, class: ReadClass) -> &Counter {
        match class {
            ReadClass::Tail => &self.tail_gets,
            ReadClass::Backfill => &self.backfill_gets,
        }
    }

    /// Bytes that those GETs brought.
    pub fn get_bytes(&self, class: ReadClass) -> &Counter {
        match class {
            ReadClass::Tail => &self.tail_get_bytes,
            ReadClass::Backfill => &self.backfill_get_bytes,
        }
    }
}

//! What this crate counts, for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
        let registry = registry.sub_registry_with_prefix("alluvium_tail");
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

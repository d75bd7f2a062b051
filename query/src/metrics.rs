//! What the read path counts, for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Reads and bytes of one tier.
#[derive(Debug, Clone, Default)]
pub struct TierMetrics {
    /// Reads that got something from the tier.
    pub reads: Counter,
    /// Bytes of record batches that it gave.
    pub bytes: Counter,
}

/// Counters of the read path. Cheap to clone: clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct ReadMetrics {
    /// From memory behind the log end.
    pub tail: TierMetrics,
    /// From the write-ahead log.
    pub spilled: TierMetrics,
    /// From segments, through the cache.
    pub segments: TierMetrics,
    /// From table files, rebuilt.
    pub tables: TierMetrics,
    /// Fetches that had to wait for records.
    pub waits: Counter,
    /// Fetches waiting now.
    pub waiting: Gauge,
    /// Fetches that got less than they might because too many bytes were on their way to clients.
    pub shortened: Counter,
    /// Fetch sessions now.
    pub sessions: Gauge,
    /// Fetch sessions ended to make room for others.
    pub sessions_evicted: Counter,
}

impl ReadMetrics {
    /// Counters shown in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("read");
        for (tier, counters) in [
            ("tail", &metrics.tail),
            ("spilled", &metrics.spilled),
            ("segments", &metrics.segments),
            ("tables", &metrics.tables),
        ] {
            let labels = [("tier".into(), tier.into())];
            let registry = registry.sub_registry_with_labels(labels.into_iter());
            registry.register("reads", "Reads served by the tier", counters.reads.clone());
            registry.register("bytes", "Bytes served by the tier", counters.bytes.clone());
        }
        registry.register(
            "fetch_waits",
            "Fetches that waited for records",
            metrics.waits.clone(),
        );
        registry.register(
            "fetches_waiting",
            "Fetches waiting now",
            metrics.waiting.clone(),
        );
        registry.register(
            "fetches_shortened",
            "Fetches cut short because too many bytes were on their way to clients",
            metrics.shortened.clone(),
        );
        registry.register("fetch_sessions", "Fetch sessions", metrics.sessions.clone());
        registry.register(
            "fetch_sessions_evicted",
            "Fetch sessions ended to make room for others",
            metrics.sessions_evicted.clone(),
        );
        metrics
    }
}

//! What cleaning counts, for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of cleaning. Cheap to clone: clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct CleanMetrics {
    /// Cleanings of a topic that came to their end.
    pub passes: Counter,
    /// Of these, those that could not cover all that was dirty, as there were too many keys.
    pub partial_passes: Counter,
    /// Attempts that failed and are made again.
    pub errors: Counter,
    /// Keys of dirty records that were read.
    pub keys: Counter,
    /// Records that were looked at.
    pub records: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Records of these that were removed.
    pub removed_records: Counter,
    /// Their bytes.
    pub removed_bytes: Counter,
}

impl CleanMetrics {
    /// Registers the metrics, all beginning with `clean_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("clean");
        let counters = [
            (
                "passes",
                "Cleanings of a compacted topic that came to their end",
                &metrics.passes,
            ),
            (
                "partial_passes",
                "Cleanings that had too many keys for their memory and left some for the next",
                &metrics.partial_passes,
            ),
            (
                "errors",
                "Cleanings that failed and are begun again",
                &metrics.errors,
            ),
            ("keys", "Keys of dirty records read", &metrics.keys),
            (
                "records",
                "Records of compacted topics looked at",
                &metrics.records,
            ),
            (
                "bytes",
                "Bytes of keys, values and headers of these",
                &metrics.bytes,
            ),
            (
                "removed_records",
                "Records removed by key compaction",
                &metrics.removed_records,
            ),
            (
                "removed_bytes",
                "Bytes of keys, values and headers of these",
                &metrics.removed_bytes,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        metrics
    }
}

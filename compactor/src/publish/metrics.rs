//! What publishing counts, for Prometheus.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clean::CleanMetrics;

/// Names a topic.
pub type TopicLabels = Vec<(String, String)>;

/// Counters and gauges of publishing. Cheap to clone: clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct PublishMetrics {
    /// Manifests that were made to count.
    pub manifests: Counter,
    /// Leaves of manifests put.
    pub leaves: Counter,
    /// Bytes of manifests and their leaves put.
    pub manifest_bytes: Counter,
    /// Table files put.
    pub tables: Counter,
    /// Their bytes.
    pub table_bytes: Counter,
    /// Bytes of record batches that went into them.
    pub record_bytes: Counter,
    /// GETs of segments.
    pub gets: Counter,
    /// Bytes of these.
    pub get_bytes: Counter,
    /// Attempts that failed and are made again.
    pub errors: Counter,
    /// Partitions that are not published beyond a batch that cannot be opened.
    pub blocked_partitions: Gauge,
    /// Bytes of segments that wait to be published, by topic.
    pub backlog_bytes: Family<TopicLabels, Gauge>,
    /// Age of the oldest of them in seconds, by topic.
    pub backlog_age_seconds: Family<TopicLabels, Gauge>,
    /// What is counted of key compaction.
    pub clean: CleanMetrics,
}

impl PublishMetrics {
    /// Registers the metrics, all beginning with `publish_`, but for those of key compaction.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            clean: CleanMetrics::register(registry),
            ..Self::default()
        };
        let registry = registry.sub_registry_with_prefix("publish");
        let counters = [
            (
                "manifests",
                "Manifests of table files made to count",
                &metrics.manifests,
            ),
            (
                "leaves",
                "Leaves put, which list older table files for manifests",
                &metrics.leaves,
            ),
            (
                "manifest_bytes",
                "Bytes of manifests and their leaves put",
                &metrics.manifest_bytes,
            ),
            ("tables", "Table files put", &metrics.tables),
            (
                "table_bytes",
                "Bytes of table files put",
                &metrics.table_bytes,
            ),
            (
                "record_bytes",
                "Bytes of record batches published, as stored in blocks before compression",
                &metrics.record_bytes,
            ),
            ("gets", "GETs of segments to publish", &metrics.gets),
            (
                "get_bytes",
                "Bytes of segments read to publish",
                &metrics.get_bytes,
            ),
            (
                "errors",
                "Attempts to publish that failed and are made again",
                &metrics.errors,
            ),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "blocked_partitions",
            "Partitions that are not published beyond a record batch that cannot be opened",
            metrics.blocked_partitions.clone(),
        );
        registry.register(
            "backlog_bytes",
            "Bytes of segments that this process has to publish, by topic",
            metrics.backlog_bytes.clone(),
        );
        registry.register(
            "backlog_age_seconds",
            "Age of the oldest segment that this process has to publish, by topic",
            metrics.backlog_age_seconds.clone(),
        );
        metrics
    }
}

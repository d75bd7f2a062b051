//! How long compaction waited, for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Seconds waited, summed over all that waited at the same time. Cheap to clone: clones share their numbers.
#[derive(Debug, Clone, Default)]
pub struct PaceMetrics {
    limited: Counter<f64, AtomicU64>,
    yielded: Counter<f64, AtomicU64>,
}

impl PaceMetrics {
    /// Registers the metrics, all beginning with `compactor_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("compactor");
        registry.register(
            "limited_seconds",
            "Seconds for which reads and writes of compaction waited because of compactor.io.max.bytes.per.second",
            metrics.limited.clone(),
        );
        registry.register(
            "yielded_seconds",
            "Seconds for which they waited because uploads of this process lagged behind",
            metrics.yielded.clone(),
        );
        metrics
    }

    pub(super) fn waited(&self, lags: bool, time: Duration) {
        let counter = if lags { &self.yielded } else { &self.limited };
        counter.inc_by(time.as_secs_f64());
    }

    /// Seconds waited for the limit, and for uploads.
    #[cfg(test)]
    pub fn waits(&self) -> (f64, f64) {
        (self.limited.get(), self.yielded.get())
    }
}

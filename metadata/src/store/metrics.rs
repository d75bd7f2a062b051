//! Counts and times what is asked of a store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::MetadataStore;
use super::error::StoreError;
use super::range::{RangeRequest, RangeResponse};
use super::txn::{Op, Txn, TxnResponse};
use super::types::{Lease, LeaseId, Revision, StoreSpace};
use super::watch::{Watch, WatchRequest};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    result: &'static str,
}

const OK: &str = "ok";
/// A transaction whose comparisons did not hold.
const COMPARE_FAILED: &str = "compare_failed";
const ERROR: &str = "error";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LatencyLabels {
    call: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// The metrics of a store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    calls: Family<CallLabels, Counter>,
    operations: Family<OperationLabels, Counter>,
    txn_bytes: Counter,
    latency: Family<LatencyLabels, Histogram>,
}

impl StoreMetrics {
    /// Registers the metrics, all beginning with `metadata_store_`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            operations: Family::default(),
            txn_bytes: Counter::default(),
            latency: Family::new_with_constructor(latency_histogram),
        };
        let registry = registry.sub_registry_with_prefix("metadata_store");
        registry.register(
            "calls",
            "Calls to the metadata store",
            metrics.calls.clone(),
        );
        registry.register(
            "operations",
            "Operations of transactions that were applied, in the list that was run",
            metrics.operations.clone(),
        );
        registry.register_with_unit(
            "txn",
            "Keys and values of transactions sent to the metadata store",
            Unit::Bytes,
            metrics.txn_bytes.clone(),
        );
        registry.register_with_unit(
            "latency",
            "Time until the metadata store answered",
            Unit::Seconds,
            metrics.latency.clone(),
        );
        metrics
    }

    fn record(&self, call: &'static str, result: &'static str, started: Instant) {
        self.calls.get_or_create(&CallLabels { call, result }).inc();
        let elapsed = started.elapsed().as_secs_f64();
        self.latency
            .get_or_create(&LatencyLabels { call })
            .observe(elapsed);
    }

    fn record_operations(&self, ops: &[&'static str]) {
        for operation in ops {
            self.operations
                .get_or_create(&OperationLabels { operation })
                .inc();
        }
    }
}

/// 0.1 ms (a commit on a fast disk) to 13 s (a store that is nearly away).
fn latency_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 18))
}

/// A store with [`StoreMetrics`].
#[derive(Debug)]
pub struct MeteredStore {
    inner: Arc<dyn MetadataStore>,
    metrics: StoreMetrics,
}

impl MeteredStore {
    /// Measures a store.
    #[must_use]
    pub fn new(inner: Arc<dyn MetadataStore>, metrics: StoreMetrics) -> Self {
        Self { inner, metrics }
    }

    async fn measure<T>(
        &self,
        call: &'static str,
        running: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = running.await;
        let kind = if result.is_ok() { OK } else { ERROR };
        self.metrics.record(call, kind, started);
        result
    }
}

fn operations(ops: &[Op]) -> Vec<&'static str> {
    let kind = |op: &Op| match op {
        Op::Put { .. } => "put",
        Op::Delete { .. } => "delete",
        Op::Range(_) => "range",
    };
    ops.iter().map(kind).collect()
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "a decorator passes on everything"
)]
impl MetadataStore for MeteredStore {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, StoreError> {
        self.measure("range", self.inner.range(request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, StoreError> {
        let started = Instant::now();
        self.metrics.txn_bytes.inc_by(txn.size_bytes() as u64);
        let (then_ops, else_ops) = (operations(&txn.then_ops), operations(&txn.else_ops));
        let result = self.inner.txn(txn).await;
        let kind = match &result {
            Ok(response) if response.succeeded => {
                self.metrics.record_operations(&then_ops);
                OK
            }
            Ok(_) => {
                self.metrics.record_operations(&else_ops);
                COMPARE_FAILED
            }
            Err(_) => ERROR,
        };
        self.metrics.record("txn", kind, started);
        result
    }

    async fn watch(&self, request: WatchRequest) -> Result<Watch, StoreError> {
        self.measure("watch", self.inner.watch(request)).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<Lease, StoreError> {
        self.measure("lease_grant", self.inner.lease_grant(ttl))
            .await
    }

    async fn lease_keep_alive(&self, lease: LeaseId) -> Result<Duration, StoreError> {
        self.measure("lease_keep_alive", self.inner.lease_keep_alive(lease))
            .await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<Revision, StoreError> {
        self.measure("lease_revoke", self.inner.lease_revoke(lease))
            .await
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.measure("compact", self.inner.compact(revision)).await
    }

    async fn space(&self) -> Result<Option<StoreSpace>, StoreError> {
        self.measure("space", self.inner.space()).await
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;
    use crate::store::conformance::{Harness, run};
    use crate::store::{Compare, MemoryStore, MetadataStoreExt};

    struct Metered(StoreMetrics);

    #[async_trait]
    impl Harness for Metered {
        async fn store(&self) -> Arc<dyn MetadataStore> {
            Arc::new(MeteredStore::new(
                Arc::new(MemoryStore::new()),
                self.0.clone(),
            ))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn conforms() {
        run(&Metered(StoreMetrics::register(&mut Registry::default()))).await;
    }

    #[tokio::test]
    async fn calls_are_counted_by_result() {
        let mut registry = Registry::default();
        let store = Metered(StoreMetrics::register(&mut registry)).store().await;
        store.put("k", "12345").await.unwrap();
        store.put("", "x").await.unwrap_err();
        let failing = Txn::new()
            .when(Compare::absent("k"))
            .then(Op::put("k", "x"))
            .or_else(Op::get("k"));
        store.txn(failing).await.unwrap();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"metadata_store_calls_total{call="txn",result="ok"} 1"#,
            r#"metadata_store_calls_total{call="txn",result="error"} 1"#,
            r#"metadata_store_calls_total{call="txn",result="compare_failed"} 1"#,
            r#"metadata_store_operations_total{operation="put"} 1"#,
            r#"metadata_store_operations_total{operation="range"} 1"#,
            "metadata_store_txn_bytes_total 333",
            r#"metadata_store_latency_seconds_count{call="txn"} 3"#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}

//! Counts what is asked of a store and what comes back: requests by result, bytes, time, retries,
//! requests in flight. It sits below the retries, so it counts what the store is asked and bills.

mod store;
mod topics;

use ::object_store::path::Path;
use ::object_store::{Error, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

pub use self::store::MetricsStore;
pub use self::topics::{Holds, HoldsOf, Requests, TopicRequests};
use super::failure::{Failure, FailureKind};
use super::operation::Operation;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    operation: &'static str,
    /// [`OK`], [`ABANDONED`], or the kind of failure.
    result: &'static str,
}

/// The metrics of one store. Clones count into the same numbers.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    requests: Family<ResultLabels, Counter>,
    sent: Family<OperationLabel, Counter>,
    received: Family<OperationLabel, Counter>,
    retries: Family<OperationLabel, Counter>,
    duration: Family<OperationLabel, Histogram>,
    in_flight: Gauge,
    by_topic: TopicRequests,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            sent: Family::default(),
            received: Family::default(),
            retries: Family::default(),
            // 0.5 ms (a local file) to 16 s (a store in trouble).
            duration: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.0005, 2.0, 16))
            }),
            in_flight: Gauge::default(),
            by_topic: TopicRequests::default(),
        }
    }
}

impl StoreMetrics {
    /// Counts by topic, too.
    pub fn counting(self, by_topic: TopicRequests) -> Self {
        Self { by_topic, ..self }
    }

    /// Names the metrics in `registry`, all beginning with `object_store_`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("object_store");
        registry.register(
            "requests",
            "Requests to the object store, by operation and result",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "sent",
            "Bytes sent to the object store",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "received",
            "Bytes received from the object store",
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register(
            "retries",
            "Requests that were made again after a failure",
            self.retries.clone(),
        );
        registry.register_with_unit(
            "duration",
            "Time from a request to the end of its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register(
            "in_flight",
            "Requests waiting for the object store",
            self.in_flight.clone(),
        );
    }

    /// Requests of one operation so far, whatever became of them.
    pub fn requests(&self, operation: Operation) -> u64 {
        let failures = FailureKind::ALL.iter().map(|kind| kind.label());
        [OK, ABANDONED]
            .into_iter()
            .chain(failures)
            .map(|result| {
                let labels = ResultLabels {
                    operation: operation.label(),
                    result,
                };
                self.requests.get(&labels).map_or(0, |count| count.get())
            })
            .sum()
    }

    /// Bytes of request bodies sent so far by one operation.
    pub fn sent_bytes(&self, operation: Operation) -> u64 {
        count(&self.sent, operation)
    }

    /// Bytes of response bodies received so far by one operation.
    pub fn received_bytes(&self, operation: Operation) -> u64 {
        count(&self.received, operation)
    }

    /// Retries of one operation so far.
    pub fn retries(&self, operation: Operation) -> u64 {
        count(&self.retries, operation)
    }

    pub(super) fn retried(&self, operation: Operation) {
        self.retries.get_or_create(&label(operation)).inc();
    }

    /// Counts one request of another seam of the store.
    pub(super) async fn counted<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let running = self.start(operation);
        running.end(request.await)
    }

    /// A request about one object.
    fn start_at(&self, location: &Path, operation: Operation) -> Running {
        self.by_topic.asked(location, operation);
        self.start(operation)
    }

    fn start(&self, operation: Operation) -> Running {
        self.in_flight.inc();
        Running {
            metrics: self.clone(),
            operation,
            started: Instant::now(),
            result: ABANDONED,
        }
    }
}

/// The request was answered as it should be.
const OK: &str = "ok";

/// The caller went away, or a time limit passed, before there was an answer.
const ABANDONED: &str = "abandoned";

fn label(operation: Operation) -> OperationLabel {
    OperationLabel {
        operation: operation.label(),
    }
}

fn count(family: &Family<OperationLabel, Counter>, operation: Operation) -> u64 {
    family.get(&label(operation)).map_or(0, |count| count.get())
}

/// A request under way. When dropped, however that comes about, it is counted.
struct Running {
    metrics: StoreMetrics,
    operation: Operation,
    started: Instant,
    result: &'static str,
}

impl Running {
    fn sent(&self, bytes: usize) {
        let sent = self.metrics.sent.get_or_create(&label(self.operation));
        sent.inc_by(bytes as u64);
    }

    fn received(&self, bytes: usize) {
        let received = self.metrics.received.get_or_create(&label(self.operation));
        received.inc_by(bytes as u64);
    }

    fn note<T>(&mut self, result: &Result<T>) {
        match result {
            Ok(_) => self.result = OK,
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: &Error) {
        self.result = Failure::of(error).kind.label();
    }

    fn end<T>(mut self, result: Result<T>) -> Result<T> {
        self.note(&result);
        result
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let labels = ResultLabels {
            operation: self.operation.label(),
            result: self.result,
        };
        self.metrics.requests.get_or_create(&labels).inc();
        self.metrics
            .duration
            .get_or_create(&label(self.operation))
            .observe(self.started.elapsed().as_secs_f64());
        self.metrics.in_flight.dec();
    }
}

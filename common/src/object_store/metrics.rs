//! Counts what is asked of a store and what comes back: requests by result, bytes, time, retries,
//! requests in flight. It sits below the retries, so it counts what the store is asked and bills.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use super::failure::Failure;
use super::operation::Operation;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    operation: &'static str,
    /// `ok`, or the kind of failure.
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
        }
    }
}

impl StoreMetrics {
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
        RESULTS
            .iter()
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

    fn start(&self, operation: Operation) -> Running {
        self.in_flight.inc();
        Running {
            metrics: self.clone(),
            operation,
            started: Instant::now(),
            result: "abandoned",
        }
    }
}

/// Every value of the label `result`.
const RESULTS: [&str; 19] = [
    "ok",
    "abandoned",
    "not_found",
    "already_exists",
    "precondition",
    "not_modified",
    "throttled",
    "server_fault",
    "timed_out",
    "unreachable",
    "interrupted",
    "denied",
    "bad_credentials",
    "clock_skew",
    "no_such_bucket",
    "wrong_region",
    "no_space",
    "unsupported",
    "other",
];

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
            Ok(_) => self.result = "ok",
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

/// A store whose requests are counted.
#[derive(Debug)]
pub struct MetricsStore {
    inner: Arc<dyn ObjectStore>,
    metrics: StoreMetrics,
}

impl MetricsStore {
    /// Counts what is asked of `inner`.
    pub fn new(inner: Arc<dyn ObjectStore>, metrics: StoreMetrics) -> Self {
        Self { inner, metrics }
    }
}

impl fmt::Display for MetricsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "metrics({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for MetricsStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let running = self.metrics.start(Operation::Put);
        running.sent(payload.content_length());
        running.end(self.inner.put_opts(location, payload, opts).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let running = self.metrics.start(Operation::Upload);
        let inner = running.end(self.inner.put_multipart_opts(location, opts).await)?;
        Ok(Box::new(MetricsUpload {
            inner,
            metrics: self.metrics.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = match options.head {
            true => Operation::Head,
            false => Operation::Get,
        };
        let mut running = self.metrics.start(operation);
        let result = self.inner.get_opts(location, options).await;
        running.note(&result);
        let mut result = result?;
        if let GetResultPayload::Stream(body) = result.payload {
            result.payload = GetResultPayload::Stream(counted(body, running));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let running = self.metrics.start(Operation::Get);
        let result = self.inner.get_ranges(location, ranges).await;
        if let Ok(parts) = &result {
            running.received(parts.iter().map(Bytes::len).sum());
        }
        running.end(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        watched(
            self.inner.delete_stream(locations),
            self.metrics.start(Operation::Delete),
        )
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        watched(self.inner.list(prefix), self.metrics.start(Operation::List))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        watched(
            self.inner.list_with_offset(prefix, offset),
            self.metrics.start(Operation::List),
        )
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let running = self.metrics.start(Operation::List);
        running.end(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let running = self.metrics.start(Operation::Copy);
        running.end(self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let running = self.metrics.start(Operation::Copy);
        running.end(self.inner.rename_opts(from, to, options).await)
    }
}

/// Counts the bytes of a body and, when it ends, the request.
fn counted(
    body: BoxStream<'static, Result<Bytes>>,
    mut running: Running,
) -> BoxStream<'static, Result<Bytes>> {
    body.inspect(move |chunk| {
        running.note(chunk);
        if let Ok(bytes) = chunk {
            running.received(bytes.len());
        }
    })
    .boxed()
}

/// Counts a stream of results as one request, which fails when any of them does.
fn watched<T: Send + 'static>(
    results: BoxStream<'static, Result<T>>,
    mut running: Running,
) -> BoxStream<'static, Result<T>> {
    running.result = "ok";
    results
        .inspect_err(move |error| running.failed(error))
        .boxed()
}

#[derive(Debug)]
struct MetricsUpload {
    inner: Box<dyn MultipartUpload>,
    metrics: StoreMetrics,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for MetricsUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let running = self.metrics.start(Operation::Upload);
        running.sent(data.content_length());
        let part = self.inner.put_part(data);
        async move { running.end(part.await) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let running = self.metrics.start(Operation::Upload);
        running.end(self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        let running = self.metrics.start(Operation::Upload);
        running.end(self.inner.abort().await)
    }
}

//! The decorator that does the counting.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
    UploadPart,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};

use super::{OK, Running, StoreMetrics};
use crate::object_store::operation::Operation;

/// Names that S3 and Google give in one answer. Azure gives more; other stores have no pages.
const LIST_PAGE_NAMES: usize = 1000;

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
        let running = self.metrics.start_at(location, Operation::Put);
        running.sent(payload.content_length());
        running.end(self.inner.put_opts(location, payload, opts).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let running = self.metrics.start_at(location, Operation::Upload);
        let inner = running.end(self.inner.put_multipart_opts(location, opts).await)?;
        Ok(Box::new(MetricsUpload {
            inner,
            location: location.clone(),
            metrics: self.metrics.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = match options.head {
            true => Operation::Head,
            false => Operation::Get,
        };
        let mut running = self.metrics.start_at(location, operation);
        let result = self.inner.get_opts(location, options).await;
        running.note(&result);
        let mut result = result?;
        if let GetResultPayload::Stream(body) = result.payload {
            result.payload = GetResultPayload::Stream(counted(body, running));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let running = self.metrics.start_at(location, Operation::Get);
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
        listed(self.inner.list(prefix), self.metrics.start(Operation::List))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        listed(
            self.inner.list_with_offset(prefix, offset),
            self.metrics.start(Operation::List),
        )
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let running = self.metrics.start(Operation::List);
        running.end(self.inner.list_with_delimiter(prefix).await)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let running = self.metrics.start_at(to, Operation::Copy);
        running.end(self.inner.copy_opts(from, to, options).await)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let running = self.metrics.start_at(to, Operation::Copy);
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

/// Counts a listing: a request for each page of it.
fn listed(
    names: BoxStream<'static, Result<ObjectMeta>>,
    running: Running,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let metrics = running.metrics.clone();
    let mut told = 0_usize;
    let names = names.inspect_ok(move |_| {
        if told > 0 && told.is_multiple_of(LIST_PAGE_NAMES) {
            metrics.start(Operation::List).result = OK;
        }
        told += 1;
    });
    watched(names.boxed(), running)
}

/// Counts a stream of results as one request, which fails when any of them does.
fn watched<T: Send + 'static>(
    results: BoxStream<'static, Result<T>>,
    mut running: Running,
) -> BoxStream<'static, Result<T>> {
    running.result = OK;
    results
        .inspect_err(move |error| running.failed(error))
        .boxed()
}

#[derive(Debug)]
struct MetricsUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    metrics: StoreMetrics,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for MetricsUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let running = self.metrics.start_at(&self.location, Operation::Upload);
        running.sent(data.content_length());
        let part = self.inner.put_part(data);
        async move { running.end(part.await) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let running = self.metrics.start_at(&self.location, Operation::Upload);
        running.end(self.inner.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        // Free of charge, as what deletes is.
        let running = self.metrics.start(Operation::Upload);
        running.end(self.inner.abort().await)
    }
}

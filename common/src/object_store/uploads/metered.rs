//! Counts the requests: a listing is billed like any.

use std::sync::Arc;

use ::object_store::Result;
use ::object_store::path::Path;
use async_trait::async_trait;

use super::{UnfinishedUpload, UnfinishedUploads, UploadMarker, UploadPage};
use crate::object_store::metrics::StoreMetrics;
use crate::object_store::operation::Operation;

/// Unfinished uploads whose requests are counted.
#[derive(Debug)]
pub(in crate::object_store) struct MeteredUploads {
    inner: Arc<dyn UnfinishedUploads>,
    metrics: StoreMetrics,
}

impl MeteredUploads {
    pub(in crate::object_store) fn new(
        inner: Arc<dyn UnfinishedUploads>,
        metrics: StoreMetrics,
    ) -> Self {
        Self { inner, metrics }
    }
}

#[async_trait]
impl UnfinishedUploads for MeteredUploads {
    async fn list(&self, prefix: &Path, after: Option<UploadMarker>) -> Result<UploadPage> {
        let listed = self.inner.list(prefix, after);
        self.metrics.counted(Operation::List, listed).await
    }

    async fn abort(&self, upload: &UnfinishedUpload) -> Result<()> {
        let aborted = self.inner.abort(upload);
        self.metrics.counted(Operation::Delete, aborted).await
    }
}

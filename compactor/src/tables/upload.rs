//! Puts a table file while it is written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use alluvium_segment::object_key::ObjectKey;
use bytes::Bytes;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use tokio::io::AsyncWriteExt;

use crate::pace::{Pace, PacedObjects};
use crate::publish::PublishError;

/// A smaller file is one PUT, a larger one is put in parts of this size.
pub const PART_BYTES: usize = 8 << 20;

/// Parts on their way at the same time.
const PARTS_PARALLEL_MAX: usize = 2;

/// How long the object store may take for a part, or for putting all together.
const PART_TIMEOUT: Duration = Duration::from_secs(60);

/// One file. Dropped before it is completed it leaves at most the parts of an upload that was never ended.
pub struct TableUpload {
    key: ObjectKey,
    writer: BufWriter,
    pace: Arc<Pace>,
    /// It was given up or is being completed: the writer takes nothing more, and panics when it is asked to.
    is_over: bool,
}

impl TableUpload {
    /// Begins. A file smaller than `part_bytes` is one PUT, a larger one is put in parts of that size.
    pub fn new(objects: &PacedObjects, key: ObjectKey, part_bytes: usize) -> Self {
        let path = Path::from(key.as_str());
        let writer = BufWriter::with_capacity(Arc::clone(&objects.objects), path, part_bytes);
        Self {
            writer: writer.with_max_concurrency(PARTS_PARALLEL_MAX),
            pace: Arc::clone(&objects.pace),
            key,
            is_over: false,
        }
    }

    /// Its name.
    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// Adds the next bytes, when there is time for them.
    pub async fn put(&mut self, chunks: Vec<Bytes>) -> Result<(), PublishError> {
        for chunk in chunks {
            self.pace.take(chunk.len() as u64).await;
            let put = tokio::time::timeout(PART_TIMEOUT, self.writer.put(chunk)).await;
            let put = put.unwrap_or_else(|_| Err(timed_out()));
            if let Err(error) = put {
                return Err(self.failed(io::Error::other(error)));
            }
        }
        Ok(())
    }

    /// Completes the file.
    pub async fn complete(&mut self) -> Result<(), PublishError> {
        self.is_over = true;
        let done = tokio::time::timeout(PART_TIMEOUT, self.writer.shutdown()).await;
        let done = done.unwrap_or_else(|_| Err(io::Error::other(timed_out())));
        done.map_err(|error| self.failed(error))
    }

    /// Gives back what the object store keeps of an upload in parts. What cannot be given back now is collected later.
    pub async fn abort(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let aborted = tokio::time::timeout(PART_TIMEOUT, self.writer.abort()).await;
        if !matches!(aborted, Ok(Ok(()))) {
            tracing::debug!(key = %self.key, "an upload in parts could not be given up");
        }
    }

    fn failed(&self, source: io::Error) -> PublishError {
        PublishError::Upload {
            key: self.key.clone(),
            source,
        }
    }
}

fn timed_out() -> object_store::Error {
    object_store::Error::Generic {
        store: "object store",
        source: format!("no answer after {PART_TIMEOUT:?}").into(),
    }
}

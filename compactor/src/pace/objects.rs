//! Reads of table files and segments, at a pace.

use std::ops::Range;
use std::sync::Arc;

use alluvium_segment::FormatError;
use alluvium_segment::object_key::ObjectKey;
use bytes::Bytes;
use object_store::ObjectStore;

use super::Pace;
use crate::fold::{ReadError, checked};

/// The bucket, for what is read and written by the mebibyte. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PacedObjects {
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// The pace.
    pub pace: Arc<Pace>,
}

impl PacedObjects {
    /// Reads a range that `open` finds whole, when there is time for it. What is damaged is read once more.
    pub async fn checked<T>(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        open: impl Fn(Bytes) -> Result<T, FormatError>,
    ) -> Result<T, ReadError> {
        self.pace.take(range.end.saturating_sub(range.start)).await;
        checked(&*self.objects, key, range, open).await
    }
}

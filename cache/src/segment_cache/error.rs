//! What can go wrong when stored bytes are read.

use std::sync::Arc;

use alluvium_common::error::ErrorKind;
use alluvium_segment::object_key::ObjectKey;

/// Why a block could not be read. Cheap to clone: everybody who waited for one read gets it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// Damaged in the object store, read twice (I18). Never skipped.
    #[error("{object_key} is damaged at position {position}: {reason}")]
    Corrupt {
        /// The object.
        object_key: ObjectKey,
        /// Where what was read begins.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// The object store does not have the object, though the metadata names it (I19).
    #[error("object {object_key} is missing from the object store")]
    Missing {
        /// The object.
        object_key: ObjectKey,
    },
    /// The object store failed, after its own retries.
    #[error("object {object_key} cannot be read")]
    Store {
        /// The object.
        object_key: ObjectKey,
        /// What the store says.
        #[source]
        source: Arc<object_store::Error>,
    },
    /// The cache itself failed: shutting down, or a task that died.
    #[error("the segment cache failed: {0}")]
    Cache(String),
}

impl CacheError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            CacheError::Corrupt { .. } | CacheError::Missing { .. } => ErrorKind::BadData,
            CacheError::Store { .. } | CacheError::Cache(_) => ErrorKind::Retry,
        }
    }

    pub(super) fn store(object_key: &ObjectKey, error: object_store::Error) -> Self {
        let object_key = object_key.clone();
        match error {
            object_store::Error::NotFound { .. } => CacheError::Missing { object_key },
            source => CacheError::Store {
                object_key,
                source: Arc::new(source),
            },
        }
    }
}

/// Gets our own error back out of the cache library's.
impl From<foyer::Error> for CacheError {
    fn from(error: foyer::Error) -> Self {
        match error.downcast_ref::<CacheError>() {
            Some(own) => own.clone(),
            None => CacheError::Cache(error.to_string()),
        }
    }
}

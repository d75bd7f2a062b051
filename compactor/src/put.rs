//! PUTs of whole objects, with a time of their own.

use std::time::Duration;

use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::parted::EncodedObject;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

/// How long a PUT may take: what this crate puts is at most some tens of mebibytes, and nobody waits for it.
const PUT_TIMEOUT: Duration = Duration::from_secs(60);

/// An object could not be put, or nobody knows whether it was. Names are never used twice, so either is the same.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The object store said no.
    #[error("{key}: {source}")]
    Refused {
        /// Its name.
        key: ObjectKey,
        /// Why.
        source: object_store::Error,
    },
    /// It said nothing.
    #[error("{key}: no answer from the object store after {PUT_TIMEOUT:?}")]
    TimedOut {
        /// Its name.
        key: ObjectKey,
    },
}

pub(crate) async fn put(
    objects: &dyn ObjectStore,
    key: &ObjectKey,
    object: EncodedObject,
) -> Result<(), PutError> {
    let payload: PutPayload = object.chunks.into_iter().collect();
    let path = Path::from(key.as_str());
    match tokio::time::timeout(PUT_TIMEOUT, objects.put(&path, payload)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(source)) => Err(PutError::Refused {
            key: key.clone(),
            source,
        }),
        Err(_) => Err(PutError::TimedOut { key: key.clone() }),
    }
}

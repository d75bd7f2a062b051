//! Reading what has a checksum: what is damaged is read once more before it counts as damaged (I18).

use std::ops::Range;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// Why bytes that were to be checked are not there.
#[derive(Debug, thiserror::Error)]
pub enum CheckedReadError<E> {
    /// The object store did not give them.
    #[error(transparent)]
    Store(object_store::Error),
    /// Twice they were not what they should be.
    #[error(transparent)]
    Damaged(E),
}

/// Reads `range` of an object and makes something of it. If that fails, the bytes may have been damaged on their way:
/// they are read once more.
///
/// # Errors
/// See [`CheckedReadError`].
pub async fn read_checked<T, E>(
    store: &dyn ObjectStore,
    path: &Path,
    range: Range<u64>,
    open: impl Fn(Bytes) -> Result<T, E>,
) -> Result<T, CheckedReadError<E>> {
    let mut again = true;
    loop {
        let bytes = store.get_range(path, range.clone()).await;
        let bytes = bytes.map_err(CheckedReadError::Store)?;
        match open(bytes) {
            Ok(opened) => return Ok(opened),
            Err(_) if again => again = false,
            Err(error) => return Err(CheckedReadError::Damaged(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn damage_is_read_once_more_and_then_told() {
        let store = InMemory::new();
        let path = Path::from("x");
        store.put(&path, "abcdef".into()).await.expect("put");
        for (failures, succeeds) in [(0, true), (1, true), (2, false)] {
            let reads = Cell::new(0);
            let open = |bytes: Bytes| {
                reads.set(reads.get() + 1);
                let whole = bytes == "bcd" && reads.get() > failures;
                whole.then_some(()).ok_or("damaged")
            };
            let read = read_checked(&store, &path, 1..4, open).await;
            assert_eq!(read.is_ok(), succeeds, "{failures}");
            assert_eq!(reads.get(), (failures + 1).min(2));
        }
        let missing = read_checked(&store, &Path::from("y"), 0..1, Ok::<_, &str>).await;
        assert!(matches!(missing, Err(CheckedReadError::Store(_))));
    }
}

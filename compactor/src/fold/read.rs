//! Reads what a run of a commit log stands for: the footers of its commits, the contents of its folds.

use std::ops::Range;

use alluvium_common::object_store::{CheckedReadError, read_checked};
use alluvium_metadata::commit_log::LogEntry;
use alluvium_metadata::model::{CommitRecord, FoldRecord};
use alluvium_segment::FormatError;
use alluvium_segment::fold_object::{FoldIndex, FoldedCommit};
use alluvium_segment::object_key::ObjectKey;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::path::Path;

/// Why an entry could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The object store did not give the object.
    #[error("{key}: {source}")]
    Object {
        /// Its name.
        key: ObjectKey,
        /// Why.
        source: object_store::Error,
    },
    /// Twice it was not what was committed.
    #[error("{key}: {source}")]
    Damaged {
        /// Its name.
        key: ObjectKey,
        /// What is wrong.
        source: FormatError,
    },
}

impl ReadError {
    /// Whether reading it again will not help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Object { source, .. } => matches!(source, object_store::Error::NotFound { .. }),
        }
    }
}

/// The commits that an entry stands for, in order, checked.
pub async fn commits_of(
    objects: &dyn ObjectStore,
    entry: &LogEntry,
) -> Result<Vec<FoldedCommit>, ReadError> {
    match entry {
        LogEntry::Commit { record, .. } => {
            let start = record
                .size_bytes
                .saturating_sub(record.footer_length.into());
            let open = |footer| of_commit(record, footer);
            let range = start..record.size_bytes;
            let commit = checked(objects, &record.object_key, range, open).await?;
            Ok(vec![commit])
        }
        LogEntry::Fold(fold) => {
            let open = |object: Bytes| of_fold(fold, &object);
            checked(objects, &fold.object_key, 0..fold.size_bytes, open).await
        }
        LogEntry::Dropped(_) => Ok(Vec::new()),
    }
}

pub(crate) async fn checked<T>(
    objects: &dyn ObjectStore,
    key: &ObjectKey,
    range: Range<u64>,
    open: impl Fn(Bytes) -> Result<T, FormatError>,
) -> Result<T, ReadError> {
    let path = Path::from(key.as_str());
    let read = read_checked(objects, &path, range, open).await;
    read.map_err(|error| match error {
        CheckedReadError::Store(source) => ReadError::Object {
            key: key.clone(),
            source,
        },
        CheckedReadError::Damaged(source) => ReadError::Damaged {
            key: key.clone(),
            source,
        },
    })
}

fn of_commit(record: &CommitRecord, footer: Bytes) -> Result<FoldedCommit, FormatError> {
    let commit = FoldedCommit {
        object_key: record.object_key.clone(),
        size_bytes: record.size_bytes,
        footer_crc: record.footer_crc,
        footer,
    };
    // What is folded is believed for ever, so it is verified here.
    commit.decode_footer()?;
    Ok(commit)
}

fn of_fold(fold: &FoldRecord, object: &Bytes) -> Result<Vec<FoldedCommit>, FormatError> {
    let index = FoldIndex::decode(object)?;
    let found = (index.crc, index.first_seq, index.last_seq());
    if found != (fold.index_crc, fold.first_seq, fold.last_seq) {
        return Err(FormatError::Malformed(
            "fold object: it is not the one that was committed",
        ));
    }
    let commits = index.open_all(object)?;
    Ok(commits.into_iter().map(|(_, commit)| commit).collect())
}

//! Why a topic was not published.

use alluvium_common::background::BackgroundStopped;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_metadata::compaction::ReadPublishedError;
use alluvium_metadata::store::StoreError;
use alluvium_segment::FormatError;
use alluvium_segment::object_key::ObjectKey;
use alluvium_table::TableError;

use crate::fold::ReadError;
use crate::put::PutError;

/// Why a topic was not published. Nothing is lost: its segments stay, and it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A segment or the manifest could not be read, or is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record batch cannot be opened: its producer sent it so. The partition is not published beyond it.
    #[error(
        "partition {partition}: the record batch at offset {offset} cannot be opened: {source}"
    )]
    Batch {
        /// Of which partition.
        partition: PartitionIndex,
        /// First offset of the batch.
        offset: Offset,
        /// The offset after its last.
        next_offset: Offset,
        /// What is wrong with it.
        source: TableError,
    },
    /// The topic has header keys that are not UTF-8: its table files need a column for them.
    #[error("a header key is not UTF-8")]
    NeedsRawHeaders,
    /// A table file cannot be made.
    #[error("a table file cannot be made: {0}")]
    Table(TableError),
    /// A table file could not be put.
    #[error("{key}: {source}")]
    Upload {
        /// Its name.
        key: ObjectKey,
        /// Why.
        source: std::io::Error,
    },
    /// The manifest cannot be made.
    #[error("a manifest cannot be made: {0}")]
    Manifest(#[from] FormatError),
    /// The manifest could not be put.
    #[error(transparent)]
    Put(#[from] PutError),
    /// How far the topic is published cannot be read.
    #[error(transparent)]
    Published(#[from] ReadPublishedError),
    /// The metadata store did not do it, or it is unknown whether it did.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another compactor was faster, or has the topic now.
    #[error("another compactor has published the topic")]
    Superseded,
    /// A thread of this process died.
    #[error(transparent)]
    Stopped(#[from] BackgroundStopped),
}

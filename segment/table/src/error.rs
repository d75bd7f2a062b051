//! What can be wrong with a table.

use alluvium_segment::FormatError;
use alluvium_segment::record_batch::BatchError;
use arrow_schema::ArrowError;
use parquet::errors::ParquetError;

/// Why a table cannot be written, or why bytes are not the table they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Our own parts of the file: wrong magic, newer version, wrong checksum, contradictions. A wrong checksum means
    /// damage: read again, then report.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A batch that should be written cannot be opened, or rows do not make a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// What the Parquet library says. Behind a verified checksum that is a defect of this program or of the writer's.
    #[error("parquet: {0}")]
    Parquet(String),
    /// A header key is not UTF-8, and the file was begun without the column that keeps such keys. Drop it, and begin again
    /// with [`crate::TableOptions::raw_headers`].
    #[error("a header key is not UTF-8: the table needs the column _raw_headers")]
    NeedsRawHeaders,
    /// The writer was called out of order: offsets or partitions do not ascend, or no partition is open.
    #[error("table writer: {0}")]
    Order(&'static str),
    /// A record is larger than a table takes.
    #[error("a record of {size} bytes is too large for a table, {limit} are allowed")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// Largest size.
        limit: usize,
    },
    /// An option makes no sense.
    #[error("table option {0} is out of range")]
    Option(&'static str),
    /// There is no stripe of this number.
    #[error("table has no stripe {0}")]
    NoStripe(usize),
    /// The bytes given are not those of the ranges asked for: their number or a length differs.
    #[error("bytes given do not match the ranges of stripe {0}")]
    Ranges(usize),
}

impl TableError {
    /// Contradictions in the table.
    pub(crate) fn malformed() -> Self {
        FormatError::Malformed("table").into()
    }
}

impl From<ParquetError> for TableError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

impl From<ArrowError> for TableError {
    fn from(error: ArrowError) -> Self {
        Self::Parquet(error.to_string())
    }
}

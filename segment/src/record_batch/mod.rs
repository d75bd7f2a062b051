//! Kafka's record batch, format version 2 (`org.apache.kafka.common.record.DefaultRecordBatch`).
//!
//! The batch is what is sent, stored and fetched. Between producer and consumer it is not opened
//! where that can be avoided: [`split()`] cuts a `records` field into batches, [`check_crc`] and
//! [`check_records`] judge one, [`StoredBatch::stamp`] gives it its offset. Base offset and leader
//! epoch lie in the first 16 bytes, outside of the checksum, so that the other bytes stay the
//! producer's own.

mod builder;
mod check;
pub mod compression;
mod error;
mod header;
mod record;
mod split;
mod stored;
pub mod varint;

pub use builder::{BatchBuilder, NO_HEADERS};
pub use check::{RecordsSummary, check_crc, check_records, with_log_append_time};
pub use compression::Codec;
pub use error::BatchError;
pub use header::{
    Attributes, BatchHeader, HEADER_BYTES, MAGIC, PREFIX_BYTES, ProducerSpan, TimestampType,
};
pub use record::{DecodeLimits, Record, RecordHeader, RecordIter, records};
pub use split::{Split, split};
pub use stored::StoredBatch;

#[cfg(test)]
mod tests;

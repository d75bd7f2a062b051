//! What can be wrong with a batch.

use super::compression::Codec;

/// Why bytes are not a valid record batch. None of them is worth a retry: the bytes are as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the batch, or one of its fields, needs.
    #[error("batch needs {needed} bytes but {have} are there")]
    Truncated {
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        have: usize,
    },
    /// The length field is smaller than a batch header, or does not match the bytes given.
    #[error("batch length {0} is impossible")]
    Length(i32),
    /// A format version other than 2.
    #[error("record format version (magic) {0} is not supported, only 2 is")]
    Magic(i8),
    /// The checksum does not match.
    #[error("batch checksum is {computed:#010x}, its header says {stored:#010x}")]
    Crc {
        /// As the header says.
        stored: u32,
        /// As the bytes say.
        computed: u32,
    },
    /// The attributes name a codec that Kafka does not have.
    #[error("compression codec {0} does not exist")]
    UnknownCodec(u8),
    /// Record count and last offset delta contradict each other, or are not positive.
    #[error("batch claims {count} records with a last offset delta of {last_offset_delta}")]
    Count {
        /// Record count of the header.
        count: i32,
        /// Last offset delta of the header.
        last_offset_delta: i32,
    },
    /// The base offset (or the base plus the deltas) is no offset.
    #[error("offset {base_offset} plus {delta} is no valid offset")]
    OffsetRange {
        /// Base offset of the header.
        base_offset: i64,
        /// Offset delta.
        delta: i32,
    },
    /// A record's bytes make no sense.
    #[error("record {index} of the batch is malformed: {what}")]
    Record {
        /// Index of the record in its batch, from 0.
        index: i32,
        /// Which field.
        what: &'static str,
    },
    /// Offset deltas must count 0, 1, 2, ...
    #[error("record {index} of the batch has offset delta {delta}")]
    OffsetDelta {
        /// Index of the record in its batch, from 0.
        index: i32,
        /// What it says.
        delta: i32,
    },
    /// Bytes are left after the last record.
    #[error("{0} bytes follow the last record of the batch")]
    TrailingBytes(usize),
    /// The compressed payload is broken.
    #[error("{codec} payload is malformed: {message}")]
    Decompress {
        /// The codec.
        codec: Codec,
        /// What the decoder says.
        message: String,
    },
    /// The payload grows beyond the limit: a decompression bomb, or a limit set too low.
    #[error("{codec} payload grows beyond {limit} bytes")]
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The limit in bytes.
        limit: usize,
    },
    /// Compression failed, or the batch would exceed the largest length Kafka can express.
    #[error("batch cannot be built: {0}")]
    Build(String),
}

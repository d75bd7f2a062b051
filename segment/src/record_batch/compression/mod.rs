//! Kafka's codecs. Every decompression has a maximum output size, so that a few bytes cannot claim
//! all memory.

mod gzip;
mod lz4;
mod snappy;
pub(crate) mod zstd;

use std::fmt;
use std::io::{self, Read};

use super::error::BatchError;

/// How the records of a batch are compressed; numbers as in the batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip members.
    Gzip,
    /// snappy; written in xerial's framing as Java clients do, read with and without it.
    Snappy,
    /// An LZ4 frame.
    Lz4,
    /// A Zstandard frame (needs Produce v7 and Fetch v10).
    Zstd,
}

impl Codec {
    /// All of them, in the order of their numbers.
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    /// The codec with this number.
    pub fn from_id(id: u8) -> Result<Self, BatchError> {
        let codec = Self::ALL.get(usize::from(id)).copied();
        codec.ok_or(BatchError::UnknownCodec(id))
    }

    /// The number that stands in a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Compresses a payload with the codec's default level, in the framing that Java clients use.
pub fn compress(codec: Codec, payload: &[u8]) -> Result<Vec<u8>, BatchError> {
    let compressed = match codec {
        Codec::None => Ok(payload.to_vec()),
        Codec::Gzip => gzip::compress(payload),
        Codec::Snappy => snappy::compress(payload),
        Codec::Lz4 => lz4::compress(payload),
        Codec::Zstd => zstd::compress(payload, zstd::KAFKA_LEVEL),
    };
    compressed.map_err(|error| BatchError::Build(format!("{codec}: {error}")))
}

/// Decompresses a payload of at most `max_bytes` decompressed bytes.
pub fn decompress(codec: Codec, payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, BatchError> {
    let decompressed = match codec {
        Codec::None if payload.len() > max_bytes => Err(Failure::TooLarge),
        Codec::None => Ok(payload.to_vec()),
        Codec::Gzip => gzip::decompress(payload, max_bytes),
        Codec::Snappy => snappy::decompress(payload, max_bytes),
        Codec::Lz4 => lz4::decompress(payload, max_bytes),
        Codec::Zstd => zstd::decompress(payload, max_bytes),
    };
    decompressed.map_err(|failure| match failure {
        Failure::TooLarge => BatchError::TooLarge {
            codec,
            limit: max_bytes,
        },
        Failure::Malformed(message) => BatchError::Decompress { codec, message },
    })
}

/// What a codec's decoder can meet.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The output would exceed the bound.
    TooLarge,
    /// The input is broken.
    Malformed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// Where to start growing an output buffer: payloads of records shrink to a half or a quarter, and
/// a forged payload gets no more than a small multiple of its own size.
pub(crate) fn first_capacity(payload: &[u8], max_bytes: usize) -> usize {
    payload.len().saturating_mul(4).min(max_bytes)
}

/// Reads all that `reader` yields, at most `max_bytes`.
fn read_bounded(
    reader: impl Read,
    first_capacity: usize,
    max_bytes: usize,
) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(first_capacity);
    // One byte more than allowed tells "exactly full" from "too large".
    let limit = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    reader.take(limit).read_to_end(&mut out)?;
    if out.len() > max_bytes {
        return Err(Failure::TooLarge);
    }
    Ok(out)
}

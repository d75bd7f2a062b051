//! A digest of a multiset of records: equal wherever and in whatever order the same records are counted.
//!
//! Every record is encoded as below and hashed with BLAKE2b of 16 bytes. The digest is the sum of the hashes, as numbers
//! with the lowest byte first, modulo 2^128: the order does not matter, and a record that is there twice counts twice.
//! `tests/history/digest.py` does the same; `tests/history/vectors.json` holds both to it.
//!
//! ```text
//! partition       i32     all numbers with the lowest byte first
//! offset          i64
//! timestamp       i64     milliseconds since 1970
//! timestamp type  i8      0 the producer's, 1 the broker's
//! key length      i32     -1: null
//! value length    i32     -1: null
//! header count    i32
//! key, value              as many bytes as their lengths say
//! each header             in the record's order:
//!   key length    i32
//!   value length  i32     -1: null
//!   key, value
//! ```

use std::fmt;

use blake2::digest::consts::U16;
use blake2::{Blake2b, Digest as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What of a record counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    /// 0 the producer's, 1 the broker's.
    pub timestamp_type: i8,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// Headers in their order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl Row<'_> {
    /// Appends the record's encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.timestamp_ms.to_le_bytes());
        out.extend_from_slice(&self.timestamp_type.to_le_bytes());
        put_length(out, self.key);
        put_length(out, self.value);
        put_count(out, self.headers.len());
        out.extend_from_slice(self.key.unwrap_or_default());
        out.extend_from_slice(self.value.unwrap_or_default());
        for (key, value) in self.headers {
            put_length(out, Some(key));
            put_length(out, *value);
            out.extend_from_slice(key);
            out.extend_from_slice(value.unwrap_or_default());
        }
    }
}

fn put_length(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(bytes) => put_count(out, bytes.len()),
        None => out.extend_from_slice(&(-1_i32).to_le_bytes()),
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = i32::try_from(count).expect("a batch is shorter than 2 GiB");
    out.extend_from_slice(&count.to_le_bytes());
}

/// The digest of some records.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(u128);

impl Digest {
    /// The digest of one record, by its encoding.
    pub fn of(encoded: &[u8]) -> Self {
        let hash: [u8; 16] = Blake2b::<U16>::digest(encoded).into();
        Self(u128::from_le_bytes(hash))
    }

    /// The digest of the records of both.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(de::Error::custom)?;
        Ok(Self(number))
    }
}

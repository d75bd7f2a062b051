//! The records inside a batch.

use std::borrow::Cow;
use std::ops::Range;

use alluvium_common::offset::Offset;
use bytes::Bytes;

use super::compression::{Codec, decompress};
use super::error::BatchError;
use super::header::{BatchHeader, HEADER_BYTES, TimestampType};
use super::varint::{get_signed, get_signed_32};

/// Bounds for opening a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest decompressed payload of one batch, in bytes. A few hundred compressed bytes can
    /// claim gigabytes; this is where they stop.
    pub decompressed_bytes_max: usize,
}

impl Default for DecodeLimits {
    /// 128 MiB: a hundredfold of Kafka's default `message.max.bytes`, more than real records
    /// compress, and an amount of memory a broker can lend one batch for a moment.
    fn default() -> Self {
        Self {
            decompressed_bytes_max: 128 << 20,
        }
    }
}

/// One header of a record. Keys may repeat; a value may be null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// The key: UTF-8 by Kafka's rules, though no broker checks it.
    pub key: Bytes,
    /// The value; `None` is null, which differs from empty.
    pub value: Option<Bytes>,
}

impl RecordHeader {
    /// The key as text, with replacement characters where it is not UTF-8.
    pub fn key_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

/// One record; its bytes are slices of the batch (or of its decompressed payload).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset: the batch's base offset plus the record's delta.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch; the batch's maximum under `LogAppendTime`.
    pub timestamp: i64,
    /// The key; `None` is null.
    pub key: Option<Bytes>,
    /// The value; `None` is null (a tombstone in a compacted topic).
    pub value: Option<Bytes>,
    /// Headers, in order.
    pub headers: Vec<RecordHeader>,
}

/// The records of the one batch that `raw` holds, decompressed within `limits`. The checksum is not
/// checked here; broken bytes give an error, never a panic.
pub fn records(raw: &Bytes, limits: &DecodeLimits) -> Result<RecordIter, BatchError> {
    let header = BatchHeader::decode(raw)?;
    let needed = header.size_bytes();
    if needed > raw.len() {
        let have = raw.len();
        return Err(BatchError::Truncated { needed, have });
    }
    RecordIter::open(&header, raw.slice(HEADER_BYTES..needed), limits)
}

/// Iterator over a batch's records. The first error ends it. Bytes left after the last record are
/// an error too.
#[derive(Debug, Clone)]
pub struct RecordIter {
    payload: Bytes,
    at: usize,
    index: i32,
    header: BatchHeader,
}

impl RecordIter {
    pub(super) fn open(
        header: &BatchHeader,
        payload: Bytes,
        limits: &DecodeLimits,
    ) -> Result<Self, BatchError> {
        let payload = match header.attributes.codec()? {
            Codec::None => payload,
            codec => decompress(codec, &payload, limits.decompressed_bytes_max)?.into(),
        };
        Ok(Self {
            payload,
            at: 0,
            index: 0,
            header: *header,
        })
    }

    fn read(&mut self) -> Result<Record, BatchError> {
        let raw = RawRecord::read(&self.payload, &mut self.at, self.index)?;
        let offset = self
            .header
            .base_offset
            .checked_add(i64::from(raw.offset_delta))
            .and_then(Offset::new)
            .ok_or(BatchError::OffsetRange {
                base_offset: self.header.base_offset,
                delta: raw.offset_delta,
            })?;
        let slice = |range: Range<usize>| self.payload.slice(range);
        let mut headers = Vec::new();
        raw.each_header(&self.payload, self.index, |key, value| {
            headers.push(RecordHeader {
                key: slice(key),
                value: value.map(slice),
            });
        })?;
        Ok(Record {
            offset,
            timestamp: raw.timestamp(&self.header),
            key: raw.key.map(slice),
            value: raw.value.map(slice),
            headers,
        })
    }
}

impl Iterator for RecordIter {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            let left = self.payload.len() - self.at;
            self.at = self.payload.len();
            return (left > 0).then_some(Err(BatchError::TrailingBytes(left)));
        }
        let next = self.read();
        self.index += 1;
        if next.is_err() {
            self.index = self.header.record_count;
            self.at = self.payload.len();
        }
        Some(next)
    }
}

/// A record as ranges of its payload.
pub(super) struct RawRecord {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    header_count: i32,
    headers: Range<usize>,
}

impl RawRecord {
    /// Reads the record at `*at` and moves `*at` behind it. Headers are located, not walked.
    #[inline]
    pub fn read(payload: &[u8], at: &mut usize, index: i32) -> Result<Self, BatchError> {
        let bad = |what| BatchError::Record { index, what };
        let length = get_signed_32(payload, at).ok_or(bad("length"))?;
        let length = usize::try_from(length).map_err(|_| bad("length"))?;
        let end = at.checked_add(length).filter(|end| *end <= payload.len());
        let end = end.ok_or(bad("length"))?;
        let body = &payload[..end];
        // The record's own attributes are unused in version 2.
        *at += 1;
        let timestamp_delta = get_signed(body, at).ok_or(bad("timestamp delta"))?;
        let offset_delta = get_signed_32(body, at).ok_or(bad("offset delta"))?;
        let key = read_nullable(body, at).ok_or(bad("key"))?;
        let value = read_nullable(body, at).ok_or(bad("value"))?;
        let header_count = get_signed_32(body, at).filter(|count| *count >= 0);
        let header_count = header_count.ok_or(bad("header count"))?;
        if header_count == 0 && *at != end {
            return Err(bad("bytes after the last field"));
        }
        let headers = *at..end;
        *at = end;
        Ok(Self {
            timestamp_delta,
            offset_delta,
            key,
            value,
            header_count,
            headers,
        })
    }

    /// Walks the headers; they must end where the record ends.
    pub fn each_header(
        &self,
        payload: &[u8],
        index: i32,
        mut each: impl FnMut(Range<usize>, Option<Range<usize>>),
    ) -> Result<(), BatchError> {
        let bad = |what| BatchError::Record { index, what };
        let body = &payload[..self.headers.end];
        let mut at = self.headers.start;
        for _ in 0..self.header_count {
            let key = read_nullable(body, &mut at).flatten();
            let key = key.ok_or(bad("header key"))?;
            let value = read_nullable(body, &mut at).ok_or(bad("header value"))?;
            each(key, value);
        }
        if at == self.headers.end {
            Ok(())
        } else {
            Err(bad("bytes after the last header"))
        }
    }

    /// The timestamp that a consumer sees.
    pub fn timestamp(&self, header: &BatchHeader) -> i64 {
        match header.attributes.timestamp_type() {
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(self.timestamp_delta),
            TimestampType::LogAppendTime => header.max_timestamp,
        }
    }
}

/// A length and that many bytes; a negative length is null. The outer `None` is an error.
#[inline]
fn read_nullable(body: &[u8], at: &mut usize) -> Option<Option<Range<usize>>> {
    let length = get_signed_32(body, at)?;
    let Ok(length) = usize::try_from(length) else {
        return Some(None);
    };
    let end = at.checked_add(length)?;
    if end > body.len() {
        return None;
    }
    let range = *at..end;
    *at = end;
    Some(Some(range))
}

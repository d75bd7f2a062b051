//! Building batches: for the command line, the compactor and tests.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use bytes::Bytes;

use super::compression::{Codec, compress};
use super::error::BatchError;
use super::header::{
    Attributes, BatchHeader, CRC_STARTS_AT, HEADER_BYTES, LOG_OVERHEAD_BYTES, MAGIC, TimestampType,
};
use super::varint::{put_signed, signed_bytes};

/// For [`BatchBuilder::push`] of a record without headers.
pub const NO_HEADERS: &[(&[u8], Option<&[u8]>)] = &[];

/// Collects records and makes a batch of them, checksum included.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Codec,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch with base offset 0, `CreateTime` and no producer id.
    pub fn new(codec: Codec) -> Self {
        let header = BatchHeader {
            base_offset: 0,
            batch_length: 0,
            leader_epoch: -1,
            magic: MAGIC,
            crc: 0,
            attributes: Attributes::default().with_codec(codec),
            last_offset_delta: -1,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: 0,
        };
        Self {
            header,
            codec,
            records: Vec::new(),
        }
    }

    /// Sets the offset of the first record (of delta 0).
    pub fn base_offset(mut self, base_offset: Offset) -> Self {
        self.header.base_offset = base_offset.get();
        self
    }

    /// Sets the partition leader epoch; -1 without.
    pub fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> Self {
        self.header.leader_epoch = leader_epoch.0;
        self
    }

    /// Makes the batch an idempotent producer's.
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base: Sequence) -> Self {
        self.header.producer_id = id.0;
        self.header.producer_epoch = epoch.0;
        self.header.base_sequence = base.get();
        self
    }

    /// Sets the timestamp type.
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> Self {
        self.header.attributes = self.header.attributes.with_timestamp_type(timestamp_type);
        self
    }

    /// Makes the batch part of a transaction.
    pub fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_transactional(true);
        self
    }

    /// Makes the batch a control batch.
    pub fn control(mut self) -> Self {
        self.header.attributes = self.header.attributes.with_control(true);
        self
    }

    /// Adds a record after the last one.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut Self {
        let offset_delta = self.header.last_offset_delta.saturating_add(1);
        self.push_at(offset_delta, timestamp, key, value, headers)
    }

    /// Adds a record at base offset + `offset_delta`: a compacted batch keeps the deltas of the
    /// records that stayed. Deltas must ascend.
    pub fn push_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut Self {
        if self.header.record_count == 0 {
            self.header.base_timestamp = timestamp;
            self.header.max_timestamp = timestamp;
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        self.header.last_offset_delta = offset_delta;
        self.header.record_count = self.header.record_count.saturating_add(1);
        let timestamp_delta = timestamp.wrapping_sub(self.header.base_timestamp);
        self.put_record(timestamp_delta, offset_delta, key, value, headers);
        self
    }

    /// Keeps the last offset at base + `last_offset_delta` although the records there are gone.
    pub fn last_offset_delta(mut self, last_offset_delta: i32) -> Self {
        self.header.last_offset_delta = last_offset_delta;
        self
    }

    /// Records added so far.
    pub fn record_count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes of the batch so far, before compression.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The batch. Fails only when it grows beyond what its length field can say, or when the
    /// compressor fails.
    pub fn build(self) -> Result<Bytes, BatchError> {
        let mut header = self.header;
        let payload = match self.codec {
            Codec::None => self.records,
            codec => compress(codec, &self.records)?,
        };
        let length = HEADER_BYTES - LOG_OVERHEAD_BYTES + payload.len();
        header.batch_length = i32::try_from(length)
            .map_err(|_| BatchError::Build(format!("{length} bytes are too many")))?;
        let mut out = Vec::with_capacity(HEADER_BYTES + payload.len());
        header.encode(&mut out);
        out.extend_from_slice(&payload);
        let crc = crc32c::crc32c(&out[CRC_STARTS_AT..]);
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        Ok(out.into())
    }

    fn put_record(
        &mut self,
        timestamp_delta: i64,
        offset_delta: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) {
        let headers_bytes: usize = headers
            .iter()
            .map(|(key, value)| nullable_bytes(Some(key)) + nullable_bytes(*value))
            .sum();
        let length = 1
            + signed_bytes(timestamp_delta)
            + signed_bytes(i64::from(offset_delta))
            + nullable_bytes(key)
            + nullable_bytes(value)
            + signed_bytes(headers.len() as i64)
            + headers_bytes;
        let out = &mut self.records;
        put_signed(out, length as i64);
        out.push(0);
        put_signed(out, timestamp_delta);
        put_signed(out, i64::from(offset_delta));
        put_nullable(out, key);
        put_nullable(out, value);
        put_signed(out, headers.len() as i64);
        for (key, value) in headers {
            put_nullable(out, Some(key));
            put_nullable(out, *value);
        }
    }
}

fn nullable_bytes(field: Option<&[u8]>) -> usize {
    match field {
        Some(bytes) => signed_bytes(bytes.len() as i64) + bytes.len(),
        None => signed_bytes(-1),
    }
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            put_signed(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => put_signed(out, -1),
    }
}

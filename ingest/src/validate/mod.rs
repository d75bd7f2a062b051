//! What a produce request may contain, by the rules of Kafka 4's `ProduceRequest.validateRecords`,
//! `UnifiedLog.analyzeAndValidateRecords` and `LogValidator`. Pure: bytes, rules and time in, a batch
//! or a definite error out. Runs outside of every lock.
//!
//! A batch is opened only as far as its rules need it. An uncompressed batch is walked: counts, offset
//! deltas, lengths, timestamps and keys are all checked, which costs a few nanoseconds a record. A
//! compressed batch is trusted in its count once its checksum matches, because decompressing would
//! cost more than all the rest of the write path; it is opened where the topic is compacted, bounds
//! old timestamps or recompresses. (Kafka opens every batch. A producer that lies about the count of
//! a compressed batch harms its own records only: readers check what they open.)

mod records;
mod rules;
#[cfg(test)]
mod tests;

use alluvium_common::clock::TimestampMs;
use alluvium_segment::record_batch::{
    BatchError, BatchHeader, Codec, TimestampType, check_crc, split, with_log_append_time,
};
use bytes::Bytes;

use crate::error::AppendError;
pub use rules::{ClientRules, LocalRetention, TopicRules};

/// A batch that may be appended.
#[derive(Debug, Clone)]
pub struct ValidBatch {
    /// Its bytes: the producer's own wherever possible.
    pub raw: Bytes,
    /// The decoded header of `raw`.
    pub header: BatchHeader,
    /// Number of records, which is positive.
    pub record_count: u32,
    /// The time stamped on it, under `LogAppendTime`.
    pub log_append_time: Option<TimestampMs>,
}

/// Judges the `records` field of one partition of a produce request.
pub fn validate(
    records: &Bytes,
    rules: &TopicRules,
    client: &ClientRules,
    now_ms: TimestampMs,
) -> Result<ValidBatch, AppendError> {
    let (header, raw) = only_batch(records)?;
    let codec = check_codec(&header, client)?;
    check_header(&header, rules)?;
    check_crc(&raw).map_err(|error| AppendError::Corrupt(error.to_string()))?;
    let record_count = check_counts(&header)?;
    check_kind(&header)?;
    let (raw, header) = records::check(raw, header, codec, rules, now_ms)?;
    Ok(stamp_time(raw, header, record_count, rules, now_ms))
}

/// Since Produce version 3 a partition of a request carries exactly one batch.
fn only_batch(records: &Bytes) -> Result<(BatchHeader, Bytes), AppendError> {
    let mut batches = split(records);
    let first = match batches.next() {
        None => {
            return Err(AppendError::invalid(
                "the records field has no record batch",
            ));
        }
        Some(Err(BatchError::Magic(magic))) => return Err(AppendError::UnsupportedMagic(magic)),
        Some(Err(error)) => return Err(AppendError::Corrupt(error.to_string())),
        Some(Ok(first)) => first,
    };
    match batches.next() {
        None => Ok(first),
        Some(_) => Err(AppendError::invalid(
            "the records field has more than one record batch",
        )),
    }
}

fn check_codec(header: &BatchHeader, client: &ClientRules) -> Result<Codec, AppendError> {
    match header.attributes.codec() {
        Ok(Codec::Zstd) if !client.zstd => Err(AppendError::UnsupportedCodec(
            "zstd needs version 7 of the produce request".into(),
        )),
        Ok(codec) => Ok(codec),
        Err(error) => Err(AppendError::UnsupportedCodec(error.to_string())),
    }
}

fn check_header(header: &BatchHeader, rules: &TopicRules) -> Result<(), AppendError> {
    if header.base_offset != 0 {
        return Err(AppendError::invalid(format!(
            "the base offset of the record batch should be 0, but is {}",
            header.base_offset
        )));
    }
    if header.size_bytes() > rules.batch_bytes_max {
        return Err(AppendError::TooLarge {
            size_bytes: header.size_bytes(),
            max_bytes: rules.batch_bytes_max,
        });
    }
    Ok(())
}

fn check_counts(header: &BatchHeader) -> Result<u32, AppendError> {
    let count = u32::try_from(header.record_count).unwrap_or(0);
    if count == 0 || i64::from(header.last_offset_delta) != i64::from(count) - 1 {
        return Err(AppendError::invalid(format!(
            "the record batch counts {} records with a last offset delta of {}",
            header.record_count, header.last_offset_delta
        )));
    }
    Ok(count)
}

fn check_kind(header: &BatchHeader) -> Result<(), AppendError> {
    if header.attributes.is_control() {
        return Err(AppendError::invalid(
            "clients are not allowed to write control records",
        ));
    }
    if header.producer_id >= 0 && header.base_sequence < 0 {
        return Err(AppendError::invalid(format!(
            "invalid sequence number {} in a record batch with producer id {}",
            header.base_sequence, header.producer_id
        )));
    }
    if header.attributes.is_transactional() {
        // No transaction coordinator adds partitions to transactions yet, so none is ongoing.
        return Err(AppendError::InvalidTransactionState);
    }
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(AppendError::InvalidTimestamp {
            message: "producers should not set the timestamp type to LogAppendTime".into(),
            record_errors: Vec::new(),
        });
    }
    Ok(())
}

fn stamp_time(
    raw: Bytes,
    header: BatchHeader,
    record_count: u32,
    rules: &TopicRules,
    now_ms: TimestampMs,
) -> ValidBatch {
    if rules.timestamp_type == TimestampType::CreateTime {
        return ValidBatch {
            raw,
            header,
            record_count,
            log_append_time: None,
        };
    }
    let raw = with_log_append_time(&raw, now_ms);
    ValidBatch {
        header: BatchHeader::decode(&raw).expect("the header was decoded before"),
        raw,
        record_count,
        log_append_time: Some(now_ms),
    }
}

//! The checks that look at single records.

use alluvium_common::clock::TimestampMs;
use alluvium_segment::record_batch::{
    BatchBuilder, BatchError, BatchHeader, Codec, Record, RecordsSummary, TimestampType,
    check_records, records,
};
use bytes::Bytes;

use super::rules::{NO_TIMESTAMP, TopicRules};
use crate::error::{AppendError, RecordError};

/// Record errors told per batch; a batch may have millions of records and the answer has a size.
const RECORD_ERRORS_MAX: usize = 100;

/// Checks the records as far as the rules need it. Returns the batch to append: the same bytes, or,
/// where the topic recompresses, others.
pub(super) fn check(
    raw: Bytes,
    header: BatchHeader,
    codec: Codec,
    rules: &TopicRules,
    now_ms: TimestampMs,
) -> Result<(Bytes, BatchHeader), AppendError> {
    if codec != Codec::None && !rules.needs_records(codec) {
        check_header_times(&header, rules, now_ms)?;
        return Ok((raw, header));
    }
    let summary = check_records(&header, &raw, &rules.decode_limits).map_err(to_append_error)?;
    if rules.compacted && summary.keyless_count > 0 {
        return Err(keyless_records(&raw, rules));
    }
    check_times(&raw, &header, &summary, rules, now_ms)?;
    if rules.recompress_to.is_some_and(|to| to != codec) {
        return recompress(&raw, &header, rules);
    }
    if summary.max_timestamp != header.max_timestamp {
        return rewrite_max_timestamp(&raw, summary.max_timestamp);
    }
    Ok((raw, header))
}

/// For batches that stay closed: the header's own maximum must do.
fn check_header_times(
    header: &BatchHeader,
    rules: &TopicRules,
    now_ms: TimestampMs,
) -> Result<(), AppendError> {
    let stamped_here = rules.timestamp_type == TimestampType::LogAppendTime;
    if stamped_here || rules.allows_timestamp(header.max_timestamp, now_ms) {
        return Ok(());
    }
    Err(AppendError::InvalidTimestamp {
        message: out_of_range(header.max_timestamp, rules, now_ms),
        record_errors: Vec::new(),
    })
}

fn check_times(
    raw: &Bytes,
    header: &BatchHeader,
    summary: &RecordsSummary,
    rules: &TopicRules,
    now_ms: TimestampMs,
) -> Result<(), AppendError> {
    let unbounded_past = rules.timestamp_before_max_ms == i64::MAX;
    let newest_fits = rules.allows_timestamp(summary.max_timestamp, now_ms);
    if rules.timestamp_type == TimestampType::LogAppendTime || (unbounded_past && newest_fits) {
        return Ok(());
    }
    let oldest_may_not_fit = !rules.allows_timestamp(header.base_timestamp, now_ms)
        || !newest_fits
        || header.record_count > 1;
    if !oldest_may_not_fit {
        return Ok(());
    }
    let record_errors = record_errors(raw, rules, |record| {
        let fits = rules.allows_timestamp(record.timestamp, now_ms);
        (!fits).then(|| out_of_range(record.timestamp, rules, now_ms))
    });
    if record_errors.is_empty() {
        return Ok(());
    }
    Err(AppendError::InvalidTimestamp {
        message: "one or more records have invalid timestamps".into(),
        record_errors,
    })
}

fn out_of_range(timestamp: TimestampMs, rules: &TopicRules, now_ms: TimestampMs) -> String {
    format!(
        "timestamp {timestamp} is out of range: it should be within [{}, {}]",
        now_ms.saturating_sub(rules.timestamp_before_max_ms),
        now_ms.saturating_add(rules.timestamp_after_max_ms),
    )
}

fn keyless_records(raw: &Bytes, rules: &TopicRules) -> AppendError {
    AppendError::InvalidRecord {
        message: "one or more records have been rejected".into(),
        record_errors: record_errors(raw, rules, |record| {
            let message = "compacted topic cannot accept a record without key";
            record.key.is_none().then(|| message.to_owned())
        }),
    }
}

fn record_errors(
    raw: &Bytes,
    rules: &TopicRules,
    judge: impl Fn(&Record) -> Option<String>,
) -> Vec<RecordError> {
    // The caller has walked the batch: opening it again does not fail.
    let Ok(all) = records(raw, &rules.decode_limits) else {
        return Vec::new();
    };
    all.filter_map(Result::ok)
        .zip(0..)
        .filter_map(|(record, index)| judge(&record).map(|message| RecordError { index, message }))
        .take(RECORD_ERRORS_MAX)
        .collect()
}

/// `compression.type` names a codec and the producer used another: the batch is built anew.
fn recompress(
    raw: &Bytes,
    header: &BatchHeader,
    rules: &TopicRules,
) -> Result<(Bytes, BatchHeader), AppendError> {
    let codec = rules.recompress_to.unwrap_or(Codec::None);
    let mut builder = BatchBuilder::new(codec);
    if let Some(span) = header.producer() {
        builder = builder.producer(span.producer_id, span.producer_epoch, span.base_sequence);
    }
    for record in records(raw, &rules.decode_limits).map_err(to_append_error)? {
        let record = record.map_err(to_append_error)?;
        let headers: Vec<_> = record
            .headers
            .iter()
            .map(|header| (&header.key[..], header.value.as_deref()))
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        builder.push(record.timestamp, key, value, &headers);
    }
    let raw = builder.build().map_err(to_append_error)?;
    let header = BatchHeader::decode(&raw).map_err(to_append_error)?;
    if header.size_bytes() > rules.batch_bytes_max {
        return Err(AppendError::TooLarge {
            size_bytes: header.size_bytes(),
            max_bytes: rules.batch_bytes_max,
        });
    }
    Ok((raw, header))
}

/// A header that lies about its newest record would break searches by time. Kafka corrects it too.
fn rewrite_max_timestamp(
    raw: &Bytes,
    max_timestamp: TimestampMs,
) -> Result<(Bytes, BatchHeader), AppendError> {
    let mut header = BatchHeader::decode(raw).map_err(to_append_error)?;
    header.max_timestamp = max_timestamp.max(NO_TIMESTAMP);
    let mut out = Vec::with_capacity(raw.len());
    header.encode(&mut out);
    out.extend_from_slice(&raw[out.len()..]);
    header.crc = crc32c::crc32c(&out[ATTRIBUTES_AT..]);
    out[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&header.crc.to_be_bytes());
    Ok((out.into(), header))
}

const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;

fn to_append_error(error: BatchError) -> AppendError {
    match error {
        BatchError::Decompress { .. } | BatchError::Truncated { .. } => {
            AppendError::Corrupt(error.to_string())
        }
        other => AppendError::invalid(other.to_string()),
    }
}

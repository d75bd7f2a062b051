//! Judging a producer's batch.

use bytes::{Bytes, BytesMut};

use super::compression::{Codec, decompress};
use super::error::BatchError;
use super::header::{
    Attributes, BatchHeader, CRC_STARTS_AT, HEADER_BYTES, TimestampType, array_at,
};
use super::record::{DecodeLimits, RawRecord};

/// What a walk through a batch's records found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordsSummary {
    /// Records in the batch.
    pub record_count: u32,
    /// Largest timestamp among the records (not what the header claims), as consumers see it.
    pub max_timestamp: i64,
    /// Offset delta of the first record with that timestamp.
    pub max_timestamp_offset_delta: i32,
    /// Records without a key, which a compacted topic refuses.
    pub keyless_count: u32,
    /// Bytes of the records, decompressed.
    pub records_bytes: usize,
}

/// Checks the CRC-32C of the batch that `raw` holds: everything from the attributes on.
pub fn check_crc(raw: &[u8]) -> Result<(), BatchError> {
    let header = BatchHeader::decode(raw)?;
    let needed = header.size_bytes();
    let Some(batch) = raw.get(..needed) else {
        let have = raw.len();
        return Err(BatchError::Truncated { needed, have });
    };
    let computed = crc32c::crc32c(&batch[CRC_STARTS_AT..]);
    if computed == header.crc {
        Ok(())
    } else {
        let stored = header.crc;
        Err(BatchError::Crc { stored, computed })
    }
}

/// Opens the batch that `raw` holds and verifies that records, counts, offset deltas (0, 1, 2, ...)
/// and lengths agree, as `org.apache.kafka.storage.internals.log.LogValidator` does. Decompression
/// is bounded by `limits`. `header` must be the decoded header of `raw`.
pub fn check_records(
    header: &BatchHeader,
    raw: &Bytes,
    limits: &DecodeLimits,
) -> Result<RecordsSummary, BatchError> {
    let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(BatchError::Count {
            count,
            last_offset_delta,
        });
    }
    let needed = header.size_bytes();
    let have = raw.len();
    let truncated = BatchError::Truncated { needed, have };
    let payload = raw.get(HEADER_BYTES..needed).ok_or(truncated)?;
    match header.attributes.codec()? {
        Codec::None => walk(header, payload),
        codec => walk(
            header,
            &decompress(codec, payload, limits.decompressed_bytes_max)?,
        ),
    }
}

fn walk(header: &BatchHeader, payload: &[u8]) -> Result<RecordsSummary, BatchError> {
    let mut summary = RecordsSummary {
        record_count: header.record_count as u32,
        max_timestamp: i64::MIN,
        max_timestamp_offset_delta: 0,
        keyless_count: 0,
        records_bytes: payload.len(),
    };
    let mut at = 0;
    for index in 0..header.record_count {
        let record = RawRecord::read(payload, &mut at, index)?;
        if record.offset_delta != index {
            let delta = record.offset_delta;
            return Err(BatchError::OffsetDelta { index, delta });
        }
        record.each_header(payload, index, |_, _| ())?;
        let timestamp = record.timestamp(header);
        if timestamp > summary.max_timestamp {
            summary.max_timestamp = timestamp;
            summary.max_timestamp_offset_delta = index;
        }
        summary.keyless_count += u32::from(record.key.is_none());
    }
    match payload.len() - at {
        0 => Ok(summary),
        left => Err(BatchError::TrailingBytes(left)),
    }
}

/// The batch with `LogAppendTime`: attribute bit and maximum timestamp set, checksum computed anew
/// (`DefaultRecordBatch.setMaxTimestamp`). A copy, unlike everything else on the write path; `raw`
/// must have passed [`check_crc`], or its damage would get a valid checksum.
pub fn with_log_append_time(raw: &Bytes, now_ms: i64) -> Bytes {
    let mut out = BytesMut::from(&raw[..]);
    if out.len() < HEADER_BYTES {
        return out.freeze();
    }
    let attributes = Attributes(i16::from_be_bytes(array_at(&out, CRC_STARTS_AT)))
        .with_timestamp_type(TimestampType::LogAppendTime);
    out[21..23].copy_from_slice(&attributes.0.to_be_bytes());
    out[35..43].copy_from_slice(&now_ms.to_be_bytes());
    let crc = crc32c::crc32c(&out[CRC_STARTS_AT..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out.freeze()
}

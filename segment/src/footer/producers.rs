//! The section of idempotent producers: per partition that has any, in the order of the partitions
//! section.

use alluvium_common::limits::PRODUCER_BATCHES_REMEMBERED;
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};

use super::partitions::offset_after;
use super::{Footer, PartitionSpan, ProducerBatch, ProducerSummary, SegmentHeader};
use crate::error::FormatError;
use crate::reader::Reader;
use crate::record_batch::varint::{put_signed, put_unsigned};

const WHAT: &str = "segment footer: producers section";

/// Least bytes of a batch: base sequence, step to its offset, span, timestamp.
const BATCH_BYTES_MIN: usize = 4;
/// Least bytes of a producer: step of the id, epoch, batch count, one batch.
const PRODUCER_BYTES_MIN: usize = 3 + BATCH_BYTES_MIN;
/// Least bytes of a partition: step, producer count, one producer.
const PARTITION_BYTES_MIN: usize = 2 + PRODUCER_BYTES_MIN;

pub(super) fn encode(footer: &Footer, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let with_producers = footer.partitions.iter().enumerate();
    let with_producers = with_producers.filter(|(_, span)| !span.producers.is_empty());
    put_unsigned(out, with_producers.clone().count() as u64);
    let mut next_index = 0;
    for (index, span) in with_producers {
        put_unsigned(out, (index - next_index) as u64);
        next_index = index + 1;
        let created_ms = footer.header.created_ms;
        encode_partition(&span.producers, span.base_offset, created_ms, out)?;
    }
    Ok(())
}

/// Producers sorted by id, whose batches are at `base_offset` or later.
pub(crate) fn encode_partition(
    producers: &[ProducerSummary],
    base_offset: Offset,
    created_ms: i64,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    put_unsigned(out, producers.len() as u64);
    let mut next_id = 0;
    for producer in producers {
        let step = u64::try_from(producer.producer_id.0 - next_id);
        put_unsigned(out, step.map_err(|_| FormatError::Malformed(WHAT))?);
        next_id = producer.producer_id.0.saturating_add(1);
        put_signed(out, i64::from(producer.producer_epoch.0));
        let count = producer.batches.len();
        if count == 0 || count > PRODUCER_BATCHES_REMEMBERED {
            return Err(FormatError::Malformed(WHAT));
        }
        put_unsigned(out, count as u64);
        let mut previous = base_offset;
        for batch in &producer.batches {
            encode_batch(batch, previous, created_ms, out)?;
            previous = batch.last_offset;
        }
    }
    Ok(())
}

fn encode_batch(
    batch: &ProducerBatch,
    previous: Offset,
    created_ms: i64,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let span = batch.last_offset.get() - batch.base_offset.get();
    let span = u32::try_from(span).map_err(|_| FormatError::Malformed(WHAT))?;
    let step = u64::try_from(batch.base_offset.get() - previous.get());
    let step = step.map_err(|_| FormatError::Malformed(WHAT))?;
    if batch.base_sequence.plus(span) != batch.last_sequence {
        return Err(FormatError::Malformed(WHAT));
    }
    put_unsigned(out, batch.base_sequence.get() as u64);
    put_unsigned(out, step);
    put_unsigned(out, u64::from(span));
    put_signed(out, batch.max_timestamp.wrapping_sub(created_ms));
    Ok(())
}

pub(super) fn decode(
    body: &[u8],
    header: &SegmentHeader,
    partitions: &mut [PartitionSpan],
) -> Result<(), FormatError> {
    let mut reader = Reader::new(body, WHAT);
    let count = reader.count(PARTITION_BYTES_MIN)?;
    let mut rest = partitions.iter_mut();
    for _ in 0..count {
        let step: usize = reader.number()?;
        let span = rest.nth(step).ok_or(reader.malformed())?;
        span.producers = decode_partition(&mut reader, span.base_offset, header.created_ms)?;
    }
    if reader.is_empty() {
        Ok(())
    } else {
        Err(reader.malformed())
    }
}

pub(crate) fn decode_partition(
    reader: &mut Reader<'_>,
    base_offset: Offset,
    created_ms: i64,
) -> Result<Vec<ProducerSummary>, FormatError> {
    let count = reader.count(PRODUCER_BYTES_MIN)?;
    let mut producers = Vec::with_capacity(count);
    let mut next_id = 0i64;
    for _ in 0..count {
        let step: i64 = reader.number()?;
        let producer_id = next_id.checked_add(step).ok_or(reader.malformed())?;
        next_id = producer_id.saturating_add(1);
        let producer_epoch = i16::try_from(reader.signed()?).map_err(|_| reader.malformed())?;
        producers.push(ProducerSummary {
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(producer_epoch),
            batches: decode_batches(reader, base_offset, created_ms)?,
        });
    }
    Ok(producers)
}

fn decode_batches(
    reader: &mut Reader<'_>,
    base_offset: Offset,
    created_ms: i64,
) -> Result<Vec<ProducerBatch>, FormatError> {
    let count = reader.count(BATCH_BYTES_MIN)?;
    if count == 0 || count > PRODUCER_BATCHES_REMEMBERED {
        return Err(reader.malformed());
    }
    let mut batches = Vec::with_capacity(count);
    let mut previous = base_offset;
    for _ in 0..count {
        let base_sequence = Sequence::new(reader.number()?).ok_or(reader.malformed())?;
        let base_offset = offset_after(reader, previous)?;
        let span: u32 = reader.number()?;
        let last_offset = base_offset.checked_add(span).ok_or(reader.malformed())?;
        previous = last_offset;
        batches.push(ProducerBatch {
            base_sequence,
            last_sequence: base_sequence.plus(span),
            base_offset,
            last_offset,
            max_timestamp: created_ms.wrapping_add(reader.signed()?),
        });
    }
    Ok(batches)
}

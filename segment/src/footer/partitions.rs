//! The section of partitions and blocks, coded so that ten thousand idle-ish partitions stay below
//! half a megabyte: topics once, partition numbers as steps, offsets of blocks as lengths (a span
//! has no gaps), positions not at all (blocks lie one after the other), timestamps as distance from
//! the segment's own.

use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicPartition};
use uuid::Uuid;

use super::{BlockEncoding, BlockEntry, Footer, PartitionSpan, SegmentHeader};
use crate::error::FormatError;
use crate::reader::Reader;
use crate::record_batch::varint::{put_signed, put_unsigned};
use crate::segment_object::SEGMENT_HEADER_BYTES;

const WHAT: &str = "segment footer: partitions section";

/// Least bytes of a topic: id, partition count, one partition.
const TOPIC_BYTES_MIN: usize = 16 + 1 + PARTITION_BYTES_MIN;
/// Least bytes of a partition: step, base offset, epoch count, block count, one block.
const PARTITION_BYTES_MIN: usize = 4 + BLOCK_BYTES_MIN;
/// Least bytes of a block: encoding and stored length, checksum, records, timestamp, batches.
const BLOCK_BYTES_MIN: usize = 1 + 4 + 1 + 1 + 1;
/// Least bytes of a leader epoch: epoch, step.
const EPOCH_BYTES_MIN: usize = 2;

pub(super) fn encode(footer: &Footer, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let created_ms = footer.header.created_ms;
    let same_topic = |a: &PartitionSpan, b: &PartitionSpan| a.tp.topic_id == b.tp.topic_id;
    let topics = footer.partitions.chunk_by(same_topic);
    put_unsigned(out, topics.clone().count() as u64);
    let mut position = SEGMENT_HEADER_BYTES as u64;
    let mut previous_topic = None;
    for spans in topics {
        let topic_id = spans[0].tp.topic_id;
        if previous_topic.replace(topic_id) >= Some(topic_id) {
            return Err(FormatError::Malformed(WHAT));
        }
        out.extend_from_slice(topic_id.0.as_bytes());
        put_unsigned(out, spans.len() as u64);
        let mut next_partition = 0;
        for span in spans {
            let partition = i64::from(span.tp.partition.0);
            let step = u64::try_from(partition - next_partition);
            put_unsigned(out, step.map_err(|_| FormatError::Malformed(WHAT))?);
            next_partition = partition + 1;
            encode_span(span, created_ms, &mut position, out)?;
        }
    }
    Ok(())
}

pub(crate) fn encode_span(
    span: &PartitionSpan,
    created_ms: i64,
    position: &mut u64,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    put_unsigned(out, span.base_offset.get() as u64);
    put_unsigned(out, span.leader_epochs.len() as u64);
    let mut previous = span.base_offset;
    for (epoch, start) in &span.leader_epochs {
        put_signed(out, i64::from(epoch.0));
        put_unsigned(out, steps(previous, *start)?);
        previous = *start;
    }
    put_unsigned(out, span.blocks.len() as u64);
    let mut next_offset = span.base_offset;
    for block in &span.blocks {
        if block.base_offset != next_offset || block.position != *position {
            return Err(FormatError::Malformed(WHAT));
        }
        encode_block(block, created_ms, out)?;
        next_offset = block.next_offset;
        *position += u64::from(block.stored_length);
    }
    let max_timestamp = span.blocks.iter().map(|block| block.max_timestamp).max();
    if next_offset != span.next_offset || max_timestamp != Some(span.max_timestamp) {
        return Err(FormatError::Malformed(WHAT));
    }
    Ok(())
}

fn encode_block(block: &BlockEntry, created_ms: i64, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let zstd = block.encoding == BlockEncoding::Zstd;
    put_unsigned(out, u64::from(block.stored_length) << 1 | u64::from(zstd));
    if zstd {
        put_unsigned(out, u64::from(block.raw_length));
    } else if block.raw_length != block.stored_length {
        return Err(FormatError::Malformed(WHAT));
    }
    out.extend_from_slice(&block.crc.to_le_bytes());
    put_unsigned(out, steps(block.base_offset, block.next_offset)?);
    put_signed(out, block.max_timestamp.wrapping_sub(created_ms));
    put_unsigned(out, u64::from(block.batch_count));
    Ok(())
}

fn steps(from: Offset, to: Offset) -> Result<u64, FormatError> {
    u64::try_from(to.get() - from.get()).map_err(|_| FormatError::Malformed(WHAT))
}

pub(super) fn decode(
    body: &[u8],
    header: &SegmentHeader,
) -> Result<Vec<PartitionSpan>, FormatError> {
    let mut reader = Reader::new(body, WHAT);
    let topic_count = reader.count(TOPIC_BYTES_MIN)?;
    let mut spans = Vec::with_capacity(topic_count);
    let mut position = SEGMENT_HEADER_BYTES as u64;
    let mut previous_topic = None;
    for _ in 0..topic_count {
        let topic_id = TopicId(Uuid::from_bytes(reader.array()?));
        if previous_topic.replace(topic_id) >= Some(topic_id) {
            return Err(reader.malformed());
        }
        let partition_count = reader.count(PARTITION_BYTES_MIN)?;
        spans.reserve(partition_count);
        let mut next_partition = 0u64;
        for _ in 0..partition_count {
            let step: u32 = reader.number()?;
            let partition = next_partition + u64::from(step);
            let index = i32::try_from(partition).map_err(|_| reader.malformed())?;
            next_partition = partition + 1;
            let tp = TopicPartition::new(topic_id, PartitionIndex(index));
            spans.push(decode_span(
                &mut reader,
                tp,
                header.created_ms,
                &mut position,
            )?);
        }
    }
    if reader.is_empty() {
        Ok(spans)
    } else {
        Err(reader.malformed())
    }
}

pub(crate) fn decode_span(
    reader: &mut Reader<'_>,
    tp: TopicPartition,
    created_ms: i64,
    position: &mut u64,
) -> Result<PartitionSpan, FormatError> {
    let base_offset = offset_after(reader, Offset::ZERO)?;
    let epoch_count = reader.count(EPOCH_BYTES_MIN)?;
    let mut leader_epochs = Vec::with_capacity(epoch_count);
    let mut start = base_offset;
    for _ in 0..epoch_count {
        let epoch = i32::try_from(reader.signed()?).map_err(|_| reader.malformed())?;
        start = offset_after(reader, start)?;
        leader_epochs.push((LeaderEpoch(epoch), start));
    }
    let block_count = reader.count(BLOCK_BYTES_MIN)?;
    let mut blocks = Vec::with_capacity(block_count);
    let mut next_offset = base_offset;
    for _ in 0..block_count {
        let block = decode_block(reader, created_ms, *position, next_offset)?;
        *position = position
            .checked_add(u64::from(block.stored_length))
            .ok_or(reader.malformed())?;
        next_offset = block.next_offset;
        blocks.push(block);
    }
    let max_timestamp = blocks.iter().map(|block| block.max_timestamp).max();
    Ok(PartitionSpan {
        tp,
        base_offset,
        next_offset,
        max_timestamp: max_timestamp.ok_or(reader.malformed())?,
        leader_epochs,
        blocks,
        producers: Vec::new(),
    })
}

fn decode_block(
    reader: &mut Reader<'_>,
    created_ms: i64,
    position: u64,
    base_offset: Offset,
) -> Result<BlockEntry, FormatError> {
    let length_and_encoding = reader.unsigned()?;
    let stored_length = u32::try_from(length_and_encoding >> 1).map_err(|_| reader.malformed())?;
    let (encoding, raw_length) = match length_and_encoding & 1 {
        0 => (BlockEncoding::Raw, stored_length),
        _ => (BlockEncoding::Zstd, reader.number()?),
    };
    let crc = u32::from_le_bytes(reader.array()?);
    let next_offset = offset_after(reader, base_offset)?;
    let max_timestamp = created_ms.wrapping_add(reader.signed()?);
    let batch_count = reader.number()?;
    Ok(BlockEntry {
        position,
        stored_length,
        raw_length,
        encoding,
        crc,
        base_offset,
        next_offset,
        max_timestamp,
        batch_count,
    })
}

/// Reads a step and adds it to `from`.
pub(crate) fn offset_after(reader: &mut Reader<'_>, from: Offset) -> Result<Offset, FormatError> {
    let step: i64 = reader.number()?;
    let sum = from.get().checked_add(step).and_then(Offset::new);
    sum.ok_or(reader.malformed())
}

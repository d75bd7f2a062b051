//! Table files and leaves in bytes, as manifests and leaves list them.

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;

use super::codec::{ITEM_LEAF, ITEM_TABLE};
use super::{LeafEntry, LeafSpan, SpanEntry, TableEntry};
use crate::error::FormatError;
use crate::object_key::ObjectKey;
use crate::reader::Reader;
use crate::record_batch::varint::{put_signed, put_unsigned};

/// Least bytes of a span: partition, two offsets, records, bytes, two timestamps.
const SPAN_BYTES_MIN: usize = 7;
/// The same of a leaf: and its stored bytes.
const LEAF_SPAN_BYTES_MIN: usize = SPAN_BYTES_MIN + 1;

const UNSORTED: FormatError = FormatError::Malformed("manifest: spans are not sorted");

/// The item of a table file.
pub(super) fn encode_table(table: &TableEntry) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::with_capacity(160 + 32 * table.spans.len());
    put_unsigned(&mut out, ITEM_TABLE);
    put_name(&mut out, &table.object_key);
    put_unsigned(&mut out, table.size_bytes);
    put_unsigned(&mut out, u64::from(table.tail_length));
    out.extend_from_slice(&table.tail_crc.to_le_bytes());
    put_unsigned(&mut out, table.spans.len() as u64);
    let mut next = 0;
    for span in &table.spans {
        put_span(&mut out, &mut next, span)?;
    }
    Ok(out)
}

/// Behind the item's kind.
pub(super) fn decode_table(reader: &mut Reader<'_>) -> Result<TableEntry, FormatError> {
    let object_key = name(reader)?;
    let size_bytes = reader.unsigned()?;
    let tail_length = reader.number()?;
    let tail_crc = u32::from_le_bytes(reader.array()?);
    let count = reader.count(SPAN_BYTES_MIN)?;
    let mut next = 0;
    let spans = (0..count).map(|_| span(reader, &mut next));
    Ok(TableEntry {
        spans: spans.collect::<Result<_, _>>()?,
        object_key,
        size_bytes,
        tail_length,
        tail_crc,
    })
}

/// The item of a leaf.
pub(super) fn encode_leaf(leaf: &LeafEntry) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::with_capacity(160 + 40 * leaf.spans.len());
    put_unsigned(&mut out, ITEM_LEAF);
    put_name(&mut out, &leaf.object_key);
    put_unsigned(&mut out, leaf.size_bytes);
    out.extend_from_slice(&leaf.index_crc.to_le_bytes());
    put_unsigned(&mut out, u64::from(leaf.tables));
    put_unsigned(&mut out, leaf.spans.len() as u64);
    let mut next = 0;
    for one in &leaf.spans {
        put_span(&mut out, &mut next, &one.span)?;
        put_unsigned(&mut out, one.stored_bytes);
    }
    Ok(out)
}

/// Behind the item's kind.
pub(super) fn decode_leaf(reader: &mut Reader<'_>) -> Result<LeafEntry, FormatError> {
    let object_key = name(reader)?;
    let size_bytes = reader.unsigned()?;
    let index_crc = u32::from_le_bytes(reader.array()?);
    let tables = reader.number()?;
    let count = reader.count(LEAF_SPAN_BYTES_MIN)?;
    let mut next = 0;
    let spans = (0..count).map(|_| {
        Ok(LeafSpan {
            span: span(reader, &mut next)?,
            stored_bytes: reader.unsigned()?,
        })
    });
    Ok(LeafEntry {
        spans: spans.collect::<Result<_, FormatError>>()?,
        object_key,
        size_bytes,
        index_crc,
        tables,
    })
}

fn put_name(out: &mut Vec<u8>, object_key: &ObjectKey) {
    let name = object_key.as_str();
    put_unsigned(out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
}

fn name(reader: &mut Reader<'_>) -> Result<ObjectKey, FormatError> {
    let name_length = reader.count(1)?;
    let name = std::str::from_utf8(reader.take(name_length)?).map_err(|_| reader.malformed())?;
    ObjectKey::parse(name).map_err(|_| reader.malformed())
}

/// `next` is one more than the partition before.
fn put_span(out: &mut Vec<u8>, next: &mut i64, span: &SpanEntry) -> Result<(), FormatError> {
    let step = u64::try_from(i64::from(span.partition.0) - *next);
    put_unsigned(out, step.map_err(|_| UNSORTED)?);
    *next = i64::from(span.partition.0) + 1;
    put_unsigned(out, span.base_offset.get() as u64);
    let offsets = u64::try_from(span.next_offset.get() - span.base_offset.get());
    put_unsigned(out, offsets.map_err(|_| UNSORTED)?);
    put_unsigned(out, span.records);
    put_unsigned(out, span.raw_bytes);
    put_signed(out, span.min_timestamp);
    put_signed(out, span.max_timestamp.wrapping_sub(span.min_timestamp));
    Ok(())
}

fn span(reader: &mut Reader<'_>, next: &mut i64) -> Result<SpanEntry, FormatError> {
    let step: i64 = reader.number()?;
    let partition = next.checked_add(step).ok_or(reader.malformed())?;
    let partition = i32::try_from(partition).map_err(|_| reader.malformed())?;
    *next = i64::from(partition) + 1;
    let base_offset = offset(reader)?;
    let offsets: i64 = reader.number()?;
    let next_offset = base_offset.get().checked_add(offsets).and_then(Offset::new);
    let (records, raw_bytes) = (reader.unsigned()?, reader.unsigned()?);
    let min_timestamp = reader.signed()?;
    Ok(SpanEntry {
        partition: PartitionIndex(partition),
        base_offset,
        next_offset: next_offset.ok_or(reader.malformed())?,
        records,
        raw_bytes,
        min_timestamp,
        max_timestamp: min_timestamp.wrapping_add(reader.signed()?),
    })
}

pub(super) fn offset(reader: &mut Reader<'_>) -> Result<Offset, FormatError> {
    Offset::new(reader.number()?).ok_or(reader.malformed())
}

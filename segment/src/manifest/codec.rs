//! Manifests in bytes: a parted object whose items are table files, then partitions.

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use bytes::Bytes;
use uuid::Uuid;

use super::{
    CleanState, Manifest, ManifestContent, PublishedPartition, PublishedProducer, SpanEntry,
    TableEntry, TombstoneMark,
};
use crate::error::FormatError;
use crate::fold_object::slice;
use crate::footer::producers::{decode_partition, encode_partition};
use crate::object_key::ObjectKey;
use crate::parted::{self, EncodedObject, Format, Writer};
use crate::reader::Reader;
use crate::record_batch::varint::{put_signed, put_unsigned};

/// The newest version; all older ones are read.
pub const MANIFEST_VERSION: u16 = 1;

const FORMAT: Format = Format {
    what: "manifest",
    magic: *b"ALVN",
    trailer_magic: *b"ALVMANIT",
    version: MANIFEST_VERSION,
};

/// The length of a manifest's index, from its last bytes.
///
/// # Errors
/// They are not the end of a manifest.
pub fn index_length(tail: &[u8]) -> Result<u32, FormatError> {
    parted::index_length(&FORMAT, tail)
}

const ITEM_TABLE: u64 = 0;
const ITEM_PARTITION: u64 = 1;

/// Least bytes of a span: partition, two offsets, records, bytes, two timestamps.
const SPAN_BYTES_MIN: usize = 7;
/// Least bytes of a mark of tombstones: an offset and a time.
const MARK_BYTES_MIN: usize = 2;
/// Timestamps of producers are stored as they are.
const PRODUCERS_TIME_BASE: i64 = 0;

impl ManifestContent {
    /// The object.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] when spans or producers are not sorted, or too many for one item.
    pub fn encode(&self) -> Result<EncodedObject, FormatError> {
        let mut about = [0; 20];
        about[..16].copy_from_slice(self.topic_id.0.as_bytes());
        let mut writer = Writer::new(FORMAT, about);
        for table in &self.tables {
            let item = encode_table(table)?;
            writer.add(|out| out.extend_from_slice(&item))?;
        }
        for (partition, published) in &self.partitions {
            let item = encode_published(*partition, published)?;
            writer.add(|out| out.extend_from_slice(&item))?;
        }
        let mut head = self.topic_id.0.as_bytes().to_vec();
        put_unsigned(&mut head, self.version);
        put_signed(&mut head, self.created_ms);
        writer.finish(&head)
    }
}

impl Manifest {
    /// Reads a manifest from the bytes of the object; second is the checksum of its index, which the metadata store
    /// names.
    ///
    /// # Errors
    /// The object is damaged, foreign or of a newer version.
    pub fn decode(object: &Bytes) -> Result<(Self, u32), FormatError> {
        let (mut reader, crc) = parted::index_of(&FORMAT, object)?;
        let mut content = ManifestContent {
            version: 0,
            created_ms: 0,
            ..ManifestContent::empty(TopicId(Uuid::from_bytes(reader.array()?)))
        };
        content.version = reader.unsigned()?;
        content.created_ms = reader.signed()?;
        for part in parted::parts_of(reader)? {
            let range = part.range();
            let raw = part.open(&FORMAT, slice(object, range.start, range.end)?)?;
            let mut reader = Reader::new(&raw, FORMAT.what);
            for _ in 0..part.items {
                decode_item(&mut reader, &mut content)?;
            }
            if !reader.is_empty() {
                return Err(reader.malformed());
            }
        }
        Ok((Self::new(content)?, crc))
    }
}

pub(super) fn decode_item(
    reader: &mut Reader<'_>,
    content: &mut ManifestContent,
) -> Result<(), FormatError> {
    match reader.unsigned()? {
        ITEM_TABLE => content.tables.push(decode_table(reader)?),
        ITEM_PARTITION => {
            let (partition, published) = decode_published(reader)?;
            if content.partitions.insert(partition, published).is_some() {
                return Err(reader.malformed());
            }
        }
        _ => return Err(reader.malformed()),
    }
    Ok(())
}

fn encode_table(table: &TableEntry) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::with_capacity(160 + 32 * table.spans.len());
    put_unsigned(&mut out, ITEM_TABLE);
    let name = table.object_key.as_str();
    put_unsigned(&mut out, name.len() as u64);
    out.extend_from_slice(name.as_bytes());
    put_unsigned(&mut out, table.size_bytes);
    put_unsigned(&mut out, u64::from(table.tail_length));
    out.extend_from_slice(&table.tail_crc.to_le_bytes());
    put_unsigned(&mut out, table.spans.len() as u64);
    let mut next = 0;
    for span in &table.spans {
        let step = u64::try_from(i64::from(span.partition.0) - next);
        put_unsigned(
            &mut out,
            step.map_err(|_| FormatError::Malformed(FORMAT.what))?,
        );
        next = i64::from(span.partition.0) + 1;
        put_unsigned(&mut out, span.base_offset.get() as u64);
        let offsets = u64::try_from(span.next_offset.get() - span.base_offset.get());
        put_unsigned(
            &mut out,
            offsets.map_err(|_| FormatError::Malformed(FORMAT.what))?,
        );
        put_unsigned(&mut out, span.records);
        put_unsigned(&mut out, span.raw_bytes);
        put_signed(&mut out, span.min_timestamp);
        put_signed(
            &mut out,
            span.max_timestamp.wrapping_sub(span.min_timestamp),
        );
    }
    Ok(out)
}

fn decode_table(reader: &mut Reader<'_>) -> Result<TableEntry, FormatError> {
    let name_length = reader.count(1)?;
    let name = std::str::from_utf8(reader.take(name_length)?).map_err(|_| reader.malformed())?;
    let object_key = ObjectKey::parse(name).map_err(|_| reader.malformed())?;
    let size_bytes = reader.unsigned()?;
    let tail_length = reader.number()?;
    let tail_crc = u32::from_le_bytes(reader.array()?);
    let count = reader.count(SPAN_BYTES_MIN)?;
    let mut spans = Vec::with_capacity(count);
    let mut next = 0i64;
    for _ in 0..count {
        let step: i64 = reader.number()?;
        let partition = next.checked_add(step).ok_or(reader.malformed())?;
        let partition = i32::try_from(partition).map_err(|_| reader.malformed())?;
        next = i64::from(partition) + 1;
        let base_offset = offset(reader)?;
        let offsets: i64 = reader.number()?;
        let next_offset = base_offset.get().checked_add(offsets).and_then(Offset::new);
        let (records, raw_bytes) = (reader.unsigned()?, reader.unsigned()?);
        let min_timestamp = reader.signed()?;
        spans.push(SpanEntry {
            partition: PartitionIndex(partition),
            base_offset,
            next_offset: next_offset.ok_or(reader.malformed())?,
            records,
            raw_bytes,
            min_timestamp,
            max_timestamp: min_timestamp.wrapping_add(reader.signed()?),
        });
    }
    Ok(TableEntry {
        object_key,
        size_bytes,
        tail_length,
        tail_crc,
        spans,
    })
}

fn encode_published(
    partition: PartitionIndex,
    published: &PublishedPartition,
) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::with_capacity(16 + 32 * published.producers.len());
    put_unsigned(&mut out, ITEM_PARTITION);
    put_signed(&mut out, i64::from(partition.0));
    put_unsigned(&mut out, published.next_offset.get() as u64);
    let summaries: Vec<_> = published
        .producers
        .iter()
        .map(|producer| producer.summary.clone())
        .collect();
    encode_partition(&summaries, Offset::ZERO, PRODUCERS_TIME_BASE, &mut out)?;
    for producer in &published.producers {
        put_signed(&mut out, producer.last_seen_ms);
    }
    encode_clean(&published.clean, &mut out)?;
    Ok(out)
}

fn decode_published(
    reader: &mut Reader<'_>,
) -> Result<(PartitionIndex, PublishedPartition), FormatError> {
    let partition = i32::try_from(reader.signed()?).map_err(|_| reader.malformed())?;
    let next_offset = offset(reader)?;
    let summaries = decode_partition(reader, Offset::ZERO, PRODUCERS_TIME_BASE)?;
    let producers = summaries.into_iter().map(|summary| {
        Ok(PublishedProducer {
            summary,
            last_seen_ms: reader.signed()?,
        })
    });
    let producers = producers.collect::<Result<_, FormatError>>()?;
    Ok((
        PartitionIndex(partition),
        PublishedPartition {
            next_offset,
            producers,
            clean: decode_clean(reader)?,
        },
    ))
}

fn encode_clean(clean: &CleanState, out: &mut Vec<u8>) -> Result<(), FormatError> {
    put_unsigned(out, clean.next_offset.get() as u64);
    let removed = u64::try_from(clean.removed_before.get() - clean.next_offset.get());
    put_unsigned(
        out,
        removed.map_err(|_| FormatError::Malformed(FORMAT.what))?,
    );
    put_unsigned(out, clean.raw_bytes);
    put_unsigned(out, clean.dirty_since_ms.unwrap_or(0));
    put_unsigned(out, clean.tombstones.len() as u64);
    let (mut next, mut cleaned_ms) = (Offset::ZERO, 0);
    for mark in &clean.tombstones {
        let offsets = u64::try_from(mark.next_offset.get() - next.get());
        put_unsigned(
            out,
            offsets.map_err(|_| FormatError::Malformed(FORMAT.what))?,
        );
        put_signed(out, mark.cleaned_ms.wrapping_sub(cleaned_ms));
        (next, cleaned_ms) = (mark.next_offset, mark.cleaned_ms);
    }
    Ok(())
}

fn decode_clean(reader: &mut Reader<'_>) -> Result<CleanState, FormatError> {
    let next_offset = offset(reader)?;
    let removed: i64 = reader.number()?;
    let removed_before = next_offset.get().checked_add(removed).and_then(Offset::new);
    let removed_before = removed_before.ok_or(reader.malformed())?;
    let raw_bytes = reader.unsigned()?;
    let dirty_since_ms = Some(reader.unsigned()?).filter(|since| *since > 0);
    let count = reader.count(MARK_BYTES_MIN)?;
    let mut tombstones = Vec::with_capacity(count);
    let (mut next, mut cleaned_ms) = (Offset::ZERO, 0i64);
    for _ in 0..count {
        let offsets: i64 = reader.number()?;
        let end = next.get().checked_add(offsets).and_then(Offset::new);
        next = end.ok_or(reader.malformed())?;
        cleaned_ms = cleaned_ms.wrapping_add(reader.signed()?);
        tombstones.push(TombstoneMark {
            next_offset: next,
            cleaned_ms,
        });
    }
    Ok(CleanState {
        next_offset,
        removed_before,
        raw_bytes,
        dirty_since_ms,
        tombstones,
    })
}

fn offset(reader: &mut Reader<'_>) -> Result<Offset, FormatError> {
    Offset::new(reader.number()?).ok_or(reader.malformed())
}

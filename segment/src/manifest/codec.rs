//! Manifests in bytes: a parted object whose items are leaves, table files, then partitions.

use alluvium_common::offset::Offset;
use alluvium_common::topic::{PartitionIndex, TopicId};
use bytes::Bytes;
use uuid::Uuid;

use super::entries::{decode_leaf, decode_table, encode_leaf, encode_table, offset};
use super::{
    CleanState, Manifest, ManifestContent, PublishedPartition, PublishedProducer, TombstoneMark,
};
use crate::error::FormatError;
use crate::fold_object::slice;
use crate::footer::producers::{decode_partition, encode_partition};
use crate::parted::{self, EncodedObject, Format, PartEntry, Writer};
use crate::reader::Reader;
use crate::record_batch::varint::{put_signed, put_unsigned};

/// The newest version; all older ones are read. Version 1 had no leaves.
pub const MANIFEST_VERSION: u16 = 2;

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

/// The items of manifests; those of leaves are tables.
pub(super) const ITEM_TABLE: u64 = 0;
const ITEM_PARTITION: u64 = 1;
pub(super) const ITEM_LEAF: u64 = 2;

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
        for leaf in &self.leaves {
            let item = encode_leaf(leaf)?;
            writer.add(|out| out.extend_from_slice(&item))?;
        }
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
            items_of(&FORMAT, object, &part, |reader| {
                decode_item(reader, &mut content)
            })?;
        }
        Ok((Self::new(content)?, crc))
    }
}

/// Decodes all items of a part.
pub(super) fn items_of(
    format: &Format,
    object: &Bytes,
    part: &PartEntry,
    mut decode: impl FnMut(&mut Reader<'_>) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let range = part.range();
    let raw = part.open(format, slice(object, range.start, range.end)?)?;
    let mut reader = Reader::new(&raw, format.what);
    for _ in 0..part.items {
        decode(&mut reader)?;
    }
    match reader.is_empty() {
        true => Ok(()),
        false => Err(reader.malformed()),
    }
}

pub(super) fn decode_item(
    reader: &mut Reader<'_>,
    content: &mut ManifestContent,
) -> Result<(), FormatError> {
    match reader.unsigned()? {
        ITEM_TABLE => content.tables.push(decode_table(reader)?),
        ITEM_LEAF => content.leaves.push(decode_leaf(reader)?),
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

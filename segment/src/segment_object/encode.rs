//! Encoding a segment.

use bytes::Bytes;

use super::block::{raw_length, take_block, try_compress};
use super::summary::Summary;
use super::{
    EncodeOptions, EncodedSegment, SEGMENT_HEADER_BYTES, SegmentEntry, SegmentHeader, encode_header,
};
use crate::error::FormatError;
use crate::footer::{BlockEncoding, BlockEntry, Footer, PartitionSpan};
use crate::record_batch::PREFIX_BYTES;

/// Makes one object of `entries`. Within a partition their order is kept, and their offsets must
/// follow each other without a gap. Bodies are not copied, except into compressed blocks.
///
/// # Errors
/// Offsets with a gap or an overlap, and sizes beyond what the format can say: a mistake of the
/// caller, never a matter of record bytes.
pub fn encode(
    header: &SegmentHeader,
    mut entries: Vec<SegmentEntry>,
    options: &EncodeOptions,
) -> Result<EncodedSegment, FormatError> {
    entries.sort_by_key(|entry| entry.tp);
    let mut object = ObjectBuilder::new(header, entries.len());
    let mut partitions = Vec::new();
    for run in entries.chunk_by(|a, b| a.tp == b.tp) {
        partitions.push(encode_partition(run, &mut object, options)?);
    }
    let header = *header;
    let footer = Footer { header, partitions };
    let (footer_bytes, footer_crc) = footer.encode()?;
    // Fits: the trailer holds it as 32 bits.
    let footer_length = footer_bytes.len() as u32;
    let size_bytes = object.position + footer_bytes.len() as u64;
    object.pieces.push(Piece::Bytes(footer_bytes.into()));
    Ok(EncodedSegment {
        chunks: object.into_chunks(),
        size_bytes,
        footer,
        footer_length,
        footer_crc,
    })
}

fn encode_partition(
    entries: &[SegmentEntry],
    object: &mut ObjectBuilder,
    options: &EncodeOptions,
) -> Result<PartitionSpan, FormatError> {
    check_contiguous(entries)?;
    let mut summary = Summary::default();
    entries.iter().for_each(|entry| summary.add(&entry.batch));
    let mut blocks = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let (block, after) = rest.split_at(take_block(rest, options.block_bytes_target));
        blocks.push(encode_block(block, object, options)?);
        rest = after;
    }
    let (leader_epochs, producers) = summary.finish();
    Ok(PartitionSpan {
        tp: entries[0].tp,
        base_offset: entries[0].batch.base_offset(),
        next_offset: entries[entries.len() - 1].batch.next_offset(),
        max_timestamp: max_timestamp(entries),
        leader_epochs,
        blocks,
        producers,
    })
}

fn check_contiguous(entries: &[SegmentEntry]) -> Result<(), FormatError> {
    let follows =
        |pair: &[SegmentEntry]| pair[0].batch.next_offset() == pair[1].batch.base_offset();
    if entries.windows(2).all(follows) {
        Ok(())
    } else {
        Err(FormatError::Malformed("segment: offsets with a gap"))
    }
}

fn encode_block(
    entries: &[SegmentEntry],
    object: &mut ObjectBuilder,
    options: &EncodeOptions,
) -> Result<BlockEntry, FormatError> {
    let raw_length = raw_length(entries)?;
    let position = object.position;
    let (encoding, crc) = match try_compress(entries, raw_length as usize, options) {
        Some(compressed) => (BlockEncoding::Zstd, object.add_bytes(compressed)),
        None => (BlockEncoding::Raw, object.add_batches(entries)),
    };
    Ok(BlockEntry {
        position,
        // Not longer than the raw bytes, which fit.
        stored_length: (object.position - position) as u32,
        raw_length,
        encoding,
        crc,
        base_offset: entries[0].batch.base_offset(),
        next_offset: entries[entries.len() - 1].batch.next_offset(),
        max_timestamp: max_timestamp(entries),
        // Fits: every batch has bytes, which do.
        batch_count: entries.len() as u32,
    })
}

fn max_timestamp(entries: &[SegmentEntry]) -> i64 {
    let timestamps = entries.iter().map(|entry| entry.batch.max_timestamp());
    timestamps.max().unwrap_or(-1)
}

/// Collects the object's pieces. Prefixes of raw batches share one allocation, because one each
/// would be the most frequent allocation of the write path.
struct ObjectBuilder {
    position: u64,
    prefixes: Vec<u8>,
    pieces: Vec<Piece>,
}

enum Piece {
    Bytes(Bytes),
    /// The next [`PREFIX_BYTES`] of `prefixes`, then a body.
    Batch(Bytes),
}

impl ObjectBuilder {
    fn new(header: &SegmentHeader, entry_count: usize) -> Self {
        let mut pieces = Vec::with_capacity(entry_count + 2);
        let header = Bytes::copy_from_slice(&encode_header(header));
        pieces.push(Piece::Bytes(header));
        Self {
            position: SEGMENT_HEADER_BYTES as u64,
            prefixes: Vec::with_capacity(entry_count * PREFIX_BYTES),
            pieces,
        }
    }

    /// Appends bytes; returns their checksum.
    fn add_bytes(&mut self, bytes: Bytes) -> u32 {
        let crc = crc32c::crc32c(&bytes);
        self.position += bytes.len() as u64;
        self.pieces.push(Piece::Bytes(bytes));
        crc
    }

    /// Appends batches as they are; returns their checksum.
    fn add_batches(&mut self, entries: &[SegmentEntry]) -> u32 {
        let mut crc = 0;
        for SegmentEntry { batch, .. } in entries {
            crc = crc32c::crc32c_append(crc, batch.prefix());
            crc = batch.append_crc(crc);
            self.prefixes.extend_from_slice(batch.prefix());
            self.pieces.push(Piece::Batch(batch.body().clone()));
            self.position += batch.size_bytes() as u64;
        }
        crc
    }

    fn into_chunks(self) -> Vec<Bytes> {
        let mut prefixes = Bytes::from(self.prefixes);
        let mut chunks = Vec::with_capacity(self.pieces.len() + prefixes.len() / PREFIX_BYTES);
        for piece in self.pieces {
            match piece {
                Piece::Bytes(bytes) => chunks.push(bytes),
                Piece::Batch(body) => {
                    chunks.push(prefixes.split_to(PREFIX_BYTES));
                    chunks.push(body);
                }
            }
        }
        chunks
    }
}

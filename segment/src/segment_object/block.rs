//! One block: packed, compressed where it pays, and read back.

use std::cell::RefCell;

use bytes::Bytes;

use super::{EncodeOptions, SegmentEntry};
use crate::error::FormatError;
use crate::footer::{BlockEncoding, BlockEntry};
use crate::reader::check_crc32c;
use crate::record_batch::{BatchError, Codec, compression};

/// Bytes compressed on trial, from the middle of a block, before all of it is.
const SAMPLE_BYTES: usize = 16 * 1024;

/// Compressed bytes must be at most this share of the raw ones, in percent, or the block is stored
/// as it is: below an eighth of gain, readers pay more for decompression than storage saves.
const WORTHWHILE_PERCENT: usize = 88;

/// Blocks below this size are stored as they are: zstd's frame and table overhead eats the gain.
const COMPRESS_BYTES_MIN: usize = 128;

/// The buffer that gathers a block for compression is kept between blocks up to this size.
const SCRATCH_BYTES_KEPT: usize = 2 * 1024 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Whether the block compressor may try: batches that carry a codec of their own do not get smaller.
pub(super) fn is_uncompressed(entry: &SegmentEntry) -> bool {
    entry.batch.codec() == Ok(Codec::None)
}

/// How many of `entries` (of one partition, in order) go into the next block.
pub(super) fn take_block(entries: &[SegmentEntry], block_bytes_target: usize) -> usize {
    let class = is_uncompressed(&entries[0]);
    let mut bytes = 0usize;
    let fits = |entry: &&SegmentEntry| {
        let first = bytes == 0;
        bytes = bytes.saturating_add(entry.batch.size_bytes());
        first || (bytes <= block_bytes_target && is_uncompressed(entry) == class)
    };
    entries.iter().take_while(fits).count()
}

/// The block's batches as one zstd frame; `None` when that does not pay.
pub(super) fn try_compress(
    entries: &[SegmentEntry],
    raw_length: usize,
    options: &EncodeOptions,
) -> Option<Bytes> {
    let level = options.zstd_level?;
    if raw_length < COMPRESS_BYTES_MIN || !is_uncompressed(&entries[0]) {
        return None;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        // The trial comes before the block is gathered: what cannot be compressed is not copied for it.
        if raw_length > 4 * SAMPLE_BYTES {
            gather_sample(entries, raw_length, scratch);
            compress_if_worthwhile(scratch, level)?;
            scratch.clear();
        }
        for entry in entries {
            entry.batch.copy_to(scratch);
        }
        let compressed = compress_if_worthwhile(scratch, level);
        if scratch.capacity() > SCRATCH_BYTES_KEPT {
            *scratch = Vec::new();
        }
        compressed
    })
}

/// Appends [`SAMPLE_BYTES`] from the middle of the block, of however many batches that takes.
fn gather_sample(entries: &[SegmentEntry], raw_length: usize, sample: &mut Vec<u8>) {
    let mut before = (raw_length - SAMPLE_BYTES) / 2;
    for entry in entries {
        let body = entry.batch.body();
        if before < body.len() {
            let end = body.len().min(before + SAMPLE_BYTES - sample.len());
            sample.extend_from_slice(&body[before..end]);
            before = 0;
        } else {
            before -= body.len();
        }
        if sample.len() == SAMPLE_BYTES {
            return;
        }
    }
}

fn compress_if_worthwhile(raw: &[u8], level: i32) -> Option<Bytes> {
    // A compressor that fails (out of memory) costs space, not the segment.
    let mut compressed = compression::zstd::compress(raw, level).ok()?;
    if compressed.len() * 100 > raw.len() * WORTHWHILE_PERCENT {
        return None;
    }
    compressed.shrink_to_fit();
    Some(compressed.into())
}

/// The batches of a block, one after the other, from its stored bytes: length and checksum are
/// verified, decompression stops at the length that the footer states.
pub fn decode_block(entry: &BlockEntry, stored: Bytes) -> Result<Bytes, FormatError> {
    if stored.len() != entry.stored_length as usize {
        return Err(FormatError::NeedMore {
            needed: entry.stored_length as usize,
            have: stored.len(),
        });
    }
    check_crc32c("segment block", entry.crc, &stored)?;
    let raw_length = entry.raw_length as usize;
    match entry.encoding {
        BlockEncoding::Raw => Ok(stored),
        BlockEncoding::Zstd => {
            let raw = compression::decompress(Codec::Zstd, &stored, raw_length)?;
            if raw.len() == raw_length {
                Ok(raw.into())
            } else {
                Err(FormatError::Malformed("segment block"))
            }
        }
    }
}

/// Raw length of a block, which its footer entry must be able to express.
pub(super) fn raw_length(entries: &[SegmentEntry]) -> Result<u32, FormatError> {
    let length: usize = entries.iter().map(|entry| entry.batch.size_bytes()).sum();
    u32::try_from(length)
        .map_err(|_| FormatError::Batch(BatchError::Build(format!("block of {length} bytes"))))
}

//! The frame that fold objects and metadata snapshots share: items packed into compressed parts, and an index of the
//! parts at the end. `README.md` shows it byte by byte.
//!
//! A small object is read with one GET. Of a large one the index is read first (its length stands in the trailer, and
//! for fold objects in the metadata store), then the parts that are wanted, each with a checksum of its own.

use std::ops::Range;

use bytes::Bytes;

use crate::error::FormatError;
use crate::reader::{Reader, array_at, check_crc32c, check_version, u16_at, u32_at};
use crate::record_batch::varint::put_unsigned;
use crate::record_batch::{Codec, compression};

/// Bytes in front of the first part.
pub const PARTED_HEADER_BYTES: usize = 32;
/// Bytes of the trailer.
pub const PARTED_TRAILER_BYTES: usize = 24;
/// Raw bytes at which a part is full: one request's worth, enough for zstd to find what repeats.
pub const PART_BYTES_TARGET: usize = 1024 * 1024;
/// Raw bytes of a part, at most: what a reader has to hold. One item may be larger than the target.
pub const PART_BYTES_MAX: usize = 64 * 1024 * 1024;

const ZSTD_LEVEL: i32 = 3;
/// Least bytes of a part in the index: item count, stored length, checksum.
const PART_ENTRY_BYTES_MIN: usize = 6;

/// What tells one parted format from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub what: &'static str,
    pub magic: [u8; 4],
    pub trailer_magic: [u8; 8],
    pub version: u16,
}

/// One part: consecutive items, compressed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartEntry {
    /// Number of its first item in the object.
    pub first_item: u64,
    /// Items in it, at least one.
    pub items: u64,
    /// Where it starts in the object.
    pub position: u64,
    /// Bytes in the object.
    pub stored_length: u32,
    /// Bytes of its items.
    pub raw_length: u32,
    /// CRC-32C of the stored bytes.
    pub crc: u32,
    is_zstd: bool,
}

impl PartEntry {
    /// Where it lies in the object.
    pub fn range(&self) -> Range<u64> {
        self.position..self.position + u64::from(self.stored_length)
    }

    /// Its items' bytes, checked.
    pub(crate) fn open(&self, format: &Format, stored: Bytes) -> Result<Bytes, FormatError> {
        if stored.len() != self.stored_length as usize {
            return Err(FormatError::NeedMore {
                needed: self.stored_length as usize,
                have: stored.len(),
            });
        }
        check_crc32c(format.what, self.crc, &stored)?;
        if !self.is_zstd {
            return Ok(stored);
        }
        let raw = compression::decompress(Codec::Zstd, &stored, self.raw_length as usize)?;
        match raw.len() == self.raw_length as usize {
            true => Ok(raw.into()),
            false => Err(FormatError::Malformed(format.what)),
        }
    }
}

/// An object ready to be uploaded.
#[derive(Debug, Clone)]
pub struct EncodedObject {
    /// Its bytes, in order.
    pub chunks: Vec<Bytes>,
    /// Sum of the chunks' lengths.
    pub size_bytes: u64,
    /// Last bytes of the object to read for the index (index and trailer).
    pub index_length: u32,
    /// Checksum of the index, as in the trailer.
    pub index_crc: u32,
}

/// Packs items into parts.
#[derive(Debug)]
pub(crate) struct Writer {
    format: Format,
    chunks: Vec<Bytes>,
    parts: Vec<PartEntry>,
    position: u64,
    raw: Vec<u8>,
    raw_items: u64,
    items: u64,
}

impl Writer {
    /// `about` says whose the object is; it stands in the header, for repair tools.
    pub fn new(format: Format, about: [u8; 20]) -> Self {
        let mut header = Vec::with_capacity(PARTED_HEADER_BYTES);
        header.extend_from_slice(&format.magic);
        header.extend_from_slice(&format.version.to_le_bytes());
        header.extend_from_slice(&0u16.to_le_bytes());
        header.extend_from_slice(&about);
        let crc = crc32c::crc32c(&header);
        header.extend_from_slice(&crc.to_le_bytes());
        Self {
            format,
            chunks: vec![header.into()],
            parts: Vec::new(),
            position: PARTED_HEADER_BYTES as u64,
            raw: Vec::new(),
            raw_items: 0,
            items: 0,
        }
    }

    /// Items so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Adds one item.
    pub fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), FormatError> {
        let before = self.raw.len();
        put(&mut self.raw);
        if self.raw.len() - before > PART_BYTES_MAX {
            return Err(FormatError::Malformed(self.format.what));
        }
        if before > 0 && self.raw.len() > PART_BYTES_TARGET {
            let item = self.raw.split_off(before);
            self.close_part();
            self.raw = item;
        }
        self.raw_items += 1;
        self.items += 1;
        Ok(())
    }

    fn close_part(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        if self.raw_items == 0 {
            return;
        }
        let raw_length = raw.len();
        // A compressor that fails (out of memory) costs space, not the object.
        let packed = compression::zstd::compress(&raw, ZSTD_LEVEL).ok();
        let packed = packed.filter(|packed| packed.len() < raw_length);
        let is_zstd = packed.is_some();
        let stored = Bytes::from(packed.unwrap_or(raw));
        self.parts.push(PartEntry {
            first_item: self.items - self.raw_items,
            items: self.raw_items,
            position: self.position,
            // Both fit: at most PART_BYTES_MAX.
            stored_length: stored.len() as u32,
            raw_length: raw_length as u32,
            crc: crc32c::crc32c(&stored),
            is_zstd,
        });
        self.position += stored.len() as u64;
        self.chunks.push(stored);
        self.raw_items = 0;
    }

    /// The object. `head` is what the index says before its parts.
    pub fn finish(mut self, head: &[u8]) -> Result<EncodedObject, FormatError> {
        self.close_part();
        let mut index = head.to_vec();
        put_unsigned(&mut index, self.parts.len() as u64);
        for part in &self.parts {
            put_unsigned(&mut index, part.items);
            put_unsigned(
                &mut index,
                u64::from(part.stored_length) * 2 + u64::from(part.is_zstd),
            );
            if part.is_zstd {
                put_unsigned(&mut index, u64::from(part.raw_length));
            }
            index.extend_from_slice(&part.crc.to_le_bytes());
        }
        let index_crc = crc32c::crc32c(&index);
        let index_length = u32::try_from(index.len() + PARTED_TRAILER_BYTES)
            .map_err(|_| FormatError::Malformed(self.format.what))?;
        let trailer_at = index.len();
        index.extend_from_slice(&index_length.to_le_bytes());
        index.extend_from_slice(&index_crc.to_le_bytes());
        index.extend_from_slice(&self.format.version.to_le_bytes());
        index.extend_from_slice(&0u16.to_le_bytes());
        let trailer_crc = crc32c::crc32c(&index[trailer_at..]);
        index.extend_from_slice(&trailer_crc.to_le_bytes());
        index.extend_from_slice(&self.format.trailer_magic);
        let size_bytes = self.position + index.len() as u64;
        self.chunks.push(index.into());
        Ok(EncodedObject {
            chunks: self.chunks,
            size_bytes,
            index_length,
            index_crc,
        })
    }
}

/// Length of index and trailer together, from the last [`PARTED_TRAILER_BYTES`] (or more) of an object.
pub(crate) fn index_length(format: &Format, tail: &[u8]) -> Result<u32, FormatError> {
    let Some(start) = tail.len().checked_sub(PARTED_TRAILER_BYTES) else {
        return Err(FormatError::NeedMore {
            needed: PARTED_TRAILER_BYTES,
            have: tail.len(),
        });
    };
    let trailer = &tail[start..];
    if array_at::<8>(trailer, 16) != format.trailer_magic {
        return Err(FormatError::Magic(format.what));
    }
    check_crc32c(format.what, u32_at(trailer, 12), &trailer[..12])?;
    let (version, flags) = (u16_at(trailer, 8), u16_at(trailer, 10));
    check_version(format.what, version, flags, format.version)?;
    match u32_at(trailer, 0) {
        length if length as usize >= PARTED_TRAILER_BYTES => Ok(length),
        _ => Err(FormatError::Malformed(format.what)),
    }
}

/// The index, its checksum verified; second is that checksum.
pub(crate) fn index_of<'a>(
    format: &Format,
    tail: &'a [u8],
) -> Result<(Reader<'a>, u32), FormatError> {
    let needed = index_length(format, tail)? as usize;
    let have = tail.len();
    let start = have
        .checked_sub(needed)
        .ok_or(FormatError::NeedMore { needed, have })?;
    let index = &tail[start..have - PARTED_TRAILER_BYTES];
    let stored = u32_at(&tail[have - PARTED_TRAILER_BYTES..], 4);
    check_crc32c(format.what, stored, index)?;
    Ok((Reader::new(index, format.what), stored))
}

/// The rest of an index: its parts.
pub(crate) fn parts_of(mut reader: Reader<'_>) -> Result<Vec<PartEntry>, FormatError> {
    let count = reader.count(PART_ENTRY_BYTES_MIN)?;
    let mut parts = Vec::with_capacity(count);
    let (mut first_item, mut position) = (0u64, PARTED_HEADER_BYTES as u64);
    for _ in 0..count {
        let items = reader.unsigned()?;
        let stored_and_encoding = reader.unsigned()?;
        let stored_length =
            u32::try_from(stored_and_encoding / 2).map_err(|_| reader.malformed())?;
        let is_zstd = stored_and_encoding % 2 == 1;
        let raw_length = match is_zstd {
            true => reader.number()?,
            false => stored_length,
        };
        let crc = u32::from_le_bytes(reader.array()?);
        if items == 0 || raw_length as usize > PART_BYTES_MAX {
            return Err(reader.malformed());
        }
        parts.push(PartEntry {
            first_item,
            items,
            position,
            stored_length,
            raw_length,
            crc,
            is_zstd,
        });
        first_item = first_item.checked_add(items).ok_or(reader.malformed())?;
        // 32 bits each, and fewer of them than bytes in the index.
        position += u64::from(stored_length);
    }
    match reader.is_empty() {
        true => Ok(parts),
        false => Err(reader.malformed()),
    }
}

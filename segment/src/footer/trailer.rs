//! The last 24 bytes of a segment: where the footer starts, its checksum, magic and version.

use crate::error::FormatError;
use crate::reader::{array_at, check_crc32c, check_version, u16_at, u32_at};

/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 24;

/// The newest footer version; all older ones are read.
pub const FOOTER_VERSION: u16 = 1;

const MAGIC: [u8; 8] = *b"ALVSEGFT";
const WHAT: &str = "segment footer";

/// Appends the trailer behind the sections in `out`; returns the sections' checksum.
pub(super) fn append(out: &mut Vec<u8>) -> Result<u32, FormatError> {
    let footer_length = out.len() + TRAILER_BYTES;
    let footer_length = u32::try_from(footer_length).map_err(|_| FormatError::Malformed(WHAT))?;
    let crc = crc32c::crc32c(out);
    let start = out.len();
    out.extend_from_slice(&footer_length.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&FOOTER_VERSION.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    let trailer_crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&trailer_crc.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    Ok(crc)
}

/// Bytes of sections and trailer together, from the last [`TRAILER_BYTES`] (or more) of an object.
pub fn footer_length(tail: &[u8]) -> Result<u32, FormatError> {
    let Some(start) = tail.len().checked_sub(TRAILER_BYTES) else {
        return Err(FormatError::NeedMore {
            needed: TRAILER_BYTES,
            have: tail.len(),
        });
    };
    let trailer = &tail[start..];
    if array_at::<8>(trailer, 16) != MAGIC {
        return Err(FormatError::Magic(WHAT));
    }
    check_crc32c("segment trailer", u32_at(trailer, 12), &trailer[..12])?;
    check_version(
        WHAT,
        u16_at(trailer, 8),
        u16_at(trailer, 10),
        FOOTER_VERSION,
    )?;
    match u32_at(trailer, 0) {
        length if length as usize >= TRAILER_BYTES => Ok(length),
        _ => Err(FormatError::Malformed("segment trailer")),
    }
}

/// The sections, their checksum verified.
pub(super) fn sections_of(tail: &[u8]) -> Result<&[u8], FormatError> {
    let needed = footer_length(tail)? as usize;
    let have = tail.len();
    let start = have
        .checked_sub(needed)
        .ok_or(FormatError::NeedMore { needed, have })?;
    let sections = &tail[start..have - TRAILER_BYTES];
    let stored = u32_at(&tail[have - TRAILER_BYTES..], 4);
    check_crc32c(WHAT, stored, sections)?;
    Ok(sections)
}

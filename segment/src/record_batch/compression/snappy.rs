//! snappy in xerial's framing (`org.xerial.snappy.SnappyOutputStream`) or as one raw block.
//!
//! ```text
//! xerial: magic 82 53 4e 41 50 50 59 00 | version i32 | compatible version i32 | chunk*
//! chunk:  length i32 (big-endian) | raw snappy block of that length
//! ```

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::Failure;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;

/// Bytes of one chunk before compression, as the Java library's default.
const CHUNK_BYTES: usize = 32 * 1024;

pub(super) fn compress(payload: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1u32.to_be_bytes());
    out.extend_from_slice(&1u32.to_be_bytes());
    let mut encoder = Encoder::new();
    let mut block = vec![0; max_compress_len(CHUNK_BYTES)];
    for chunk in payload.chunks(CHUNK_BYTES) {
        let length = encoder.compress(chunk, &mut block)?;
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.extend_from_slice(&block[..length]);
    }
    Ok(out)
}

pub(super) fn decompress(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    if !payload.starts_with(&MAGIC) {
        append_block(payload, &mut out, max_bytes)?;
        return Ok(out);
    }
    let mut rest = payload.get(HEADER_BYTES..).ok_or_else(truncated)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(truncated)?;
        append_block(block, &mut out, max_bytes)?;
        rest = after;
    }
    Ok(out)
}

/// Decompresses one block behind what `out` holds. The block states its size, which is checked
/// against the bound, and against what snappy can reach, before anything is allocated.
fn append_block(block: &[u8], out: &mut Vec<u8>, max_bytes: usize) -> Result<(), Failure> {
    let size = decompress_len(block).map_err(io::Error::from)?;
    let start = out.len();
    if size > max_bytes.saturating_sub(start) {
        return Err(Failure::TooLarge);
    }
    // 64 bytes take an element of 3 bytes at the least: a higher ratio is forged.
    if size > block.len().saturating_mul(32) {
        return Err(Failure::Malformed(
            "block claims an impossible size".to_owned(),
        ));
    }
    out.resize(start + size, 0);
    Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(io::Error::from)?;
    Ok(())
}

fn truncated() -> Failure {
    Failure::Malformed("truncated chunk".to_owned())
}

//! LZ4 frames. Written as Java clients do: independent blocks of 64 KiB without checksums. Read:
//! every legal frame, linked blocks, content size and checksums (verified) included.

use std::io::{self, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Failure, first_capacity, read_bounded};

pub(super) fn compress(payload: &[u8]) -> io::Result<Vec<u8>> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(payload)?;
    encoder.finish().map_err(io::Error::other)
}

pub(super) fn decompress(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, Failure> {
    if payload.is_empty() {
        return Err(Failure::Malformed("no frame".to_owned()));
    }
    let capacity = first_capacity(payload, max_bytes);
    read_bounded(FrameDecoder::new(payload), capacity, max_bytes)
}

//! Zstandard. Contexts are kept per thread: making one costs more than compressing a small batch.

use std::cell::RefCell;
use std::io;

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, compress_bound, get_error_name,
};

use super::{Failure, first_capacity};

/// The level of Kafka's clients.
pub(crate) const KAFKA_LEVEL: i32 = 3;

/// Largest window a frame may ask for, as a power of two: 128 MiB, the format's recommended bound
/// and what level 22 uses.
const WINDOW_LOG_MAX: u32 = 27;

/// The output grows by at least so much, so that tiny payloads do not start with many small steps.
const GROWTH_BYTES_MIN: usize = 16 * 1024;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

fn failed(code: usize) -> io::Error {
    io::Error::other(get_error_name(code))
}

pub(crate) fn compress(payload: &[u8], level: i32) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(compress_bound(payload.len()));
    COMPRESSOR.with_borrow_mut(|context| {
        context
            .set_parameter(CParameter::CompressionLevel(level))
            .map_err(failed)?;
        context.compress2(&mut out, payload).map_err(failed)
    })?;
    Ok(out)
}

pub(crate) fn decompress(payload: &[u8], max_bytes: usize) -> Result<Vec<u8>, Failure> {
    DECOMPRESSOR.with_borrow_mut(|context| {
        context
            .reset(zstd::zstd_safe::ResetDirective::SessionOnly)
            .map_err(failed)?;
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(failed)?;
        decompress_with(context, payload, max_bytes)
    })
}

/// Streams through one or several frames. When the first one states a size that the output buffer
/// holds, the library decompresses it in one pass without a window of its own.
fn decompress_with(
    context: &mut DCtx<'_>,
    payload: &[u8],
    max_bytes: usize,
) -> Result<Vec<u8>, Failure> {
    let mut out: Vec<u8> = Vec::with_capacity(output_capacity(payload, max_bytes));
    let mut input = InBuffer::around(payload);
    let mut between_frames = false;
    loop {
        if input.pos() == payload.len() && between_frames {
            return Ok(out);
        }
        if out.len() == out.capacity() {
            // One byte beyond the bound tells "exactly full" from "too large".
            if out.len() > max_bytes {
                return Err(Failure::TooLarge);
            }
            let room = max_bytes + 1 - out.len();
            out.reserve_exact(out.len().max(GROWTH_BYTES_MIN).min(room));
        }
        let (read_before, written_before) = (input.pos(), out.len());
        let mut output = OutBuffer::around_pos(&mut out, written_before);
        let hint = context
            .decompress_stream(&mut output, &mut input)
            .map_err(failed)?;
        let written = output.pos();
        if out.len() > max_bytes {
            return Err(Failure::TooLarge);
        }
        between_frames = hint == 0;
        let stuck = input.pos() == read_before && written == written_before;
        if stuck && input.pos() == payload.len() && out.len() < out.capacity() {
            return Err(Failure::Malformed("truncated frame".to_owned()));
        }
    }
}

/// The size that the frame states, else a guess.
fn output_capacity(payload: &[u8], max_bytes: usize) -> usize {
    let stated = zstd::zstd_safe::get_frame_content_size(payload)
        .ok()
        .flatten();
    match stated.and_then(|size| usize::try_from(size).ok()) {
        // A block of 128 KiB takes 4 bytes at the least: more than that ratio is forged.
        Some(size) if size <= max_bytes && size / (32 << 10) <= payload.len() => size,
        _ => first_capacity(payload, max_bytes),
    }
}

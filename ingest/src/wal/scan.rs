//! Reading a file that an earlier session left.

use std::io;

use alluvium_segment::wal_frame::{
    self, FILE_HEADER_BYTES, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader,
};

use super::slot::FilePin;

/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Scan {
    pub frames: u64,
    pub frame_bytes: u64,
    /// Sequence of the first frame and the one after the last; `None` without frames.
    pub sequences: Option<(u64, u64)>,
    /// Position after the last good frame.
    pub end: u64,
}

/// Reads a file window by window.
pub(super) struct Cursor<'a> {
    pin: &'a FilePin,
    file_bytes: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(pin: &'a FilePin, file_bytes: u64) -> Self {
        Self {
            pin,
            file_bytes,
            window: Vec::new(),
            window_at: 0,
        }
    }

    /// `count` bytes at `position`; `None` when the file ends before.
    fn bytes(&mut self, position: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let end = position + count as u64;
        if end > self.file_bytes {
            return Ok(None);
        }
        let window_end = self.window_at + self.window.len() as u64;
        if position < self.window_at || end > window_end {
            let rest = self.file_bytes - position;
            let length = (count.max(WINDOW_BYTES) as u64).min(rest) as usize;
            self.window.resize(length, 0);
            self.window_at = position;
            self.pin.file.read_exact_at(position, &mut self.window)?;
        }
        let start = (position - self.window_at) as usize;
        Ok(Some(&self.window[start..start + count]))
    }

    /// The frame at `position`; `None` when no valid one is there.
    fn frame(&mut self, position: u64) -> io::Result<Option<FrameHeader>> {
        let salt = self.pin.salt;
        let header = self.bytes(position, FRAME_HEADER_BYTES)?;
        let header = header.and_then(|bytes| wal_frame::decode_header(salt, bytes).ok());
        let Some(header) = header else {
            return Ok(None);
        };
        let count = FRAME_HEADER_BYTES + header.batch_bytes as usize;
        let frame = self.bytes(position, count)?;
        Ok(frame.and_then(|frame| wal_frame::decode(salt, frame).ok()))
    }

    /// The good frames from the start on: consecutive sequences, no gap.
    pub fn scan(&mut self) -> io::Result<Scan> {
        let mut scan = Scan {
            end: FILE_HEADER_BYTES as u64,
            ..Scan::default()
        };
        while let Some(frame) = self.frame(scan.end)? {
            let (first, next) = scan.sequences.unwrap_or((frame.sequence, frame.sequence));
            if frame.sequence != next {
                break;
            }
            let bytes = wal_frame::frame_bytes(frame.batch_bytes as usize) as u64;
            scan.sequences = Some((first, next + 1));
            scan.frames += 1;
            scan.frame_bytes += bytes;
            scan.end += bytes;
        }
        Ok(scan)
    }

    /// A valid frame behind `end` that says that the bytes at `end` were synced: proof that what is
    /// there now is damaged. Answers its position.
    pub fn find_proof_of_loss(&mut self, end: u64) -> io::Result<Option<u64>> {
        let mut position = end + FRAME_ALIGNMENT as u64;
        while let Some(found) = self.next_magic(position)? {
            let frame = self.frame(found)?;
            if frame.is_some_and(|frame| frame.synced_position > end) {
                return Ok(Some(found));
            }
            position = found + FRAME_ALIGNMENT as u64;
        }
        Ok(None)
    }

    /// The next place at or after `position` where a frame could start.
    fn next_magic(&mut self, mut position: u64) -> io::Result<Option<u64>> {
        while let Some(window) = self.window_from(position)? {
            let mut places = window.chunks_exact(FRAME_ALIGNMENT);
            if let Some(index) = places.position(|place| place[..4] == FRAME_MAGIC) {
                return Ok(Some(position + (index * FRAME_ALIGNMENT) as u64));
            }
            position += (window.len() / FRAME_ALIGNMENT * FRAME_ALIGNMENT) as u64;
        }
        Ok(None)
    }

    /// What the window has from `position` on, at least a frame header; reads only when it has less.
    fn window_from(&mut self, position: u64) -> io::Result<Option<&[u8]>> {
        if self.bytes(position, FRAME_HEADER_BYTES)?.is_none() {
            return Ok(None);
        }
        let start = (position - self.window_at) as usize;
        Ok(Some(&self.window[start..]))
    }
}

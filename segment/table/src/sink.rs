//! Where the Parquet library writes to: bytes wait to be taken, and get their checksums on the way.

use std::io;

use bytes::Bytes;

use crate::index::BLOCK_BYTES;

/// Bytes of a chunk that is ready to be taken.
const CHUNK_BYTES: usize = 1 << 20;

/// Collects a file's bytes and the checksums of its blocks. From [`Sink::begin_tail`] on there are no blocks, only one
/// checksum of all the rest.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    ready: Vec<Bytes>,
    current: Vec<u8>,
    position: u64,
    /// Checksums of the full blocks.
    blocks: Vec<u32>,
    /// Checksum of the block, or of the tail, so far.
    crc: u32,
    /// Bytes that `crc` covers.
    crc_bytes: usize,
    in_tail: bool,
}

impl Sink {
    /// Bytes written so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Everything since the last call.
    pub fn take(&mut self) -> Vec<Bytes> {
        self.close_chunk();
        std::mem::take(&mut self.ready)
    }

    /// Ends the blocks: the checksums of all, the last of which may be short.
    pub fn begin_tail(&mut self) -> Vec<u32> {
        if self.crc_bytes > 0 {
            self.close_block();
        }
        self.in_tail = true;
        std::mem::take(&mut self.blocks)
    }

    /// Length and checksum of what was written since [`Sink::begin_tail`].
    pub fn tail(&self) -> (usize, u32) {
        (self.crc_bytes, self.crc)
    }

    fn close_chunk(&mut self) {
        if !self.current.is_empty() {
            self.ready.push(std::mem::take(&mut self.current).into());
        }
    }

    fn close_block(&mut self) {
        self.blocks.push(self.crc);
        self.crc = 0;
        self.crc_bytes = 0;
    }

    fn sum(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = match self.in_tail {
                true => bytes.len(),
                false => BLOCK_BYTES - self.crc_bytes,
            };
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.crc = crc32c::crc32c_append(self.crc, now);
            self.crc_bytes += now.len();
            if !self.in_tail && self.crc_bytes == BLOCK_BYTES {
                self.close_block();
            }
            bytes = later;
        }
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sum(bytes);
        self.position += bytes.len() as u64;
        if self.current.len() + bytes.len() > CHUNK_BYTES {
            self.close_chunk();
        }
        if self.current.capacity() == 0 {
            self.current.reserve(CHUNK_BYTES.max(bytes.len()));
        }
        self.current.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

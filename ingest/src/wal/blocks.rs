//! Whole blocks in aligned memory: what direct I/O takes.
//!
//! The log is written past the page cache. Nobody reads it there: what was just appended is in the
//! tail's memory, and the page cache is worth more to readers of segments. CPU time is no reason: the
//! log's threads take a little less than with buffered writes, the whole broker about the same.

use std::io;

use super::disk::WalFile;

/// Positions, lengths and addresses of writes are multiples of this. No less than the logical block
/// of any disk, and a page.
pub const BLOCK_BYTES: usize = 4096;

/// Bytes on their way to one place of a file after the other. What does not fill a block is written
/// with zeroes behind it, and again when more has come.
pub(super) struct BlockBuffer {
    memory: Vec<u8>,
    /// Where in `memory` the first block begins.
    start: usize,
    capacity: usize,
    filled: usize,
    /// Where in the file the buffer's first byte belongs.
    position: u64,
}

impl BlockBuffer {
    /// A buffer of at least `capacity` bytes, for the start of a file.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.next_multiple_of(BLOCK_BYTES);
        let memory = vec![0; capacity + BLOCK_BYTES - 1];
        let misaligned = memory.as_ptr().addr() % BLOCK_BYTES;
        Self {
            memory,
            start: (BLOCK_BYTES - misaligned) % BLOCK_BYTES,
            capacity,
            filled: 0,
            position: 0,
        }
    }

    /// Goes on at `position`, the start of a block; what is in the buffer is written already.
    pub fn move_to(&mut self, position: u64) {
        self.position = position;
        self.filled = 0;
    }

    /// Adds bytes, writing what fills the buffer.
    pub fn add(&mut self, file: &dyn WalFile, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = bytes.len().min(self.capacity - self.filled);
            let (now, later) = bytes.split_at(count);
            let at = self.start + self.filled;
            self.memory[at..at + count].copy_from_slice(now);
            self.filled += count;
            bytes = later;
            if self.filled == self.capacity {
                file.write_blocks(self.position, self.blocks(self.capacity))?;
                self.position += self.capacity as u64;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what is left, filled up with zeroes to the end of its block, and keeps the last block
    /// for what follows.
    pub fn flush(&mut self, file: &dyn WalFile) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let end = self.filled.next_multiple_of(BLOCK_BYTES);
        self.memory[self.start + self.filled..self.start + end].fill(0);
        file.write_blocks(self.position, self.blocks(end))?;
        let done = self.filled / BLOCK_BYTES * BLOCK_BYTES;
        let rest = self.start + done..self.start + self.filled;
        self.memory.copy_within(rest, self.start);
        self.filled -= done;
        self.position += done as u64;
        Ok(())
    }

    /// The first `bytes` bytes of the buffer.
    fn blocks(&self, bytes: usize) -> &[u8] {
        &self.memory[self.start..self.start + bytes]
    }
}

/// Writes zeroes to the first `file_bytes` bytes of `file`, a multiple of [`BLOCK_BYTES`].
pub(super) fn write_zeroes(file: &dyn WalFile, file_bytes: u64) -> io::Result<()> {
    const AT_ONCE_BYTES: u64 = 1 << 20;
    let zeroes = BlockBuffer::new(AT_ONCE_BYTES.min(file_bytes) as usize);
    let mut position = 0;
    while position < file_bytes {
        let count = AT_ONCE_BYTES.min(file_bytes - position);
        file.write_blocks(position, zeroes.blocks(count as usize))?;
        position += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::disk::WalDisk;
    use super::super::sim_disk::SimDisk;
    use super::*;

    #[test]
    fn whatever_the_pieces_the_file_holds_their_bytes_and_zeroes() {
        for piece_bytes in [1, 100, 4095, 4096, 4097, 9000, 30_000] {
            let disk = SimDisk::new(1);
            let file = disk.create("file").expect("created");
            write_zeroes(&*file, 64 << 10).expect("room");
            let mut buffer = BlockBuffer::new(8192);
            buffer.move_to(4096);
            let mut expected = vec![0; 4096];
            let mut next = 0_u8;
            while expected.len() + piece_bytes < 64 << 10 {
                let piece: Vec<u8> = (0..piece_bytes)
                    .map(|_| {
                        next = next.wrapping_mul(5).wrapping_add(7);
                        next
                    })
                    .collect();
                buffer.add(&*file, &piece).expect("written");
                expected.extend_from_slice(&piece);
                if expected.len().is_multiple_of(3) || piece_bytes > 4000 {
                    buffer.flush(&*file).expect("written");
                    let mut found = vec![1; expected.len().next_multiple_of(BLOCK_BYTES)];
                    file.read_exact_at(0, &mut found).expect("read");
                    let (bytes, rest) = found.split_at(expected.len());
                    assert_eq!(bytes, expected, "pieces of {piece_bytes} bytes");
                    assert!(rest.iter().all(|byte| *byte == 0));
                }
            }
            assert_eq!(file.size_bytes().expect("size"), 64 << 10);
        }
    }
}

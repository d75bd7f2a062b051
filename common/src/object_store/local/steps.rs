//! Writing to a file in steps, each of which is on the disk before the next begins.
//!
//! The kernel keeps what is written until somebody asks for it to be on the disk. One sync of a table file of hundreds of
//! megabytes then has the disk to itself, and the sync of a write-ahead log on the same disk, for which producers wait,
//! comes after it. Synced step by step, a log waits for a few steps at most: the parts of an upload are counted each for
//! itself, two of them are written at a time, and the end of each is synced with what comes next. Parts are several
//! steps long.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::place::Placer;

/// Bytes of a step: a millisecond of an NVMe disk, eight of a cloud volume with 125 MB/s, and many times what a sync costs
/// in itself.
const STEP_BYTES: usize = 1 << 20;

/// Slices given to one write: what Linux takes (`IOV_MAX`). A segment is made of its batches, often thousands.
const SLICES_MAX: usize = 1024;

/// A file that is written in steps. What was written last is not synced yet.
pub(super) struct StepWriter<'a> {
    placer: &'a Placer,
    file: &'a File,
    unsynced_bytes: usize,
}

impl<'a> StepWriter<'a> {
    pub(super) fn new(placer: &'a Placer, file: &'a File) -> Self {
        Self {
            placer,
            file,
            unsynced_bytes: 0,
        }
    }

    /// Appends all `chunks`.
    pub(super) fn append(&mut self, chunks: &[Bytes]) -> io::Result<()> {
        for mut slices in batches(chunks) {
            self.make_room()?;
            self.unsynced_bytes += slices.iter().map(|slice| slice.len()).sum::<usize>();
            append_all(self.file, &mut slices)?;
        }
        Ok(())
    }

    /// Writes `chunk` at `position`.
    pub(super) fn write_at(&mut self, chunk: &[u8], mut position: u64) -> io::Result<()> {
        for piece in chunk.chunks(STEP_BYTES) {
            self.make_room()?;
            self.unsynced_bytes += piece.len();
            self.file.write_all_at(piece, position)?;
            position += piece.len() as u64;
        }
        Ok(())
    }

    /// Syncs a step that is full. A failed sync is the end of the file: see [`Placer::finish`].
    fn make_room(&mut self) -> io::Result<()> {
        if self.unsynced_bytes >= STEP_BYTES {
            self.placer.sync_step(self.file)?;
            self.unsynced_bytes = 0;
        }
        Ok(())
    }
}

/// `chunks` as slices for one write each: as many as it takes, and less than two steps of bytes.
fn batches(chunks: &[Bytes]) -> impl Iterator<Item = Vec<IoSlice<'_>>> {
    let pieces = chunks.iter().flat_map(|chunk| chunk.chunks(STEP_BYTES));
    let mut pieces = pieces.peekable();
    std::iter::from_fn(move || {
        pieces.peek()?;
        let (mut slices, mut bytes) = (Vec::new(), 0);
        while bytes < STEP_BYTES
            && slices.len() < SLICES_MAX
            && let Some(piece) = pieces.next()
        {
            bytes += piece.len();
            slices.push(IoSlice::new(piece));
        }
        Some(slices)
    })
}

fn append_all(mut file: &File, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

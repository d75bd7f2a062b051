//! The data of a table file, read once from its beginning to its end, every block verified.
//!
//! Stripes of one row group lie across each other, column by column, so what is held at a time is about a row group.

use std::collections::VecDeque;
use std::ops::Range;

use alluvium_common::object_store::{CheckedReadError, ObjectStore, read_checked};
use alluvium_table::{BLOCK_BYTES, TableFile};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

/// Bytes of one GET: whole blocks. Tests have small files.
const CHUNK_BYTES: u64 = if cfg!(test) { 128 << 10 } else { 8 << 20 };

/// Chunks read at the same time.
const CHUNKS_PARALLEL: usize = 2;

/// See the module's documentation.
pub(super) struct Window<'a> {
    objects: &'a dyn ObjectStore,
    path: &'a Path,
    file: &'a TableFile,
    /// Where each begins; one after the other.
    chunks: VecDeque<(u64, Bytes)>,
    /// Where the next one will begin.
    next: u64,
}

impl<'a> Window<'a> {
    /// Nothing is read yet.
    pub fn new(objects: &'a dyn ObjectStore, path: &'a Path, file: &'a TableFile) -> Self {
        Self {
            objects,
            path,
            file,
            chunks: VecDeque::new(),
            next: 0,
        }
    }

    /// Reads on up to `end`, and forgets what lies before `start`, which is not asked for any more.
    pub async fn advance(&mut self, start: u64, end: u64) -> anyhow::Result<()> {
        let end = end.min(self.file.data_end());
        let mut wanted = Vec::new();
        while self.next < end {
            let chunk_end = (self.next + CHUNK_BYTES).min(self.file.data_end());
            wanted.push(self.next..chunk_end);
            self.next = chunk_end;
        }
        let (objects, path, file) = (self.objects, self.path, self.file);
        let mut read = stream::iter(wanted)
            .map(|range| read_chunk(objects, path, file, range))
            .buffered(CHUNKS_PARALLEL);
        loop {
            self.chunks
                .retain(|(at, bytes)| at + bytes.len() as u64 > start);
            match read.try_next().await? {
                Some(chunk) => self.chunks.push_back(chunk),
                None => return Ok(()),
            }
        }
    }

    /// Reads what is left.
    pub async fn finish(&mut self) -> anyhow::Result<()> {
        let end = self.file.data_end();
        self.advance(end, end).await
    }

    /// Some of the bytes that are held.
    pub fn slice(&self, range: &Range<u64>) -> anyhow::Result<Bytes> {
        let mut out = BytesMut::new();
        for (at, bytes) in &self.chunks {
            let end = *at + bytes.len() as u64;
            let (from, to) = (range.start.max(*at), range.end.min(end));
            if from < to {
                let part = bytes.slice((from - at) as usize..(to - at) as usize);
                if from == range.start && to == range.end {
                    return Ok(part);
                }
                out.extend_from_slice(&part);
            }
        }
        anyhow::ensure!(
            out.len() as u64 == range.end - range.start,
            "bytes {} to before {} were not read",
            range.start,
            range.end
        );
        Ok(out.freeze())
    }
}

async fn read_chunk(
    objects: &dyn ObjectStore,
    path: &Path,
    file: &TableFile,
    range: Range<u64>,
) -> anyhow::Result<(u64, Bytes)> {
    let block = BLOCK_BYTES as u64;
    let verified = |bytes: Bytes| {
        file.check_blocks((range.start / block) as usize, &bytes)
            .map_err(|(number, error)| {
                let at = number as u64 * block;
                anyhow::anyhow!("bytes {at} to before {}: {error}", at + block)
            })?;
        Ok::<_, anyhow::Error>(bytes)
    };
    match read_checked(objects, path, range.clone(), verified).await {
        Ok(bytes) => Ok((range.start, bytes)),
        Err(CheckedReadError::Damaged(error)) => Err(error),
        Err(CheckedReadError::Store(error)) => Err(error.into()),
    }
}

//! What the disk can do by itself: the ceiling for any broker that syncs before it acknowledges, and so part of every table.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::clock::{now_ns, since};
use crate::stats::median;

/// Bytes written for the sequential figure, in pieces of [`PIECE_BYTES`] with a sync after each [`SYNC_EVERY`].
const SEQUENTIAL_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 1 << 20;
const SYNC_EVERY: usize = 16;
/// Small writes, each synced.
const SMALL_WRITES: usize = 50;

/// The folder's disk in one line.
pub fn describe(folder: &Path) -> Result<String> {
    let path = folder.join("disk-probe");
    let result = probe(&path);
    fs::remove_file(&path)?;
    let (mb_per_second, sync_ms) = result?;
    Ok(format!(
        "the disk alone: {mb_per_second:.0} MB/s written in sequence with a sync every {SYNC_EVERY} MiB; \
         4 KiB written and synced in {sync_ms:.2} ms (median)"
    ))
}

fn probe(path: &Path) -> Result<(f64, f64)> {
    let mut file = File::create(path)?;
    let piece = vec![0x5a; PIECE_BYTES];
    let started = now_ns();
    for index in 1..=SEQUENTIAL_BYTES / PIECE_BYTES {
        file.write_all(&piece)?;
        if index % SYNC_EVERY == 0 {
            file.sync_data()?;
        }
    }
    let mb_per_second = SEQUENTIAL_BYTES as f64 / 1e6 / since(started).as_secs_f64();
    let mut sync_ms = Vec::with_capacity(SMALL_WRITES);
    for _ in 0..SMALL_WRITES {
        let started = now_ns();
        file.write_all(&piece[..4096])?;
        file.sync_data()?;
        sync_ms.push(since(started).as_secs_f64() * 1e3);
    }
    Ok((mb_per_second, median(sync_ms).unwrap_or_default()))
}

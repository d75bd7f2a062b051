//! Counters of the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters since the log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalStats {
    /// Frames synced.
    pub frames: u64,
    /// Bytes of those frames, headers and padding included.
    pub frame_bytes: u64,
    /// Groups synced: one fdatasync each.
    pub syncs: u64,
    /// Time spent in those, in microseconds.
    pub sync_micros: u64,
    /// Files that were put to use.
    pub files_used: u64,
    /// Times that the writer had to wait for its next file.
    pub file_waits: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    frames: AtomicU64,
    frame_bytes: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    files_used: AtomicU64,
    file_waits: AtomicU64,
}

impl Counters {
    pub fn synced(&self, frames: u64, frame_bytes: u64, took: Duration) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.frame_bytes.fetch_add(frame_bytes, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sync_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn file_used(&self, waited: bool) {
        self.files_used.fetch_add(1, Ordering::Relaxed);
        self.file_waits
            .fetch_add(u64::from(waited), Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> WalStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WalStats {
            frames: load(&self.frames),
            frame_bytes: load(&self.frame_bytes),
            syncs: load(&self.syncs),
            sync_micros: load(&self.sync_micros),
            files_used: load(&self.files_used),
            file_waits: load(&self.file_waits),
        }
    }
}

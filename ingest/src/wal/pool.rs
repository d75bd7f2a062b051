//! The files: which hold frames, which one is ready to be next, which are spare.
//!
//! The pool is the shared state; the keeper thread ([`super::keeper`]) does the disk's work for it,
//! so that neither the writer nor whoever drops the last slot waits for zeroes to be written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alluvium_common::rand::SharedRandom;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::disk::{WalDisk, WalFile};
use super::slot::FilePin;
use super::stats::{Counters, WalStats};
use super::{WalOptions, WalState};

/// When no further file can be had, so many bytes of the last one are kept for batches that were
/// let in before anyone noticed.
const FULL_MARK_BYTES: u64 = 1 << 20;

/// A file named as in use, its header fresh, without frames.
pub(super) struct ReadyFile {
    pub pin: Arc<FilePin>,
    pub file_bytes: u64,
}

/// A preallocated file.
pub(super) struct SpareFile {
    pub name: String,
    pub file: Arc<dyn WalFile>,
    pub file_bytes: u64,
}

/// A file with frames, or the one ready to get some.
pub(super) struct UsedFile {
    pub number: u64,
    pub name: String,
    pub file_bytes: u64,
    /// Nothing needs it any more; it goes when all older ones have gone (W3).
    pub given_back: bool,
}

#[derive(Default)]
pub(super) struct Files {
    pub next_number: u64,
    /// Oldest first.
    pub used: VecDeque<UsedFile>,
    pub ready: Option<ReadyFile>,
    pub spare: Vec<SpareFile>,
    /// Size of all files on disk.
    pub total_bytes: u64,
    /// Bytes the writer needs in its next file at least.
    pub wanted_bytes: u64,
    /// Why no further file can be had at the moment.
    pub blocked: Option<String>,
    pub closed: bool,
}

pub(super) struct Pool {
    pub disk: Arc<dyn WalDisk>,
    pub options: WalOptions,
    pub random: SharedRandom,
    pub files: Mutex<Files>,
    /// Wakes the keeper.
    pub work: Condvar,
    /// Wakes the writer that waits for a file.
    pub prepared: Condvar,
    pub counters: Counters,
    /// Bytes left in the file being written.
    active_free: AtomicU64,
    is_blocked: AtomicBool,
    is_failed: AtomicBool,
    pinned_bytes: AtomicU64,
}

impl Pool {
    pub fn new(
        disk: Arc<dyn WalDisk>,
        options: WalOptions,
        random: SharedRandom,
        files: Files,
    ) -> Self {
        Self {
            disk,
            options,
            random,
            files: Mutex::new(files),
            work: Condvar::new(),
            prepared: Condvar::new(),
            counters: Counters::default(),
            active_free: AtomicU64::new(0),
            is_blocked: AtomicBool::new(false),
            is_failed: AtomicBool::new(false),
            pinned_bytes: AtomicU64::new(0),
        }
    }

    pub fn state(&self, queued_bytes: u64) -> WalState {
        if self.is_failed.load(Ordering::Acquire) {
            return WalState::Failed;
        }
        let free = self.active_free.load(Ordering::Relaxed);
        // A quarter for the small files of tests and tiny disks.
        let mark = FULL_MARK_BYTES.min(self.options.file_bytes / 4);
        let full = free < queued_bytes.saturating_add(mark);
        if full && self.is_blocked.load(Ordering::Acquire) {
            return WalState::Full;
        }
        WalState::Accepting
    }

    pub fn set_failed(&self) {
        self.is_failed.store(true, Ordering::Release);
    }

    pub fn set_active_free(&self, bytes: u64) {
        self.active_free.store(bytes, Ordering::Relaxed);
    }

    pub fn pinned_bytes(&self) -> u64 {
        self.pinned_bytes.load(Ordering::Relaxed)
    }

    pub fn is_pressed(&self) -> bool {
        self.pinned_bytes() > self.options.limit_bytes / 2
    }

    pub fn stats(&self) -> WalStats {
        self.counters.snapshot()
    }

    /// A file with room for a frame of `frame_bytes`; waits while the keeper prepares one. `Err` says
    /// why there is none.
    pub fn take_ready(&self, needed_bytes: u64) -> Result<ReadyFile, String> {
        let mut files = self.files.lock();
        let mut waited = false;
        loop {
            if let Some(ready) = files.ready.take() {
                if ready.file_bytes >= needed_bytes {
                    self.publish(&files);
                    self.work.notify_one();
                    self.counters.file_used(waited);
                    return Ok(ready);
                }
                // Too small for a very large frame: dropped, it goes back unused. The keeper may be
                // quick to make another before this thread has the lock again, so look again first.
                files.wanted_bytes = needed_bytes;
                MutexGuard::unlocked(&mut files, || drop(ready));
                continue;
            }
            if let Some(reason) = files.blocked.clone() {
                return Err(reason);
            }
            if files.closed {
                return Err("the log is closed".to_owned());
            }
            files.wanted_bytes = needed_bytes;
            waited = true;
            self.work.notify_one();
            self.prepared.wait(&mut files);
        }
    }

    /// Nothing needs file `number` any more.
    pub fn give_back(&self, number: u64) {
        let mut files = self.files.lock();
        if let Some(file) = files.used.iter_mut().find(|file| file.number == number) {
            file.given_back = true;
        }
        self.work.notify_one();
    }

    pub fn close(&self) {
        self.files.lock().closed = true;
        self.work.notify_all();
        self.prepared.notify_all();
    }

    /// Publishes what [`Pool::state`] and [`Pool::pinned_bytes`] read without the lock.
    pub fn publish(&self, files: &Files) {
        let ready = files.ready.as_ref().map_or(0, |ready| ready.file_bytes);
        let used: u64 = files.used.iter().map(|file| file.file_bytes).sum();
        self.pinned_bytes
            .store(used.saturating_sub(ready), Ordering::Relaxed);
        self.is_blocked
            .store(files.blocked.is_some(), Ordering::Release);
        self.prepared.notify_all();
    }

    /// How long the keeper waits before it tries again to make a file on a full disk. Files given
    /// back wake it earlier.
    pub const RETRY: Duration = Duration::from_secs(1);
}

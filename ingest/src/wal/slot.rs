//! Where a batch went, and what keeps its file.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use alluvium_common::seeded_bug;
use alluvium_segment::record_batch::StoredBatch;
use alluvium_segment::wal_frame::{self, FRAME_HEADER_BYTES};
use bytes::Bytes;

use super::disk::WalFile;
use super::pool::Pool;

/// Bits of [`WalSlot::state`]; a slot with both counts no longer among its file's live frames.
const WRITTEN: u8 = 1;
const RELEASED: u8 = 2;

/// A file with frames, shared by the writer and the slots. When the last of them is gone and no
/// frame is live, the file is given back.
pub(super) struct FilePin {
    pub number: u64,
    pub name: String,
    pub salt: u64,
    pub file: Arc<dyn WalFile>,
    /// Frames that were not released, and one for a recovery not released.
    live: AtomicU64,
    pool: Weak<Pool>,
}

impl FilePin {
    pub fn new(number: u64, name: String, salt: u64, file: Arc<dyn WalFile>) -> Self {
        Self {
            number,
            name,
            salt,
            file,
            live: AtomicU64::new(0),
            pool: Weak::new(),
        }
    }

    /// Ties the file to the pool that it goes back to.
    pub fn with_pool(mut self, pool: &Arc<Pool>) -> Self {
        self.pool = Arc::downgrade(pool);
        self
    }

    pub fn hold(&self, count: u64) {
        self.live.fetch_add(count, Ordering::AcqRel);
    }

    pub fn unhold(&self) {
        let before = self.live.fetch_sub(1, Ordering::AcqRel);
        if before == 1 && seeded_bug::is("wal-given-back-early") {
            self.pool
                .upgrade()
                .iter()
                .for_each(|pool| pool.give_back(self.number));
        }
    }

    /// The batch of the frame at `position`, checksum verified.
    pub fn read(&self, position: u64, batch_bytes: usize) -> io::Result<StoredBatch> {
        let mut frame = vec![0; FRAME_HEADER_BYTES + batch_bytes];
        self.file.read_exact_at(position, &mut frame)?;
        let damaged = |what: String| {
            let file = &self.name;
            let message = format!("write-ahead log file {file} at position {position}: {what}");
            io::Error::new(io::ErrorKind::InvalidData, message)
        };
        let header = wal_frame::decode(self.salt, &frame).map_err(|e| damaged(e.to_string()))?;
        if header.batch_bytes as usize != batch_bytes {
            return Err(damaged("another frame is there".to_owned()));
        }
        let batch = Bytes::from(frame).slice(FRAME_HEADER_BYTES..);
        StoredBatch::from_stored(batch).map_err(|e| damaged(e.to_string()))
    }
}

impl Drop for FilePin {
    fn drop(&mut self) {
        // Not released: the frames may be all that is left of acknowledged batches (W3).
        if *self.live.get_mut() > 0 {
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.give_back(self.number);
        }
    }
}

/// Where a frame is.
struct Location {
    pin: Arc<FilePin>,
    position: u64,
}

/// One appended batch: readable again once synced. Holding it keeps its file from being reused;
/// so does not calling [`WalSlot::release`].
pub struct WalSlot {
    size_bytes: usize,
    location: OnceLock<Location>,
    state: AtomicU8,
}

impl WalSlot {
    pub(super) fn new(size_bytes: usize) -> Self {
        Self {
            size_bytes,
            location: OnceLock::new(),
            state: AtomicU8::new(0),
        }
    }

    /// A slot of a recovered frame. The recovery holds the file, not the slot's own frame.
    pub(super) fn recovered(size_bytes: usize, pin: Arc<FilePin>, position: u64) -> Self {
        Self {
            size_bytes,
            location: OnceLock::from(Location { pin, position }),
            state: AtomicU8::new(WRITTEN | RELEASED),
        }
    }

    /// Tells where the frame is, after its sync. The pin holds one live frame for it.
    pub(super) fn set_written(&self, pin: &Arc<FilePin>, position: u64) {
        let pin = Arc::clone(pin);
        if self.location.set(Location { pin, position }).is_ok() {
            self.add_state(WRITTEN);
        }
    }

    /// The batch is committed in object storage, or was never acknowledged: the log need not keep
    /// it. May come before the sync, and more than once.
    pub fn release(&self) {
        self.add_state(RELEASED);
    }

    fn add_state(&self, bit: u8) {
        let before = self.state.fetch_or(bit, Ordering::AcqRel);
        let completed = before & bit == 0 && before | bit == WRITTEN | RELEASED;
        if let Some(location) = self.location.get().filter(|_| completed) {
            location.pin.unhold();
        }
    }

    /// The batch is synced and can be read.
    pub fn is_written(&self) -> bool {
        self.location.get().is_some()
    }

    /// Bytes of the batch.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Reads the batch back, its checksum verified. Blocks on the disk.
    pub fn read(&self) -> io::Result<StoredBatch> {
        let unwritten = || io::Error::new(io::ErrorKind::NotFound, "the batch is not written yet");
        let location = self.location.get().ok_or_else(unwritten)?;
        location.pin.read(location.position, self.size_bytes)
    }
}

impl std::fmt::Debug for WalSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let position = self.location.get().map(|location| location.position);
        f.debug_struct("WalSlot")
            .field("size_bytes", &self.size_bytes)
            .field("position", &position)
            .finish_non_exhaustive()
    }
}

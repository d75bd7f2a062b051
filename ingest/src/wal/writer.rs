//! The thread that writes and syncs: group commit.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_common::epoch::BrokerEpoch;
use alluvium_common::seeded_bug;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::StoredBatch;
use alluvium_segment::wal_frame::{
    FILE_HEADER_BYTES, FRAME_ALIGNMENT, FRAME_HEAD_BYTES, FrameHeader, encode_head, frame_bytes,
    padding_bytes,
};
use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use super::blocks::BlockBuffer;
use super::pool::Pool;
use super::slot::{FilePin, WalSlot};
use super::{WalCompletion, WalError, WalOptions};

const PADDING: [u8; FRAME_ALIGNMENT] = [0; FRAME_ALIGNMENT];

/// Frames of a group: bounds what is gathered for one sync when batches are tiny, some 300 bytes of
/// memory each.
const GROUP_FRAMES_MAX: usize = 16 * 1024;

/// Bytes written with one call. More would gain little and take memory.
const WRITE_BYTES: usize = 1 << 20;

/// An appended batch on its way.
pub(super) struct Queued<D> {
    pub tp: TopicPartition,
    pub batch: StoredBatch,
    pub slot: Arc<WalSlot>,
    pub done: D,
}

struct Waiting<D> {
    entries: VecDeque<Queued<D>>,
    closed: bool,
}

/// What was appended and not yet taken by the writer.
pub(super) struct Queue<D> {
    waiting: Mutex<Waiting<D>>,
    not_empty: Condvar,
    /// Bytes appended but not yet written, those in the writer's hands included.
    bytes: AtomicU64,
}

impl<D> Queue<D> {
    pub fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                entries: VecDeque::new(),
                closed: false,
            }),
            not_empty: Condvar::new(),
            bytes: AtomicU64::new(0),
        }
    }

    pub fn push(&self, entry: Queued<D>) {
        let bytes = frame_bytes(entry.batch.size_bytes()) as u64;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        let was_empty = waiting.entries.is_empty();
        waiting.entries.push_back(entry);
        drop(waiting);
        if was_empty {
            self.not_empty.notify_one();
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn close(&self) {
        self.waiting.lock().closed = true;
        self.not_empty.notify_one();
    }

    /// Waits for entries and swaps them into `taken`, which is empty; false when closed and empty.
    fn take(&self, taken: &mut VecDeque<Queued<D>>) -> bool {
        let mut waiting = self.waiting.lock();
        while waiting.entries.is_empty() {
            if waiting.closed {
                return false;
            }
            self.not_empty.wait(&mut waiting);
        }
        std::mem::swap(&mut waiting.entries, taken);
        true
    }
}

/// The file being written.
struct Active {
    pin: Arc<FilePin>,
    file_bytes: u64,
    /// Where the next frame goes.
    position: u64,
    /// Everything before is synced.
    synced_position: u64,
}

impl Active {
    fn free(&self) -> u64 {
        self.file_bytes - self.position
    }
}

/// Frames gathered for one sync.
struct Group<D> {
    heads: Vec<[u8; FRAME_HEAD_BYTES]>,
    entries: Vec<(StoredBatch, Arc<WalSlot>)>,
    done: Vec<D>,
    bytes: usize,
}

pub(super) struct Writer<D: WalCompletion> {
    queue: Arc<Queue<D>>,
    pool: Arc<Pool>,
    group_bytes_max: usize,
    broker_epoch: BrokerEpoch,
    next_sequence: u64,
    active: Option<Active>,
    /// What is on its way to the active file.
    blocks: BlockBuffer,
    group: Group<D>,
    failure: Option<String>,
}

impl<D: WalCompletion> Writer<D> {
    pub fn new(
        queue: Arc<Queue<D>>,
        pool: Arc<Pool>,
        options: WalOptions,
        broker_epoch: BrokerEpoch,
        next_sequence: u64,
    ) -> Self {
        Self {
            queue,
            pool,
            group_bytes_max: options.group_bytes_max,
            broker_epoch,
            next_sequence,
            active: None,
            blocks: BlockBuffer::new(WRITE_BYTES),
            group: Group {
                heads: Vec::new(),
                entries: Vec::new(),
                done: Vec::new(),
                bytes: 0,
            },
            failure: None,
        }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        let mut taken = VecDeque::new();
        while self.queue.take(&mut taken) {
            for entry in taken.drain(..) {
                self.add(entry);
            }
            self.commit();
        }
    }

    /// Adds a frame to the group, after committing the group when the frame does not fit in it.
    fn add(&mut self, entry: Queued<D>) {
        let bytes = frame_bytes(entry.batch.size_bytes());
        if let Some(reason) = &self.failure {
            let error = WalError::Stopped(reason.clone());
            return self.refuse(entry, bytes, &error);
        }
        let full = self.group.bytes + bytes > self.group_bytes_max
            || self.group.entries.len() == GROUP_FRAMES_MAX;
        if full {
            self.commit();
        }
        if let Err(error) = self.make_room(bytes) {
            return self.refuse(entry, bytes, &error);
        }
        let Some(active) = &mut self.active else {
            return;
        };
        let header = FrameHeader {
            broker_epoch: self.broker_epoch,
            sequence: self.next_sequence,
            synced_position: active.synced_position,
            tp: entry.tp,
            // Fits: a batch states its own length in 31 bits.
            batch_bytes: entry.batch.size_bytes() as u32,
        };
        let head = encode_head(active.pin.salt, &header, &entry.batch);
        self.next_sequence += 1;
        active.position += bytes as u64;
        self.group.heads.push(head);
        self.group.entries.push((entry.batch, entry.slot));
        self.group.done.push(entry.done);
        self.group.bytes += bytes;
    }

    /// Sees to it that the active file has room for `bytes`. Commits the group before it changes the
    /// file: everything in the old one is synced before anything is written to the new one.
    fn make_room(&mut self, bytes: usize) -> Result<(), WalError> {
        let bytes = bytes as u64;
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.free() >= bytes)
        {
            return Ok(());
        }
        self.commit();
        if let Some(reason) = &self.failure {
            return Err(WalError::Stopped(reason.clone()));
        }
        let needed_bytes = FILE_HEADER_BYTES as u64 + bytes;
        let ready = self.pool.take_ready(needed_bytes);
        let ready = ready.map_err(WalError::NoSpace)?;
        let position = FILE_HEADER_BYTES as u64;
        self.blocks.move_to(position);
        self.active = Some(Active {
            pin: ready.pin,
            file_bytes: ready.file_bytes,
            position,
            synced_position: position,
        });
        Ok(())
    }

    fn refuse(&mut self, entry: Queued<D>, bytes: usize, error: &WalError) {
        // In order: what was appended before is told first.
        self.commit();
        entry.slot.release();
        self.queue.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        D::failed(&mut vec![entry.done], error);
    }

    /// Writes and syncs the group, then tells its completions.
    fn commit(&mut self) {
        if self.group.entries.is_empty() {
            return;
        }
        if seeded_bug::is("synced-before-written") {
            D::synced(&mut self.group.done);
            // As a slow disk would.
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let written = self.write_and_sync();
        let frames = self.group.entries.len() as u64;
        let bytes = std::mem::take(&mut self.group.bytes) as u64;
        self.queue.bytes.fetch_sub(bytes, Ordering::Relaxed);
        match written {
            Ok(took) => {
                self.pool.counters.synced(frames, bytes, took);
                self.publish_locations();
                D::synced(&mut self.group.done);
            }
            Err(error) => self.fail(&error),
        }
        self.group.done.clear();
        self.group.entries.clear();
        self.group.heads.clear();
    }

    fn write_and_sync(&mut self) -> io::Result<std::time::Duration> {
        let Some(active) = &self.active else {
            return Ok(std::time::Duration::ZERO);
        };
        let file = &*active.pin.file;
        for (head, (batch, _)) in self.group.heads.iter().zip(&self.group.entries) {
            self.blocks.add(file, head)?;
            self.blocks.add(file, batch.body())?;
            self.blocks
                .add(file, &PADDING[..padding_bytes(batch.size_bytes())])?;
        }
        self.blocks.flush(file)?;
        let started = Instant::now();
        file.sync()?;
        Ok(started.elapsed())
    }

    /// Tells the slots where their frames are, all synced.
    fn publish_locations(&mut self) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.pin.hold(self.group.entries.len() as u64);
        let mut position = active.synced_position;
        for (batch, slot) in &self.group.entries {
            slot.set_written(&active.pin, position);
            if seeded_bug::is("wal-given-back-early") {
                slot.release();
            }
            position += frame_bytes(batch.size_bytes()) as u64;
        }
        active.synced_position = active.position;
        self.pool.set_active_free(active.free());
    }

    /// W2: the file is sealed, nothing is written any more. What is on disk of the group is unknown,
    /// so the file stays for the next start to look at.
    fn fail(&mut self, error: &io::Error) {
        tracing::error!(%error, "write-ahead log failed; it accepts nothing until a restart");
        let reason = error.to_string();
        self.pool.set_failed();
        if let Some(active) = self.active.take() {
            active.pin.hold(1);
        }
        self.failure = Some(reason.clone());
        D::failed(&mut self.group.done, &WalError::Failed(reason));
    }
}

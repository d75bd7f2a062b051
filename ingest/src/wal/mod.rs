//! The write-ahead log: what makes a batch durable on this broker's disk before it is acknowledged.
//!
//! Nouns: a *frame* is one batch with its header ([`alluvium_segment::wal_frame`]); a *file* is a
//! preallocated run of frames; a *group* is what is written and synced together; a *slot* is where
//! one batch went, readable again and holding its file.
//!
//! Flow: [`Wal::append`] queues; one thread takes all that is queued, writes it with few calls,
//! syncs once, and tells the completions. There is no artificial delay: while one sync runs, the
//! next group gathers. A second thread, the keeper, has the next file ready before it is needed and
//! recycles those that nothing needs any more.
//!
//! What holds:
//! - W1. A completion is told `synced` only after the frame and all before it are on disk.
//! - W2. After any failed write or sync nothing is ever written or acknowledged again (fail-stop): the
//!   kernel may have dropped what it could not write, and a second sync would not tell.
//! - W3. A file is given back only when each of its frames was *released* and those of all older files
//!   too. Dropping slots releases nothing, so an ending process cannot lose what was acknowledged.
//! - W4. Recovery yields the frames in order, without a gap. A bad frame is a torn tail only if nothing
//!   behind it says it was synced; otherwise it is corruption, and the log does not open.
//! - W5. Sequences go on where recovery ended; appends go to new files, never behind recovered frames.

mod blocks;
mod disk;
mod error;
mod keeper;
mod names;
mod pool;
mod recovery;
mod scan;
#[cfg(test)]
pub(crate) mod sim_disk;
mod sink;
mod slot;
mod stats;
mod writer;

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use alluvium_common::epoch::BrokerEpoch;
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::record_batch::StoredBatch;

pub use blocks::BLOCK_BYTES;
pub use disk::{DirDisk, WalDisk, WalFile};
pub use error::{WalError, WalOpenError};
use pool::Pool;
pub use recovery::{RecoveredFrame, RecoveredFrames, WalRecovery};
pub use slot::WalSlot;
pub use stats::WalStats;
use writer::{Queue, Queued};

pub use crate::seams::WalState;

/// Settings of a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalOptions {
    /// Bytes of a file. Larger files are changed less often; smaller ones are given back sooner.
    pub file_bytes: u64,
    /// Bytes of the very first file, which the start waits for: writing 64 MiB of zeroes would
    /// delay the first acknowledgement by a tenth of a second or more.
    pub first_file_bytes: u64,
    /// Bytes of all files together, spare ones included. It bounds how long a bucket may be away
    /// while `local` producers go on.
    pub limit_bytes: u64,
    /// Bytes synced at once. The first batch of a group waits for the last one's bytes, so a group
    /// is bounded even when producers outrun the disk.
    pub group_bytes_max: usize,
}

impl Default for WalOptions {
    fn default() -> Self {
        Self {
            file_bytes: 64 << 20,
            first_file_bytes: 4 << 20,
            limit_bytes: 4 << 30,
            group_bytes_max: 8 << 20,
        }
    }
}

/// Who appends: stamped into every frame.
#[derive(Debug, Clone)]
pub struct WalSession {
    /// The broker's session.
    pub broker_epoch: BrokerEpoch,
    /// For the files' salts.
    pub random: SharedRandom,
}

/// What the log tells about appended batches. Called on the log's own thread, in append order,
/// many at a time; it must not block for long, since the next group waits for it.
pub trait WalCompletion: Send + Sized + 'static {
    /// All of `done` are durable. Drains `done`.
    fn synced(done: &mut Vec<Self>);

    /// None of `done` will be confirmed; `error` says whether they may be on disk nevertheless.
    /// Drains `done`.
    fn failed(done: &mut Vec<Self>, error: &WalError);
}

/// The open log. Dropping it writes and syncs what is queued, then ends its threads.
pub struct Wal<D: WalCompletion> {
    queue: Arc<Queue<D>>,
    pool: Arc<Pool>,
    threads: Vec<JoinHandle<()>>,
}

impl<D: WalCompletion> Wal<D> {
    /// Reads what earlier sessions left, then opens the log for appends. Blocks on the disk. The log
    /// takes appends at once; the recovered files stay until [`WalRecovery::release`].
    ///
    /// # Errors
    /// See [`WalOpenError`]: corruption in the middle, a newer format, or a disk that fails.
    pub fn open(
        disk: Arc<dyn WalDisk>,
        options: WalOptions,
        session: WalSession,
    ) -> Result<(Self, WalRecovery), WalOpenError> {
        let (pool, recovery) = recovery::open(disk, options, &session)?;
        let queue = Arc::new(Queue::new());
        let writer = writer::Writer::new(
            Arc::clone(&queue),
            Arc::clone(&pool),
            options,
            session.broker_epoch,
            recovery.next_sequence(),
        );
        let keeper = keeper::Keeper::new(Arc::clone(&pool));
        let mut wal = Self {
            queue,
            pool,
            threads: Vec::with_capacity(2),
        };
        wal.spawn("wal-writer", move || writer.run())?;
        wal.spawn("wal-keeper", move || keeper.run())?;
        Ok((wal, recovery))
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), WalOpenError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(body)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Queues a batch; never blocks, whatever the state. The order of calls is the order in the log.
    /// The queue is bounded by its callers: each holds a permit of the ingest byte budget. The answer
    /// reads the batch back once it is synced.
    pub fn append(&self, tp: TopicPartition, batch: &StoredBatch, done: D) -> Arc<WalSlot> {
        let slot = Arc::new(WalSlot::new(batch.size_bytes()));
        let batch = batch.clone();
        self.queue.push(Queued {
            tp,
            batch,
            slot: Arc::clone(&slot),
            done,
        });
        slot
    }

    /// Whether the log takes batches: cheap, to be asked before an offset is assigned. A batch that
    /// is appended all the same and finds no room fails with [`WalError::NoSpace`].
    pub fn state(&self) -> WalState {
        self.pool.state(self.queue.bytes())
    }

    /// Bytes of the files that hold frames not released yet, the one being written included.
    pub fn pinned_bytes(&self) -> u64 {
        self.pool.pinned_bytes()
    }

    /// More than half of the limit is pinned: uploads should hurry, and producers slow down.
    pub fn is_pressed(&self) -> bool {
        self.pool.is_pressed()
    }

    /// Counters since the start.
    pub fn stats(&self) -> WalStats {
        self.pool.stats()
    }
}

impl<D: WalCompletion> Drop for Wal<D> {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            // The last owner may be a completion, which runs on the writer's thread.
            if thread.thread().id() != thread::current().id() {
                // A panic over there was reported by its thread already.
                let _ = thread.join();
            }
            // The keeper ends after the writer, so that a roll under way still gets its file.
            self.pool.close();
        }
    }
}

#[cfg(test)]
mod tests;

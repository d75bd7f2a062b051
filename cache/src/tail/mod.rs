//! The newest batches of a partition, in memory, where the write path leaves them and readers find
//! them.
//!
//! Nouns: a **tail** holds the batches from some offset up to the log end. A batch leaves memory when
//! the [`TailBudget`] is exceeded: wholly, once a committed segment holds it (**uploaded**), or by
//! being **spilled**, when the write-ahead log holds it and no segment does yet. A [`ReadWaiter`] is
//! one long poll; it is registered with the tails of its partitions and woken when their high
//! watermarks have moved far enough. Nothing polls.
//!
//! Flow: `append` (at the log end, in offset order), `advance_high_watermark` (once durable),
//! `set_uploaded` (after the segment index knows the segment, never before: a reader that is told
//! [`TailRead::Below`] must find the offset in the index).
//!
//! One short mutex per tail; it is never held across an await, a disk access or a deallocation of
//! more than one batch.

mod budget;
mod state;
mod waiter;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use alluvium_common::clock::TimestampMs;
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::{LogOffsets, Offset};
use alluvium_segment::record_batch::StoredBatch;
use parking_lot::Mutex;

pub use budget::{TAIL_BUDGET_BYTES_DEFAULT, TailBudget};
use state::{State, Unregister};
pub use waiter::{ReadWaiter, Registration};

/// A batch that the write-ahead log holds and that may therefore leave memory before its upload.
/// Holding the value pins the log's file.
pub trait SpilledBatch: Send + Sync {
    /// Reads the batch back and checks its checksum. Blocks on the disk: call it off the async
    /// threads.
    fn read(&self) -> io::Result<StoredBatch>;

    /// Size of the batch in bytes, known without reading it.
    fn size_bytes(&self) -> usize;
}

/// Why a tail takes no more batches and serves no more reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The topic was deleted.
    Deleted,
    /// This broker no longer leads the partition, or cannot prove that it does (F3).
    NotLeader,
}

/// Why a batch was not appended. Neither happens unless the caller broke the order it must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefused {
    /// The tail is closed.
    #[error("the partition's tail is closed ({0:?})")]
    Closed(CloseReason),
    /// The batch does not begin at the log end.
    #[error("a batch at offset {base} cannot follow log end {log_end}")]
    NotAtEnd {
        /// Where the batch begins.
        base: Offset,
        /// Where it would have to begin.
        log_end: Offset,
    },
}

/// A batch found in the tail.
#[derive(Clone)]
pub enum TailBatch {
    /// In memory; cloning it copies no record bytes.
    Memory(StoredBatch),
    /// In the write-ahead log.
    Spilled(Arc<dyn SpilledBatch>),
}

impl TailBatch {
    /// Size of the batch in bytes.
    pub fn size_bytes(&self) -> usize {
        match self {
            TailBatch::Memory(batch) => batch.size_bytes(),
            TailBatch::Spilled(spill) => spill.size_bytes(),
        }
    }

    /// The batch itself. Blocks on the disk when it was spilled: call it off the async threads then.
    pub fn load(&self) -> io::Result<StoredBatch> {
        match self {
            TailBatch::Memory(batch) => Ok(batch.clone()),
            TailBatch::Spilled(spill) => spill.read(),
        }
    }
}

/// What a tail answers to a read.
pub enum TailRead {
    /// Consecutive batches, the first of them containing the offset asked for. Empty when nothing
    /// below the limit is there yet, or when nothing fits into the bytes asked for.
    Batches {
        /// In offset order.
        batches: Vec<TailBatch>,
        /// Their sizes together.
        size_bytes: usize,
    },
    /// The tail begins later. The segment index has the offset, up to (not including) `tail_start`.
    Below {
        /// First offset that the tail still holds; the log end when it holds none.
        tail_start: Offset,
    },
    /// The tail is closed.
    Closed(CloseReason),
}

/// Where a tail starts when a partition is opened: everything before is in segments.
#[derive(Debug, Clone, Copy)]
pub struct TailStart {
    /// First offset that is readable at all.
    pub log_start: Offset,
    /// Next offset to be assigned; also the first high watermark, since all before it is committed.
    pub next_offset: Offset,
    /// Epoch under which this broker leads the partition.
    pub leader_epoch: LeaderEpoch,
}

/// The newest batches of one partition. See the module's documentation.
pub struct PartitionTail {
    budget: Arc<TailBudget>,
    leader_epoch: LeaderEpoch,
    state: Mutex<State>,
}

impl PartitionTail {
    /// An empty tail that charges its memory to `budget`.
    pub fn open(start: TailStart, budget: &Arc<TailBudget>) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            leader_epoch: start.leader_epoch,
            state: Mutex::new(State::new(start.log_start, start.next_offset)),
        })
    }

    /// Adds a batch at the log end. `spill` is the write-ahead log's reference, if the batch goes
    /// there too; it is used only below the high watermark, when the log is known to hold it.
    pub fn append(
        self: &Arc<Self>,
        batch: StoredBatch,
        spill: Option<Arc<dyn SpilledBatch>>,
    ) -> Result<(), AppendRefused> {
        let size = batch.size_bytes();
        // Charged first: once appended, the batch may be dropped, and released, by others.
        self.budget.charge(size);
        let appended = self.state.lock().append(batch, spill);
        if appended.is_err() {
            self.budget.release(size);
        }
        let newly_spillable = appended?;
        if newly_spillable {
            self.budget.offer_to_spill(self);
        }
        self.budget.evict();
        Ok(())
    }

    /// Makes the batches below `to` readable and wakes the long polls that now have enough. Never
    /// moves back (I13).
    pub fn advance_high_watermark(&self, to: Offset) {
        self.state.lock().advance_high_watermark(to);
    }

    /// Raises the log start offset (DeleteRecords, retention) and drops the batches below it. Never
    /// moves back, nor beyond the high watermark. Returns the log start that holds now.
    pub fn set_log_start(&self, to: Offset) -> Offset {
        let (log_start, dropped) = self.state.lock().set_log_start(to);
        self.release(&dropped);
        log_start
    }

    /// Says that the segment index holds everything below `to`: those batches may leave memory, and
    /// their write-ahead log files are released now.
    pub fn set_uploaded(self: &Arc<Self>, to: Offset) {
        let (moved, dropped) = self.state.lock().set_uploaded(to);
        self.release(&dropped);
        if moved {
            self.budget.offer_to_evict(self, to);
            self.budget.evict();
        }
    }

    /// Drops the batches that begin below `to` from memory, as far as they are uploaded: whoever reads there finds what
    /// took their place.
    pub(crate) fn give_up_below(&self, to: Offset) {
        let dropped = self.state.lock().give_up_below(to);
        self.release(&dropped);
    }

    /// Of a log that follows another broker's: the segment index holds everything below `to`, also what never was in
    /// this tail. The high watermark stays where it is.
    pub(crate) fn skip_to(self: &Arc<Self>, to: Offset) {
        let dropped = self.state.lock().skip_to(to);
        match dropped {
            Some(dropped) => {
                self.release(&dropped);
            }
            None => self.set_uploaded(to),
        }
    }

    /// The four offsets, consistent with one another.
    pub fn offsets(&self) -> LogOffsets {
        self.state.lock().offsets()
    }

    /// The epoch under which this broker leads the partition.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Everything below it is in the segment index.
    pub fn uploaded(&self) -> Offset {
        self.state.lock().uploaded()
    }

    /// Why the tail is closed, if it is.
    pub fn closed(&self) -> Option<CloseReason> {
        self.state.lock().closed()
    }

    /// Bytes of batches that no segment holds yet.
    pub fn unuploaded_bytes(&self) -> u64 {
        self.state.lock().unuploaded_bytes()
    }

    /// The batches from the one that contains `from` up to `upto` (exclusive), as many as fit into
    /// `max_bytes`; with `min_one_batch` at least the first, whatever its size. No record bytes are
    /// copied.
    pub fn read(
        &self,
        from: Offset,
        upto: Offset,
        max_bytes: usize,
        min_one_batch: bool,
    ) -> TailRead {
        self.state.lock().read(from, upto, max_bytes, min_one_batch)
    }

    /// First offset that the tail holds (the log end when it holds none), and the first of its
    /// batches with an offset in `from..upto` whose largest timestamp is at or after `timestamp`.
    pub fn first_at_or_after(
        &self,
        timestamp: TimestampMs,
        from: Offset,
        upto: Offset,
    ) -> (Offset, Option<TailBatch>) {
        self.state.lock().first_at_or_after(timestamp, from, upto)
    }

    /// The largest timestamp below `below` that the header of a batch below `upto` claims.
    pub fn largest_timestamp(&self, upto: Offset, below: TimestampMs) -> Option<TimestampMs> {
        self.state.lock().largest_timestamp(upto, below)
    }

    /// First offset that the tail holds, in memory or by a reference into the write-ahead log; the
    /// log end when it holds none.
    pub fn start(&self) -> Offset {
        self.state.lock().tail_start()
    }

    /// Registers a long poll for `key`, the partition's place in that poll. `seen` are the offsets
    /// its reader has acted on: when they are no longer true the waiter is marked at once, so that
    /// nothing is missed between a read and the registration.
    pub fn wait(
        self: &Arc<Self>,
        waiter: &Arc<ReadWaiter>,
        key: u32,
        seen: LogOffsets,
    ) -> Registration {
        self.state.lock().register(waiter, key, seen);
        Registration::new(Arc::clone(self), Arc::clone(waiter), key)
    }

    /// Ends the tail: readers wake and learn why, appends are refused. Idempotent; the first reason
    /// stays.
    pub fn close(&self, reason: CloseReason) {
        let dropped = self.state.lock().close(reason);
        self.release(&dropped);
    }

    fn unregister(&self, unregister: Unregister<'_>) {
        self.state.lock().unregister(unregister);
    }

    /// Drops uploaded batches below `to` from memory until `needed` bytes are given back; returns
    /// their bytes, and whether more remain.
    fn evict_uploaded(&self, to: Offset, needed: usize) -> (usize, bool) {
        let (dropped, again) = self.state.lock().evict_uploaded(to, needed);
        (self.release(&dropped), again)
    }

    /// Drops batches that the write-ahead log holds from memory until `needed` bytes are given back;
    /// returns their bytes, and whether to ask again later.
    fn spill(&self, needed: usize) -> (usize, bool) {
        let (dropped, again) = self.state.lock().spill(needed);
        (self.release(&dropped), again)
    }

    /// Whether memory may still hold batches below `offset`.
    fn holds_below(&self, offset: Offset) -> bool {
        self.state.lock().tail_start() < offset
    }

    fn release(&self, dropped: &state::Dropped) -> usize {
        let bytes = dropped.resident_bytes();
        self.budget.release(bytes);
        bytes
    }
}

impl Drop for PartitionTail {
    fn drop(&mut self) {
        self.budget.release(self.state.get_mut().resident_bytes());
    }
}

impl std::fmt::Debug for PartitionTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionTail")
            .field("leader_epoch", &self.leader_epoch)
            .field("offsets", &self.offsets())
            .finish_non_exhaustive()
    }
}

//! Writes on their way to a transaction: first in, first out, bounded.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::coordinator::group::{Write, WriteOp};
use crate::coordinator::stored;

/// Writes that may wait in all queues of a coordinator. At the few thousand transactions a second of an embedded
/// store, each of a hundred commits, this is well below a second's work.
pub(super) const QUEUED_WRITES_MAX: usize = 65_536;

/// Bytes that may wait in all queues of a coordinator, by estimate of their stored size.
pub(super) const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What waits in all queues of a coordinator. The store that does not take the writes of one shard does not take
/// those of others either, so a share for each would be a lower limit where few shards are busy and nothing else.
#[derive(Debug, Default)]
pub(super) struct WriteBudget {
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    writes: usize,
    bytes: usize,
}

impl WriteBudget {
    /// Writes that wait.
    pub fn writes(&self) -> usize {
        self.used.lock().writes
    }

    fn take(&self, bytes: usize) -> bool {
        let mut used = self.used.lock();
        // One write may lead over the limit of bytes, or a large one could never be queued.
        if used.writes >= QUEUED_WRITES_MAX || used.bytes >= QUEUED_BYTES_MAX {
            return false;
        }
        used.writes += 1;
        used.bytes += bytes;
        true
    }

    fn give_back(&self, writes: usize, bytes: usize) {
        let mut used = self.used.lock();
        used.writes -= writes;
        used.bytes -= bytes;
    }
}

/// The queue between the groups of a shard and its writer.
#[derive(Debug)]
pub(super) struct WriteQueue {
    budget: Arc<WriteBudget>,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    writes: VecDeque<(Write, usize)>,
    bytes: usize,
    closed: bool,
}

impl WriteQueue {
    /// An empty queue.
    pub fn new(budget: Arc<WriteBudget>) -> Self {
        Self {
            budget,
            state: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Adds a write, or gives it back when there is no room or the queue is closed.
    pub fn push(&self, write: Write) -> Result<(), Write> {
        let bytes = write.ops.iter().map(size_bytes).sum();
        let mut state = self.state.lock();
        if state.closed || !self.budget.take(bytes) {
            return Err(write);
        }
        state.bytes += bytes;
        state.writes.push_back((write, bytes));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    pub fn pop(&self) -> Option<Write> {
        let mut state = self.state.lock();
        let (write, bytes) = state.writes.pop_front()?;
        state.bytes -= bytes;
        self.budget.give_back(1, bytes);
        Some(write)
    }

    /// Waits until something was pushed since the last wait.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Drops what waits and takes nothing more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        let dropped = std::mem::take(&mut *state);
        self.budget.give_back(dropped.writes.len(), dropped.bytes);
        state.closed = true;
        drop(state);
        self.filled.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

impl Drop for WriteQueue {
    fn drop(&mut self) {
        self.close();
    }
}

fn size_bytes(op: &WriteOp) -> usize {
    const KEY_BYTES: usize = 100;
    KEY_BYTES
        + match op {
            WriteOp::PutGroup(record) => stored::group::size_bytes(record),
            WriteOp::PutOffset(_, record) => stored::offset::size_bytes(record),
            WriteOp::DeleteGroup | WriteOp::DeleteOffset(_) => 0,
        }
}

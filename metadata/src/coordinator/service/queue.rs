//! Writes on their way to a transaction: first in, first out, bounded.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::coordinator::group::{Write, WriteOp};
use crate::coordinator::stored;

/// Writes that may wait. At the few thousand transactions a second of an embedded store, each of a
/// hundred commits, this is well below a second's work.
pub(super) const QUEUED_WRITES_MAX: usize = 65_536;

/// Bytes that may wait, by estimate of their stored size.
pub(super) const QUEUED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The queue between shards and writer.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
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
    /// Adds a write, or gives it back when the queue is full or closed.
    pub fn push(&self, write: Write) -> Result<(), Write> {
        let bytes = write.ops.iter().map(size_bytes).sum();
        let mut state = self.state.lock();
        // One write may lead over the limit of bytes, or a large one could never be queued.
        let full = state.writes.len() >= QUEUED_WRITES_MAX || state.bytes >= QUEUED_BYTES_MAX;
        if full || state.closed {
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
        Some(write)
    }

    /// Waits until something was pushed since the last wait.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    pub fn len(&self) -> usize {
        self.state.lock().writes.len()
    }

    /// Drops what waits and takes nothing more.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.writes.clear();
        state.bytes = 0;
        state.closed = true;
        drop(state);
        self.filled.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
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

//! Buffers of large requests, used again.
//!
//! A produce request of a megabyte lives until its batches are uploaded. To a general allocator such buffers are pages
//! to ask of the kernel and to give back; the kernel clears each anew, which costs more than reading the socket. So a few
//! are kept. What is kept without being used goes after a while, so that an idle broker is small.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller buffers are left to the allocator, which keeps those itself.
const POOLED_BYTES_MIN: usize = 128 * 1024;

/// Buffers without a user, and how many there were at least since the last trim.
#[derive(Debug, Default)]
struct Idle {
    /// By capacity.
    buffers: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
    bytes_min: usize,
}

impl Idle {
    fn take(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let class = self.buffers.get_mut(&capacity)?;
        let buffer = class.pop()?;
        if class.is_empty() {
            self.buffers.remove(&capacity);
        }
        self.bytes -= capacity;
        self.bytes_min = self.bytes_min.min(self.bytes);
        Some(buffer)
    }
}

/// Shared by all connections of a listener.
#[derive(Debug)]
pub struct BufferPool {
    idle: Mutex<Idle>,
    idle_bytes_max: usize,
}

impl BufferPool {
    /// A pool that keeps at most `idle_bytes_max` bytes of unused buffers.
    pub fn new(idle_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            idle: Mutex::default(),
            idle_bytes_max,
        })
    }

    /// An empty buffer with room for `length` bytes.
    pub fn take(self: &Arc<Self>, length: usize) -> PooledBuffer {
        let capacity = capacity_for(length);
        let found = self.idle.lock().take(capacity);
        PooledBuffer {
            bytes: found.unwrap_or_else(|| Vec::with_capacity(capacity)),
            pool: Arc::clone(self),
        }
    }

    /// Frees the buffers that nobody has needed since the last trim.
    pub fn trim(&self) {
        let mut idle = self.idle.lock();
        let keep = idle.bytes - idle.bytes_min;
        let mut unused = Vec::new();
        while idle.bytes > keep {
            let Some((&capacity, _)) = idle.buffers.last_key_value() else {
                break;
            };
            unused.extend(idle.take(capacity));
        }
        idle.bytes_min = idle.bytes;
        drop(idle);
        // Giving memory back to the kernel takes time; nobody waits for it now.
        drop(unused);
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        // A buffer that grew, or is small, is not one of ours.
        if capacity < POOLED_BYTES_MIN || capacity != capacity_for(capacity) {
            return;
        }
        buffer.clear();
        let mut idle = self.idle.lock();
        if idle.bytes + capacity <= self.idle_bytes_max {
            idle.bytes += capacity;
            idle.buffers.entry(capacity).or_default().push(buffer);
        }
    }
}

/// Rounds up by at most an eighth, so that buffers fit each other and little is wasted.
fn capacity_for(length: usize) -> usize {
    if length < POOLED_BYTES_MIN {
        return length;
    }
    let step = (length.next_power_of_two() / 16).max(1);
    length.next_multiple_of(step)
}

/// A buffer that goes back to its pool, by itself or when the last slice of it is gone.
#[derive(Debug)]
pub struct PooledBuffer {
    bytes: Vec<u8>,
    pool: Arc<BufferPool>,
}

impl PooledBuffer {
    /// To be filled; must not grow beyond the length it was taken for.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Shares the contents. The buffer goes back when all slices are gone.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        self.pool.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pool: &Arc<BufferPool>, length: usize) -> Bytes {
        let mut buffer = pool.take(length);
        assert!(buffer.as_ref().is_empty());
        buffer.bytes_mut().resize(length, 7);
        buffer.freeze()
    }

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_is_gone() {
        let pool = BufferPool::new(8 << 20);
        let frame = filled(&pool, 1_000_000);
        let address = frame.as_ptr();
        let slice = frame.slice(500..600);
        drop(frame);
        assert_ne!(filled(&pool, 1_000_000).as_ptr(), address, "still in use");
        assert_eq!(slice, vec![7; 100]);
        pool.trim();
        pool.trim();
        drop(slice);
        assert_eq!(filled(&pool, 990_000).as_ptr(), address, "same class");
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_when_unused() {
        let pool = BufferPool::new(4 << 20);
        let frames: Vec<_> = (0..8).map(|_| filled(&pool, 1 << 20)).collect();
        drop(frames);
        assert_eq!(pool.idle.lock().bytes, 4 << 20);
        pool.trim();
        assert_eq!(
            pool.idle.lock().bytes,
            4 << 20,
            "in use since the last trim"
        );
        drop(filled(&pool, 1 << 20));
        pool.trim();
        assert_eq!(pool.idle.lock().bytes, 1 << 20, "one was used");
        pool.trim();
        assert_eq!(pool.idle.lock().bytes, 0);
    }

    #[test]
    fn small_and_odd_buffers_are_not_kept() {
        let pool = BufferPool::new(4 << 20);
        drop(filled(&pool, 5_000));
        let mut grown = pool.take(200_000);
        grown.bytes_mut().resize(250_001, 0);
        let odd = grown.bytes.capacity();
        drop(grown);
        let kept = pool.idle.lock().bytes;
        assert!(kept == 0 || kept == odd, "{kept}");
    }

    #[test]
    fn classes_waste_little() {
        for length in [128 << 10, 200_000, 1_000_123, 1 << 20, 100 << 20] {
            let capacity = capacity_for(length);
            assert!(capacity >= length && capacity <= length + length / 8 + 1);
            assert_eq!(capacity_for(capacity), capacity);
        }
    }
}

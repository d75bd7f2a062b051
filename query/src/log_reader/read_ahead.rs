//! Fetching what a sequential reader will ask for next.

use std::collections::{HashMap, VecDeque};

use alluvium_cache::budget::ReadClass;
use alluvium_cache::log::PartitionLog;
use alluvium_cache::segment_cache::SegmentCache;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::footer::BlockEntry;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Places remembered: readers of history at one time for whom reading ahead works. The oldest is
/// forgotten first; that reader starts over with a short read-ahead.
const PLACES_MAX: usize = 4096;

/// Bytes read ahead for a reader that has just come from the place before; doubles with each further
/// read, up to the maximum. Beyond, a single reader would only push others out of the cache.
const BYTES_MIN: u64 = 1 << 20;
const BYTES_MAX: u64 = 16 << 20;

/// Blocks walked over per read-ahead, whatever their size.
const BLOCKS_MAX: usize = 256;

/// Remembers where reads ended. A read that begins where another ended is sequential; which reader
/// it was does not matter, since the pages are shared.
#[derive(Default)]
pub(super) struct ReadAhead {
    places: Mutex<Places>,
}

struct Places {
    expected: HashMap<(TopicPartition, Offset), Expected>,
    order: VecDeque<(TopicPartition, Offset)>,
    active: Active,
}

/// A sequential reader, known by the place to which it will come.
#[derive(Clone, Copy, Default)]
struct Expected {
    /// Bytes to read ahead of it there.
    ahead: u64,
    /// Second in which it was counted as active.
    counted: Option<u64>,
}

/// How many sequential readers there are: those seen in this second or in the one before.
struct Active {
    started: Instant,
    second: u64,
    now: u64,
    before: u64,
}

impl Active {
    /// Counts a reader at most once a second.
    fn count(&mut self, reader: &mut Expected) {
        let second = self.started.elapsed().as_secs();
        if second != self.second {
            self.before = if second == self.second + 1 {
                self.now
            } else {
                0
            };
            self.now = 0;
            self.second = second;
        }
        if reader.counted != Some(second) {
            reader.counted = Some(second);
            self.now += 1;
        }
    }

    fn readers(&self) -> u64 {
        self.now.max(self.before).max(1)
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            expected: HashMap::new(),
            order: VecDeque::new(),
            active: Active {
                started: Instant::now(),
                second: 0,
                now: 0,
                before: 0,
            },
        }
    }
}

impl Places {
    /// Moves a reader from one place to the next; says how much to read ahead there, when all readers
    /// together may have `bytes_max` read ahead.
    fn moved(&mut self, tp: TopicPartition, from: Offset, to: Offset, bytes_max: u64) -> u64 {
        let mut reader = self.expected.remove(&(tp, from)).unwrap_or_default();
        let ahead = reader.ahead;
        reader.ahead = (2 * ahead).clamp(BYTES_MIN, BYTES_MAX);
        self.active.count(&mut reader);
        if self.expected.insert((tp, to), reader).is_none() {
            self.order.push_back((tp, to));
        }
        // `order` also names places already left; they count, so that it stays bounded too.
        while self.order.len() > PLACES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.expected.remove(&oldest);
            }
        }
        ahead.min(bytes_max / self.active.readers())
    }
}

impl ReadAhead {
    /// To be called after a read of what is stored, from `from` to `to`: how many bytes to read ahead from there.
    pub(super) fn after(
        &self,
        cache: &SegmentCache,
        tp: TopicPartition,
        from: Offset,
        to: Offset,
    ) -> u64 {
        if from == to {
            return 0;
        }
        let bytes_max = cache.read_ahead_bytes_max();
        self.places.lock().moved(tp, from, to, bytes_max)
    }
}

/// Starts to fetch about `bytes` of blocks from `from` on, segment by segment.
pub(super) fn prefetch(cache: &SegmentCache, log: &PartitionLog, from: Offset, bytes: u64) {
    let mut left = bytes;
    let mut runs = Vec::new();
    {
        let index = log.index.read();
        let mut blocks = index.blocks_from(from).take(BLOCKS_MAX).peekable();
        while let Some(first) = blocks.next_if(|_| left > 0) {
            left = left.saturating_sub(u64::from(first.block.stored_length));
            let mut end = end_of(first.block);
            while let Some(next) = blocks
                .next_if(|next| left > 0 && std::sync::Arc::ptr_eq(next.segment, first.segment))
            {
                left = left.saturating_sub(u64::from(next.block.stored_length));
                end = end_of(next.block);
            }
            runs.push((first.segment.clone(), first.block.position..end));
        }
    }
    for (segment, positions) in runs {
        let wanted = positions.end - positions.start;
        if cache.prefetch(&segment, positions, ReadClass::Backfill) < wanted {
            // The budget is used up; further pages would come out of turn.
            return;
        }
    }
}

fn end_of(block: &BlockEntry) -> u64 {
    block.position + u64::from(block.stored_length)
}

#[cfg(test)]
mod tests {
    use alluvium_common::topic::{PartitionIndex, TopicId};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_sequential_readers_get_more_and_places_are_bounded() {
        let topic = TopicId(uuid::Uuid::from_u128(1));
        let tp = TopicPartition::new(topic, PartitionIndex(0));
        let offset = |value| Offset::new(value).expect("not negative");
        let mut places = Places::default();
        let mut moved = |from, to| places.moved(tp, offset(from), offset(to), u64::MAX);
        assert_eq!(moved(0, 10), 0, "the first read says nothing");
        assert_eq!(moved(10, 20), BYTES_MIN);
        assert_eq!(moved(20, 30), 2 * BYTES_MIN);
        assert_eq!(moved(500, 510), 0, "a jump");
        for place in 3..200 {
            moved(10 * place, 10 * place + 10);
        }
        assert_eq!(moved(2000, 2010), BYTES_MAX);
        for reader in 0..2 * PLACES_MAX as i64 {
            moved(1_000_000 + 10 * reader, 1_000_005 + 10 * reader);
        }
        assert_eq!(moved(2010, 2020), 0, "forgotten");
        assert!(places.expected.len() <= PLACES_MAX && places.order.len() <= PLACES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn readers_share_what_may_be_read_ahead() {
        let tp = TopicPartition::new(TopicId(uuid::Uuid::from_u128(1)), PartitionIndex(0));
        let offset = |value| Offset::new(value).expect("not negative");
        let mut places = Places::default();
        let mut moved = |reader: i64, step: i64| {
            let from = 1_000_000 * reader + step;
            places.moved(tp, offset(from), offset(from + 1), BYTES_MAX)
        };
        for step in 0..10 {
            for reader in 0..8 {
                moved(reader, step);
            }
        }
        assert_eq!(moved(0, 10), BYTES_MAX / 8);
        tokio::time::advance(std::time::Duration::from_secs(5)).await;
        assert_eq!(moved(0, 11), BYTES_MAX, "the others have gone");
    }
}

//! Fetching what a sequential reader will ask for next.

use std::collections::{HashMap, VecDeque};

use alluvium_cache::budget::ReadClass;
use alluvium_cache::log::PartitionLog;
use alluvium_cache::segment_cache::SegmentCache;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_segment::footer::BlockEntry;
use parking_lot::Mutex;

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

#[derive(Default)]
struct Places {
    /// Bytes to read ahead of the reader that comes to this place.
    bytes: HashMap<(TopicPartition, Offset), u64>,
    order: VecDeque<(TopicPartition, Offset)>,
}

impl Places {
    /// Moves a reader from one place to the next; says how much to read ahead there.
    fn moved(&mut self, tp: TopicPartition, from: Offset, to: Offset) -> u64 {
        let ahead = self.bytes.remove(&(tp, from)).unwrap_or(0);
        let next = (2 * ahead).clamp(BYTES_MIN, BYTES_MAX);
        if self.bytes.insert((tp, to), next).is_none() {
            self.order.push_back((tp, to));
        }
        // `order` also names places already left; they count, so that it stays bounded too.
        while self.order.len() > PLACES_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.bytes.remove(&oldest);
            }
        }
        ahead
    }
}

impl ReadAhead {
    /// To be called after a read of segments from `from` to `to`.
    pub(super) fn after(&self, cache: &SegmentCache, log: &PartitionLog, from: Offset, to: Offset) {
        if from == to {
            return;
        }
        let ahead = self.places.lock().moved(log.tp, from, to);
        if ahead > 0 {
            prefetch(cache, log, to, ahead);
        }
    }
}

/// Starts to fetch about `bytes` of blocks from `from` on, segment by segment.
fn prefetch(cache: &SegmentCache, log: &PartitionLog, from: Offset, bytes: u64) {
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

    #[test]
    fn only_sequential_readers_get_more_and_places_are_bounded() {
        let topic = TopicId(alluvium_common::rand::Random::uuid(
            &alluvium_common::rand::SystemRandom,
        ));
        let tp = TopicPartition::new(topic, PartitionIndex(0));
        let offset = |value| Offset::new(value).expect("not negative");
        let mut places = Places::default();
        let mut moved = |from, to| places.moved(tp, offset(from), offset(to));
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
        assert!(places.bytes.len() <= PLACES_MAX && places.order.len() <= PLACES_MAX);
    }
}

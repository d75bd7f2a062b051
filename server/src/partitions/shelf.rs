//! What this broker knew of partitions when it handed them over, kept for those who open them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::topic::TopicPartition;
use alluvium_ingest::recovery::HandedIndex;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long it is kept. Whoever opens a partition asks within a second; one that is late reads footers.
const KEEP_TIME: Duration = Duration::from_secs(60);

/// About how many bytes are kept; the oldest are forgotten first.
const KEEP_BYTES: usize = 64 << 20;

/// What a partition, a segment, a block and a producer take, about.
const PARTITION_BYTES: usize = 200;
const SEGMENT_BYTES: usize = 200;
const BLOCK_BYTES: usize = 64;
const PRODUCER_BYTES: usize = 300;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Shelf {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<TopicPartition, Kept>,
    /// Oldest first. Also names what was replaced or taken back, until its turn comes.
    order: VecDeque<(TopicPartition, u64)>,
    bytes: usize,
    next_number: u64,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    since: Instant,
    bytes: usize,
    index: Arc<HandedIndex>,
}

impl Shelf {
    /// Keeps what is known of a partition, instead of what was known of it before.
    pub fn put(&self, index: HandedIndex) {
        let (tp, bytes) = (index.part.tp, weigh(&index));
        let mut state = self.state.lock();
        state.remove(tp);
        state.next_number += 1;
        let number = state.next_number;
        state.bytes += bytes;
        state.order.push_back((tp, number));
        let kept = Kept {
            number,
            since: Instant::now(),
            bytes,
            index: Arc::new(index),
        };
        state.kept.insert(tp, kept);
        state.forget_old();
    }

    /// The partition was not handed over after all.
    pub fn take_back(&self, tp: TopicPartition) {
        self.state.lock().remove(tp);
    }

    /// What is known of a partition.
    pub fn get(&self, tp: TopicPartition) -> Option<Arc<HandedIndex>> {
        let mut state = self.state.lock();
        state.forget_old();
        state.kept.get(&tp).map(|kept| Arc::clone(&kept.index))
    }
}

impl State {
    fn remove(&mut self, tp: TopicPartition) {
        if let Some(kept) = self.kept.remove(&tp) {
            self.bytes -= kept.bytes;
        }
    }

    fn forget_old(&mut self) {
        while let Some((tp, number)) = self.order.front().copied() {
            let is_kept = match self.kept.get(&tp) {
                Some(kept) if kept.number == number => {
                    kept.since.elapsed() < KEEP_TIME && self.bytes <= KEEP_BYTES
                }
                _ => {
                    self.order.pop_front();
                    continue;
                }
            };
            if is_kept {
                return;
            }
            self.order.pop_front();
            self.remove(tp);
        }
    }
}

fn weigh(index: &HandedIndex) -> usize {
    let blocks = index.part.spans.iter().map(|(_, span)| span.blocks.len());
    PARTITION_BYTES
        + SEGMENT_BYTES * index.part.spans.len()
        + BLOCK_BYTES * blocks.sum::<usize>()
        + PRODUCER_BYTES * index.part.producers.len()
}

#[cfg(test)]
mod tests {
    use alluvium_common::offset::Offset;
    use alluvium_common::topic::{PartitionIndex, TopicId};
    use alluvium_segment::index_part::IndexPart;
    use uuid::Uuid;

    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(partition))
    }

    fn index(partition: i32, end: i64) -> HandedIndex {
        HandedIndex {
            tail: Vec::new(),
            end: Offset::new(end).expect("not negative"),
            part: IndexPart::empty(tp(partition)),
        }
    }

    fn end(shelf: &Shelf, partition: i32) -> Option<i64> {
        shelf.get(tp(partition)).map(|index| index.end.get())
    }

    #[tokio::test(start_paused = true)]
    async fn things_are_kept_for_a_while_and_the_newest_counts() {
        let shelf = Shelf::default();
        shelf.put(index(0, 1));
        tokio::time::advance(KEEP_TIME / 2).await;
        shelf.put(index(1, 1));
        shelf.put(index(1, 2));
        shelf.put(index(2, 1));
        shelf.take_back(tp(2));
        assert_eq!(
            (end(&shelf, 0), end(&shelf, 1), end(&shelf, 2)),
            (Some(1), Some(2), None)
        );
        tokio::time::advance(KEEP_TIME / 2).await;
        assert_eq!((end(&shelf, 0), end(&shelf, 1)), (None, Some(2)));
        tokio::time::advance(KEEP_TIME).await;
        assert_eq!(end(&shelf, 1), None);
        let state = shelf.state.lock();
        assert_eq!((state.bytes, state.order.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_make_room() {
        let shelf = Shelf::default();
        let many = (KEEP_BYTES / PARTITION_BYTES) as i32;
        for partition in 0..many + 2 {
            shelf.put(index(partition, 1));
        }
        assert_eq!((end(&shelf, 0), end(&shelf, 1)), (None, None));
        assert_eq!((end(&shelf, 2), end(&shelf, many + 1)), (Some(1), Some(1)));
        assert!(shelf.state.lock().bytes <= KEEP_BYTES);
    }
}

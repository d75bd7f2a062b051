//! Which prefix of a partition is durable. The high watermark moves over it and nothing else.
//!
//! A batch becomes durable when the write-ahead log has synced it (`local`), or when a commit covers
//! it (any class). Classes may be mixed while `alluvium.durability` is being changed: a synced batch
//! behind one that is not durable yet waits, because a crash would lose the one before it and the
//! replay would then stop at the gap.

use std::collections::VecDeque;

use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;

/// Batches from the high watermark to the log end.
#[derive(Debug)]
pub(crate) struct DurablePrefix {
    /// All below is durable.
    durable: Offset,
    pending: VecDeque<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    next_offset: Offset,
    synced: bool,
}

const IDLE_CAPACITY: usize = 32;

impl DurablePrefix {
    pub(crate) fn starting_at(durable: Offset) -> Self {
        Self {
            durable,
            pending: VecDeque::new(),
        }
    }

    /// First offset that is not durable.
    pub(crate) fn durable(&self) -> Offset {
        if let (true, Some(last)) = (
            seeded_bug::is("watermark-over-not-durable"),
            self.pending.back(),
        ) {
            return last.next_offset;
        }
        self.durable
    }

    /// A batch that ends before `next_offset` was appended.
    pub(crate) fn push(&mut self, next_offset: Offset) {
        self.pending.push_back(Pending {
            next_offset,
            synced: false,
        });
    }

    /// The write-ahead log synced the batch that ends before `next_offset`. Returns whether the
    /// durable prefix grew.
    pub(crate) fn synced(&mut self, next_offset: Offset) -> bool {
        let at = match self.pending.front() {
            // Nearly always: syncs complete in append order.
            Some(first) if first.next_offset == next_offset => 0,
            _ => self
                .pending
                .partition_point(|batch| batch.next_offset < next_offset),
        };
        match self.pending.get_mut(at) {
            Some(batch) if batch.next_offset == next_offset => batch.synced = true,
            // A commit was faster.
            _ => return false,
        }
        self.advance(|batch| batch.synced)
    }

    /// A commit covers everything below `upto`. Returns whether the durable prefix grew.
    pub(crate) fn committed(&mut self, upto: Offset) -> bool {
        let by_commit = self.advance(|batch| batch.next_offset <= upto);
        let by_sync = self.advance(|batch| batch.synced);
        by_commit || by_sync
    }

    fn advance(&mut self, is_durable: impl Fn(&Pending) -> bool) -> bool {
        let before = self.durable;
        while let Some(first) = self.pending.front() {
            if !is_durable(first) {
                break;
            }
            self.durable = first.next_offset;
            self.pending.pop_front();
        }
        if self.pending.is_empty() && self.pending.capacity() > IDLE_CAPACITY {
            self.pending.shrink_to(IDLE_CAPACITY);
        }
        self.durable > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(value: i64) -> Offset {
        Offset::new(value).expect("not negative")
    }

    #[test]
    fn moves_over_a_prefix_only() {
        let mut prefix = DurablePrefix::starting_at(offset(10));
        for end in [12, 15, 16, 20] {
            prefix.push(offset(end));
        }
        assert!(
            !prefix.synced(offset(15)),
            "the batch before it is not durable"
        );
        assert_eq!(prefix.durable(), offset(10));
        assert!(prefix.synced(offset(12)));
        assert_eq!(
            prefix.durable(),
            offset(15),
            "and the synced one behind it follows"
        );
        assert!(!prefix.synced(offset(20)));
        assert!(prefix.committed(offset(16)));
        assert_eq!(prefix.durable(), offset(20));
        assert!(!prefix.synced(offset(16)), "late syncs change nothing");
        assert!(!prefix.committed(offset(16)));
    }

    #[test]
    fn a_commit_that_covers_nothing_new_moves_nothing() {
        let mut prefix = DurablePrefix::starting_at(Offset::ZERO);
        prefix.push(offset(3));
        assert!(!prefix.committed(Offset::ZERO));
        assert!(
            !prefix.committed(offset(2)),
            "a batch is durable as a whole or not at all"
        );
        assert_eq!(prefix.durable(), Offset::ZERO);
    }
}

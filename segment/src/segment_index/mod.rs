//! Which segment holds which offsets of one partition: in memory, pure, one per partition.
//!
//! Rebuilt at start from footers, extended with every commit, trimmed when the log start moves.
//! Segments follow each other without gap or overlap (I19); within one, so do blocks.

use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;

use crate::footer::{BlockEntry, PartitionSpan};
use crate::object_key::ObjectKey;

/// One object, shared by the indexes of all partitions in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRef {
    /// Its name.
    pub object_key: ObjectKey,
    /// Its size.
    pub size_bytes: u64,
}

/// A segment's share of one partition.
#[derive(Debug, Clone)]
struct Indexed {
    segment: Arc<SegmentRef>,
    base_offset: Offset,
    next_offset: Offset,
    max_timestamp: i64,
    blocks: Box<[BlockEntry]>,
}

/// The index of one partition. Empty: 48 bytes and no allocation.
#[derive(Debug, Clone)]
pub struct SegmentIndex {
    segments: VecDeque<Indexed>,
    start_offset: Offset,
    next_offset: Offset,
}

/// The span does not continue the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("segment starts at offset {found}, {expected} is expected")]
pub struct NotContiguous {
    /// The index's next offset.
    pub expected: Offset,
    /// The span's base offset.
    pub found: Offset,
}

/// A block and the object that holds it.
#[derive(Debug, Clone, Copy)]
pub struct IndexedBlock<'a> {
    /// The object.
    pub segment: &'a Arc<SegmentRef>,
    /// The block in it.
    pub block: &'a BlockEntry,
}

impl SegmentIndex {
    /// An empty index of a partition whose first indexed offset will be `start_offset`.
    pub fn new(start_offset: Offset) -> Self {
        Self {
            segments: VecDeque::new(),
            start_offset,
            next_offset: start_offset,
        }
    }

    /// First offset readable through the index.
    pub fn start_offset(&self) -> Offset {
        self.start_offset
    }

    /// The offset after the last indexed one.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Nothing is indexed.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Bytes stored in the bucket for this partition (its blocks, not headers and footers).
    pub fn stored_bytes(&self) -> u64 {
        let blocks = self.segments.iter().flat_map(|indexed| &indexed.blocks);
        blocks.map(|block| u64::from(block.stored_length)).sum()
    }

    /// Adds the next segment. Its producers are not kept.
    ///
    /// # Errors
    /// When `span` does not begin where the index ends. The first span of an empty index may begin
    /// below the start offset (the log start may lie within it), but not beyond.
    pub fn add(
        &mut self,
        segment: Arc<SegmentRef>,
        span: &PartitionSpan,
    ) -> Result<(), NotContiguous> {
        let expected = self.next_offset;
        let found = span.base_offset;
        let covers_start = self.is_empty() && found <= expected && expected <= span.next_offset;
        if found != expected && !covers_start {
            return Err(NotContiguous { expected, found });
        }
        self.next_offset = span.next_offset;
        self.segments.push_back(Indexed {
            segment,
            base_offset: found,
            next_offset: span.next_offset,
            max_timestamp: span.max_timestamp,
            blocks: span.blocks.clone().into_boxed_slice(),
        });
        Ok(())
    }

    /// The block that holds `offset`, and the blocks after it in the same segment, in order;
    /// `None` below the start offset and from the next offset on.
    pub fn find(&self, offset: Offset) -> Option<(&Arc<SegmentRef>, &[BlockEntry])> {
        if offset < self.start_offset {
            return None;
        }
        let indexed = self.segments.get(self.segment_at(offset))?;
        let blocks = &indexed.blocks;
        let first = blocks.partition_point(|block| block.next_offset <= offset);
        Some((&indexed.segment, &blocks[first..]))
    }

    /// All blocks from the one that holds `offset` (or from the first) on, across segments.
    pub fn blocks_from(&self, offset: Offset) -> impl Iterator<Item = IndexedBlock<'_>> {
        let offset = offset.max(self.start_offset);
        let first = self.segment_at(offset).min(self.segments.len());
        let blocks = self.segments.range(first..).flat_map(Indexed::blocks);
        blocks.skip_while(move |found| found.block.next_offset <= offset)
    }

    /// The first block, in offset order, with a record at or after `timestamp` (milliseconds since
    /// the Unix epoch), if its largest timestamp tells the truth.
    pub fn first_block_since(&self, timestamp: i64) -> Option<IndexedBlock<'_>> {
        let live = |found: &IndexedBlock<'_>| found.block.next_offset > self.start_offset;
        self.segments
            .iter()
            .filter(|indexed| indexed.max_timestamp >= timestamp)
            .flat_map(Indexed::blocks)
            .filter(live)
            .find(|found| found.block.max_timestamp >= timestamp)
    }

    /// The first block that has the largest timestamp of all.
    pub fn max_timestamp_block(&self) -> Option<IndexedBlock<'_>> {
        let live = |found: &IndexedBlock<'_>| found.block.next_offset > self.start_offset;
        let blocks = self.segments.iter().flat_map(Indexed::blocks).filter(live);
        blocks.reduce(|best, next| {
            if next.block.max_timestamp > best.block.max_timestamp {
                next
            } else {
                best
            }
        })
    }

    /// Moves the start offset up to `log_start` (never down) and forgets segments wholly below it;
    /// returns those. A log start beyond the end empties the index.
    pub fn trim(&mut self, log_start: Offset) -> Vec<Arc<SegmentRef>> {
        self.start_offset = self.start_offset.max(log_start);
        self.next_offset = self.next_offset.max(log_start);
        let below = |indexed: &Indexed| indexed.next_offset <= log_start;
        let count = self.segments.iter().take_while(|s| below(s)).count();
        let trimmed = self.segments.drain(..count);
        trimmed.map(|indexed| indexed.segment).collect()
    }

    /// All segments, in offset order.
    pub fn segments(&self) -> impl Iterator<Item = &Arc<SegmentRef>> {
        self.segments.iter().map(|indexed| &indexed.segment)
    }

    /// The segments that reach beyond `offset`, in order, with what each holds of `tp`, the index's partition. Leader
    /// epochs and producers are not kept here.
    pub fn spans_beyond(
        &self,
        tp: TopicPartition,
        offset: Offset,
    ) -> impl Iterator<Item = (Arc<SegmentRef>, PartitionSpan)> {
        let first = self
            .segments
            .partition_point(|indexed| indexed.next_offset <= offset);
        let beyond = self.segments.range(first..);
        beyond.map(move |indexed| (Arc::clone(&indexed.segment), indexed.span(tp)))
    }

    /// Number of the segment that holds `offset`; the count of segments when none does.
    fn segment_at(&self, offset: Offset) -> usize {
        let at = self
            .segments
            .partition_point(|indexed| indexed.next_offset <= offset);
        match self.segments.get(at) {
            Some(indexed) if indexed.base_offset <= offset => at,
            _ => self.segments.len(),
        }
    }
}

impl Indexed {
    fn span(&self, tp: TopicPartition) -> PartitionSpan {
        PartitionSpan {
            tp,
            base_offset: self.base_offset,
            next_offset: self.next_offset,
            max_timestamp: self.max_timestamp,
            leader_epochs: Vec::new(),
            blocks: self.blocks.to_vec(),
            producers: Vec::new(),
        }
    }

    fn blocks(&self) -> impl Iterator<Item = IndexedBlock<'_>> {
        let segment = &self.segment;
        self.blocks
            .iter()
            .map(move |block| IndexedBlock { segment, block })
    }
}

#[cfg(test)]
mod tests;

//! What to read, and in which order it is written: pure.
//!
//! A table file is sorted by partition and offset, a segment holds many partitions. A **step** is as much as is held in
//! memory at a time; its blocks are in the file's order, and what lies together in one segment is read with one GET.

use std::ops::Range;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::footer::BlockEntry;
use alluvium_segment::segment_index::SegmentRef;

use super::plan::ReadyPartition;

/// Bytes between two wanted ranges that are read rather than asked for apart: about what a GET takes in time.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// Bytes of one GET, at most.
const GET_BYTES_MAX: u64 = 16 << 20;

/// A block in the order of the file.
#[derive(Debug, Clone)]
pub struct WantedBlock {
    /// Of which partition.
    pub partition: PartitionIndex,
    /// First offset that is wanted.
    pub from: Offset,
    /// Where it is.
    pub block: BlockEntry,
    /// The place of its bytes among the fetched: which, and where in it.
    pub place: (usize, usize),
}

/// One GET.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Of which segment.
    pub segment: Arc<SegmentRef>,
    /// Which of its bytes.
    pub positions: Range<u64>,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// What to read.
    pub fetches: Vec<Fetch>,
    /// What to write, in order.
    pub blocks: Vec<WantedBlock>,
}

/// Cuts the work on a topic into steps of about `step_bytes` stored bytes.
pub fn steps(partitions: &[ReadyPartition], step_bytes: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut open, mut bytes) = (Vec::new(), 0);
    for partition in partitions {
        for pending in &partition.spans {
            let blocks = pending.span.blocks.iter();
            for block in blocks.filter(|block| block.next_offset > partition.from) {
                open.push((
                    Arc::clone(&pending.segment),
                    partition.tp.partition,
                    partition.from,
                    *block,
                ));
                bytes += u64::from(block.stored_length);
                if bytes >= step_bytes {
                    steps.push(step(std::mem::take(&mut open)));
                    bytes = 0;
                }
            }
        }
    }
    if !open.is_empty() {
        steps.push(step(open));
    }
    steps
}

fn step(wanted: Vec<(Arc<SegmentRef>, PartitionIndex, Offset, BlockEntry)>) -> Step {
    // By place in the bucket, to see what lies together.
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_unstable_by_key(|at| {
        let (segment, _, _, block) = &wanted[*at];
        (&segment.object_key, block.position)
    });
    let mut fetches: Vec<Fetch> = Vec::new();
    let mut places = vec![(0, 0); wanted.len()];
    for at in order {
        let (segment, _, _, block) = &wanted[at];
        let end = block.position + u64::from(block.stored_length);
        let joins = |fetch: &&mut Fetch| {
            fetch.segment.object_key == segment.object_key
                && block.position <= fetch.positions.end + GAP_BYTES_MAX
                && end - fetch.positions.start <= GET_BYTES_MAX
        };
        match fetches.last_mut().filter(joins) {
            Some(fetch) => fetch.positions.end = fetch.positions.end.max(end),
            None => fetches.push(Fetch {
                segment: Arc::clone(segment),
                positions: block.position..end,
            }),
        }
        let number = fetches.len() - 1;
        let within = block.position - fetches[number].positions.start;
        places[at] = (number, within as usize);
    }
    let blocks = wanted.into_iter().zip(places);
    let blocks = blocks.map(|((_, partition, from, block), place)| WantedBlock {
        partition,
        from,
        block,
        place,
    });
    Step {
        blocks: blocks.collect(),
        fetches,
    }
}

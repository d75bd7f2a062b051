//! What to read of table files, in the order in which it is written: pure.

use std::collections::BTreeSet;
use std::ops::Range;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;

use super::source::Source;

/// Raw bytes of a step, about: its rows are held in memory as they are written.
const STEP_RAW_BYTES: u64 = 32 << 20;

/// Stripes of one partition in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteStep {
    /// Number of the file.
    pub source: usize,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where the file's span of it begins.
    pub from: Offset,
    /// Numbers of the stripes.
    pub stripes: Range<usize>,
    /// Up to where the partition is answered for when they are written.
    pub reach: Offset,
}

/// By partition, then by file, then by offset.
pub fn steps(sources: &[Source]) -> Vec<RewriteStep> {
    let spans = sources.iter().flat_map(|source| source.file.spans());
    let partitions: BTreeSet<_> = spans.map(|span| span.partition).collect();
    let mut steps = Vec::new();
    for partition in partitions {
        for (number, source) in sources.iter().enumerate() {
            let mut spans = source.file.spans().iter();
            let Some(span) = spans.find(|span| span.partition == partition) else {
                continue;
            };
            let stripes = source.file.stripes();
            let numbers = source.stripes_of(partition);
            let step = |stripes: Range<usize>, reach| RewriteStep {
                source: number,
                partition,
                from: span.base_offset,
                stripes,
                reach,
            };
            let (mut open, mut raw_bytes) = (numbers.start, 0);
            for at in numbers.clone() {
                raw_bytes += stripes[at].raw_bytes;
                if raw_bytes >= STEP_RAW_BYTES {
                    steps.push(step(open..at + 1, stripes[at].next_offset));
                    (open, raw_bytes) = (at + 1, 0);
                }
            }
            steps.push(step(open..numbers.end, span.next_offset));
        }
    }
    steps
}

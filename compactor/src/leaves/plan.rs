//! Which table files go to leaves: pure.

use std::collections::BTreeMap;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::{ManifestContent, SpanEntry, TableEntry};

use crate::rewrite::join::run_to_join;

/// Leaves that one manifest adds, or takes back, at most: each is an object, and what its files are called is in memory.
pub const NEW_LEAVES_MAX: usize = 16;

/// How much a leaf lists, and how much the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafLimits {
    /// Table files of a leaf. With few, the root has many leaves to name; with many, it has many files that wait for their
    /// leaf. Both are as many with the square root of all files of the topic.
    pub tables: usize,
    /// Spans of a leaf: with so many it is full, with however few files. Bounds the memory of whoever reads it, for topics
    /// with many partitions.
    pub spans: usize,
    /// The newest table files, which stay in the root: more than are waiting to be joined with younger ones, which is seven
    /// of each level.
    pub kept: usize,
}

impl LeafLimits {
    /// Leaves of so many table files, at least one.
    pub fn of(tables: u32) -> Self {
        let tables = (tables as usize).max(1);
        Self {
            tables,
            // 15 MiB of memory.
            spans: 1 << 18,
            kept: (tables / 8).max(1),
        }
    }

    /// How many of the first `tables` fill a leaf; `None`: all of them do not.
    fn full(&self, tables: &[TableEntry]) -> Option<usize> {
        let mut spans = 0;
        let mut fill = tables.iter().enumerate();
        let last = fill.find(|(number, table)| {
            spans += table.spans.len();
            number + 1 >= self.tables || spans >= self.spans
        });
        last.map(|(number, _)| number + 1)
    }
}

impl Default for LeafLimits {
    fn default() -> Self {
        Self::of(512)
    }
}

/// Table files of a manifest are not in the order of their offsets, so none can go to a leaf.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfOrder;

/// How many table files go to each new leaf, from the first file on. Those that are still to be joined (`table_bytes` is the
/// size at which a file ends) stay, unless joining is behind by more than a leaf.
///
/// # Errors
/// There are enough for a leaf, and they are not in order.
pub fn leaving(
    content: &ManifestContent,
    limits: &LeafLimits,
    table_bytes: u64,
) -> Result<Vec<usize>, OutOfOrder> {
    let tables = &content.tables;
    let (mut leaves, mut start) = (Vec::new(), 0);
    // One more than may be: it shows whether another one is waiting behind.
    while leaves.len() <= NEW_LEAVES_MAX
        && let Some(count) = limits.full(&tables[start..])
        && start + count + limits.kept <= tables.len()
    {
        leaves.push(count);
        start += count;
    }
    if leaves.is_empty() {
        return Ok(leaves);
    }
    if !is_in_order(content) {
        return Err(OutOfOrder);
    }
    let unjoined = run_to_join(tables, table_bytes).map_or(tables.len(), |run| run.start);
    let mut end = 0;
    let joined = leaves.iter().take_while(|count| {
        end += **count;
        end <= unjoined
    });
    let leaving = joined.count().max(leaves.len() - 1).min(NEW_LEAVES_MAX);
    leaves.truncate(leaving);
    Ok(leaves)
}

/// Whether what stands first has the lower offsets, for each partition: then any cut leaves spans that do not overlap.
/// Everything that writes manifests keeps it so.
fn is_in_order(content: &ManifestContent) -> bool {
    let of_leaves = content.leaves.iter().flat_map(|leaf| &leaf.spans);
    let of_leaves = of_leaves.map(|one| &one.span);
    let of_tables = content.tables.iter().flat_map(|table| &table.spans);
    let mut ends: BTreeMap<PartitionIndex, Offset> = BTreeMap::new();
    let mut follows = |span: &SpanEntry| {
        let end = ends.entry(span.partition).or_default();
        let follows = span.base_offset >= *end;
        *end = span.next_offset;
        follows
    };
    of_leaves.chain(of_tables).all(&mut follows)
}

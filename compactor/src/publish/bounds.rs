//! Sizes that bound the memory of publishing.

use crate::tables::PART_BYTES;

/// See the module's documentation. Tests have smaller ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Blocks of which is known that they wait, at most: about 100 MiB. With more waiting, what is known is published
    /// first.
    pub backlog_blocks: usize,
    /// Stored bytes of a step. Two are in memory at a time, beside a row group and the upload's buffers.
    pub step_bytes: u64,
    /// A smaller table file is one PUT, a larger one is put in parts of this size.
    pub part_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            backlog_blocks: 1 << 20,
            step_bytes: 32 << 20,
            part_bytes: PART_BYTES,
        }
    }
}

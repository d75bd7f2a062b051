//! Where the log of a partition shall start: pure.

use alluvium_common::clock::TimestampMs;
use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_segment::manifest::Manifest;

/// How much of a partition is kept. What is over any limit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Records are kept this long after their timestamp (`retention.ms`); `None`: for ever.
    pub ms: Option<i64>,
    /// So many bytes of it are kept (`retention.bytes`); `None`: all.
    pub bytes: Option<u64>,
}

/// The log start of a partition that begins at `from` now; the same if nothing is to go. `unpublished_bytes` are those of
/// its segments, which count and are kept.
///
/// As in Kafka, what goes is a whole part of the log, here what one table file holds of it: when the youngest of its
/// records is too old, or when without it there is still enough. A record without a timestamp is never too old.
pub fn log_start(
    manifest: &Manifest,
    partition: PartitionIndex,
    from: Offset,
    unpublished_bytes: u64,
    limits: &RetentionLimits,
    now_ms: TimestampMs,
) -> Offset {
    let spans: Vec<_> = manifest.spans_from(partition, from).collect();
    let stored = spans.iter().map(|found| found.stored_bytes());
    let mut left = unpublished_bytes.saturating_add(stored.sum());
    let mut start = from;
    for found in spans {
        let youngest = found.span.max_timestamp;
        let is_old = |ms: i64| youngest >= 0 && now_ms.saturating_sub(youngest) > ms;
        let behind = left.saturating_sub(found.stored_bytes());
        let is_old = limits.ms.is_some_and(is_old);
        let is_surplus = limits.bytes.is_some_and(|bytes| behind >= bytes);
        if !is_old && !is_surplus {
            break;
        }
        left = behind;
        start = start.max(found.span.next_offset);
    }
    start
}

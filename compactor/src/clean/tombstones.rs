//! When tombstones may go (KIP-534): by a cleaning that begins `delete.retention.ms` after the end of the first one that
//! saw them. Whoever read the value that a tombstone deletes, and reads on within that time, finds the tombstone. Kafka
//! keeps the date in each batch; here a few marks for each partition say the same: pure.
//!
//! Dates of marks are rounded up, so that their number is bounded however often a partition is cleaned: a tombstone lives
//! up to a sixteenth longer than it has to.

use alluvium_common::offset::Offset;
use alluvium_segment::manifest::{CleanState, TOMBSTONE_MARKS_MAX, TombstoneMark};

use super::time::CleanTime;

/// Dates of marks are multiples of this part of `delete.retention.ms`.
const PARTS: i64 = 16;

/// Tombstones below this offset may be removed now.
pub fn horizon(clean: &CleanState, time: CleanTime, delete_retention_ms: i64) -> Offset {
    let is_over = |mark: &&TombstoneMark| {
        let until_ms = mark.cleaned_ms.saturating_add(delete_retention_ms);
        until_ms <= time.earliest_ms
    };
    let over = clean.tombstones.iter().take_while(is_over).last();
    over.map_or(Offset::ZERO, |mark| mark.next_offset)
}

/// The marks after a cleaning up to `end` that removed the tombstones below `horizon`; `has_new`: it saw some for the first
/// time.
pub fn marks_after(
    before: &[TombstoneMark],
    horizon: Offset,
    end: Offset,
    has_new: bool,
    time: CleanTime,
    delete_retention_ms: i64,
) -> Vec<TombstoneMark> {
    let left = before.iter().filter(|mark| mark.next_offset > horizon);
    let mut marks: Vec<_> = left.copied().collect();
    if !has_new {
        return marks;
    }
    let cleaned_ms = rounded_up(time.latest_ms, delete_retention_ms / PARTS);
    // A clock that went back does not make anything older.
    let cleaned_ms = marks
        .last()
        .map_or(cleaned_ms, |last| last.cleaned_ms.max(cleaned_ms));
    marks.pop_if(|last| last.cleaned_ms == cleaned_ms);
    marks.push(TombstoneMark {
        next_offset: end,
        cleaned_ms,
    });
    // Only where delete.retention.ms was shortened and prolonged again. What the oldest said is left to the next one,
    // whose date is later.
    let excess = marks.len().saturating_sub(TOMBSTONE_MARKS_MAX);
    marks.drain(..excess);
    marks
}

fn rounded_up(date_ms: i64, unit_ms: i64) -> i64 {
    let unit_ms = unit_ms.max(1);
    let over_ms = date_ms.rem_euclid(unit_ms);
    match over_ms {
        0 => date_ms,
        _ => date_ms.saturating_add(unit_ms - over_ms),
    }
}

//! How far key compaction has cleaned a partition, and what must be known to clean it further.

use alluvium_common::offset::Offset;

use crate::error::FormatError;

/// Marks of one partition, at most: a reader refuses more. Whoever cleans needs some twenty of them.
pub const TOMBSTONE_MARKS_MAX: usize = 64;

/// How far the records of a partition are clean: below that offset no two have the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanState {
    /// The offset after what is clean; what is published from there on is dirty.
    pub next_offset: Offset,
    /// Only records below this offset may have been removed: of a cleaning that was begun, some files may be written anew
    /// before it can say that all is clean.
    pub removed_before: Offset,
    /// Bytes of records that the last cleaning left below that offset, counted as those of spans. The records of clean
    /// and dirty offsets may lie in one file, so that the files do not tell.
    pub raw_bytes: u64,
    /// No dirty record has an older timestamp, in milliseconds since the Unix epoch; `None` if there is none. Records
    /// whose timestamp is not positive do not count.
    pub dirty_since_ms: Option<u64>,
    /// When tombstones were first seen, ascending by offset and time.
    pub tombstones: Vec<TombstoneMark>,
}

/// When a cleaning first saw some tombstones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TombstoneMark {
    /// Those below this offset, and not below that of the mark before.
    pub next_offset: Offset,
    /// Not later than this, in milliseconds since the Unix epoch.
    pub cleaned_ms: i64,
}

impl CleanState {
    /// Takes in that a record of this timestamp, and none that is older, was published.
    pub fn add_dirty(&mut self, timestamp: i64) {
        if let Some(new) = u64::try_from(timestamp).ok().filter(|new| *new > 0) {
            self.dirty_since_ms = Some(self.dirty_since_ms.map_or(new, |known| known.min(new)));
        }
    }

    /// Refuses what contradicts itself, or a partition that is published up to `published_end`.
    pub(super) fn check(&self, published_end: Offset) -> Result<(), FormatError> {
        let mut ends = self.tombstones.iter().map(|mark| mark.next_offset);
        let ascend = self.tombstones.windows(2).all(|pair| {
            pair[0].next_offset < pair[1].next_offset && pair[0].cleaned_ms <= pair[1].cleaned_ms
        });
        let is_sound = self.next_offset <= self.removed_before
            && self.removed_before <= published_end
            && self.tombstones.len() <= TOMBSTONE_MARKS_MAX
            && ascend
            && ends.all(|end| end <= self.next_offset);
        match is_sound {
            true => Ok(()),
            false => Err(FormatError::Malformed("manifest: what is clean")),
        }
    }
}

//! Kafka offsets. A place inside a file or object is a *position*, never an offset.

use std::fmt;

/// The number of a record in its partition; never negative. Kafka's -1 stays on the wire, inside
/// it is `Option<Offset>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Offset = Offset(0);

    /// `None` for a negative number.
    pub const fn new(value: i64) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number itself.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `count` records later; `None` past the largest offset.
    pub const fn checked_add(self, count: u32) -> Option<Self> {
        match self.0.checked_add(count as i64) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The next offset. Saturates at the largest one, which no partition reaches.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The four offsets that bound a partition's log.
/// Always `log_start <= last_stable <= high_watermark <= log_end` (I13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOffsets {
    /// First offset still readable.
    pub log_start: Offset,
    /// First offset not yet readable by `read_committed`.
    pub last_stable: Offset,
    /// First offset not yet readable by `read_uncommitted`.
    pub high_watermark: Offset,
    /// Next offset to be assigned.
    pub log_end: Offset,
}

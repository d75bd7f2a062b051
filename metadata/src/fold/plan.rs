//! Which entries to fold next: pure.
//!
//! Entries have **levels**, as in a log-structured merge tree: a commit is of level 0, a fold of up to `fan_in`² of
//! level 1, and so on. A run of `fan_in` entries of one level becomes a fold of the next. So each commit is rewritten
//! once per level, and a log of n commits has fewer than `fan_in` keys on each of log(n) levels. What has reached half of
//! the size bound is **full**: it is left alone, and any two that are not full fit together.

use std::ops::Range;

use crate::commit_log::LogEntry;

/// When and how much to fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldLimits {
    /// Entries of one level that are worth folding. More means more keys and less rewriting.
    pub fan_in: usize,
    /// Entries of one fold, at most: bounds the GETs of one pass, and the keys that one transaction deletes.
    pub run_max: usize,
    /// Bytes that a fold object should not exceed: bounds the memory of who makes it.
    pub bytes_max: u64,
    /// Whether levels count. Not for a frozen log: it is folded once, and then as far as sizes allow.
    pub by_level: bool,
}

impl FoldLimits {
    /// For a log that grows.
    pub const GROWING: Self = Self {
        fan_in: 64,
        run_max: 1000,
        bytes_max: 32 * 1024 * 1024,
        by_level: true,
    };

    /// For a log that is frozen.
    pub const FROZEN: Self = Self {
        fan_in: 2,
        by_level: false,
        ..Self::GROWING
    };

    fn level(&self, entry: &LogEntry) -> u32 {
        match entry {
            LogEntry::Fold(fold) if self.by_level => {
                let commits = fold.last_seq - fold.first_seq + 1;
                let base = self.fan_in.max(2) as u64;
                // A fold of exactly `base` is of level 1; one that a size bound cut short too.
                commits.max(base).ilog(base)
            }
            _ => 0,
        }
    }

    /// What was dropped holds nothing to be folded.
    fn is_full(&self, entry: &LogEntry) -> bool {
        matches!(entry, LogEntry::Dropped(_)) || weight(entry) > self.bytes_max / 2
    }
}

/// Bytes that an entry adds to a fold, at most: footers get smaller in it.
fn weight(entry: &LogEntry) -> u64 {
    match entry {
        LogEntry::Commit { record, .. } => u64::from(record.footer_length),
        LogEntry::Fold(fold) => fold.size_bytes,
        LogEntry::Dropped(_) => 0,
    }
}

/// The entries (as places in `entries`) to fold next, or `None` if nothing is due. At least two.
pub fn plan_folds(entries: &[LogEntry], limits: &FoldLimits) -> Option<Range<usize>> {
    let mut start = 0;
    while start < entries.len() {
        if limits.is_full(&entries[start]) {
            start += 1;
            continue;
        }
        let level = limits.level(&entries[start]);
        let same = |entry: &&LogEntry| !limits.is_full(entry) && limits.level(entry) == level;
        let run = entries[start..].iter().take_while(same).count();
        if let Some(length) = due(&entries[start..start + run], limits) {
            return Some(start..start + length);
        }
        start += run;
    }
    None
}

/// How many of a run's first entries to fold now.
fn due(run: &[LogEntry], limits: &FoldLimits) -> Option<usize> {
    let (mut bytes, mut length) = (0u64, 0);
    for entry in run.iter().take(limits.run_max) {
        bytes = bytes.saturating_add(weight(entry));
        if length > 0 && bytes > limits.bytes_max {
            break;
        }
        length += 1;
    }
    // Cut short by a bound, it will never be longer.
    let complete = length < run.len() || length >= limits.fan_in;
    (complete && length >= 2).then_some(length)
}

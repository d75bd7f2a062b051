//! What time it is, for deciding what may be removed.
//!
//! Tombstones are removed by dates, and dates come from clocks that somebody may set. While a process runs, its clock is
//! compared with the time that has really passed, and of the two that one counts which removes later. So no jump of a clock
//! makes a tombstone go early. What is left is the difference between the clocks of the process that saw the tombstone first
//! and of the one that removes it, as they stood when these processes started: by that much it may go early. A machine
//! that sleeps only makes it go later.

use alluvium_common::clock::{SharedClock, TimestampMs};
use tokio::time::Instant;

/// Between which two dates it is now, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanTime {
    /// It is not earlier: so old is what may be removed.
    pub earliest_ms: TimestampMs,
    /// It is not later: the date of what is seen now.
    pub latest_ms: TimestampMs,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct SteadyTime {
    clock: SharedClock,
    started_ms: TimestampMs,
    started: Instant,
}

impl SteadyTime {
    /// From now on.
    pub fn start(clock: SharedClock) -> Self {
        Self {
            started_ms: clock.now_ms(),
            started: Instant::now(),
            clock,
        }
    }

    /// Now.
    pub fn now(&self) -> CleanTime {
        let passed_ms = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let (steady_ms, now_ms) = (
            self.started_ms.saturating_add(passed_ms),
            self.clock.now_ms(),
        );
        CleanTime {
            earliest_ms: steady_ms.min(now_ms),
            latest_ms: steady_ms.max(now_ms),
        }
    }
}

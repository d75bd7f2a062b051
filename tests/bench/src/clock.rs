//! The one clock of the benchmark: a benchmark measures real time, so there is nothing to inject.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock. Producer and consumer threads of one process may compare them.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).expect("the monotonic clock starts at zero");
    let nanos = u64::try_from(time.tv_nsec).expect("nanoseconds are never negative");
    seconds * 1_000_000_000 + nanos
}

/// Time since `start_ns`.
pub fn since(start_ns: u64) -> Duration {
    Duration::from_nanos(now_ns().saturating_sub(start_ns))
}

/// A point in time after which a wait gives up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(u64);

impl Deadline {
    /// `after` from now.
    pub fn after(after: Duration) -> Self {
        Self(now_ns() + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX / 2))
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        now_ns() >= self.0
    }

    /// What is left of it.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now_ns()))
    }
}

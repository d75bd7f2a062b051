//! When the open segment is sealed: a pure function of what it holds, of what is in flight and of
//! the time.
//!
//! - By size: 8 MiB while an `object` producer waits in it, else 64 MiB.
//! - By age: 250 ms with such a waiter, else 10 s, or what a topic says (`local.retention.ms`).
//! - When a partition has more in it than its topic says (`local.retention.bytes`).
//! - At once, when a producer waits, no PUT is in flight and the PUT budget has a token.
//!
//! While every upload slot is taken only the larger size seals: what could not be sent anyway is
//! better sent as one object later.

use std::time::Duration;

use tokio::time::Instant;

/// When to seal. Smaller values give lower latency in the `object` class and more PUTs, which cost
/// money; larger ones the opposite. Without waiting producers only recovery time and the age of
/// what is in object storage depend on them.
#[derive(Debug, Clone, PartialEq)]
pub struct SealLimits {
    /// Sealed from this many bytes of batches while an `object` producer waits.
    pub bytes_with_waiter: usize,
    /// Sealed from this many bytes of batches in any case.
    pub bytes_max: usize,
    /// Longest that an `object` producer waits for the sealing.
    pub age_with_waiter: Duration,
    /// Longest that a batch stays in the open segment.
    pub age_max: Duration,
}

impl Default for SealLimits {
    fn default() -> Self {
        Self {
            bytes_with_waiter: 8 << 20,
            bytes_max: 64 << 20,
            age_with_waiter: Duration::from_millis(250),
            age_max: Duration::from_secs(10),
        }
    }
}

/// Why a segment was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SealReason {
    /// It was large enough.
    Size,
    /// It was old enough.
    Age,
    /// A producer waited and nothing spoke against it.
    Waiter,
    /// Memory or the write-ahead log's disk run short.
    Pressure,
    /// Somebody asked for it (`Pipeline::flush`).
    Flush,
}

/// What the open segment holds. There is none of it when the segment is empty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpenView {
    /// Bytes of its batches.
    pub bytes: usize,
    /// When one of its batches has been in it for as long as any may, or as its topic says.
    pub due_at: Instant,
    /// When the first batch came whose producer can only be answered by a commit.
    pub waiter_at: Option<Instant>,
    /// Whether a flush was asked for.
    pub flush: bool,
    /// Whether memory or the write-ahead log's disk run short.
    pub pressed: bool,
    /// Whether a partition has more in it than its topic says.
    pub crowded: bool,
}

/// What is on its way to object storage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UploadsView {
    /// Sealed segments that are not uploaded yet.
    pub in_flight: usize,
    /// Whether a segment sealed now would be sent now.
    pub slot_free: bool,
    /// When the PUT budget has its next token; `None` if it has one now.
    pub next_token_at: Option<Instant>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SealDecision {
    /// Seal it.
    Seal(SealReason),
    /// Nothing before this time, unless something changes.
    WaitUntil(Instant),
    /// Nothing unless something changes.
    Wait,
}

/// Decides about a segment that is not empty.
pub fn decide(
    open: &OpenView,
    uploads: &UploadsView,
    limits: &SealLimits,
    now: Instant,
) -> SealDecision {
    if open.flush {
        return SealDecision::Seal(SealReason::Flush);
    }
    if open.bytes >= limits.bytes_max {
        return SealDecision::Seal(SealReason::Size);
    }
    if !uploads.slot_free {
        return SealDecision::Wait;
    }
    if open.crowded || (open.waiter_at.is_some() && open.bytes >= limits.bytes_with_waiter) {
        return SealDecision::Seal(SealReason::Size);
    }
    // Not for crumbs while something is on its way already: that relieves soon, and PUTs cost.
    if open.pressed && (uploads.in_flight == 0 || open.bytes >= limits.bytes_with_waiter / 4) {
        return SealDecision::Seal(SealReason::Pressure);
    }
    let mut deadline = open.due_at;
    if let Some(since) = open.waiter_at {
        deadline = deadline.min(since + limits.age_with_waiter);
    }
    if now >= deadline {
        return SealDecision::Seal(SealReason::Age);
    }
    if open.waiter_at.is_some() && uploads.in_flight == 0 {
        match uploads.next_token_at {
            None => return SealDecision::Seal(SealReason::Waiter),
            Some(at) => deadline = deadline.min(at),
        }
    }
    SealDecision::WaitUntil(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    struct Case {
        open: OpenView,
        uploads: UploadsView,
        start: Instant,
    }

    impl Case {
        fn new(bytes: usize) -> Self {
            let start = Instant::now();
            Self {
                open: OpenView {
                    bytes,
                    due_at: start + SealLimits::default().age_max,
                    waiter_at: None,
                    flush: false,
                    pressed: false,
                    crowded: false,
                },
                uploads: UploadsView {
                    in_flight: 0,
                    slot_free: true,
                    next_token_at: None,
                },
                start,
            }
        }

        fn waiter(mut self, after_ms: u64) -> Self {
            self.open.waiter_at = Some(self.at(after_ms));
            self
        }

        fn in_flight(mut self, count: usize) -> Self {
            self.uploads.in_flight = count;
            self
        }

        fn no_slot(mut self) -> Self {
            self.uploads.slot_free = false;
            self
        }

        fn token_at(mut self, after_ms: u64) -> Self {
            self.uploads.next_token_at = Some(self.at(after_ms));
            self
        }

        fn pressed(mut self) -> Self {
            self.open.pressed = true;
            self
        }

        fn due(mut self, after_ms: u64) -> Self {
            self.open.due_at = self.at(after_ms);
            self
        }

        fn crowded(mut self) -> Self {
            self.open.crowded = true;
            self
        }

        fn flush(mut self) -> Self {
            self.open.flush = true;
            self
        }

        fn at(&self, after_ms: u64) -> Instant {
            self.start + Duration::from_millis(after_ms)
        }

        /// Decision after `after_ms`, with times told as milliseconds from the start.
        fn decide(&self, after_ms: u64) -> String {
            match decide(
                &self.open,
                &self.uploads,
                &SealLimits::default(),
                self.at(after_ms),
            ) {
                SealDecision::Seal(reason) => format!("seal {reason:?}"),
                SealDecision::WaitUntil(at) => format!("until {}", (at - self.start).as_millis()),
                SealDecision::Wait => "wait".into(),
            }
        }
    }

    #[test]
    fn rules() {
        let table = [
            (
                "local, young and small",
                Case::new(MIB).decide(0),
                "until 10000",
            ),
            ("local, large", Case::new(64 * MIB).decide(0), "seal Size"),
            ("local, old", Case::new(1).decide(10_000), "seal Age"),
            (
                "waiter, nothing in flight",
                Case::new(1).waiter(0).decide(0),
                "seal Waiter",
            ),
            (
                "waiter, PUT in flight",
                Case::new(1).waiter(5).in_flight(1).decide(5),
                "until 255",
            ),
            (
                "waiter, PUT in flight, old",
                Case::new(1).waiter(5).in_flight(1).decide(255),
                "seal Age",
            ),
            (
                "waiter, PUT in flight, 8 MiB",
                Case::new(8 * MIB).waiter(0).in_flight(1).decide(0),
                "seal Size",
            ),
            (
                "8 MiB without waiter",
                Case::new(8 * MIB).decide(0),
                "until 10000",
            ),
            (
                "waiter, no token",
                Case::new(1).waiter(0).token_at(100).decide(0),
                "until 100",
            ),
            (
                "waiter, token too late to matter",
                Case::new(1).waiter(0).token_at(900).decide(0),
                "until 250",
            ),
            (
                "waiter in an old segment",
                Case::new(1).waiter(9_900).in_flight(1).decide(9_950),
                "until 10000",
            ),
            (
                "no slot: age waits",
                Case::new(1).waiter(0).no_slot().decide(20_000),
                "wait",
            ),
            (
                "no slot: 8 MiB waits",
                Case::new(8 * MIB).waiter(0).no_slot().decide(0),
                "wait",
            ),
            (
                "no slot: 64 MiB goes",
                Case::new(64 * MIB).no_slot().decide(0),
                "seal Size",
            ),
            ("pressed", Case::new(1).pressed().decide(0), "seal Pressure"),
            (
                "pressed, something is on its way",
                Case::new(1).pressed().in_flight(1).decide(0),
                "until 10000",
            ),
            (
                "pressed without a slot",
                Case::new(1).pressed().no_slot().decide(0),
                "wait",
            ),
            (
                "local, due by its topic",
                Case::new(1).due(70).decide(0),
                "until 70",
            ),
            (
                "local, too much of a partition",
                Case::new(1).crowded().decide(0),
                "seal Size",
            ),
            (
                "the same without a slot",
                Case::new(1).crowded().no_slot().decide(0),
                "wait",
            ),
            (
                "flush",
                Case::new(1).no_slot().flush().decide(0),
                "seal Flush",
            ),
        ];
        for (name, got, expected) in table {
            assert_eq!(got, expected, "{name}");
        }
    }
}

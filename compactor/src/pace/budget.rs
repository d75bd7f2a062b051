//! Whose turn it is when so many bytes a second may pass: pure.
//!
//! Whoever wants bytes takes a turn, and may go when time has paid for all that was taken before. So the first after a pause
//! goes at once, whatever its size, the next ones wait for it, and what was not used is not saved.

use std::time::Duration;

use tokio::time::Instant;

/// See the module's documentation. Time comes from the caller.
#[derive(Debug)]
pub struct Budget {
    /// Bytes a second; `None`: there is no limit.
    rate: Option<f64>,
    /// Bytes taken since the beginning. Exact up to 2^53, which is months of gigabytes a second; then to two bytes.
    taken: f64,
    /// Bytes that time has paid for; never more than were taken.
    paid: f64,
    seen: Instant,
}

/// A place in the order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Turn {
    taken_before: f64,
}

impl Budget {
    /// Nothing was taken, and there is no limit.
    pub fn new(now: Instant) -> Self {
        Self {
            rate: None,
            taken: 0.0,
            paid: 0.0,
            seen: now,
        }
    }

    /// From `now` on so many bytes a second pass.
    pub fn set_rate(&mut self, bytes_per_second: Option<u64>, now: Instant) {
        self.pass(now);
        self.rate = bytes_per_second.map(|rate| rate.max(1) as f64);
        if self.rate.is_none() {
            self.paid = self.taken;
        }
    }

    /// Takes so many bytes, behind all who took some before.
    pub fn take(&mut self, bytes: u64) -> Turn {
        let taken_before = self.taken;
        self.taken += bytes as f64;
        Turn { taken_before }
    }

    /// When that turn comes, if the rate stays; `None`: it has.
    pub fn due(&mut self, turn: Turn, now: Instant) -> Option<Instant> {
        self.pass(now);
        let rate = self.rate?;
        let missing = turn.taken_before - self.paid;
        if missing <= 0.0 {
            return None;
        }
        // A microsecond more, so that rounding never wakes the caller just too early.
        Some(now + Duration::from_secs_f64(missing / rate) + Duration::from_micros(1))
    }

    fn pass(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.seen).as_secs_f64();
        self.seen = self.seen.max(now);
        self.paid = match self.rate {
            Some(rate) => (self.paid + passed * rate).min(self.taken),
            None => self.taken,
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(count: f64) -> Duration {
        Duration::from_secs_f64(count)
    }

    fn about(one: Instant, other: Instant) -> bool {
        let apart = one.max(other) - one.min(other);
        apart <= Duration::from_micros(10)
    }

    #[test]
    fn each_waits_for_what_was_taken_before() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.set_rate(Some(100), start);
        let turns = [1_000, 50, 0, 200].map(|bytes| budget.take(bytes));
        assert_eq!(budget.due(turns[0], start), None, "the first goes at once");
        for (turn, after) in [(turns[1], 10.0), (turns[2], 10.5), (turns[3], 10.5)] {
            let due = budget.due(turn, start).expect("waits");
            assert!(about(due, start + seconds(after)), "{after}");
        }
        assert_eq!(budget.due(turns[3], start + seconds(10.6)), None);
    }

    #[test]
    fn what_is_not_used_is_not_saved() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.set_rate(Some(100), start);
        let later = start + seconds(3_600.0);
        let (first, second) = {
            budget.set_rate(Some(100), later);
            (budget.take(100), budget.take(100))
        };
        assert_eq!(budget.due(first, later), None);
        let due = budget.due(second, later).expect("waits");
        assert!(about(due, later + seconds(1.0)));
    }

    #[test]
    fn a_rate_that_changes_counts_from_then_on() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.set_rate(Some(10), start);
        budget.take(100);
        let turn = budget.take(1);
        let half = start + seconds(5.0);
        budget.set_rate(Some(100), half);
        let due = budget.due(turn, half).expect("half of it is paid for");
        assert!(about(due, half + seconds(0.5)));
        budget.set_rate(None, half);
        assert_eq!(budget.due(turn, half), None, "without a limit nobody waits");
        // Of what passed without a limit nothing is owed.
        budget.set_rate(Some(10), half);
        let next = budget.take(5);
        assert_eq!(budget.due(next, half), None);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_pays_for_nothing() {
        let start = Instant::now() + seconds(10.0);
        let mut budget = Budget::new(start);
        budget.set_rate(Some(10), start);
        budget.take(10);
        let turn = budget.take(10);
        assert!(budget.due(turn, start - seconds(5.0)).is_some());
        assert!(budget.due(turn, start).is_some());
        assert_eq!(budget.due(turn, start + seconds(1.1)), None);
    }

    proptest! {
        /// Whoever goes when its turn comes passes no more than the rate, but for the last piece, and waits for no more than
        /// what was taken before.
        #[test]
        fn no_more_passes_than_the_rate(
            pieces in proptest::collection::vec((1..10_000u64, 0..2_000u64), 1..100),
            rate in 1..5_000u64,
        ) {
            let start = Instant::now();
            let mut budget = Budget::new(start);
            budget.set_rate(Some(rate), start);
            let (mut now, mut passed_before) = (start, 0);
            for (bytes, pause_ms) in pieces {
                now += Duration::from_millis(pause_ms);
                budget.set_rate(Some(rate), now);
                let turn = budget.take(bytes);
                if let Some(due) = budget.due(turn, now) {
                    prop_assert!((due - now).as_secs_f64() <= 10_000.0 / rate as f64 + 0.001);
                    now = due;
                    prop_assert_eq!(budget.due(turn, now), None);
                }
                let allowed = (now - start).as_secs_f64() * rate as f64;
                prop_assert!(passed_before as f64 <= allowed + 1.0, "{} {}", passed_before, allowed);
                passed_before += bytes;
            }
        }
    }
}

//! When to try again, and when not to.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::rand::Random;

/// Settings of the retry decorator. The defaults suit a bucket in the same region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// No attempt begins this long after the first one, pauses included: the operation fails. Callers
    /// that must go on (an upload of acknowledged records) start a new one, under a new name.
    pub deadline: Duration,
    /// Time for one request that moves no bytes. A store that hangs is noticed after this.
    pub attempt_timeout: Duration,
    /// Slowest transfer still waited for, in bytes a second: a request gets its size divided by this
    /// on top of `attempt_timeout`.
    pub transfer_bytes_per_second_min: u64,
    /// Longest pause before the first retry; it doubles with each further one. The pause taken is
    /// random between nothing and that ("full jitter"), so that many brokers do not come back at once.
    pub pause_first: Duration,
    /// Longest pause at all.
    pub pause_max: Duration,
    /// Retries a second that all operations of one store together may make. When they want more they
    /// wait: a store that asks for less is sent less, and nothing fails because others do.
    pub retries_per_second: u32,
    /// Retries that may be made at once after a quiet time.
    pub retries_burst: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(10),
            transfer_bytes_per_second_min: 2 << 20,
            pause_first: Duration::from_millis(50),
            pause_max: Duration::from_secs(5),
            retries_per_second: 20,
            retries_burst: 100,
        }
    }
}

impl RetryPolicy {
    /// Time that one attempt moving `bytes` may take.
    pub(super) fn attempt_timeout(&self, bytes: u64) -> Duration {
        let rate = self.transfer_bytes_per_second_min.max(1);
        let transfer = Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.attempt_timeout.saturating_add(transfer)
    }

    /// The pause before retry number `retry`, counted from 1.
    pub(super) fn pause(&self, retry: u32, random: &dyn Random) -> Duration {
        let doublings = retry.saturating_sub(1).min(16);
        let longest = self
            .pause_first
            .saturating_mul(1 << doublings)
            .min(self.pause_max);
        let longest_us = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX - 1);
        Duration::from_micros(random.below(longest_us + 1))
    }
}

/// The retries that one store's operations share: a bucket of tokens refilled with time.
#[derive(Debug)]
pub(super) struct RetryBudget {
    per_second: f64,
    burst: f64,
    state: Mutex<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    /// Negative when retries already stand in line.
    available: f64,
    counted_at: Instant,
}

impl RetryBudget {
    pub(super) fn new(policy: &RetryPolicy) -> Self {
        let burst = f64::from(policy.retries_burst.max(1));
        Self {
            per_second: f64::from(policy.retries_per_second.max(1)),
            burst,
            state: Mutex::new(Tokens {
                available: burst,
                counted_at: Instant::now(),
            }),
        }
    }

    /// Takes one retry and tells how long to wait for it.
    pub(super) fn take(&self) -> Duration {
        let now = Instant::now();
        let mut tokens = self.state.lock();
        let since = now.saturating_duration_since(tokens.counted_at);
        let refilled = tokens.available + since.as_secs_f64() * self.per_second;
        tokens.counted_at = now;
        tokens.available = refilled.min(self.burst) - 1.0;
        let short = (-tokens.available).max(0.0);
        Duration::from_secs_f64(short / self.per_second)
    }

    /// Gives a retry back that was not made after all.
    pub(super) fn give_back(&self) {
        let mut tokens = self.state.lock();
        tokens.available = (tokens.available + 1.0).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rand::SeededRandom;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let policy = RetryPolicy::default();
        let random = SeededRandom::new(1);
        let longest = |retry| {
            (0..200)
                .map(|_| policy.pause(retry, random.as_ref()))
                .max()
                .expect("200 pauses")
        };
        assert!(longest(1) <= policy.pause_first);
        assert!(longest(4) > policy.pause_first);
        assert!(longest(1000) <= policy.pause_max);
    }

    #[test]
    fn larger_requests_get_more_time() {
        let policy = RetryPolicy::default();
        let small = policy.attempt_timeout(0);
        assert_eq!(small, policy.attempt_timeout);
        assert_eq!(
            policy.attempt_timeout(64 << 20),
            small + Duration::from_secs(32)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_delays_and_refills() {
        let policy = RetryPolicy {
            retries_per_second: 10,
            retries_burst: 2,
            ..RetryPolicy::default()
        };
        let budget = RetryBudget::new(&policy);
        assert_eq!(budget.take(), Duration::ZERO);
        assert_eq!(budget.take(), Duration::ZERO);
        assert_eq!(budget.take(), Duration::from_millis(100));
        assert_eq!(budget.take(), Duration::from_millis(200));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.take(), Duration::ZERO);
    }
}

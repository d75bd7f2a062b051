//! The PUT budget: a token bucket whose unused tokens are saved for bursts.
//!
//! Object stores charge per PUT. The bucket decides how often a waiting producer may have a segment
//! sealed *at once*; sealing by size or age is never held back, it only empties the bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens that refill with time, up to a burst. Time comes from the caller.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket: `per_second` tokens are added each second, at most `burst` are saved. Values
    /// below a token an hour, or a burst below 1, are raised to that.
    pub fn new(per_second: f64, burst: f64, now: Instant) -> Self {
        let burst = burst.max(1.0);
        Self {
            per_second: per_second.max(1.0 / 3600.0),
            burst,
            tokens: burst,
            refilled_at: now,
        }
    }

    /// Takes one token. With none left nothing is owed: the caller had a better reason to go on.
    pub fn take(&mut self, now: Instant) {
        self.refill(now);
        self.tokens = (self.tokens - 1.0).max(0.0);
    }

    /// `None` when a token is there, else when the next one will be.
    pub fn next_token_at(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        if self.tokens >= 1.0 {
            return None;
        }
        let missing = Duration::from_secs_f64((1.0 - self.tokens) / self.per_second);
        // A microsecond more, so that rounding never wakes the caller just too early.
        Some(now + missing + Duration::from_micros(1))
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled_at);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.burst);
        self.refilled_at = self.refilled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saves_for_bursts_then_keeps_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(4.0, 8.0, start);
        for _ in 0..8 {
            assert_eq!(bucket.next_token_at(start), None);
            bucket.take(start);
        }
        let next = bucket.next_token_at(start).expect("the burst is spent");
        let wait = next - start;
        assert!(wait >= Duration::from_millis(250) && wait < Duration::from_millis(251));
        assert_eq!(bucket.next_token_at(next), None);

        // A minute later no more than the burst has been saved.
        let later = next + Duration::from_secs(60);
        for _ in 0..8 {
            assert_eq!(bucket.next_token_at(later), None);
            bucket.take(later);
        }
        assert!(bucket.next_token_at(later).is_some());
    }

    #[test]
    fn taking_from_an_empty_bucket_owes_nothing() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1.0, 1.0, start);
        for _ in 0..10 {
            bucket.take(start);
        }
        assert_eq!(
            bucket.next_token_at(start + Duration::from_millis(1001)),
            None
        );
    }
}

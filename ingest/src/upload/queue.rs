//! Which sealed segment is sent next, and when: pure.
//!
//! The lowest sequence goes first, since commits are in order. After a failure only one attempt is
//! made at a time, as a probe: a bucket that is away gets no storm, and the attempts do not hold the
//! memory that a longer backlog needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SealedSegment;

/// Bounds of what is sent at the same time.
#[derive(Debug, Clone, PartialEq)]
pub struct UploadLimits {
    /// Attempts.
    pub parallel_max: usize,
    /// Bytes of batches in all attempts together; one attempt is always allowed.
    pub bytes_max: usize,
    /// Pause after a first failure; doubled with each further one.
    pub retry_first: Duration,
    /// Longest pause. With the time-out of a PUT it bounds how long after an outage the backlog stays.
    pub retry_max: Duration,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            parallel_max: 4,
            bytes_max: 128 << 20,
            retry_first: Duration::from_millis(50),
            retry_max: Duration::from_secs(2),
        }
    }
}

/// What is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct InFlight {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

pub(crate) struct UploadQueue {
    limits: UploadLimits,
    waiting: BTreeMap<u64, Waiting>,
    failures_in_a_row: u32,
}

struct Waiting {
    segment: Arc<SealedSegment>,
    not_before: Option<Instant>,
}

impl UploadQueue {
    pub(crate) fn new(limits: UploadLimits) -> Self {
        Self {
            limits,
            waiting: BTreeMap::new(),
            failures_in_a_row: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn push(&mut self, segment: Arc<SealedSegment>) {
        let waiting = Waiting {
            not_before: None,
            segment,
        };
        self.waiting.insert(waiting.segment.sequence, waiting);
    }

    /// Whether a segment sealed now would be sent now.
    pub(crate) fn has_free_slot(&self, in_flight: InFlight) -> bool {
        self.waiting.is_empty() && in_flight.count < self.parallel()
    }

    /// The next one to send, if there is one and the limits allow.
    pub(crate) fn next(&mut self, in_flight: InFlight, now: Instant) -> Option<Arc<SealedSegment>> {
        if in_flight.count >= self.parallel() {
            return None;
        }
        let (_, first) = self.waiting.first_key_value()?;
        let too_early = first.not_before.is_some_and(|at| at > now);
        if too_early || !self.fits(first, in_flight) {
            return None;
        }
        self.waiting.pop_first().map(|(_, first)| first.segment)
    }

    /// When [`Self::next`], which has no answer now, will have one although nothing else happens.
    pub(crate) fn next_wake(&self, in_flight: InFlight) -> Option<Instant> {
        // With all slots taken the end of an attempt is what counts; a time that has passed already
        // would wake the caller again and again.
        if in_flight.count >= self.parallel() {
            return None;
        }
        let (_, first) = self.waiting.first_key_value()?;
        first.not_before.filter(|_| self.fits(first, in_flight))
    }

    fn fits(&self, waiting: &Waiting, in_flight: InFlight) -> bool {
        in_flight.count == 0 || in_flight.bytes + waiting.segment.bytes <= self.limits.bytes_max
    }

    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures_in_a_row = 0;
    }

    /// Puts a segment back. `jitter` in 0..1000 spreads the attempts of many brokers.
    pub(crate) fn failed(&mut self, segment: Arc<SealedSegment>, now: Instant, jitter: u64) {
        let doubled = self
            .limits
            .retry_first
            .saturating_mul(1 << self.failures_in_a_row.min(16));
        let pause = doubled.min(self.limits.retry_max);
        let spread = pause.mul_f64(0.5 + jitter as f64 / 2000.0);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let waiting = Waiting {
            not_before: Some(now + spread),
            segment,
        };
        self.waiting.insert(waiting.segment.sequence, waiting);
    }

    fn parallel(&self) -> usize {
        match self.failures_in_a_row {
            0 => self.limits.parallel_max,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    fn segment(sequence: u64, bytes: usize) -> Arc<SealedSegment> {
        Arc::new(SealedSegment {
            sequence,
            urgent: false,
            bytes,
            pushed: 0,
            items: Mutex::default(),
        })
    }

    fn next(queue: &mut UploadQueue, count: usize, bytes: usize, now: Instant) -> Option<u64> {
        let in_flight = InFlight { count, bytes };
        queue.next(in_flight, now).map(|segment| segment.sequence)
    }

    #[test]
    fn bounds_count_and_bytes() {
        let now = Instant::now();
        let mut queue = UploadQueue::new(UploadLimits::default());
        assert!(queue.has_free_slot(InFlight { count: 3, bytes: 0 }));
        assert!(!queue.has_free_slot(InFlight { count: 4, bytes: 0 }));
        for sequence in 0..3 {
            queue.push(segment(sequence, 100 << 20));
        }
        assert!(
            !queue.has_free_slot(InFlight::default()),
            "others are first"
        );
        assert_eq!(next(&mut queue, 4, 0, now), None);
        assert_eq!(next(&mut queue, 1, 40 << 20, now), None, "too many bytes");
        assert_eq!(next(&mut queue, 0, 0, now), Some(0));
        queue.push(segment(9, 200 << 20));
        assert_eq!(next(&mut queue, 1, 1, now), Some(1));
        assert_eq!(next(&mut queue, 1, 1, now), Some(2));
        assert_eq!(next(&mut queue, 1, 1, now), None);
        assert_eq!(
            next(&mut queue, 0, 0, now),
            Some(9),
            "one is always allowed"
        );
    }

    #[test]
    fn failures_back_off_and_leave_one_probe() {
        let start = Instant::now();
        let mut queue = UploadQueue::new(UploadLimits::default());
        queue.push(segment(1, 1));
        let mut now = start;
        for _ in 0..20 {
            queue.failed(segment(0, 1), now, 1000);
            assert_eq!(
                next(&mut queue, 0, 0, now),
                None,
                "the first in order backs off"
            );
            let wake = queue.next_wake(InFlight::default()).expect("a time is set");
            assert!(wake <= now + Duration::from_secs(2));
            now = wake;
            assert_eq!(next(&mut queue, 0, 0, now), Some(0));
            assert_eq!(next(&mut queue, 1, 1, now), None, "only one probe");
            let probing = InFlight { count: 1, bytes: 1 };
            assert_eq!(queue.next_wake(probing), None, "the probe's end counts");
        }
        assert!(now > start + Duration::from_secs(20), "pauses grow");
        queue.succeeded();
        assert_eq!(next(&mut queue, 1, 1, now), Some(1));
    }
}

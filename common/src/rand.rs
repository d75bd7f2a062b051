//! Randomness as a seam, so that a run can be repeated from its seed.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use uuid::Uuid;

/// Makes random numbers.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// A random (version 4) UUID.
    fn uuid(&self) -> Uuid {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The modulo bias is below 2^-32 for every bound
    /// we use (jitter and picks among a few), which none of them can notice.
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next_u64() % bound
        }
    }
}

/// Randomness shared between components.
pub type SharedRandom = Arc<dyn Random>;

/// The operating system's randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that asks the system for randomness"
    )]
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// Randomness that repeats for the same seed.
#[derive(Debug)]
pub struct SeededRandom {
    rng: Mutex<StdRng>,
}

impl SeededRandom {
    /// A generator started from `seed`.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
        })
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        self.rng.lock().next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_repeats() {
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        assert_eq!(
            (a.uuid(), a.next_u64(), a.below(10)),
            (b.uuid(), b.next_u64(), b.below(10))
        );
        assert_eq!(a.uuid().get_version_num(), 4);
    }
}

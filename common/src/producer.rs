//! Producer ids, epochs and sequences of idempotent producers (KIP-98).

use std::fmt;

/// Id of an idempotent producer; never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub i64);

/// Epoch of a producer id; a higher one fences the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerEpoch(pub i16);

/// Sequence number of a record within one producer id, epoch and partition. Wraps from
/// `i32::MAX` to 0 and is never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sequence(i32);

impl Sequence {
    /// The first sequence of a producer epoch.
    pub const ZERO: Sequence = Sequence(0);

    /// `None` for a negative number.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number itself.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// The sequence `count` records later, wrapping past `i32::MAX` to 0 as Kafka's clients do.
    pub const fn plus(self, count: u32) -> Self {
        let sum = self.0 as u64 + count as u64;
        Self((sum % (1 << 31)) as i32)
    }

    /// The sequence that follows this one.
    pub const fn next(self) -> Self {
        self.plus(1)
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProducerEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        let last = Sequence::new(i32::MAX).expect("not negative");
        assert_eq!(last.next(), Sequence::ZERO);
        assert_eq!(last.plus(5).get(), 4);
        assert_eq!(Sequence::ZERO.plus(7).get(), 7);
    }
}

//! Random numbers for events: a state of eight bytes, so that every event can have a generator of its own.

/// What SplitMix64 adds in each step.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64 (Steele, Lea and Flood 2014): the same on every machine, and a few instructions.
#[derive(Debug, Clone)]
pub(super) struct SplitMix(u64);

impl SplitMix {
    /// The generator of one thing among many: of the same words, always the same one.
    pub(super) fn of(words: [u64; 3]) -> Self {
        let state = words
            .iter()
            .fold(0, |state: u64, word| mix(state.wrapping_add(STEP) ^ word));
        Self(state)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number in `0..bound`, by a multiplication, which is quicker than a division. `bound` is far below 2^32.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// True once in `odds`.
    pub(super) fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    /// A rank in `0..2^bits`, the small ones far more often: each doubling of the rank is as likely as any other, which
    /// is Zipf's law with exponent 1 in steps. In integers only, so that no library's logarithm matters.
    pub(super) fn popular(&mut self, bits: u64) -> u64 {
        let octave = self.below(bits);
        (1 << octave) - 1 + self.below(1 << octave)
    }

    /// One of `items`, the first ones far more often.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let bits = u64::from(items.len().ilog2()) + 1;
        items[self.popular(bits) as usize % items.len()]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_popular_and_most_are_rare() {
        let mut random = SplitMix::of([1, 2, 3]);
        let ranks: Vec<_> = (0..100_000).map(|_| random.popular(17)).collect();
        assert!(ranks.iter().all(|rank| *rank < 1 << 17));
        let of_rank = |below: u64| ranks.iter().filter(|rank| **rank < below).count();
        assert!((5_000..7_000).contains(&of_rank(1)), "the most popular");
        assert!((57_000..61_000).contains(&of_rank(1 << 10)));
    }

    #[test]
    fn every_item_is_picked() {
        let mut random = SplitMix::of([4, 5, 6]);
        let items: Vec<_> = (0..11).collect();
        let mut seen = [0; 11];
        (0..10_000).for_each(|_| seen[random.pick(&items)] += 1);
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        assert!(seen[0] > seen[10]);
    }
}

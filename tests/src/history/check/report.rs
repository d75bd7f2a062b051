//! What a check found.

use std::collections::BTreeMap;
use std::fmt;

/// Violations told in full; a broken broker breaks thousands at once.
const VIOLATIONS_TOLD_MAX: usize = 20;
/// Violations of one invariant that are kept; more are counted.
const VIOLATIONS_KEPT_MAX: u64 = 1_000;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Number on the list of invariants, such as `I2`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What a check found.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// Records acknowledged.
    pub acknowledged: u64,
    /// Records whose fate no producer knows.
    pub unknown: u64,
    /// Records that were refused for good.
    pub failed: u64,
    /// Acknowledged records that nobody can read.
    pub lost: u64,
    /// Records that stand at more than one offset.
    pub duplicated: u64,
    /// Acknowledged records that stand elsewhere than the producer was told.
    pub misplaced: u64,
    /// What must not be, those above included; of each invariant the first ones.
    pub violations: Vec<Violation>,
    /// Violations by invariant, those that were not kept included.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    /// Whether `invariant` was violated.
    pub fn violates(&self, invariant: &str) -> bool {
        self.counts.contains_key(invariant)
    }

    /// Panics with the violations, if there are any.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}\n{}", self.told());
    }

    /// The violations as text: all counts, and some in full.
    pub fn told(&self) -> String {
        let counts: Vec<_> = self
            .counts
            .iter()
            .map(|(invariant, count)| format!("{invariant}: {count}"))
            .collect();
        // The first of each invariant before the second of any.
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut ranked: Vec<_> = self
            .violations
            .iter()
            .map(|violation| {
                let rank = seen.entry(violation.invariant).or_default();
                *rank += 1;
                (*rank, violation)
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        let told: Vec<_> = ranked
            .iter()
            .take(VIOLATIONS_TOLD_MAX)
            .map(|(_, violation)| violation.to_string())
            .collect();
        format!(
            "violations ({}), among them:\n{}",
            counts.join(", "),
            told.join("\n")
        )
    }

    /// Adds a violation.
    pub fn add(&mut self, invariant: &'static str, what: String) {
        let count = self.counts.entry(invariant).or_default();
        *count += 1;
        if *count <= VIOLATIONS_KEPT_MAX {
            self.violations.push(Violation { invariant, what });
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "acknowledged {}, unknown {}, failed {}, lost {}, duplicated {}, misplaced {}",
            self.acknowledged,
            self.unknown,
            self.failed,
            self.lost,
            self.duplicated,
            self.misplaced
        )
    }
}

//! Version ranges as the schemas write them.

use anyhow::{Context, Result};

/// A range of versions, both ends included; `high` below `low` is the empty range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The first.
    pub low: i16,
    /// The last; `i16::MAX` for an open end.
    pub high: i16,
}

impl Versions {
    /// No version.
    pub const NONE: Self = Self { low: 0, high: -1 };

    /// Reads `3`, `0-4`, `2+` or `none`.
    pub fn parse(text: &str) -> Result<Self> {
        let number = |digits: &str| {
            digits
                .trim()
                .parse::<i16>()
                .with_context(|| format!("versions '{text}'"))
        };
        let text = text.trim();
        if text == "none" {
            return Ok(Self::NONE);
        }
        if let Some(low) = text.strip_suffix('+') {
            return Ok(Self {
                low: number(low)?,
                high: i16::MAX,
            });
        }
        match text.split_once('-') {
            Some((low, high)) => Ok(Self {
                low: number(low)?,
                high: number(high)?,
            }),
            None => Ok(Self {
                low: number(text)?,
                high: number(text)?,
            }),
        }
    }

    /// Whether there is no version in it.
    pub fn is_empty(self) -> bool {
        self.high < self.low
    }

    /// Whether `version` is in it.
    pub fn contains(self, version: i16) -> bool {
        (self.low..=self.high).contains(&version)
    }

    /// Versions that are in both.
    pub fn intersect(self, other: Self) -> Self {
        let both = Self {
            low: self.low.max(other.low),
            high: self.high.min(other.high),
        };
        if both.is_empty() { Self::NONE } else { both }
    }

    /// Where versions of `within` stand to this range.
    pub fn test(self, within: Self) -> Test {
        let both = self.intersect(within);
        if both.is_empty() {
            Test::Never
        } else if both == within {
            Test::Always
        } else {
            Test::When(both.condition(within))
        }
    }

    /// A Rust condition on `version`, for versions known to be in `within`.
    fn condition(self, within: Self) -> String {
        let (low, high) = (self.low, self.high);
        match (low > within.low, high < within.high) {
            (true, false) => format!("version >= {low}"),
            (false, true) => format!("version <= {high}"),
            _ => format!("({low}..={high}).contains(&version)"),
        }
    }

    /// As [`Versions::describe`], with an open end where `within` ends.
    pub fn describe_within(self, within: Self) -> String {
        let high = if self.high == within.high {
            i16::MAX
        } else {
            self.high
        };
        Self { high, ..self }.describe()
    }

    /// A Rust condition that `version`, known to be in `within`, is not in this range.
    pub fn absent(self, within: Self) -> String {
        match (self.low > within.low, self.high < within.high) {
            (true, false) => format!("version < {}", self.low),
            (false, true) => format!("version > {}", self.high),
            _ => format!("!{}", self.condition(within)),
        }
    }

    /// For documentation: `3+`, `0-4`, `2`.
    pub fn describe(self) -> String {
        match (self.low, self.high) {
            (low, i16::MAX) => format!("{low}+"),
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        }
    }
}

/// Whether something holds in all, in no or in some versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// In all.
    Always,
    /// In none.
    Never,
    /// In those for which this Rust condition on `version` is true.
    When(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        assert_eq!(
            Versions::parse("3+").unwrap(),
            Versions {
                low: 3,
                high: i16::MAX
            }
        );
        assert_eq!(
            Versions::parse("0-4").unwrap(),
            Versions { low: 0, high: 4 }
        );
        assert_eq!(Versions::parse("7").unwrap(), Versions { low: 7, high: 7 });
        assert!(Versions::parse("none").unwrap().is_empty());
        assert!(Versions::parse("x").is_err());
    }

    #[test]
    fn conditions_say_no_more_than_needed() {
        let within = Versions { low: 3, high: 13 };
        let test = |text: &str| Versions::parse(text).unwrap().test(within);
        assert_eq!(test("0+"), Test::Always);
        assert_eq!(test("0-2"), Test::Never);
        assert_eq!(test("9+"), Test::When("version >= 9".into()));
        assert_eq!(test("0-12"), Test::When("version <= 12".into()));
        assert_eq!(test("5-6"), Test::When("(5..=6).contains(&version)".into()));
        assert_eq!(Versions { low: 9, high: 13 }.absent(within), "version < 9");
    }
}

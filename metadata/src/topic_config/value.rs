//! What values a topic setting takes.

/// The values of a setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit number within bounds, inclusive.
    Int(i32, i32),
    /// A 64-bit number within bounds, inclusive.
    Long(i64, i64),
    /// A number within bounds, inclusive.
    Double(f64, f64),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list, separated by commas, of these words; at least one.
    ListOf(&'static [&'static str]),
    /// Free text: a list that Kafka itself hardly checks.
    Text,
    /// A number that is -1 or within bounds: Kafka's compression levels.
    Level(i32, i32),
}

/// A value that a setting does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value {value:?} for {name}: {expected}")]
pub struct InvalidValue {
    /// The setting.
    pub name: String,
    /// The value.
    pub value: String,
    /// What would be accepted.
    pub expected: String,
}

impl Kind {
    /// Checks `value` for the setting `name`.
    pub fn validate(self, name: &str, value: &str) -> Result<(), InvalidValue> {
        self.check(value.trim()).map_err(|expected| InvalidValue {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        })
    }

    fn check(self, value: &str) -> Result<(), String> {
        match self {
            Kind::Boolean => match value.to_ascii_lowercase().as_str() {
                "true" | "false" => Ok(()),
                _ => Err("expected true or false".to_owned()),
            },
            Kind::Int(min, max) => number(value, min, max),
            Kind::Long(min, max) => number(value, min, max),
            Kind::Double(min, max) => number(value, min, max),
            Kind::Level(..) if value == "-1" => Ok(()),
            Kind::Level(min, max) => number(value, min, max),
            Kind::OneOf(words) if words.contains(&value) => Ok(()),
            Kind::OneOf(words) => Err(format!("expected one of {}", words.join(", "))),
            Kind::ListOf(words) => {
                if value.split(',').all(|item| words.contains(&item.trim())) {
                    return Ok(());
                }
                Err(format!("expected a list of {}", words.join(", ")))
            }
            Kind::Text => Ok(()),
        }
    }
}

fn number<N: std::str::FromStr + PartialOrd + std::fmt::Display>(
    value: &str,
    min: N,
    max: N,
) -> Result<(), String> {
    match value.parse::<N>() {
        Ok(number) if number >= min && number <= max => Ok(()),
        _ => Err(format!("expected a number from {min} to {max}")),
    }
}

//! The settings of topics: all that Apache Kafka 4.x has, and ours.
//!
//! A setting is [`Effect::Effective`], or it is accepted, kept and described as without effect, because Streams,
//! Connect and people's scripts set it. A name that is neither Kafka's nor ours is refused.

mod change;
mod settings;
mod table;
mod value;

use std::collections::BTreeMap;

pub use change::{ConfigChange, change};
pub use settings::{CleanupPolicy, CompressionType, Durability, TimestampType, TopicSettings};
pub use table::CLUSTER_DEFAULTS;
pub use value::{InvalidValue, Kind};

/// One setting of topics.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Name as in Kafka's topic configuration.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Default as text.
    pub default: &'static str,
    /// Name of the broker-wide default, if there is one (`log.retention.ms` for `retention.ms`).
    pub broker_synonym: Option<&'static str>,
    /// Does it do anything here?
    pub effect: Effect,
    /// What it does.
    pub documentation: &'static str,
}

/// Whether a setting changes what Alluvium does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does.
    Effective,
    /// It does not, for this reason.
    Inert(&'static str),
}

impl Definition {
    /// Checks a value given as text.
    pub fn validate(&self, value: &str) -> Result<(), InvalidValue> {
        self.kind.validate(self.name, value)
    }

    /// Documentation that says so when the setting has no effect.
    pub fn described(&self) -> String {
        match self.effect {
            Effect::Effective => self.documentation.to_owned(),
            Effect::Inert(reason) => {
                format!(
                    "{} Accepted and kept, but without effect here: {reason}.",
                    self.documentation
                )
            }
        }
    }
}

/// All settings, ordered by name.
pub fn definitions() -> &'static [Definition] {
    table::DEFINITIONS
}

/// The setting of that name.
pub fn by_name(name: &str) -> Option<&'static Definition> {
    table::DEFINITIONS
        .binary_search_by(|definition| definition.name.cmp(name))
        .ok()
        .map(|at| &table::DEFINITIONS[at])
}

/// The setting whose broker-wide default has that name.
pub fn by_broker_synonym(name: &str) -> Option<&'static Definition> {
    table::DEFINITIONS
        .iter()
        .find(|definition| definition.broker_synonym == Some(name))
}

/// Why a set of topic settings is refused. The message is fit to be sent to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// No such setting.
    #[error("unknown topic setting {0:?}")]
    Unknown(String),
    /// A value that the setting does not take.
    #[error(transparent)]
    Value(#[from] InvalidValue),
    /// Something was to be added to or taken from what is no list.
    #[error("topic setting {0:?} is no list")]
    NotAList(String),
}

/// Checks the settings of a topic as a client gave them.
pub fn validate(configs: &BTreeMap<String, String>) -> Result<(), InvalidConfig> {
    for (name, value) in configs {
        by_name(name)
            .ok_or_else(|| InvalidConfig::Unknown(name.clone()))?
            .validate(value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_and_its_defaults_are_valid() {
        for pair in definitions().windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} is out of order",
                pair[1].name
            );
        }
        for definition in definitions() {
            definition
                .validate(definition.default)
                .expect(definition.name);
            assert_eq!(
                by_name(definition.name).map(|found| found.name),
                Some(definition.name)
            );
        }
    }

    #[test]
    fn unknown_names_and_bad_values_are_refused() {
        let check =
            |name: &str, value: &str| validate(&[(name.to_owned(), value.to_owned())].into());
        assert_eq!(
            check("no.such", "1"),
            Err(InvalidConfig::Unknown("no.such".into()))
        );
        for (name, bad) in [
            ("retention.ms", "-2"),
            ("retention.ms", "a week"),
            ("max.message.bytes", "-1"),
            ("cleanup.policy", "shred"),
            ("cleanup.policy", ""),
            ("message.timestamp.type", "createtime"),
            ("compression.type", "brotli"),
            ("min.cleanable.dirty.ratio", "1.5"),
            ("alluvium.durability", "hope"),
            ("preallocate", "yes"),
        ] {
            assert!(
                matches!(check(name, bad), Err(InvalidConfig::Value(_))),
                "{name}={bad}"
            );
        }
        for (name, good) in [
            ("retention.ms", "-1"),
            ("cleanup.policy", "compact,delete"),
            ("compression.type", "zstd"),
            ("compression.gzip.level", "-1"),
            ("leader.replication.throttled.replicas", "*"),
        ] {
            assert_eq!(check(name, good), Ok(()), "{name}={good}");
        }
    }

    #[test]
    fn broker_wide_names_are_known() {
        let name = |synonym| by_broker_synonym(synonym).map(|definition| definition.name);
        assert_eq!(name("log.retention.ms"), Some("retention.ms"));
        assert_eq!(name("compression.type"), Some("compression.type"));
        assert_eq!(name("no.such"), None);
    }
}

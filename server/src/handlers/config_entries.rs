//! Settings as Kafka describes them: value, where it comes from, what else it could come from.

use std::collections::BTreeMap;

use alluvium_metadata::topic_config::{self, Kind};

use crate::config::{self, Loaded};

/// Where a value comes from (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// The topic itself.
    DynamicTopic = 1,
    /// The broker, while it runs.
    DynamicBroker = 2,
    /// The broker's configuration.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
}

/// The type of a value (`DescribeConfigsResponse.ConfigType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A 32-bit number.
    Int = 3,
    /// A 64-bit number.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Separated by commas.
    List = 7,
    /// Text that is not shown.
    Password = 9,
}

/// A name under which a value could be set, with the value that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    pub value: String,
    pub source: ConfigSource,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// What holds; the first of the synonyms.
    pub value: String,
    pub source: ConfigSource,
    pub read_only: bool,
    pub config_type: ConfigType,
    /// Strongest first.
    pub synonyms: Vec<Synonym>,
    pub documentation: String,
}

/// The settings of a topic that was given `configs`, over the broker-wide `defaults`. Ordered by name.
pub fn of_topic(
    configs: &BTreeMap<String, String>,
    defaults: &BTreeMap<String, String>,
) -> Vec<ConfigEntry> {
    let entry = |definition: &topic_config::Definition| {
        let broker_name = definition.broker_synonym.unwrap_or(definition.name);
        let synonym = |name: &str, value: &str, source| Synonym {
            name: name.to_owned(),
            value: value.to_owned(),
            source,
        };
        let given = configs.get(definition.name);
        let default = defaults.get(definition.name);
        let synonyms: Vec<_> = given
            .map(|value| synonym(definition.name, value, ConfigSource::DynamicTopic))
            .into_iter()
            .chain(default.map(|value| synonym(broker_name, value, ConfigSource::StaticBroker)))
            .chain([synonym(
                broker_name,
                definition.default,
                ConfigSource::Default,
            )])
            .collect();
        ConfigEntry {
            name: definition.name.to_owned(),
            value: synonyms[0].value.clone(),
            source: synonyms[0].source,
            read_only: false,
            config_type: type_of(definition.kind),
            synonyms,
            documentation: definition.described(),
        }
    };
    topic_config::definitions().iter().map(entry).collect()
}

/// The settings of this broker, which are read at its start, and the broker-wide ones of topics. Ordered by name.
pub fn of_broker(loaded: &Loaded, topic_defaults: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
    let mut entries = BTreeMap::new();
    for definition in topic_config::definitions() {
        let Some(name) = definition.broker_synonym else {
            continue;
        };
        let given = topic_defaults.get(definition.name).map(String::as_str);
        let config_type = type_of(definition.kind);
        let entry = broker_entry(
            name,
            given,
            definition.default,
            config_type,
            definition.described(),
        );
        entries.insert(name, entry);
    }
    for definition in config::definitions() {
        let value = loaded.config.get(definition.key).unwrap_or_default();
        let given = loaded.given.contains_key(definition.key).then_some(&*value);
        let config_type = server_type(definition.kind);
        let documentation = definition.documentation;
        let entry = broker_entry(
            definition.key,
            given,
            &definition.default,
            config_type,
            documentation,
        );
        entries.insert(definition.key, entry);
    }
    entries.into_values().collect()
}

fn broker_entry(
    name: &str,
    given: Option<&str>,
    default: &str,
    config_type: ConfigType,
    documentation: String,
) -> ConfigEntry {
    let synonym = |value: &str, source| Synonym {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    };
    let synonyms: Vec<_> = given
        .map(|value| synonym(value, ConfigSource::StaticBroker))
        .into_iter()
        .chain([synonym(default, ConfigSource::Default)])
        .collect();
    ConfigEntry {
        name: name.to_owned(),
        value: synonyms[0].value.clone(),
        source: synonyms[0].source,
        read_only: true,
        config_type,
        synonyms,
        documentation,
    }
}

fn type_of(kind: Kind) -> ConfigType {
    match kind {
        Kind::Boolean => ConfigType::Boolean,
        Kind::Int(..) | Kind::Level(..) => ConfigType::Int,
        Kind::Long(..) => ConfigType::Long,
        Kind::Double(..) => ConfigType::Double,
        Kind::OneOf(_) => ConfigType::String,
        Kind::ListOf(_) | Kind::Text => ConfigType::List,
    }
}

fn server_type(kind: &str) -> ConfigType {
    match kind {
        "boolean" => ConfigType::Boolean,
        "number" => ConfigType::Int,
        "decimal number" => ConfigType::Double,
        "bytes" | "milliseconds" => ConfigType::Long,
        "list" => ConfigType::List,
        "password" => ConfigType::Password,
        _ => ConfigType::String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_strongest_source_wins_and_the_others_are_listed() {
        let configs = map(&[("retention.ms", "1")]);
        let defaults = map(&[("retention.ms", "2"), ("segment.bytes", "3000000")]);
        let entries = of_topic(&configs, &defaults);
        let find = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        let retention = find("retention.ms");
        assert_eq!(
            (&*retention.value, retention.source),
            ("1", ConfigSource::DynamicTopic)
        );
        let names: Vec<_> = retention
            .synonyms
            .iter()
            .map(|synonym| (&*synonym.name, synonym.source))
            .collect();
        assert_eq!(
            names,
            [
                ("retention.ms", ConfigSource::DynamicTopic),
                ("log.retention.ms", ConfigSource::StaticBroker),
                ("log.retention.ms", ConfigSource::Default),
            ]
        );
        assert_eq!(find("segment.bytes").source, ConfigSource::StaticBroker);
        let policy = find("cleanup.policy");
        assert_eq!(
            (&*policy.value, policy.source),
            ("delete", ConfigSource::Default)
        );
        assert_eq!(policy.config_type, ConfigType::List);
    }

    #[test]
    fn a_broker_shows_its_own_settings_and_those_of_topics() {
        let entries = of_broker(&Loaded::default(), &map(&[("retention.ms", "2")]));
        assert!(
            entries.is_sorted_by(|a, b| a.name < b.name),
            "each once, in order"
        );
        let find = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap();
        assert_eq!(find("num.partitions").value, "1");
        assert_eq!(find("log.retention.ms").source, ConfigSource::StaticBroker);
        assert!(
            entries
                .iter()
                .all(|entry| entry.read_only && !entry.documentation.is_empty())
        );
    }
}

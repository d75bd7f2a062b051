//! Joins defaults, file, environment and flags into one [`Config`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use alluvium_metadata::topic_config;

use super::settings::{Config, definitions};
use super::value::MetadataLocation;

/// Prefix of environment variables that are settings.
const ENV_PREFIX: &str = "ALLUVIUM_";
/// Variables with that prefix which are no settings.
const ENV_OTHERS: [&str; 2] = ["ALLUVIUM_CONFIG", "ALLUVIUM_BOOTSTRAP"];
/// Largest configuration file read, in bytes: ours has under a hundred short lines.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a value came from, strongest last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Why there is no configuration. The message names the source and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        message: String,
    },
    /// No such setting.
    #[error("unknown setting {key:?} in {origin}{hint}; `alluvium config` lists all settings")]
    Unknown {
        /// The key as given.
        key: String,
        /// Where it stands.
        origin: Source,
        /// A similar key, if there is one.
        hint: String,
    },
    /// The value does not fit the setting.
    #[error("setting {key} in {origin}: {message}")]
    Invalid {
        /// The key.
        key: String,
        /// Where it stands.
        origin: Source,
        /// What would be accepted.
        message: String,
    },
}

/// A configuration and the broker-wide defaults of topic settings (Kafka's `log.*` names), by the
/// name of the topic setting.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The server's own settings.
    pub config: Config,
    /// Defaults for topics: topic setting to value.
    pub topic_defaults: BTreeMap<String, String>,
    /// Keys that were given a value, that is, do not stand at their default.
    pub given: BTreeMap<String, Source>,
}

/// Reads `file` if there is one, then `environment`, then `flags` (key and value).
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let mut loaded = Loaded::default();
    if let Some(path) = file {
        for (key, value) in read_file(path)? {
            loaded.apply(&key, &value, Source::File(path.to_owned()))?;
        }
    }
    let keys_by_variable = keys_by_variable();
    for (name, value) in environment {
        if !name.starts_with(ENV_PREFIX)
            || ENV_OTHERS.contains(&name.as_str())
            || name.starts_with("ALLUVIUM_TEST_")
        {
            continue;
        }
        let key = keys_by_variable.get(&name).cloned().unwrap_or_else(|| {
            name[ENV_PREFIX.len()..]
                .to_ascii_lowercase()
                .replace('_', ".")
        });
        loaded.apply(&key, &value, Source::Environment(name))?;
    }
    for (key, value) in flags {
        loaded.apply(key, value, Source::Flag(key.clone()))?;
    }
    loaded.apply_defaults_of_clusters();
    Ok(loaded)
}

impl Loaded {
    fn apply(&mut self, key: &str, value: &str, origin: Source) -> Result<(), ConfigError> {
        match self.config.set(key, value) {
            Some(Ok(())) => {}
            Some(Err(message)) => {
                return Err(ConfigError::Invalid {
                    key: key.to_owned(),
                    origin,
                    message,
                });
            }
            None => self.apply_topic_default(key, value, &origin)?,
        }
        self.given.insert(key.to_owned(), origin);
        Ok(())
    }

    /// Where other brokers can take over, no partition should have to wait for a disk unless somebody wants it so.
    fn apply_defaults_of_clusters(&mut self) {
        if self.config.metadata == MetadataLocation::Embedded {
            return;
        }
        for (name, value) in topic_config::CLUSTER_DEFAULTS {
            let default = self.topic_defaults.entry((*name).to_owned());
            default.or_insert_with(|| (*value).to_owned());
        }
    }

    /// Kafka lets a broker set defaults for topics under names such as `log.retention.ms`.
    fn apply_topic_default(
        &mut self,
        key: &str,
        value: &str,
        origin: &Source,
    ) -> Result<(), ConfigError> {
        let Some(definition) = topic_config::by_broker_synonym(key) else {
            return Err(ConfigError::Unknown {
                key: key.to_owned(),
                origin: origin.clone(),
                hint: similar(key),
            });
        };
        definition
            .validate(value)
            .map_err(|message| ConfigError::Invalid {
                key: key.to_owned(),
                origin: origin.clone(),
                message: message.to_string(),
            })?;
        self.topic_defaults
            .insert(definition.name.to_owned(), value.to_owned());
        Ok(())
    }
}

fn variable(key: &str) -> String {
    let name: String = key
        .chars()
        .map(|c| match c {
            '.' | '-' => '_',
            other => other.to_ascii_uppercase(),
        })
        .collect();
    if name.starts_with(ENV_PREFIX) {
        name
    } else {
        format!("{ENV_PREFIX}{name}")
    }
}

fn keys_by_variable() -> HashMap<String, String> {
    definitions()
        .iter()
        .map(|definition| (variable(definition.key), definition.key.to_owned()))
        .collect()
}

fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if size_bytes > FILE_BYTES_MAX {
        return Err(unreadable(std::io::Error::other(format!(
            "it has {size_bytes} bytes; a configuration has at most {FILE_BYTES_MAX}"
        ))));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let table: toml::Table =
        text.parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: path.to_owned(),
                message: error.to_string(),
            })?;
    let mut pairs = Vec::new();
    flatten(String::new(), &toml::Value::Table(table), &mut pairs);
    Ok(pairs)
}

/// `message.max.bytes = 1` is a table of tables in TOML; the keys are joined again.
fn flatten(prefix: String, value: &toml::Value, pairs: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (key, inner) in table {
                let joined = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(joined, inner, pairs);
            }
        }
        toml::Value::String(text) => pairs.push((prefix, text.clone())),
        toml::Value::Array(items) => {
            let texts: Vec<_> = items
                .iter()
                .map(|item| {
                    item.as_str()
                        .map_or_else(|| item.to_string(), str::to_owned)
                })
                .collect();
            pairs.push((prefix, texts.join(",")));
        }
        other => pairs.push((prefix, other.to_string())),
    }
}

/// A known key that shares the most characters in order with `key`, worth suggesting.
fn similar(key: &str) -> String {
    let normal = key.replace(['_', '-'], ".").to_ascii_lowercase();
    definitions()
        .iter()
        .map(|definition| definition.key)
        .map(|known| (edit_distance(&normal, known), known))
        .filter(|(distance, known)| *distance <= known.len() / 3)
        .min()
        .map(|(_, known)| format!(" (did you mean {known:?}?)"))
        .unwrap_or_default()
}

fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substitution = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), text).expect("write");
        file
    }

    #[test]
    fn flags_beat_environment_beats_file() {
        let file = file(
            "broker.id = 1\nnum.partitions = 1\nsegment.upload.bytes = \"2MiB\"\n[log]\nfilter = \"debug\"\n",
        );
        let environment = [
            ("ALLUVIUM_BROKER_ID".to_owned(), "2".to_owned()),
            ("ALLUVIUM_NUM_PARTITIONS".to_owned(), "2".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ];
        let flags = [("broker.id".to_owned(), "3".to_owned())];
        let loaded = load(Some(file.path()), environment, &flags).expect("loads");
        assert_eq!(loaded.config.broker_id, 3);
        assert_eq!(loaded.config.num_partitions, 2);
        assert_eq!(loaded.config.segment_upload_bytes.0, 2 << 20);
        assert_eq!(loaded.config.log_filter, "debug");
    }

    #[test]
    fn unknown_keys_are_errors_that_help() {
        let error =
            load(None, [], &[("brocker.id".to_owned(), "1".to_owned())]).expect_err("misspelt");
        assert!(
            error.to_string().contains("did you mean \"broker.id\""),
            "{error}"
        );
        let environment = [("ALLUVIUM_NO_SUCH_THING".to_owned(), "1".to_owned())];
        let error = load(None, environment, &[]).expect_err("unknown");
        assert!(
            error.to_string().contains("ALLUVIUM_NO_SUCH_THING"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_names_its_place() {
        let file = file("num.partitions = \"many\"");
        let error = load(Some(file.path()), [], &[]).expect_err("no number");
        let text = error.to_string();
        assert!(
            text.contains("num.partitions") && text.contains("whole number"),
            "{text}"
        );
    }

    #[test]
    fn a_cluster_does_not_wait_for_a_disk_unless_it_is_told_to() {
        let durability = |flags: &[(&str, &str)]| {
            let flags: Vec<_> = flags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            let loaded = load(None, [], &flags).expect("loads");
            loaded.topic_defaults.get("alluvium.durability").cloned()
        };
        let cluster = ("metadata", "etcd://localhost:2379");
        assert_eq!(durability(&[]), None, "local, as the table has it");
        assert_eq!(durability(&[cluster]).as_deref(), Some("object"));
        let told = ("alluvium.durability", "local");
        assert_eq!(durability(&[told, cluster]).as_deref(), Some("local"));
    }

    #[test]
    fn kafkas_broker_wide_topic_defaults_are_kept() {
        let flags = [("log.retention.ms".to_owned(), "1000".to_owned())];
        let loaded = load(None, [], &flags).expect("loads");
        assert_eq!(
            loaded
                .topic_defaults
                .get("retention.ms")
                .map(String::as_str),
            Some("1000")
        );
    }
}

//! The settings of one topic that the log acts upon, typed.

use std::collections::BTreeMap;

use super::by_name;

/// When a batch is acknowledged (`alluvium.durability`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When it is fsynced in the write-ahead log of its leader.
    Local,
    /// When it is in object storage and its commit is in the metadata store.
    Object,
}

/// Whose clock stamps records (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's, at the moment of append.
    LogAppendTime,
}

/// The codec of stored batches (`compression.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// What happens to old records (`cleanup.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Only the latest record for each key is kept.
    pub compact: bool,
    /// Records beyond the retention limits are deleted.
    pub delete: bool,
}

/// The settings of one topic that the log acts upon.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    /// When a batch is acknowledged.
    pub durability: Durability,
    /// Largest batch accepted, in bytes, header included.
    pub max_message_bytes: usize,
    /// Whose clock stamps records.
    pub timestamp_type: TimestampType,
    /// How far a record's timestamp may lie before the broker's time; `None`: any.
    pub timestamp_before_max_ms: Option<i64>,
    /// How far a record's timestamp may lie after the broker's time; `None`: any.
    pub timestamp_after_max_ms: Option<i64>,
    /// Codec of stored batches.
    pub compression_type: CompressionType,
    /// What happens to old records.
    pub cleanup_policy: CleanupPolicy,
    /// How long records are kept after their timestamp; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// How many bytes of a partition are kept; `None`: all.
    pub retention_bytes: Option<u64>,
    /// Class `local`: how long a record may be on its leader's disk only; `None`: as long as broker-wide settings allow.
    pub local_retention_ms: Option<u64>,
    /// Class `local`: how many bytes of a partition may be on its leader's disk only; `None`: as many as broker-wide
    /// settings allow.
    pub local_retention_bytes: Option<u64>,
    /// A compacted partition is cleaned when more than this share of it is dirty.
    pub min_cleanable_dirty_ratio: f64,
    /// How old a record is at least when it is cleaned.
    pub min_compaction_lag_ms: i64,
    /// How old a record may get before it is cleaned, however little is dirty; `None`: any age.
    pub max_compaction_lag_ms: Option<i64>,
    /// How long tombstones outlive the first cleaning that saw them.
    pub delete_retention_ms: i64,
}

impl TopicSettings {
    /// Reads the settings of a topic over the broker-wide defaults, both already validated: what is absent or
    /// unreadable stands at Kafka's default.
    pub fn parse(configs: &BTreeMap<String, String>, defaults: &BTreeMap<String, String>) -> Self {
        let text = |name: &str| -> &str {
            configs
                .get(name)
                .or_else(|| defaults.get(name))
                .map(|value| value.trim())
                .or_else(|| by_name(name).map(|definition| definition.default))
                .unwrap_or_default()
        };
        let policies = text("cleanup.policy");
        let has = |policy| policies.split(',').any(|item| item.trim() == policy);
        Self {
            durability: match text("alluvium.durability") {
                "object" => Durability::Object,
                _ => Durability::Local,
            },
            max_message_bytes: text("max.message.bytes").parse().unwrap_or(1_048_588),
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: limit(text("message.timestamp.before.max.ms")),
            timestamp_after_max_ms: limit(text("message.timestamp.after.max.ms")),
            compression_type: match text("compression.type") {
                "uncompressed" => CompressionType::Uncompressed,
                "gzip" => CompressionType::Gzip,
                "snappy" => CompressionType::Snappy,
                "lz4" => CompressionType::Lz4,
                "zstd" => CompressionType::Zstd,
                _ => CompressionType::Producer,
            },
            cleanup_policy: CleanupPolicy {
                compact: has("compact"),
                delete: has("delete"),
            },
            // Kafka writes "for ever" and "all" as -1.
            retention_ms: text("retention.ms").parse().ok().filter(|ms| *ms >= 0),
            retention_bytes: text("retention.bytes").parse().ok(),
            // Kafka's -2 stands for the limits of retention, which say nothing of uploads.
            local_retention_ms: text("local.retention.ms").parse().ok(),
            local_retention_bytes: text("local.retention.bytes").parse().ok(),
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            min_compaction_lag_ms: text("min.compaction.lag.ms").parse().unwrap_or(0),
            max_compaction_lag_ms: limit(text("max.compaction.lag.ms")),
            delete_retention_ms: text("delete.retention.ms").parse().unwrap_or(86_400_000),
        }
    }
}

/// Kafka writes "no limit" as the largest number.
fn limit(text: &str) -> Option<i64> {
    text.parse().ok().filter(|limit| *limit != i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_beat_broker_wide_defaults_beat_kafkas() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let defaults = [
            pair("max.message.bytes", "2000"),
            pair("cleanup.policy", "compact"),
        ]
        .into();
        let configs = [
            pair("max.message.bytes", "1000"),
            pair("alluvium.durability", "object"),
        ]
        .into();
        let settings = TopicSettings::parse(&configs, &defaults);
        assert_eq!(settings.max_message_bytes, 1000);
        assert_eq!(settings.durability, Durability::Object);
        assert_eq!(
            settings.cleanup_policy,
            CleanupPolicy {
                compact: true,
                delete: false
            }
        );
        assert_eq!(settings.timestamp_before_max_ms, None);
        assert_eq!(settings.timestamp_after_max_ms, Some(3_600_000));
        assert_eq!(settings.compression_type, CompressionType::Producer);
    }

    #[test]
    fn local_retention_is_a_limit_unless_it_is_negative() {
        let parse = |configs: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let settings =
                TopicSettings::parse(&configs.iter().map(own).collect(), &BTreeMap::new());
            (settings.local_retention_ms, settings.local_retention_bytes)
        };
        assert_eq!(parse(&[]), (None, None));
        let negative = [
            ("local.retention.ms", "-1"),
            ("local.retention.bytes", "-2"),
        ];
        assert_eq!(parse(&negative), (None, None));
        let limits = [("local.retention.ms", "0"), ("local.retention.bytes", "7")];
        assert_eq!(parse(&limits), (Some(0), Some(7)));
    }

    #[test]
    fn the_cleaner_has_kafkas_defaults() {
        let settings = TopicSettings::parse(&BTreeMap::new(), &BTreeMap::new());
        assert_eq!(
            settings.min_cleanable_dirty_ratio.to_bits(),
            0.5f64.to_bits()
        );
        assert_eq!(settings.min_compaction_lag_ms, 0);
        assert_eq!(settings.max_compaction_lag_ms, None);
        assert_eq!(settings.delete_retention_ms, 24 * 60 * 60 * 1000);
        let configs = [("max.compaction.lag.ms".to_owned(), "5".to_owned())].into();
        let settings = TopicSettings::parse(&configs, &BTreeMap::new());
        assert_eq!(settings.max_compaction_lag_ms, Some(5));
    }
}

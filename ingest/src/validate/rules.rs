//! What a topic demands of batches: its settings, made ready for the hot path.

use std::time::Duration;

use alluvium_common::clock::TimestampMs;
use alluvium_metadata::topic_config::{self, CompressionType, Durability, TopicSettings};
use alluvium_segment::record_batch::{Codec, DecodeLimits, TimestampType};

/// One topic's rules for its batches.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicRules {
    /// `alluvium.durability`.
    pub durability: Durability,
    /// `local.retention.ms` and `local.retention.bytes`: what of class `local` may be on this disk only.
    pub local_retention: LocalRetention,
    /// `max.message.bytes`: largest batch, header included.
    pub batch_bytes_max: usize,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a record's timestamp may lie in the past.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far it may lie in the future.
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `compression.type`; `None` is `producer`: batches stay as they came.
    pub recompress_to: Option<Codec>,
    /// How far a compressed batch may grow when it has to be opened.
    pub decode_limits: DecodeLimits,
}

/// What of a partition may wait for its upload. `None`: as much as of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalRetention {
    /// How long a batch may.
    pub age_max: Option<Duration>,
    /// How many bytes may.
    pub bytes_max: Option<u64>,
}

impl Default for TopicRules {
    /// Kafka's defaults, with the durability class of a single broker.
    fn default() -> Self {
        Self {
            durability: Durability::Local,
            local_retention: LocalRetention::default(),
            batch_bytes_max: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compacted: false,
            recompress_to: None,
            decode_limits: DecodeLimits::default(),
        }
    }
}

impl From<&TopicSettings> for TopicRules {
    fn from(settings: &TopicSettings) -> Self {
        Self {
            durability: settings.durability,
            local_retention: LocalRetention {
                age_max: settings.local_retention_ms.map(Duration::from_millis),
                bytes_max: settings.local_retention_bytes,
            },
            batch_bytes_max: settings.max_message_bytes,
            timestamp_type: match settings.timestamp_type {
                topic_config::TimestampType::CreateTime => TimestampType::CreateTime,
                topic_config::TimestampType::LogAppendTime => TimestampType::LogAppendTime,
            },
            timestamp_before_max_ms: settings.timestamp_before_max_ms.unwrap_or(i64::MAX),
            timestamp_after_max_ms: settings.timestamp_after_max_ms.unwrap_or(i64::MAX),
            compacted: settings.cleanup_policy.compact,
            recompress_to: match settings.compression_type {
                CompressionType::Producer => None,
                CompressionType::Uncompressed => Some(Codec::None),
                CompressionType::Gzip => Some(Codec::Gzip),
                CompressionType::Snappy => Some(Codec::Snappy),
                CompressionType::Lz4 => Some(Codec::Lz4),
                CompressionType::Zstd => Some(Codec::Zstd),
            },
            decode_limits: DecodeLimits::default(),
        }
    }
}

impl TopicRules {
    /// Whether a record of this timestamp may be appended now
    /// (`LogValidator.recordHasInvalidTimestamp`). -1 means that it has none.
    pub(super) fn allows_timestamp(&self, timestamp: TimestampMs, now_ms: TimestampMs) -> bool {
        let age_ms = now_ms.saturating_sub(timestamp);
        timestamp == NO_TIMESTAMP
            || (age_ms <= self.timestamp_before_max_ms
                && age_ms.saturating_neg() <= self.timestamp_after_max_ms)
    }

    /// Whether the producer's bytes must be opened although they are compressed.
    pub(super) fn needs_records(&self, codec: Codec) -> bool {
        let bounded_past = self.timestamp_type == TimestampType::CreateTime
            && self.timestamp_before_max_ms != i64::MAX;
        self.compacted || bounded_past || self.recompress_to.is_some_and(|to| to != codec)
    }
}

/// Kafka's "no timestamp".
pub(super) const NO_TIMESTAMP: TimestampMs = -1;

/// What the request's version allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientRules {
    /// zstd came with Produce version 7; older clients may not write it (KIP-110).
    pub zstd: bool,
}

impl Default for ClientRules {
    fn default() -> Self {
        Self { zstd: true }
    }
}

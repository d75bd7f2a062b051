//! Caps that are part of a format or of Kafka's rules, each with its unit and reason. Caps that an
//! operator may want to move are settings instead.

/// Longest topic name in bytes. Kafka's limit: a folder name of 255 less `-` and a partition.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions of one topic. Kafka has no limit; ours keeps one request from filling the metadata
/// store (each partition is a record of some hundred bytes there).
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;

/// Batches of one producer and partition whose sequences are remembered, so that a retry is answered
/// with the original offset. Kafka's clients keep at most five requests in flight when idempotent.
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;

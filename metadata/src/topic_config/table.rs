//! The table of topic settings. Names, types and defaults are those of Apache Kafka 4.x; a default that differs
//! says why.

use super::{Definition, Effect, Kind};

const NO_LOCAL_SEGMENTS: &str = "partitions have no segment files of their own";
const NO_REPLICATION: &str = "object storage replicates, brokers do not";
const ALWAYS_REMOTE: &str = "all data is in object storage anyway";
const SYNC_BY_DURABILITY: &str = "when a batch is synced is the matter of alluvium.durability";

/// Defaults of topics that differ where the metadata lies in etcd: brokers can take over from each other there.
pub const CLUSTER_DEFAULTS: &[(&str, &str)] = &[("alluvium.durability", "object")];

const fn setting(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker_synonym: &'static str,
    effect: Effect,
    documentation: &'static str,
) -> Definition {
    Definition {
        name,
        kind,
        default,
        broker_synonym: if broker_synonym.is_empty() {
            None
        } else {
            Some(broker_synonym)
        },
        effect,
        documentation,
    }
}

use Effect::{Effective, Inert};

const LONG_FROM_ZERO: Kind = Kind::Long(0, i64::MAX);
const LONG_FROM_MINUS_ONE: Kind = Kind::Long(-1, i64::MAX);
const LONG_FROM_MINUS_TWO: Kind = Kind::Long(-2, i64::MAX);

pub(super) const DEFINITIONS: &[Definition] = &[
    setting(
        "alluvium.durability",
        Kind::OneOf(&["local", "object"]),
        "local",
        "alluvium.durability",
        Effective,
        "When a batch is acknowledged: local, when it is fsynced in its leader's write-ahead log; object, when it is in object storage and committed. A partition of class local waits for its leader's disk when the leader dies; of class object another broker leads it at once. Default: local, and object where the metadata is in etcd. May be changed at any time and applies from the next batch on.",
    ),
    setting(
        "cleanup.policy",
        Kind::ListOf(&["compact", "delete"]),
        "delete",
        "log.cleanup.policy",
        Effective,
        "What happens to old records: delete them beyond the retention limits, compact to the latest record for each key, or both. A compacted topic takes only records with a key. What is not published as a table file yet is neither compacted nor counted as dirty, as the active segment of Apache Kafka.",
    ),
    setting(
        "compression.gzip.level",
        Kind::Level(1, 9),
        "-1",
        "compression.gzip.level",
        Effective,
        "Level for compression.type gzip.",
    ),
    setting(
        "compression.lz4.level",
        Kind::Int(1, 17),
        "9",
        "compression.lz4.level",
        Inert("LZ4 is written at one level"),
        "Level for compression.type lz4.",
    ),
    setting(
        "compression.type",
        Kind::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        "producer",
        "compression.type",
        Effective,
        "Codec of the stored batches; producer keeps each batch as it was sent, which costs the broker nothing.",
    ),
    setting(
        "compression.zstd.level",
        Kind::Int(-131_072, 22),
        "3",
        "compression.zstd.level",
        Effective,
        "Level for compression.type zstd.",
    ),
    setting(
        "delete.retention.ms",
        LONG_FROM_ZERO,
        "86400000",
        "log.cleaner.delete.retention.ms",
        Effective,
        "How long tombstones of a compacted topic are kept after the first cleaning that saw them, so that who reads from the beginning within that time sees them.",
    ),
    setting(
        "file.delete.delay.ms",
        LONG_FROM_ZERO,
        "60000",
        "log.segment.delete.delay.ms",
        Inert(NO_LOCAL_SEGMENTS),
        "Delay before a segment file is deleted.",
    ),
    setting(
        "flush.messages",
        Kind::Long(1, i64::MAX),
        "9223372036854775807",
        "log.flush.interval.messages",
        Inert(SYNC_BY_DURABILITY),
        "Records between two syncs to disk.",
    ),
    setting(
        "flush.ms",
        LONG_FROM_ZERO,
        "9223372036854775807",
        "log.flush.interval.ms",
        Inert(SYNC_BY_DURABILITY),
        "Time between two syncs to disk.",
    ),
    setting(
        "follower.replication.throttled.replicas",
        Kind::Text,
        "",
        "",
        Inert(NO_REPLICATION),
        "Replicas whose fetching is throttled.",
    ),
    setting(
        "index.interval.bytes",
        Kind::Int(0, i32::MAX),
        "4096",
        "log.index.interval.bytes",
        Inert(NO_LOCAL_SEGMENTS),
        "Bytes between two entries of an offset index.",
    ),
    setting(
        "leader.replication.throttled.replicas",
        Kind::Text,
        "",
        "",
        Inert(NO_REPLICATION),
        "Replicas whose serving is throttled.",
    ),
    setting(
        "local.retention.bytes",
        LONG_FROM_MINUS_TWO,
        "-2",
        "log.local.retention.bytes",
        Effective,
        "Class local: bytes of a partition that may be on its leader's disk only; with more, they are uploaded. Negative: any, until segment.upload.bytes of all partitions wait.",
    ),
    setting(
        "local.retention.ms",
        LONG_FROM_MINUS_TWO,
        "-2",
        "log.local.retention.ms",
        Effective,
        "Class local: how long a record may be on its leader's disk only; then it is uploaded. Each upload costs a PUT. Negative: segment.upload.ms.",
    ),
    setting(
        "max.compaction.lag.ms",
        Kind::Long(1, i64::MAX),
        "9223372036854775807",
        "log.cleaner.max.compaction.lag.ms",
        Effective,
        "Longest time a record of a compacted topic stays uncompacted, once it is published as a table file.",
    ),
    setting(
        "max.message.bytes",
        Kind::Int(0, i32::MAX),
        "1048588",
        "message.max.bytes",
        Effective,
        "Largest record batch accepted, compressed as it is, in bytes.",
    ),
    setting(
        "message.timestamp.after.max.ms",
        LONG_FROM_ZERO,
        "3600000",
        "log.message.timestamp.after.max.ms",
        Effective,
        "How far the timestamp of a record may lie after the broker's time. Not checked with LogAppendTime.",
    ),
    setting(
        "message.timestamp.before.max.ms",
        LONG_FROM_ZERO,
        "9223372036854775807",
        "log.message.timestamp.before.max.ms",
        Effective,
        "How far the timestamp of a record may lie before the broker's time. Not checked with LogAppendTime.",
    ),
    setting(
        "message.timestamp.type",
        Kind::OneOf(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        "log.message.timestamp.type",
        Effective,
        "Whose clock stamps records: the producer's, or the broker's at the moment of append.",
    ),
    setting(
        "min.cleanable.dirty.ratio",
        Kind::Double(0.0, 1.0),
        "0.5",
        "log.cleaner.min.cleanable.ratio",
        Effective,
        "A partition of a compacted topic is cleaned when more than this share of what is published of it was not cleaned yet.",
    ),
    setting(
        "min.compaction.lag.ms",
        LONG_FROM_ZERO,
        "0",
        "log.cleaner.min.compaction.lag.ms",
        Effective,
        "Shortest time a record of a compacted topic stays uncompacted.",
    ),
    setting(
        "min.insync.replicas",
        Kind::Int(1, i32::MAX),
        "1",
        "min.insync.replicas",
        Inert(NO_REPLICATION),
        "Replicas that must have a batch before it is acknowledged.",
    ),
    setting(
        "preallocate",
        Kind::Boolean,
        "false",
        "log.preallocate",
        Inert(NO_LOCAL_SEGMENTS),
        "Preallocate segment files.",
    ),
    setting(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        "",
        Inert(ALWAYS_REMOTE),
        "Stop copying segments to remote storage.",
    ),
    setting(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        "",
        Inert(ALWAYS_REMOTE),
        "Delete remote data when remote storage is switched off.",
    ),
    setting(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        "",
        Inert(ALWAYS_REMOTE),
        "Keep old segments in remote storage.",
    ),
    setting(
        "retention.bytes",
        LONG_FROM_MINUS_ONE,
        "-1",
        "log.retention.bytes",
        Effective,
        "Bytes of a partition that are kept, as stored; -1: all. Older records go when as much is left without them: what one table file holds of the partition at a time, and never what is not published yet.",
    ),
    // Kafka's default is a week. Here streams are kept for ever unless somebody says otherwise.
    setting(
        "retention.ms",
        LONG_FROM_MINUS_ONE,
        "-1",
        "log.retention.ms",
        Effective,
        "How long records are kept after their timestamp; -1: for ever. They go when the youngest of what a table file holds of the partition is older, and never before they are published (publish.interval.ms).",
    ),
    setting(
        "segment.bytes",
        Kind::Int(14, i32::MAX),
        "1073741824",
        "log.segment.bytes",
        Inert(NO_LOCAL_SEGMENTS),
        "Size of a segment file.",
    ),
    setting(
        "segment.index.bytes",
        Kind::Int(4, i32::MAX),
        "10485760",
        "log.index.size.max.bytes",
        Inert(NO_LOCAL_SEGMENTS),
        "Size of an offset index.",
    ),
    setting(
        "segment.jitter.ms",
        LONG_FROM_ZERO,
        "0",
        "log.roll.jitter.ms",
        Inert(NO_LOCAL_SEGMENTS),
        "Random part of segment.ms.",
    ),
    setting(
        "segment.ms",
        Kind::Long(1, i64::MAX),
        "604800000",
        "log.roll.ms",
        Inert(NO_LOCAL_SEGMENTS),
        "Time after which a new segment file is begun.",
    ),
    setting(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        "unclean.leader.election.enable",
        Effective,
        "Let another broker lead when a broker is gone whose write-ahead log may hold the last acknowledged records of durability local; those are lost then. Without it such partitions wait for that broker.",
    ),
];

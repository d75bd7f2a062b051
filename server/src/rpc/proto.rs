//! The messages between brokers, written by hand as those of etcd are: generating them needs `protoc`.
//!
//! Fields are only ever added, never changed: brokers of two versions meet while a cluster is upgraded.

use bytes::Bytes;
use prost::Message;

/// A partition.
#[derive(Clone, PartialEq, Message)]
pub struct Tp {
    /// The topic's id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub topic_id: Bytes,
    #[prost(int32, tag = "2")]
    pub partition: i32,
}

/// A partition under the epoch of the leader that is asked.
#[derive(Clone, PartialEq, Message)]
pub struct Led {
    #[prost(message, optional, tag = "1")]
    pub tp: Option<Tp>,
    #[prost(int32, tag = "2")]
    pub leader_epoch: i32,
}

/// The offsets that bound a log.
#[derive(Clone, PartialEq, Message)]
pub struct Offsets {
    #[prost(int64, tag = "1")]
    pub log_start: i64,
    #[prost(int64, tag = "2")]
    pub last_stable: i64,
    #[prost(int64, tag = "3")]
    pub high_watermark: i64,
    #[prost(int64, tag = "4")]
    pub log_end: i64,
}

/// A closed entry of a partition's tail.
#[derive(Clone, PartialEq, Message)]
pub struct TailEntry {
    #[prost(int32, tag = "1")]
    pub broker_id: i32,
    #[prost(int64, tag = "2")]
    pub broker_epoch: i64,
    #[prost(uint64, tag = "3")]
    pub first_seq: u64,
    #[prost(uint64, tag = "4")]
    pub last_seq: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct TakeIndexRequest {
    #[prost(message, repeated, tag = "1")]
    pub partitions: Vec<Tp>,
}

/// What a former leader left; see `ingest::recovery::HandedIndex`.
#[derive(Clone, PartialEq, Message)]
pub struct Handed {
    #[prost(message, repeated, tag = "1")]
    pub tail: Vec<TailEntry>,
    #[prost(int64, tag = "2")]
    pub end: i64,
    /// An `IndexPart`.
    #[prost(bytes = "bytes", tag = "3")]
    pub part: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct TakeIndexAnswer {
    /// Of those partitions that are still remembered, as many as one answer holds.
    #[prost(message, repeated, tag = "1")]
    pub handed: Vec<Handed>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OffsetsRequest {
    #[prost(message, repeated, tag = "1")]
    pub partitions: Vec<Led>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OffsetsOfOne {
    /// Missing when the broker does not lead the partition under that epoch.
    #[prost(message, optional, tag = "1")]
    pub offsets: Option<Offsets>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OffsetsAnswer {
    /// In the order of the request.
    #[prost(message, repeated, tag = "1")]
    pub partitions: Vec<OffsetsOfOne>,
}

/// What a follower has.
#[derive(Clone, PartialEq, Message)]
pub struct Known {
    #[prost(int64, tag = "1")]
    pub log_start: i64,
    /// End of its segment index.
    #[prost(int64, tag = "2")]
    pub index_end: i64,
    #[prost(int64, tag = "3")]
    pub high_watermark: i64,
    #[prost(int64, tag = "4")]
    pub log_end: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub partition: Option<Led>,
    /// Missing: nothing yet.
    #[prost(message, optional, tag = "2")]
    pub known: Option<Known>,
    /// How long to wait for news.
    #[prost(uint32, tag = "3")]
    pub wait_ms: u32,
}

/// A leader epoch and its first offset.
#[derive(Clone, PartialEq, Message)]
pub struct EpochStart {
    #[prost(int32, tag = "1")]
    pub leader_epoch: i32,
    #[prost(int64, tag = "2")]
    pub start: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchAnswer {
    #[prost(message, optional, tag = "1")]
    pub offsets: Option<Offsets>,
    /// An `IndexPart`: the segments behind the known index end. Empty: none.
    #[prost(bytes = "bytes", tag = "2")]
    pub part: Bytes,
    /// Batches behind the index, and behind the known log end, that no segment holds yet.
    #[prost(bytes = "bytes", tag = "3")]
    pub records: Bytes,
    /// The history of leader epochs, for who knows nothing yet.
    #[prost(message, repeated, tag = "4")]
    pub epochs: Vec<EpochStart>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadBatchRequest {
    #[prost(message, optional, tag = "1")]
    pub partition: Option<Led>,
    #[prost(int64, tag = "2")]
    pub offset: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadBatchAnswer {
    /// The batch that holds the offset.
    #[prost(bytes = "bytes", tag = "1")]
    pub batch: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadPagesRequest {
    /// Name of a segment.
    #[prost(string, tag = "1")]
    pub object_key: String,
    /// Size of all of it.
    #[prost(uint64, tag = "2")]
    pub object_bytes: u64,
    #[prost(uint64, tag = "3")]
    pub start: u64,
    #[prost(uint64, tag = "4")]
    pub end: u64,
    /// For a reader near the end of the log.
    #[prost(bool, tag = "5")]
    pub is_tail: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReadPagesAnswer {
    #[prost(bytes = "bytes", tag = "1")]
    pub bytes: Bytes,
}

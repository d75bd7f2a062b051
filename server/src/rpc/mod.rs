//! Calls between the brokers of a cluster, over gRPC on a port of their own.
//!
//! Nouns: a [`Method`] is one kind of call, [`Peers`] makes calls to other brokers, [`RpcService`] answers those of
//! others, with what a [`leader::Leader`] tells of its partitions, and with
//! [`Pages`] of segments.
//!
//! Every call says of which cluster it is and in which version of this protocol it is made; another cluster's is
//! refused. Every call has a time limit, what is answered takes its memory from a budget until it is sent, and a broker
//! that has too much to do says so at once. No call changes anything, so that each may be repeated, and none is needed
//! for anything to be right: whoever is not answered goes the longer way over metadata store and object store.

mod calls;
mod convert;
pub mod leader;
mod listener;
mod pages;
pub mod peers;
mod proto;
pub mod rendezvous;
mod service;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use prost::Message;

pub use convert::{Known, News};
pub use leader::Leader;
pub use listener::{BoundRpc, RpcTls, TlsError};
pub use pages::{Pages, RackPages};
pub use peers::{CallError, Peers};
pub use service::{AnswerMemory, RpcLimits, RpcService};

/// Version of this protocol. A newer one is taken as long as it only adds.
const PROTOCOL_VERSION: u32 = 1;

/// Names of what every call is sent with.
const CLUSTER_HEADER: &str = "alluvium-cluster";
const VERSION_HEADER: &str = "alluvium-rpc-version";

/// Name of the service, as gRPC wants it in paths.
const SERVICE: &str = "alluvium.Broker";

/// Longest question. The largest are those about all partitions that a broker takes over.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// Longest answer: a batch as large as any, or a page.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Partitions of one question: what a broker may lead, and far below `REQUEST_BYTES_MAX`.
pub const PARTITIONS_PER_CALL_MAX: usize = 10_000;

/// Longest time that a leader keeps a follower waiting for news.
pub const WATCH_WAIT_MAX: Duration = Duration::from_secs(5);

/// One kind of call.
pub trait Method: Send + Sync + 'static {
    /// What is asked.
    type Request: Message + Default + 'static;
    /// What is answered.
    type Answer: Message + Default + 'static;
    /// Path of the call.
    const PATH: &'static str;
    /// After this the caller goes another way.
    const TIME_LIMIT: Duration;
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])+ $name:ident($request:ident) -> $answer:ident, $path:literal, $limit:expr;)+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl Method for $name {
                type Request = proto::$request;
                type Answer = proto::$answer;
                const PATH: &'static str = concat!("/alluvium.Broker/", $path);
                const TIME_LIMIT: Duration = $limit;
            }
        )+
    };
}

methods! {
    /// What a broker knew of partitions when it handed them over.
    TakeIndex(TakeIndexRequest) -> TakeIndexAnswer, "TakeIndex", Duration::from_secs(1);
    /// The offsets of partitions now, from their leader.
    ReadOffsets(OffsetsRequest) -> OffsetsAnswer, "ReadOffsets", Duration::from_secs(1);
    /// What is new in a partition, from its leader, as soon as something is.
    Watch(WatchRequest) -> WatchAnswer, "Watch", WATCH_WAIT_MAX.saturating_add(Duration::from_secs(5));
    /// A batch that no segment holds yet, or did not when the caller was told of it.
    ReadBatch(ReadBatchRequest) -> ReadBatchAnswer, "ReadBatch", Duration::from_secs(5);
    /// Bytes of a segment, from the broker of the rack that fetches it for all.
    ReadPages(ReadPagesRequest) -> ReadPagesAnswer, "ReadPages", Duration::from_secs(1);
}

//! Kafka's Fetch: several partitions in one request, long polls, sessions (KIP-227).
//!
//! ```text
//! request -> session: which partitions -> plan: read what is there -> long poll: wait, read what moved
//!         -> session: leave out what the client knows already -> response
//! ```
//!
//! The rules are those of `kafka.server.ReplicaManager` and `FetchSession`: partitions are read in
//! order, the first one that has anything gives at least one batch whatever its size, everything else
//! stays within the limits of partition and request; the request is answered at once when `min_bytes`
//! are there or a partition has an error.

mod long_poll;
mod plan;
mod replicas;
pub mod session;

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod replicas_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::budget::{BytePermit, ClassBudgets};
use alluvium_cache::log::EpochEnd;
use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::{PartitionIndex, TopicId};
use bytes::Bytes;
use tokio::sync::watch;

use crate::error::ReadError;
use crate::log_reader::{Isolation, LogRead, LogReader};
pub use replicas::Replicas;
use session::{FetchSessions, SessionConfig, SessionError, SessionRequest};

/// A topic as the client names it: by name up to Fetch v12, by id from v13 on (KIP-516).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicKey {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(TopicId),
}

/// Knows topics. Asked anew in every fetch: a session outlives topics.
pub trait TopicResolver: Send + Sync {
    /// The id of the topic; `None` when there is no such topic, or not for this client.
    fn resolve(&self, topic: &TopicKey) -> Option<TopicId>;
}

/// What a client asks of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic.
    pub topic: TopicKey,
    /// The partition.
    pub partition: PartitionIndex,
    /// From which offset on. Clients may send anything; what is no offset is out of range.
    pub fetch_offset: i64,
    /// The leader epoch that the client believes in, if it says.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record it has, if it says: a log that disagrees has diverged (KIP-595).
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// At most how many bytes of this partition.
    pub max_bytes: usize,
}

/// A Fetch request.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// How long to wait for `min_bytes`.
    pub max_wait: Duration,
    /// Bytes worth answering before that.
    pub min_bytes: usize,
    /// At most how many bytes of all partitions together.
    pub max_bytes: usize,
    /// What the client may see.
    pub isolation: Isolation,
    /// The client's rack, if it says: it may be sent to a broker there, or have been sent here (KIP-392).
    pub rack: Option<String>,
    /// Its session.
    pub session: SessionRequest,
    /// The partitions: all of them, or the changes of a session.
    pub partitions: Vec<FetchPartition>,
    /// Partitions to take out of the session.
    pub forgotten: Vec<(TopicKey, PartitionIndex)>,
}

/// Why one partition of a fetch failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// There is no such topic, or not for this client.
    #[error("the topic is unknown")]
    UnknownTopic,
    /// The read failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What a partition of a fetch gives.
#[derive(Debug, Clone)]
pub struct PartitionRead {
    /// The records, and the log's offsets.
    pub read: LogRead,
    /// The epoch under which this broker leads.
    pub leader_epoch: LeaderEpoch,
    /// Where the client's log and ours part, if they do; there are no records then.
    pub diverging: Option<EpochEnd>,
    /// The broker to fetch from instead (KIP-392); there are no records then.
    pub preferred: Option<BrokerId>,
}

/// The answer for one partition.
#[derive(Debug, Clone)]
pub struct PartitionResponse {
    /// The topic, as the client named it.
    pub topic: TopicKey,
    /// The partition.
    pub partition: PartitionIndex,
    /// What came of it.
    pub result: Result<PartitionRead, FetchError>,
}

/// The answer to a fetch.
#[derive(Debug, Default)]
pub struct FetchResponse {
    /// The session for the client's next request; 0 is none.
    pub session_id: i32,
    /// The partitions: all of them, or those with news. Their records are charged to this broker's
    /// budgets until the last piece is dropped, that is, until the response is written.
    pub partitions: Vec<PartitionResponse>,
}

/// Limits of fetches.
#[derive(Debug, Clone, Copy)]
pub struct FetchConfig {
    /// Largest response in bytes whatever the client asks for (Kafka's `fetch.max.bytes`).
    pub max_bytes: usize,
    /// Bytes of records from the tail on their way to clients at one time. Beyond, responses get
    /// smaller; they never wait, so a few slow clients cannot stop the others.
    pub tail_response_bytes: usize,
    /// The same for records from segments.
    pub backfill_response_bytes: usize,
    /// Limits of sessions.
    pub sessions: SessionConfig,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            max_bytes: 55 << 20,
            tail_response_bytes: 256 << 20,
            backfill_response_bytes: 256 << 20,
            sessions: SessionConfig::default(),
        }
    }
}

/// Answers fetches. Shared by all connections of a broker.
pub struct Fetcher {
    reader: Arc<LogReader>,
    replicas: Option<Arc<dyn Replicas>>,
    sessions: FetchSessions,
    budgets: ClassBudgets,
    max_bytes: usize,
    stopping: watch::Sender<bool>,
}

impl Fetcher {
    /// A fetcher over `reader`; with `replicas`, clients are served from their own rack.
    pub fn new(
        reader: Arc<LogReader>,
        replicas: Option<Arc<dyn Replicas>>,
        config: FetchConfig,
        random: SharedRandom,
    ) -> Arc<Self> {
        let metrics = reader.metrics().clone();
        Arc::new(Self {
            reader,
            replicas,
            sessions: FetchSessions::new(config.sessions, random, metrics),
            budgets: ClassBudgets::new(config.tail_response_bytes, config.backfill_response_bytes),
            max_bytes: config.max_bytes,
            stopping: watch::Sender::new(false),
        })
    }

    /// Ends all waits, now and from now on: fetches answer with what there is. For a broker that is
    /// about to stop, which clients with long polls would otherwise hold up.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// Answers `request`, after waiting for records as long as it says. Dropping the future ends the
    /// wait.
    ///
    /// # Errors
    /// Only of the session as a whole; errors of partitions are in the response.
    pub async fn fetch(
        &self,
        mut request: FetchRequest,
        topics: &dyn TopicResolver,
    ) -> Result<FetchResponse, SessionError> {
        request.max_bytes = request.max_bytes.min(self.max_bytes);
        request.min_bytes = request.min_bytes.min(request.max_bytes);
        let partitions = std::mem::take(&mut request.partitions);
        let forgotten = std::mem::take(&mut request.forgotten);
        let begun = self
            .sessions
            .begin(request.session, partitions, &forgotten)?;
        let (context, partitions) = begun;
        let logs = replicas::find(self, &request, &partitions, topics).await;
        let mut poll = plan::Poll::new(self, &request, &partitions, logs);
        long_poll::run(&mut poll, &request).await;
        let (mut results, permits) = poll.into_results();
        charge(&mut results, permits);
        let (session_id, partitions) = self.sessions.finish(context, partitions, results)?;
        Ok(FetchResponse {
            session_id,
            partitions,
        })
    }
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

/// Bytes that are charged to a budget as long as they live.
struct Charged {
    bytes: Bytes,
    _permits: Vec<BytePermit>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Hangs `permits` on the last piece of all records, the last to be written.
fn charge(results: &mut [Result<PartitionRead, FetchError>], permits: Vec<BytePermit>) {
    let reads = results
        .iter_mut()
        .rev()
        .filter_map(|result| result.as_mut().ok());
    let last = reads.filter_map(|got| got.read.records.last_mut()).next();
    if let (Some(piece), false) = (last, permits.is_empty()) {
        *piece = Bytes::from_owner(Charged {
            bytes: std::mem::take(piece),
            _permits: permits,
        });
    }
}

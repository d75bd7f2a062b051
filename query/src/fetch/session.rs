//! Incremental fetch sessions (KIP-227): the client names its partitions once, then only changes;
//! the broker answers only what is new. The rules are those of Kafka's `FetchSessionCache` and
//! `FetchManager`.

mod cache;
mod partitions;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::PartitionIndex;
use parking_lot::Mutex;

use super::{FetchError, FetchPartition, PartitionRead, PartitionResponse, TopicKey};
use crate::metrics::ReadMetrics;
use cache::Cache;
use partitions::Partitions;

/// No session.
pub const NO_SESSION: i32 = 0;

/// Epoch of a request that begins a session, or ends one and begins another.
pub const INITIAL_EPOCH: i32 = 0;

/// Epoch of a request that wants no session, or ends one. What clients before Fetch v7 mean.
pub const FINAL_EPOCH: i32 = -1;

/// What a request says about its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session, or [`NO_SESSION`].
    pub id: i32,
    /// Counts the requests of a session.
    pub epoch: i32,
    /// Whether the request names topics by id (Fetch v13 and later).
    pub by_topic_ids: bool,
}

impl SessionRequest {
    /// A request without a session.
    pub const NONE: SessionRequest = SessionRequest {
        id: NO_SESSION,
        epoch: FINAL_EPOCH,
        by_topic_ids: false,
    };
}

/// Why a request's session is of no use; the client starts a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Kafka's FETCH_SESSION_ID_NOT_FOUND.
    #[error("the fetch session is unknown or was evicted")]
    IdNotFound,
    /// Kafka's INVALID_FETCH_SESSION_EPOCH.
    #[error("the fetch session expects another epoch")]
    InvalidEpoch,
    /// Kafka's FETCH_SESSION_TOPIC_ID_ERROR.
    #[error("the fetch session was begun with topic ids, or without, and this request was not")]
    TopicId,
}

/// Limits of sessions.
#[derive(Debug, Clone, Copy)]
pub struct SessionConfig {
    /// Sessions at one time (Kafka's `max.incremental.fetch.session.cache.slots`). Clients beyond
    /// name all their partitions in every request.
    pub slots: usize,
    /// Partitions in all sessions together: some 200 bytes of memory each.
    pub partitions_max: usize,
    /// A session not used for this long may be evicted by any other, and one younger than this by
    /// none that is not larger (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
    pub eviction: Duration,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            slots: 1000,
            partitions_max: 1_000_000,
            eviction: Duration::from_secs(120),
        }
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    id: i32,
    /// The epoch that the next request must have.
    epoch: i32,
    by_topic_ids: bool,
    partitions: Partitions,
}

/// How a request is to be answered.
#[derive(Debug)]
pub(super) enum Context {
    /// All partitions, no session.
    Sessionless,
    /// All partitions, and a session if there is room.
    Full { by_topic_ids: bool },
    /// News only. `epoch` is the session's after this request.
    Incremental {
        session: Arc<Mutex<Session>>,
        epoch: i32,
    },
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    cache: Mutex<Cache>,
}

/// After `i32::MAX` comes 1: 0 and -1 have meanings.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl FetchSessions {
    /// No sessions yet.
    pub fn new(config: SessionConfig, random: SharedRandom, metrics: ReadMetrics) -> Self {
        Self {
            cache: Mutex::new(Cache::new(config, random, metrics)),
        }
    }

    /// Which partitions a request means, and how to answer it.
    pub(super) fn begin(
        &self,
        request: SessionRequest,
        partitions: Vec<FetchPartition>,
        forgotten: &[(TopicKey, PartitionIndex)],
    ) -> Result<(Context, Vec<FetchPartition>), SessionError> {
        if request.epoch == INITIAL_EPOCH || request.epoch == FINAL_EPOCH {
            self.cache.lock().remove(request.id);
            let context = if request.epoch == FINAL_EPOCH {
                Context::Sessionless
            } else {
                Context::Full {
                    by_topic_ids: request.by_topic_ids,
                }
            };
            return Ok((context, partitions));
        }
        let found = self.cache.lock().get(request.id);
        let found = found.ok_or(SessionError::IdNotFound)?;
        let mut session = found.lock();
        if session.epoch != request.epoch {
            return Err(SessionError::InvalidEpoch);
        }
        if session.by_topic_ids != request.by_topic_ids {
            return Err(SessionError::TopicId);
        }
        session.partitions.update(partitions.clone(), forgotten);
        if session.partitions.is_empty() {
            self.cache.lock().remove(session.id);
            return Ok((Context::Sessionless, partitions));
        }
        // From here on the cache's lock is taken while the session's is held, never the reverse.
        if !self
            .cache
            .lock()
            .touch(session.id, session.partitions.len())
        {
            return Err(SessionError::IdNotFound);
        }
        session.epoch = next_epoch(session.epoch);
        let epoch = session.epoch;
        let partitions = session.partitions.requests();
        drop(session);
        let session = found;
        Ok((Context::Incremental { session, epoch }, partitions))
    }

    /// Makes the answer of a request's partitions and their results: the session's id, and what to
    /// send.
    pub(super) fn finish(
        &self,
        context: Context,
        partitions: Vec<FetchPartition>,
        results: Vec<Result<PartitionRead, FetchError>>,
    ) -> Result<(i32, Vec<PartitionResponse>), SessionError> {
        match context {
            Context::Sessionless => Ok((NO_SESSION, join(&partitions, results))),
            Context::Full { by_topic_ids } => {
                let responses = join(&partitions, results);
                let partitions = Partitions::new(partitions, &responses);
                let id = self.cache.lock().create(by_topic_ids, partitions);
                Ok((id, responses))
            }
            Context::Incremental { session, epoch } => {
                let mut session = session.lock();
                if session.epoch != epoch {
                    // The client has sent another request meanwhile; it does not want this answer.
                    return Err(SessionError::InvalidEpoch);
                }
                let mut responses = join(&partitions, results);
                session.partitions.keep_news(&mut responses);
                Ok((session.id, responses))
            }
        }
    }
}

fn join(
    partitions: &[FetchPartition],
    results: Vec<Result<PartitionRead, FetchError>>,
) -> Vec<PartitionResponse> {
    let both = partitions.iter().zip(results);
    both.map(|(partition, result)| PartitionResponse {
        topic: partition.topic.clone(),
        partition: partition.partition,
        result,
    })
    .collect()
}

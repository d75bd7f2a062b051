//! Fits the real components to the narrow seams of the write path.

use std::sync::Arc;

use alluvium_cache::segment_cache::SegmentCache;
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_ingest::seams::{CommitFailure, CommitSink, SegmentSink, SessionGuard};
use alluvium_metadata::commit_log::{CommitError, CommitLog};
use alluvium_metadata::model::CommitRecord;
use alluvium_metadata::session::Session;
use alluvium_query::LeaderGuard;
use alluvium_segment::object_key::ObjectKey;
use alluvium_segment::segment_object::EncodedSegment;
use futures::future::BoxFuture;
use tokio::time::Instant;

/// The commit log of the broker's session.
pub struct Commits(pub CommitLog);

impl CommitSink for Commits {
    fn commit(
        &self,
        first_sequence: u64,
        records: Vec<CommitRecord>,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        Box::pin(async move {
            self.0
                .commit(first_sequence, &records)
                .await
                .map_err(|error| match error {
                    CommitError::Fenced | CommitError::Conflict { .. } => CommitFailure::Fenced,
                    CommitError::Unavailable(error) | CommitError::Refused(error) => {
                        CommitFailure::Unavailable(error.to_string())
                    }
                })
        })
    }
}

/// The broker's session.
#[derive(Debug)]
pub struct SessionSeam(pub Arc<Session>);

/// As long as the session stands, nobody else opens what it has opened (F2).
impl LeaderGuard for SessionSeam {
    fn proved_until(&self) -> Option<Instant> {
        self.0.alive_until()
    }
}

impl SessionGuard for SessionSeam {
    fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        let session = Arc::clone(&self.0);
        Box::pin(async move { session.lost().await })
    }

    fn broker_id(&self) -> BrokerId {
        self.0.broker_id()
    }

    fn broker_epoch(&self) -> BrokerEpoch {
        self.0.broker_epoch()
    }
}

/// The cache in front of the object store.
pub struct CacheSink(pub SegmentCache);

impl SegmentSink for CacheSink {
    fn insert(&self, object_key: &ObjectKey, segment: &EncodedSegment) {
        self.0.insert_segment(object_key, segment);
    }
}

//! Where what is to be published is found: manifests that count, commits behind them.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::store::{KeyRange, RangeRequest, StoreError};
use alluvium_metadata::view::Picture;
use tracing::error;

use super::backlog::{BacklogError, Sources};
use super::due::published_end;
use super::{PublishError, Publisher};
use crate::manifests::read_manifest;

/// How long the picture may take to show what the store has.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);

const OFFSET_MAX: Offset = Offset::new(i64::MAX).expect("not negative");

impl Publisher {
    /// The picture. Topics of the backlog that it does not show are gone, and not newer than it.
    pub(super) async fn picture(&self) -> Result<Arc<Picture>, PublishError> {
        let view = &self.with.view;
        let picture = view.picture();
        let is_shown = |topic_id: &TopicId| picture.topics.with_id(*topic_id).is_some();
        if self.backlog.topics().iter().all(is_shown) {
            return Ok(picture);
        }
        let any = KeyRange::key(self.with.keys.cluster());
        let now = self
            .with
            .store
            .range(RangeRequest::new(any))
            .await?
            .revision;
        let reached = tokio::time::timeout(PICTURE_TIMEOUT, view.reached(now)).await;
        match reached {
            Ok(()) => Ok(view.picture()),
            Err(_) => Err(PublishError::Store(StoreError::Unavailable {
                outcome: Outcome::NotDone,
                reason: "the picture of the cluster is out of date".to_owned(),
            })),
        }
    }

    /// Tries partitions again whose bad batch is deleted by now, and forgets those that are not this process' to publish.
    /// Whether there are any.
    pub(super) fn unblock(&mut self, picture: &Picture) -> bool {
        let before = self.blocked.len();
        self.blocked.retain(|tp, batch| {
            let mine = self.shards.holds(CompactionShard::of(tp.topic_id));
            let placed = picture.partitions.get(*tp).filter(|_| mine);
            placed.is_some_and(|placed| placed.record.log_start < batch.end)
        });
        self.count_blocked();
        self.blocked.len() < before
    }

    pub(super) fn count_blocked(&self) {
        let blocked = i64::try_from(self.blocked.len()).unwrap_or(i64::MAX);
        self.with.metrics.blocked_partitions.set(blocked);
    }

    /// Reads new commits of the topics that are this process' to publish. How many manifests and logs could not be read.
    pub(super) async fn find(&mut self, picture: &Picture) -> Result<usize, PublishError> {
        self.load_manifests(picture).await;
        let (manifests, shards, blocked) = (&self.manifests, &self.shards, &self.blocked);
        // Also of topics that the picture does not show: they may be newer than it.
        let wanted = |tp: TopicPartition| {
            let mine = shards.holds(CompactionShard::of(tp.topic_id));
            let end = blocked.get(&tp).map_or(OFFSET_MAX, |batch| batch.start);
            mine.then(|| published_end(manifests, tp)..end)
        };
        let needed = |tp: TopicPartition| {
            picture.topics.with_id(tp.topic_id)?;
            let wanted = wanted(tp)?;
            let placed = picture.partitions.get(tp);
            let log_start = placed.map_or(Offset::ZERO, |placed| placed.record.log_start);
            Some(wanted.start.max(log_start)..wanted.end)
        };
        self.backlog.forget(needed);
        let sources = Sources {
            store: &*self.with.store,
            keys: &self.with.keys,
            objects: &*self.with.objects,
        };
        let followed = self.backlog.follow(&sources, &wanted).await;
        let failed_logs = followed.map_err(|BacklogError::Store(error)| error)?;
        Ok(failed_logs + self.unreadable.len())
    }

    /// The manifests that count, of all topics that are this process' to publish.
    async fn load_manifests(&mut self, picture: &Picture) {
        self.unreadable.clear();
        self.manifests
            .retain(|topic_id, _| picture.published.contains_key(topic_id));
        for (topic_id, published) in &*picture.published {
            let known = self.manifests.get(topic_id);
            let is_known = known.is_some_and(|known| known.version() >= published.record.version);
            if is_known || !self.shards.holds(CompactionShard::of(*topic_id)) {
                continue;
            }
            let manifest = read_manifest(&*self.with.objects, *topic_id, &published.record);
            match manifest.await {
                Ok(manifest) => drop(self.manifests.insert(*topic_id, Arc::new(manifest))),
                Err(error) => {
                    self.with.metrics.errors.inc();
                    error!(%topic_id, %error, "a topic cannot be published: its manifest cannot be read; it is tried again");
                    self.unreadable.insert(*topic_id);
                }
            }
        }
    }
}

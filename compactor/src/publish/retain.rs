//! Where retention is done: in every round, over all topics that are this process' to compact.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::store::Compare;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::topics::TopicError;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::{Leaf, LeafEntry, Manifest};
use alluvium_segment::object_key::ObjectKey;
use tracing::{error, info, warn};

use super::{PublishError, Publisher, Round};
use crate::fold::ReadError;
use crate::retain::{Kept, LogStart, RetentionLimits, Trimmed, without_deleted};
use crate::topic_manifest::Next;

/// Log starts raised in one round: each is a transaction or two.
const LOG_STARTS_PER_ROUND: usize = 100;

impl Publisher {
    /// Raises the log starts of partitions of which too much is kept, some in a round.
    pub(super) async fn retain(&mut self, picture: &Picture, round: &mut Round) {
        let surplus = self.surplus(picture).await;
        round.more |= surplus.len() > LOG_STARTS_PER_ROUND;
        for (tp, to) in surplus.into_iter().take(LOG_STARTS_PER_ROUND) {
            match self.topics.set_log_start(tp, to).await {
                Ok(log_start) => info!(%tp, %log_start, "deleted old records"),
                // Deleted meanwhile.
                Err(TopicError::UnknownPartition) => {}
                Err(error) => {
                    round.failed += 1;
                    warn!(%tp, %error, "old records cannot be deleted; trying again");
                }
            }
        }
    }

    /// Where logs shall start that start too early.
    async fn surplus(&self, picture: &Picture) -> Vec<(TopicPartition, Offset)> {
        let mut surplus = Vec::new();
        for (topic_id, manifest) in &self.manifests {
            let Some(topic) = picture.topics.with_id(*topic_id) else {
                continue;
            };
            let settings = TopicSettings::parse(&topic.configs, &self.options.topic_defaults);
            let Some(limits) = RetentionLimits::of(&settings) else {
                continue;
            };
            for partition in manifest.content().partitions.keys() {
                let tp = TopicPartition::new(*topic_id, *partition);
                let Some(placed) = picture.partitions.get(tp) else {
                    continue;
                };
                let kept = Kept {
                    manifest,
                    partition: *partition,
                    from: placed.record.log_start,
                    unpublished_bytes: self.backlog.stored_bytes(tp),
                };
                match self.log_start(tp, &kept, &limits).await {
                    Ok(to) if to > kept.from => surplus.push((tp, to)),
                    Ok(_) => {}
                    // Of one topic; others need not wait for it.
                    Err(error) => {
                        self.with.metrics.errors.inc();
                        warn!(%tp, %error, "what is to be deleted is not known; trying again");
                    }
                }
            }
        }
        surplus
    }

    async fn log_start(
        &self,
        tp: TopicPartition,
        kept: &Kept<'_>,
        limits: &RetentionLimits,
    ) -> Result<Offset, ReadError> {
        let now_ms = self.with.clock.now_ms();
        let mut read: HashMap<ObjectKey, Arc<Leaf>> = HashMap::new();
        loop {
            let known = |entry: &LeafEntry| read.get(&entry.object_key).cloned();
            match kept.log_start(known, limits, now_ms) {
                LogStart::At(offset) => return Ok(offset),
                // Each time another one.
                LogStart::In(entry) => {
                    let leaf = self.leaves.read(tp.topic_id, &entry).await?;
                    read.insert(entry.object_key.clone(), leaf);
                }
            }
        }
    }

    /// Leaves table files out of a manifest of which nothing is readable any more: of one topic.
    pub(super) async fn trim_if_due(&mut self, picture: &Picture, round: &mut Round) {
        for (topic_id, manifest) in &self.manifests {
            let claim = self.shards.claim(CompactionShard::of(*topic_id));
            let exists = picture.topics.with_id(*topic_id).is_some();
            let Some(claim) = claim.filter(|_| exists) else {
                continue;
            };
            let topic_id = *topic_id;
            match self.trim(picture, topic_id, manifest, claim).await {
                Ok(None) => {}
                Ok(Some(trimmed)) => {
                    info!(%topic_id, version = trimmed.version(), "let go of table files below the log start");
                    self.manifests.insert(topic_id, trimmed);
                    round.more = true;
                    return;
                }
                Err(PublishError::Superseded) => round.failed += 1,
                Err(error) => {
                    round.failed += 1;
                    self.with.metrics.errors.inc();
                    error!(%topic_id, %error, "table files below the log start stay; it is tried again");
                }
            }
        }
    }

    /// The manifest that counts then; `None`: nothing is to go.
    async fn trim(
        &self,
        picture: &Picture,
        topic_id: TopicId,
        manifest: &Manifest,
        claim: Compare,
    ) -> Result<Option<Arc<Manifest>>, PublishError> {
        let log_start = |partition| {
            let placed = picture
                .partitions
                .get(TopicPartition::new(topic_id, partition));
            placed.map(|placed| placed.record.log_start)
        };
        let trimmed = without_deleted(manifest, &self.leaves, log_start).await?;
        let Some(trimmed) = trimmed else {
            return Ok(None);
        };
        let Trimmed {
            mut content,
            first_leaf,
            gone,
        } = trimmed;
        let manifest = self.topic_manifest(picture, topic_id, claim);
        let followed = manifest.begin().await?;
        if let (Some(tables), Some(first)) = (first_leaf, content.leaves.first_mut()) {
            *first = manifest.put_leaf(tables).await?;
        }
        let next = Next {
            gone,
            ..content.into()
        };
        manifest.advance(followed, next).await.map(Some)
    }
}

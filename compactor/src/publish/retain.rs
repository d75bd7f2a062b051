//! Where retention is done: in every round, over all topics that are this process' to compact.

use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::topics::TopicError;
use alluvium_metadata::view::Picture;
use tracing::{error, info, warn};

use super::{PublishError, Publisher, Round};
use crate::retain::{self, RetentionLimits, without_deleted};

/// Log starts raised in one round: each is a transaction or two.
const LOG_STARTS_PER_ROUND: usize = 100;

impl Publisher {
    /// Raises the log starts of partitions of which too much is kept, some in a round.
    pub(super) async fn retain(&mut self, picture: &Picture, round: &mut Round) {
        let surplus = self.surplus(picture);
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
    fn surplus(&self, picture: &Picture) -> Vec<(TopicPartition, Offset)> {
        let now_ms = self.with.clock.now_ms();
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
                let from = placed.record.log_start;
                let waiting = self.backlog.stored_bytes(tp);
                let to = retain::log_start(manifest, *partition, from, waiting, &limits, now_ms);
                if to > from {
                    surplus.push((tp, to));
                }
            }
        }
        surplus
    }

    /// Leaves table files out of a manifest of which nothing is readable any more: of one topic.
    pub(super) async fn trim_if_due(&mut self, picture: &Picture, round: &mut Round) {
        let trimmed = self.manifests.iter().find_map(|(topic_id, manifest)| {
            picture.topics.with_id(*topic_id)?;
            let claim = self.shards.claim(CompactionShard::of(*topic_id))?;
            let content = without_deleted(picture, *topic_id, manifest)?;
            Some((*topic_id, claim, content))
        });
        let Some((topic_id, claim, content)) = trimmed else {
            return;
        };
        let manifest = self.topic_manifest(picture, topic_id, claim);
        let advanced = async {
            let followed = manifest.begin().await?;
            manifest.advance(followed, content, None).await
        };
        match advanced.await {
            Ok(trimmed) => {
                info!(%topic_id, version = trimmed.version(), "let go of table files below the log start");
                self.manifests.insert(topic_id, trimmed);
                round.more = true;
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

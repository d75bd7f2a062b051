//! Where cleaning is done: between two rounds of publishing, a step at a time, so that nothing waits for it for long.

use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::view::Picture;
use tracing::error;

use super::topic::output_seams;
use super::{PublishError, Publisher, Round};
use crate::clean::CleanJob;

impl Publisher {
    /// When nothing more is to be published. Whoever cleans has more to do.
    pub(super) async fn clean_if_due(&mut self, picture: &Picture, round: &mut Round) {
        match self.clean(picture).await {
            Ok(cleaned) => round.more = cleaned,
            Err(PublishError::Superseded) => round.failed += 1,
            Err(error) => {
                round.failed += 1;
                self.with.metrics.clean.errors.inc();
                error!(%error, "a compacted topic cannot be cleaned; it stays as it is, and is tried again later");
            }
        }
    }

    /// A step of a cleaning, if one is due or has begun. Whether that was so.
    async fn clean(&mut self, picture: &Picture) -> Result<bool, PublishError> {
        let (shards, defaults) = (&self.shards, &self.options.topic_defaults);
        let settings = |topic_id| {
            let mine = shards.holds(CompactionShard::of(topic_id));
            let topic = picture.topics.with_id(topic_id).filter(|_| mine)?;
            Some(TopicSettings::parse(&topic.configs, defaults))
        };
        let time = self.cleaner.now();
        let next = self.cleaner.next(picture, &self.manifests, &settings, time);
        let Some(work) = next else {
            return Ok(false);
        };
        let topic_id = work.topic_id();
        let Some(claim) = self.shards.claim(CompactionShard::of(topic_id)) else {
            return Ok(false);
        };
        // Most of what a cleaning writes the next one reads and writes again.
        let table = self.options.hasty_table();
        let job = CleanJob {
            manifest: self.topic_manifest(picture, topic_id, claim),
            options: &table,
            output: output_seams(&self.with, &self.options, &self.threads, topic_id),
            threads: &self.threads,
            cover_bytes: self.options.clean.cover_bytes,
            run_bytes: self.options.clean.run_bytes,
            time,
        };
        match work.step(job).await {
            Ok(stepped) => {
                self.manifests.insert(topic_id, stepped.manifest);
                self.cleaner.go_on(stepped.rest);
                Ok(true)
            }
            Err(error) => {
                self.cleaner.put_off(topic_id);
                Err(error)
            }
        }
    }
}

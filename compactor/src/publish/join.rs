//! Where small table files are joined: when nothing is to be published.

use std::ops::Range;
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::store::Compare;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::Manifest;
use tracing::{error, info};

use super::topic::output_seams;
use super::{PublishError, Publisher, Round};
use crate::rewrite::join::run_to_join;
use crate::rewrite::{keep_all, replace_tables, rewrite};

impl Publisher {
    /// When nothing is to be published.
    pub(super) async fn join_if_due(&mut self, picture: &Picture, round: &mut Round) {
        match self.join(picture).await {
            Ok(joined) => round.more = joined,
            Err(PublishError::Superseded) => round.failed += 1,
            Err(error) => {
                round.failed += 1;
                self.with.metrics.errors.inc();
                error!(%error, "table files cannot be joined; they stay as they are, and it is tried again");
            }
        }
    }

    /// Joins small table files of one topic, if any has enough of them. Whether that was so.
    async fn join(&mut self, picture: &Picture) -> Result<bool, PublishError> {
        for (topic_id, manifest) in &self.manifests {
            let Some(run) = run_to_join(manifest.tables(), self.options.table_bytes) else {
                continue;
            };
            let exists = picture.topics.with_id(*topic_id).is_some();
            let claim = self.shards.claim(CompactionShard::of(*topic_id));
            let Some(claim) = claim.filter(|_| exists) else {
                continue;
            };
            let topic_id = *topic_id;
            let joined = self.join_run(picture, topic_id, claim, run).await?;
            self.manifests.insert(topic_id, joined);
            return Ok(true);
        }
        Ok(false)
    }

    async fn join_run(
        &self,
        picture: &Picture,
        topic_id: TopicId,
        claim: Compare,
        run: Range<usize>,
    ) -> Result<Arc<Manifest>, PublishError> {
        let manifest = self.topic_manifest(picture, topic_id, claim);
        let followed = manifest.begin().await?;
        let tables = manifest.before.iter().flat_map(|before| before.tables());
        let tables: Vec<_> = tables.skip(run.start).take(run.len()).cloned().collect();
        let seams = output_seams(&self.with, &self.options, &self.threads, topic_id);
        let new = rewrite(seams, &self.options.table, &tables, &keep_all()).await?;
        info!(%topic_id, files = tables.len(), into = new.len(), "joined table files");
        let mut content = manifest.content();
        replace_tables(&mut content, run, new);
        manifest.advance(followed, content).await
    }
}

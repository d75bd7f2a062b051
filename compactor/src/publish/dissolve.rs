//! Where topics that are compacted now get the files back that their manifests list in leaves: key compaction writes all
//! files of a topic anew, and wants them in one level.
//!
//! The manifest of a compacted topic is therefore as large as what is left of the topic, however large that is.

use std::sync::Arc;

use alluvium_common::topic::TopicId;
use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::store::Compare;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::{Manifest, ManifestContent, TableEntry};
use tracing::{error, info};

use super::{PublishError, Publisher, Round};
use crate::leaves::NEW_LEAVES_MAX;

impl Publisher {
    /// Some leaves of one topic, the newest first, so that the files of the root stay next to each other.
    pub(super) async fn dissolve_if_due(&mut self, picture: &Picture, round: &mut Round) {
        let wanted = self.manifests.iter().find_map(|(topic_id, manifest)| {
            let is_due = !manifest.leaves().is_empty()
                && self.is_compacted(picture, *topic_id)
                && !self.cleaner.is_put_off(*topic_id);
            let claim = self.shards.claim(CompactionShard::of(*topic_id));
            Some((*topic_id, claim.filter(|_| is_due)?))
        });
        let Some((topic_id, claim)) = wanted else {
            return;
        };
        match self.dissolve(picture, topic_id, claim).await {
            Ok(manifest) => {
                let leaves = manifest.leaves().len();
                info!(%topic_id, leaves, "took table files back from leaves, to compact them");
                self.manifests.insert(topic_id, manifest);
                round.more = true;
            }
            Err(PublishError::Superseded) => round.failed += 1,
            Err(error) => {
                round.failed += 1;
                self.with.metrics.errors.inc();
                self.cleaner.put_off(topic_id);
                error!(%topic_id, %error, "table files cannot be taken back from leaves, so that the topic is not compacted; it is tried again later");
            }
        }
    }

    async fn dissolve(
        &self,
        picture: &Picture,
        topic_id: TopicId,
        claim: Compare,
    ) -> Result<Arc<Manifest>, PublishError> {
        let manifest = self.topic_manifest(picture, topic_id, claim);
        let followed = manifest.begin().await?;
        let mut content = manifest.content();
        let kept = content.leaves.len().saturating_sub(NEW_LEAVES_MAX);
        let mut tables: Vec<TableEntry> = Vec::new();
        for entry in content.leaves.split_off(kept) {
            let leaf = self.leaves.read(topic_id, &entry).await?;
            tables.extend(leaf.tables().iter().map(|table| TableEntry::clone(table)));
        }
        tables.append(&mut content.tables);
        let content = ManifestContent { tables, ..content };
        manifest.advance(followed, content).await
    }
}

//! What is still needed of segments.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::seeded_bug;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::store::Revision;
use alluvium_metadata::view::{ClusterView, Picture};
use alluvium_segment::manifest::Manifest;

use crate::fold::ReadError;
use crate::manifests::Manifests;

/// Knows what is needed of segments, as of a revision.
#[derive(Clone)]
pub struct Needs {
    /// The picture of the cluster.
    pub view: Arc<ClusterView>,
    /// What is published.
    pub manifests: Arc<Manifests>,
}

/// What is needed of the segments of some topics.
pub struct Needed {
    picture: Arc<Picture>,
    manifests: HashMap<TopicId, Arc<Manifest>>,
}

impl Needs {
    /// What is needed of segments that a log named at `revision`, of the topics `topics`. A topic that has segments was
    /// there before they were committed, so one that the picture does not show at that revision is deleted (F6). All else
    /// only ever becomes less needed, so that an older picture does no harm.
    ///
    /// # Errors
    /// A manifest cannot be read.
    pub async fn at(
        &self,
        revision: Revision,
        topics: impl IntoIterator<Item = TopicId>,
    ) -> Result<Needed, ReadError> {
        let topics: Vec<_> = topics.into_iter().collect();
        let mut picture = self.view.picture();
        let are_known = topics
            .iter()
            .all(|id| picture.topics.with_id(*id).is_some());
        if !are_known {
            self.view.reached(revision).await;
            picture = self.view.picture();
        }
        let manifests = self.manifests.of_all(&picture, topics).await?;
        Ok(Needed { picture, manifests })
    }
}

impl Needed {
    /// Whether a segment that holds offsets of `tp` up to `next_offset` is needed for them: they are neither published
    /// nor deleted.
    pub fn is_needed(&self, tp: TopicPartition, next_offset: Offset) -> bool {
        if self.picture.topics.with_id(tp.topic_id).is_none() {
            return false;
        }
        let Some(placed) = self.picture.partitions.get(tp) else {
            // About to be created, or to be deleted.
            return true;
        };
        let manifest = self.manifests.get(&tp.topic_id);
        let published = manifest.map_or(Offset::ZERO, |all| all.published_end(tp.partition));
        if seeded_bug::is("dropped-before-published") && published > Offset::ZERO {
            return false;
        }
        next_offset > published.max(placed.record.log_start)
    }
}

//! Drops the committed offsets of topics that were deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use alluvium_common::topic::TopicId;
use tracing::info;

use super::{Inner, Shard};
use crate::coordinator::group::GroupRegistry;
use crate::view::{ClusterView, Topics};

impl Inner {
    /// Task: compares what the groups keep with the topics there are, once, since topics may have been
    /// deleted while no coordinator ran; from then on what was deleted between two pictures.
    ///
    /// Ids are never used twice, so a topic that is gone stays gone, and nothing that is needed again is
    /// dropped. A commit that was under way when its topic was deleted may be left over until the next
    /// start; nobody sees it (I23), since offsets are asked for by id.
    pub(super) async fn follow_topics(self: Arc<Self>, view: Arc<ClusterView>) {
        let mut changes = view.changes();
        changes.mark_unchanged();
        let mut known = view.topics();
        let kept = self.topics_with_offsets().into_iter();
        self.drop_offsets_of(kept.filter(|id| known.with_id(*id).is_none()).collect());
        while changes.changed().await.is_ok() {
            let now = view.topics();
            self.drop_offsets_of(gone(&known, &now));
            known = now;
        }
    }

    fn topics_with_offsets(&self) -> BTreeSet<TopicId> {
        let of_shard = |shard: &Shard| shard.read(GroupRegistry::topics_with_offsets);
        let shards = self.shards.iter().map(of_shard);
        shards.flat_map(Result::unwrap_or_default).collect()
    }

    fn drop_offsets_of(&self, topics: Vec<TopicId>) {
        if topics.is_empty() {
            return;
        }
        info!(
            topics = topics.len(),
            "dropping committed offsets of deleted topics"
        );
        for shard in &self.shards {
            self.with(shard, |registry, now| {
                registry.on_topics_deleted(&topics, now)
            });
        }
    }
}

fn gone(before: &Topics, now: &Topics) -> Vec<TopicId> {
    let ids = before.all().map(|topic| topic.topic_id);
    ids.filter(|id| now.with_id(*id).is_none()).collect()
}

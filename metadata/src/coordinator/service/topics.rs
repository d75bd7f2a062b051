//! Drops the committed offsets of topics that were deleted.

use std::sync::Arc;

use alluvium_common::topic::TopicId;
use tracing::info;

use super::shard::Shard;
use super::slots::Slots;
use crate::coordinator::group::GroupRegistry;
use crate::store::Revision;
use crate::view::{ClusterView, Topics};

/// The picture of the topics that a coordinator follows.
///
/// What was deleted between two pictures is dropped from the shards that are open then; and when a shard is opened,
/// what it has is compared with the topics there are, since topics may have been deleted while nobody had it.
///
/// Ids are never used twice, so a topic that is gone stays gone, and nothing that is needed again is dropped. A commit
/// that was under way when its topic was deleted may be left over until its shard is opened anew; nobody sees it
/// (I23), since offsets are asked for by id.
#[derive(Debug)]
pub(super) struct FollowedTopics {
    view: Arc<ClusterView>,
    /// One after the other: the first one that has to wait for the picture spares the others the wait.
    checks: tokio::sync::Mutex<()>,
}

impl FollowedTopics {
    pub fn new(view: Arc<ClusterView>) -> Self {
        Self {
            view,
            checks: tokio::sync::Mutex::default(),
        }
    }

    /// Compares what a shard has, which was taken over at `revision`, with the topics there are.
    ///
    /// A topic that is not in the picture may also be younger than it: its offsets may have been committed on another
    /// broker, whose picture was newer. So the picture must have reached the revision of what was loaded; and what was
    /// committed here since then is in the picture that is looked at last, unless it was deleted again.
    pub async fn check(&self, shard: &Shard, revision: Revision) {
        let _one = self.checks.lock().await;
        self.view.reached(revision).await;
        let Ok(kept) = shard.groups.read(GroupRegistry::topics_with_offsets) else {
            return;
        };
        let topics = self.view.topics();
        let gone = kept.into_iter().filter(|id| topics.with_id(*id).is_none());
        drop_offsets_of(&gone.collect::<Vec<_>>(), shard);
    }
}

impl Slots {
    /// Returns the task that follows from now on.
    pub fn follow(self: Arc<Self>, view: Arc<ClusterView>) -> impl Future<Output = ()> + Send {
        let mut changes = view.changes();
        // Before any shard is checked, so that there is nothing between its check and what is followed.
        let mut known = view.topics();
        self.follow_topics(Arc::new(FollowedTopics::new(view.clone())));
        async move {
            while changes.changed().await.is_ok() {
                let now = view.topics();
                let gone = gone(&known, &now);
                for shard in self.serving() {
                    drop_offsets_of(&gone, &shard);
                }
                known = now;
            }
        }
    }
}

fn drop_offsets_of(topics: &[TopicId], shard: &Shard) {
    if topics.is_empty() {
        return;
    }
    info!(
        shard = %shard.id,
        topics = topics.len(),
        "dropping committed offsets of deleted topics"
    );
    shard.with(|registry, now| registry.on_topics_deleted(topics, now));
}

fn gone(before: &Topics, now: &Topics) -> Vec<TopicId> {
    let ids = before.all().map(|topic| topic.topic_id);
    ids.filter(|id| now.with_id(*id).is_none()).collect()
}

//! What is published of topics, as this broker's logs need it: each is given the newest manifest of its topic, so that it
//! finds its history there and forgets segments that are not needed any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::{Logs, PartitionLog};
use alluvium_common::topic::TopicId;
use alluvium_compactor::manifests::Manifests;
use alluvium_metadata::view::{ClusterView, Picture};
use futures::StreamExt;
use tracing::warn;

use crate::followers::FollowerLogs;

/// Topics whose manifests are read at the same time.
const READS_PARALLEL_MAX: usize = 16;

/// Pause between two looks, whether or not the picture changed: a log may be opened with what is old by then, and what
/// could not be read is tried again.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Gives each of `logs` the manifest that counts, if it has an older one.
async fn bring_up_to_date(manifests: &Manifests, picture: &Picture, logs: Vec<Arc<PartitionLog>>) {
    let mut behind: BTreeMap<TopicId, Vec<Arc<PartitionLog>>> = BTreeMap::new();
    for log in logs {
        let counts = picture.published.get(&log.tp.topic_id);
        let has = log.published().map_or(0, |manifest| manifest.version());
        if counts.is_some_and(|counts| counts.record.version > has) {
            behind.entry(log.tp.topic_id).or_default().push(log);
        }
    }
    let given = futures::stream::iter(behind).for_each_concurrent(
            READS_PARALLEL_MAX,
            |(topic_id, logs)| async move {
                match manifests.of(picture, topic_id).await {
                    Ok(Some(manifest)) => logs.iter().for_each(|log| log.set_published(&manifest)),
                    Ok(None) => {}
                    Err(error) => {
                        warn!(%topic_id, %error, "what is published of a topic cannot be read; its segments are used as long as they are there")
                    }
                }
            },
        );
    given.await;
}

/// Keeps the logs of this broker, and those that follow other brokers', up to date. Never ends; drop it to end it.
pub async fn keep_up_to_date(
    manifests: Arc<Manifests>,
    view: Arc<ClusterView>,
    logs: Arc<Logs>,
    followers: Option<Arc<FollowerLogs>>,
) {
    let mut changes = view.changes();
    loop {
        changes.mark_unchanged();
        let picture = view.picture();
        manifests.forget_deleted(&picture);
        let mut all = logs.all();
        all.extend(followers.iter().flat_map(|followers| followers.logs()));
        bring_up_to_date(&manifests, &picture, all).await;
        // The sender lives as long as the view; a time-out is as good a reason to look.
        let _looked = tokio::time::timeout(LOOK_PAUSE, changes.changed()).await;
    }
}

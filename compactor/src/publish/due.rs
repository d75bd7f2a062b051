//! Which topics are published in a round, and the publishing of one.

use std::collections::HashMap;
use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::compaction::CompactionShard;
use alluvium_metadata::store::{Compare, Revision};
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::view::{Picture, Published};
use alluvium_segment::manifest::Manifest;
use alluvium_table::TableOptions;
use tracing::info;

use super::plan::{ReadyPartition, TopicWork, ready};
use super::topic::TopicJob;
use super::{PublishError, Publisher};
use crate::topic_manifest::TopicManifest;

impl Publisher {
    /// What to publish now, oldest first, each with the request that it answers.
    pub(super) fn due(&self, picture: &Picture) -> Vec<(TopicId, TopicWork, Option<Revision>)> {
        let now_ms = self.with.clock.now_ms();
        let metrics = &self.with.metrics;
        metrics.backlog_bytes.clear();
        metrics.backlog_age_seconds.clear();
        let mut due = Vec::new();
        let mut topics = self.backlog.topics();
        topics.extend(picture.publish_requests.keys());
        topics.sort_unstable();
        topics.dedup();
        for topic_id in topics {
            let request = picture.publish_requests.get(&topic_id).copied();
            let mine = self.shards.holds(CompactionShard::of(topic_id))
                && !self.unreadable.contains(&topic_id);
            let Some(topic) = picture.topics.with_id(topic_id).filter(|_| mine) else {
                continue;
            };
            let work = TopicWork::of(self.ready(picture, topic_id), self.options.limits.bytes_max);
            if let Some(oldest_ms) = work.oldest_ms() {
                let labels = vec![("topic".to_owned(), topic.name.to_string())];
                let bytes = i64::try_from(work.waiting_bytes).unwrap_or(i64::MAX);
                metrics.backlog_bytes.get_or_create(&labels).set(bytes);
                let age_seconds = now_ms.saturating_sub(oldest_ms) / 1000;
                metrics
                    .backlog_age_seconds
                    .get_or_create(&labels)
                    .set(age_seconds);
            }
            let is_due = work.is_due(&self.options.limits, now_ms) || self.backlog.is_full();
            if request.is_some() || (is_due && !work.is_empty()) {
                due.push((topic_id, work, request));
            }
        }
        due.sort_by_key(|(_, work, request)| (request.is_none(), work.oldest_ms()));
        due
    }

    fn ready(&self, picture: &Picture, topic_id: TopicId) -> Vec<ReadyPartition> {
        let partitions = self.backlog.of(topic_id).filter_map(|(tp, pending)| {
            let placed = picture.partitions.get(tp)?;
            let end = published_end(&self.manifests, tp);
            let mut ready = ready(tp, &placed.record, end, pending);
            if let Some(batch) = self.blocked.get(&tp) {
                ready.cut_before(batch.start);
            }
            Some(ready)
        });
        partitions.collect()
    }

    /// Whether something was published.
    pub(super) async fn publish(
        &mut self,
        picture: &Picture,
        topic_id: TopicId,
        work: TopicWork,
        request: Option<Revision>,
    ) -> Result<bool, PublishError> {
        // A full backlog does not tell whether there is more.
        let request = request.filter(|_| work.is_all && !self.backlog.is_full());
        if work.is_empty() {
            if let Some(asked_at) = request {
                self.writer.withdraw(topic_id, asked_at).await?;
            }
            return Ok(false);
        }
        let Some(claim) = self.shards.claim(CompactionShard::of(topic_id)) else {
            return Err(PublishError::Superseded);
        };
        let job = TopicJob {
            with: &self.with,
            options: &self.options,
            bounds: &self.bounds,
            threads: &self.threads,
            manifest: self.topic_manifest(picture, topic_id, claim),
            table: self.table_options(topic_id, &work),
            request,
        };
        match job.run(&work).await {
            Ok(published) => {
                info!(
                    %topic_id,
                    version = published.version(),
                    segment_bytes = work.stored_bytes(),
                    "published"
                );
                self.manifests.insert(topic_id, published);
                Ok(true)
            }
            Err(PublishError::NeedsRawHeaders) => {
                // The next round begins the files anew, with the column.
                self.raw_headers.insert(topic_id);
                Err(PublishError::NeedsRawHeaders)
            }
            Err(PublishError::Batch {
                partition,
                offset,
                next_offset,
                source,
            }) => {
                let tp = TopicPartition::new(topic_id, partition);
                self.blocked.insert(tp, offset..next_offset);
                self.count_blocked();
                Err(PublishError::Batch {
                    partition,
                    offset,
                    next_offset,
                    source,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn table_options(&self, topic_id: TopicId, work: &TopicWork) -> TableOptions {
        let is_behind = work.is_behind(&self.options.limits) || self.backlog.is_full();
        let table = match is_behind {
            true => self.options.hasty_table(),
            false => self.options.table.clone(),
        };
        TableOptions {
            raw_headers: self.raw_headers.contains(&topic_id),
            ..table
        }
    }

    pub(super) fn topic_manifest(
        &self,
        picture: &Picture,
        topic_id: TopicId,
        claim: Compare,
    ) -> TopicManifest<'_> {
        let published = picture.published.get(&topic_id);
        let before = self.manifests.get(&topic_id).cloned();
        let is_before = |published: &&Published| {
            let version = before.as_ref().map(|before| before.version());
            Some(published.record.version) == version
        };
        TopicManifest {
            // With a newer picture or an older one, a sweep finds it.
            replaced: published
                .filter(is_before)
                .map(|published| published.record.object_key.clone()),
            with: &self.with,
            writer: &self.writer,
            topic_id,
            before,
            guard: vec![self.with.session.fence(), claim],
            leaves: (!self.is_compacted(picture, topic_id)).then_some(self.options.leaves),
            table_bytes: self.options.table_bytes,
        }
    }

    pub(super) fn is_compacted(&self, picture: &Picture, topic_id: TopicId) -> bool {
        let defaults = &self.options.topic_defaults;
        let topic = picture.topics.with_id(topic_id);
        topic.is_some_and(|topic| {
            let settings = TopicSettings::parse(&topic.configs, defaults);
            settings.cleanup_policy.compact
        })
    }
}

pub fn published_end(manifests: &HashMap<TopicId, Arc<Manifest>>, tp: TopicPartition) -> Offset {
    let manifest = manifests.get(&tp.topic_id);
    manifest.map_or(Offset::ZERO, |manifest| {
        manifest.published_end(tp.partition)
    })
}

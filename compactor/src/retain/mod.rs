//! Retention: old records of topics whose `cleanup.policy` has `delete` are let go of, a table file's share at a time.
//!
//! What goes first is the log start of a partition, in its record: from then on nobody reads below. Table files that lie
//! below the log starts of all their partitions are left out of the manifest then, and deleted after a grace. Records that
//! are not published yet are never too old: they are published first.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::{Manifest, ManifestContent};

pub use plan::{RetentionLimits, log_start};

impl RetentionLimits {
    /// Those of a topic; `None` if its records are not deleted.
    pub fn of(settings: &TopicSettings) -> Option<Self> {
        let limits = Self {
            ms: settings.retention_ms,
            bytes: settings.retention_bytes,
        };
        let limited = limits.ms.is_some() || limits.bytes.is_some();
        (settings.cleanup_policy.delete && limited).then_some(limits)
    }
}

/// What a manifest says without the table files of which nothing is readable any more; `None` if there are none.
pub fn without_deleted(
    picture: &Picture,
    topic_id: TopicId,
    manifest: &Arc<Manifest>,
) -> Option<ManifestContent> {
    let mut content = manifest.to_content();
    let before = content.tables.len();
    content.tables.retain(|table| {
        table.spans.iter().any(|span| {
            let tp = TopicPartition::new(topic_id, span.partition);
            let placed = picture.partitions.get(tp);
            placed.is_none_or(|placed| span.next_offset > placed.record.log_start)
        })
    });
    (content.tables.len() < before).then_some(content)
}

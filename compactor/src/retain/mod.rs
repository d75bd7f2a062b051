//! Retention: old records of topics whose `cleanup.policy` has `delete` are let go of, a table file's share at a time.
//!
//! What goes first is the log start of a partition, in its record: from then on nobody reads below. Table files that lie
//! below the log starts of all their partitions are left out of the manifest then, and deleted after a grace. Records that
//! are not published yet are never too old: they are published first.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_segment::manifest::{
    Leaf, LeafEntry, Manifest, ManifestContent, SpanEntry, TableEntry,
};
use alluvium_segment::object_key::ObjectKey;
use tracing::warn;

use crate::fold::ReadError;
use crate::leaves::{Leaves, NEW_LEAVES_MAX};
pub use plan::{Kept, LogStart, RetentionLimits};

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

/// What is left of a topic's table files.
#[derive(Debug)]
pub struct Trimmed {
    /// What the manifest says then.
    pub content: ManifestContent,
    /// What a new leaf is to list in place of the first that is left; `None`: it stays.
    pub first_leaf: Option<Vec<Arc<TableEntry>>>,
    /// Table files that leaves listed and that go.
    pub gone: Vec<ObjectKey>,
}

/// What a manifest says without the table files of which nothing is readable any more; `None` if there are none.
///
/// Leaves that are below the log starts go as a whole, some at a time, and of the first that is left what is in it. Others
/// have to wait until they are the first, so that one is looked into and not all.
///
/// # Errors
/// A leaf cannot be read now, and perhaps later.
pub async fn without_deleted(
    manifest: &Manifest,
    leaves: &Leaves,
    log_start: impl Fn(PartitionIndex) -> Option<Offset>,
) -> Result<Option<Trimmed>, ReadError> {
    // Of partitions of which nobody knows nothing goes.
    let is_behind = |span: &SpanEntry| log_start(span.partition) >= Some(span.next_offset);
    let is_cut = |span: &SpanEntry| log_start(span.partition) > Some(span.base_offset);
    let are_behind = |table: &TableEntry| table.spans.iter().all(is_behind);
    let may_have = |leaf: &LeafEntry| leaf.spans.iter().any(|one| is_cut(&one.span));
    let mut tables = manifest.tables().iter();
    let mut in_leaves = manifest.leaves().iter();
    if !tables.any(|table| are_behind(table)) && !in_leaves.any(|leaf| may_have(leaf)) {
        return Ok(None);
    }
    let topic_id = manifest.content().topic_id;
    let mut trimmed = Trimmed {
        content: manifest.to_content(),
        first_leaf: None,
        gone: Vec::new(),
    };
    let content = &mut trimmed.content;
    content.tables.retain(|table| !are_behind(table));
    let (mut behind, mut left) = (Vec::new(), Vec::new());
    for leaf in content.leaves.drain(..) {
        let mut spans = leaf.spans.iter().map(|one| &one.span);
        match behind.len() < NEW_LEAVES_MAX && spans.all(is_behind) {
            true => behind.push(leaf),
            false => left.push(leaf),
        }
    }
    content.leaves = left;
    let is_less = content.tables.len() < manifest.tables().len() || !behind.is_empty();
    for entry in &behind {
        let leaf = readable(leaves.read(topic_id, entry).await)?;
        let tables = leaf.iter().flat_map(|leaf| leaf.tables());
        trimmed
            .gone
            .extend(tables.map(|table| table.object_key.clone()));
    }
    // What is left first may be behind, too, and goes the next time.
    let first = trimmed.content.leaves.first();
    let first = first.filter(|leaf| behind.len() < NEW_LEAVES_MAX && may_have(leaf));
    if let Some(entry) = first
        && let Some(leaf) = readable(leaves.read(topic_id, entry).await)?
    {
        let tables = leaf.tables().iter().cloned();
        let (gone, kept) = tables.partition::<Vec<_>, _>(|table| are_behind(table));
        trimmed
            .gone
            .extend(gone.iter().map(|table| table.object_key.clone()));
        trimmed.first_leaf = (!gone.is_empty()).then_some(kept);
    }
    let is_less = is_less || trimmed.first_leaf.is_some();
    Ok(is_less.then_some(trimmed))
}

/// Of a leaf that is lost nobody learns any more what it listed. A sweep finds those files when nothing names the leaf.
fn readable(read: Result<Arc<Leaf>, ReadError>) -> Result<Option<Arc<Leaf>>, ReadError> {
    match read {
        Ok(leaf) => Ok(Some(leaf)),
        Err(error) if error.is_final() => {
            warn!(%error, "a leaf cannot be read; table files that it lists and that are not readable any more stay for now");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

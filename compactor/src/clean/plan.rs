//! What is dirty, and what of it is worth a cleaning: pure. The rules are those of Kafka's `LogCleanerManager`, with the
//! spans of table files in place of log segments.

use alluvium_common::offset::Offset;
use alluvium_common::topic::PartitionIndex;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_segment::manifest::{CleanState, Manifest};

use super::time::CleanTime;
use super::tombstones::horizon;

/// What can be cleaned of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct Dirt {
    /// Which.
    pub partition: PartitionIndex,
    /// First dirty offset.
    pub from: Offset,
    /// Where what can be cleaned ends: the first span that is too young, or what is published.
    pub to: Offset,
    /// First offset that was not deleted.
    pub log_start: Offset,
    /// Tombstones below are removed.
    pub horizon: Offset,
    /// Bytes of records below `from`.
    pub clean_bytes: u64,
    /// Bytes of records from there up to `to`.
    pub dirty_bytes: u64,
    /// Whether its oldest record has waited for `max.compaction.lag.ms`.
    pub is_overdue: bool,
}

impl Dirt {
    /// What can be cleaned of a partition whose first offset is `log_start`; `None`: nothing.
    pub fn of(
        manifest: &Manifest,
        partition: PartitionIndex,
        log_start: Offset,
        settings: &TopicSettings,
        time: CleanTime,
    ) -> Option<Self> {
        let clean = &manifest.content().partitions.get(&partition)?.clean;
        let from = clean.next_offset.max(log_start);
        let to = cleanable_end(manifest, partition, from, settings, time);
        if from >= to {
            return None;
        }
        // Files do not tell what of a span is clean, when clean and dirty records were joined.
        let (mut clean_max, mut all) = (0, 0);
        for found in manifest.spans_from(partition, log_start) {
            let span = found.span;
            if span.base_offset < to {
                all += span.raw_bytes;
            }
            if span.base_offset < clean.next_offset {
                clean_max += span.raw_bytes;
            }
        }
        let clean_bytes = clean.raw_bytes.min(clean_max);
        let dirty_bytes = all.saturating_sub(clean_bytes);
        (dirty_bytes > 0).then_some(Self {
            partition,
            from,
            to,
            log_start,
            horizon: horizon(clean, time, settings.delete_retention_ms),
            clean_bytes,
            dirty_bytes,
            is_overdue: is_overdue(clean, settings, time),
        })
    }

    /// The share of what could be cleaned that is dirty.
    pub fn ratio(&self) -> f64 {
        self.dirty_bytes as f64 / (self.clean_bytes + self.dirty_bytes) as f64
    }

    /// Whether it is to be cleaned: more than the least share is dirty, as in Kafka not just as much.
    fn is_due(&self, settings: &TopicSettings) -> bool {
        self.is_overdue || self.ratio() > settings.min_cleanable_dirty_ratio
    }

    /// Whether it is cleaned when its files are written anew for another partition: half of the least share is dirty.
    fn comes_along(&self, settings: &TopicSettings) -> bool {
        self.is_due(settings) || self.ratio() > settings.min_cleanable_dirty_ratio / 2.0
    }
}

/// The partitions of one topic that are cleaned together: none, if none of them is due. Kafka's partitions have files of
/// their own and are cleaned when they are due, one by one. Here that would write the same files anew for each.
pub fn due(
    manifest: &Manifest,
    log_start: impl Fn(PartitionIndex) -> Option<Offset>,
    settings: &TopicSettings,
    time: CleanTime,
) -> Vec<Dirt> {
    let partitions = manifest.content().partitions.keys();
    let dirt = partitions.filter_map(|partition| {
        Dirt::of(manifest, *partition, log_start(*partition)?, settings, time)
    });
    let mut dirt: Vec<_> = dirt.collect();
    match dirt.iter().any(|one| one.is_due(settings)) {
        true => dirt.retain(|one| one.comes_along(settings)),
        false => dirt.clear(),
    }
    dirt
}

/// Where the first span begins that has a record younger than `min.compaction.lag.ms`, or else what is published ends.
fn cleanable_end(
    manifest: &Manifest,
    partition: PartitionIndex,
    from: Offset,
    settings: &TopicSettings,
    time: CleanTime,
) -> Offset {
    let end = manifest.published_end(partition);
    if settings.min_compaction_lag_ms <= 0 {
        return end;
    }
    let youngest_ms = time
        .earliest_ms
        .saturating_sub(settings.min_compaction_lag_ms);
    let mut spans = manifest.spans_from(partition, from);
    let young = spans.find(|found| found.span.max_timestamp > youngest_ms);
    young.map_or(end, |found| found.span.base_offset)
}

fn is_overdue(clean: &CleanState, settings: &TopicSettings, time: CleanTime) -> bool {
    let Some((max_ms, since_ms)) = settings.max_compaction_lag_ms.zip(clean.dirty_since_ms) else {
        return false;
    };
    let since_ms = i64::try_from(since_ms).unwrap_or(i64::MAX);
    since_ms < time.latest_ms.saturating_sub(max_ms)
}

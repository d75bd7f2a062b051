//! Key compaction of what is published: of records with the same key the latest stays (`cleanup.policy=compact`).
//!
//! What is published of a partition is what Kafka calls the inactive segments of its log; segments and tail above it are
//! the active one, and stay as they are. Nouns are Kafka's: what was cleaned is **clean**, what was published since is
//! **dirty**, and a **tombstone** is a record without a value.
//!
//! Flow of a cleaning:
//! 1. `plan`: which partitions of a topic are dirty enough, or dirty for too long.
//! 2. `cover`: the keys of what is dirty are read, and put into a `map` of fixed size with their latest offsets. When it
//!    is full, only what is covered is cleaned, and the rest another time.
//! 3. `writing`: all table files with covered or clean offsets are written anew, without the records that a later one
//!    of the map replaces (`verdict`), and without `tombstones` whose time is over. Offsets stay what they are.
//! 4. The manifest says up to where the partitions are clean.
//!
//! Both passes are done in steps (`cleaning`). What there is of a cleaning between them is in memory only. Whoever loses
//! it begins anew (I21).
//!
//! As in Kafka, a tombstone whose time is over goes with the next cleaning only, so that without new records it stays.
//!
//! Differences to Kafka: partitions of one topic are cleaned together, since their records lie in the same files; the last
//! published record of a partition stays even if it is a tombstone, as Kafka's is always in the active segment, so that who
//! reads to the end gets there; and `delete.retention.ms` counts as it is set when a tombstone is removed.

mod cleaning;
mod cover;
mod map;
mod metrics;
mod plan;
#[cfg(test)]
mod tests;
mod time;
mod tombstones;
mod verdict;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::SharedClock;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::Manifest;
use tokio::time::Instant;

use crate::publish::PublishError;
pub(crate) use cleaning::CleanJob;
use cleaning::{Cleaning, Stepped};
use map::OffsetMap;
pub use metrics::CleanMetrics;
use plan::{Dirt, due};
use time::{CleanTime, SteadyTime};

/// How long a topic that could not be cleaned is left alone, so that others are.
const PUT_OFF: Duration = Duration::from_secs(300);

/// How compacted topics are cleaned.
#[derive(Debug, Clone)]
pub struct CleanOptions {
    /// Bytes of memory for keys: Kafka's `log.cleaner.dedupe.buffer.size`. With its default of 128 MiB there is room for 5
    /// million keys at a time. Only taken while there is something to clean.
    pub map_bytes: usize,
    /// Bytes of table files that are read for their keys at a time. Publishing waits for that.
    pub cover_bytes: u64,
    /// Bytes of table files that are written anew at a time. Publishing waits for that, and it is what a failure costs.
    pub run_bytes: u64,
}

impl Default for CleanOptions {
    fn default() -> Self {
        Self {
            map_bytes: 128 << 20,
            // About as fast as one gibibyte is written.
            cover_bytes: 8 << 30,
            run_bytes: 1 << 30,
        }
    }
}

/// Says what to clean next, and remembers the cleaning that has begun.
pub(crate) struct Cleaner {
    options: CleanOptions,
    time: SteadyTime,
    current: Option<Cleaning>,
    put_off: HashMap<TopicId, Instant>,
}

/// What to do next.
pub(crate) enum CleanWork {
    /// A cleaning is to begin.
    Begin(Plan),
    /// One has begun.
    GoOn(Cleaning),
}

/// What to clean.
pub(crate) struct Plan {
    topic_id: TopicId,
    dirt: Vec<Dirt>,
    map_bytes: usize,
    delete_retention_ms: i64,
}

impl Cleaner {
    /// Nothing has begun.
    pub fn new(options: CleanOptions, clock: SharedClock) -> Self {
        Self {
            options,
            time: SteadyTime::start(clock),
            current: None,
            put_off: HashMap::new(),
        }
    }

    /// Now.
    pub fn now(&self) -> CleanTime {
        self.time.now()
    }

    /// What is left of a cleaning.
    pub fn go_on(&mut self, rest: Option<Cleaning>) {
        self.current = rest;
    }

    /// Leaves a topic alone for a while.
    pub fn put_off(&mut self, topic_id: TopicId) {
        self.put_off.insert(topic_id, Instant::now());
    }

    /// Whether a topic is left alone.
    pub fn is_put_off(&self, topic_id: TopicId) -> bool {
        let since = self.put_off.get(&topic_id);
        since.is_some_and(|since| since.elapsed() < PUT_OFF)
    }

    /// What to do now: what has begun, or the dirtiest of the topics that are this process' to compact, whose `settings`
    /// are known.
    pub fn next(
        &mut self,
        picture: &Picture,
        manifests: &HashMap<TopicId, Arc<Manifest>>,
        settings: &dyn Fn(TopicId) -> Option<TopicSettings>,
        now: CleanTime,
    ) -> Option<CleanWork> {
        let settings = |topic_id| settings(topic_id).filter(|one| one.cleanup_policy.compact);
        let current = self.current.take();
        if let Some(current) = current.filter(|current| settings(current.topic_id).is_some()) {
            return Some(CleanWork::GoOn(current));
        }
        self.put_off.retain(|_, since| since.elapsed() < PUT_OFF);
        let plans = manifests.iter().filter_map(|(topic_id, manifest)| {
            let settings = settings(*topic_id).filter(|_| !self.put_off.contains_key(topic_id))?;
            // All files have to be in one level.
            if !manifest.leaves().is_empty() {
                return None;
            }
            let log_start = |partition| {
                let placed = picture
                    .partitions
                    .get(TopicPartition::new(*topic_id, partition));
                Some(placed?.record.log_start)
            };
            let dirt = due(manifest, log_start, &settings, now);
            (!dirt.is_empty()).then_some(Plan {
                topic_id: *topic_id,
                dirt,
                map_bytes: self.options.map_bytes,
                delete_retention_ms: settings.delete_retention_ms,
            })
        });
        let dirtiest = plans.max_by(|one, other| one.ratio().total_cmp(&other.ratio()));
        dirtiest.map(CleanWork::Begin)
    }
}

impl Plan {
    /// Of the dirtiest partition.
    fn ratio(&self) -> f64 {
        let ratios = self.dirt.iter().map(Dirt::ratio);
        ratios.fold(0.0, f64::max)
    }
}

impl CleanWork {
    /// Of which topic.
    pub fn topic_id(&self) -> TopicId {
        match self {
            Self::Begin(plan) => plan.topic_id,
            Self::GoOn(cleaning) => cleaning.topic_id,
        }
    }

    /// Does a step of it.
    pub async fn step(self, job: CleanJob<'_>) -> Result<Stepped, PublishError> {
        let cleaning = match self {
            Self::GoOn(cleaning) => cleaning,
            Self::Begin(plan) => {
                let map = OffsetMap::new(plan.map_bytes, job.manifest.with.random.next_u64());
                Cleaning::begin(&job, plan.dirt, map, plan.delete_retention_ms)?
            }
        };
        cleaning.step(job).await
    }
}

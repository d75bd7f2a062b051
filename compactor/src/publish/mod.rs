//! Publishing: committed records become Parquet table files, and a topic's manifest says so.
//!
//! Nouns: the **backlog** is what is committed and not published, found by following commit logs. A **topic's work** is
//! what of it follows what is published without a gap, up to a limit. A **step** is as much as is in memory at a time.
//!
//! Flow of a round, for the topics of the shards that this process has claimed:
//! 1. `Backlog::follow`: new commits, a footer each.
//! 2. `plan`: which topics are worth it: because much waits, or because something waits long, or because somebody asked.
//! 3. For each: blocks are read (`fetch`), opened and written as rows (`write`), and put while that goes on
//!    (`crate::tables`). Files have new names, and are garbage until a manifest names them.
//! 4. The next manifest (`manifests`) is put, and made to count by one compare-and-set, which also compares session and
//!    claim. Of two that publish one topic the later one fails, and its files are garbage.
//!
//! Then, as long as nothing more is due, a compacted topic is cleaned ([`crate::clean`]), or small files are joined.
//!
//! A process that dies at any point has changed nothing or all; whoever comes next begins with what counts. What is
//! published is what is committed: below the high watermark, and, as long as there are no transactions, below the last
//! stable offset.

mod backlog;
mod bounds;
mod clean;
mod dissolve;
mod error;
mod fetch;
mod join;
mod manifests;
mod metrics;
mod plan;
mod retain;
mod shards;
mod steps;
#[cfg(test)]
mod tests;
mod topic;
mod write;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::background::{BackgroundStopped, BackgroundThreads};
use alluvium_common::clock::SharedClock;
use alluvium_common::error::Outcome;
use alluvium_common::offset::Offset;
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::compaction::{CompactionShard, PublicationWriter};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{
    Compare, KeyRange, MetadataStore, RangeRequest, Revision, StoreError,
};
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::topics::TopicWriter;
use alluvium_metadata::view::{ClusterView, Picture, Published};
use alluvium_segment::manifest::Manifest;
use alluvium_table::{TableOptions, TableWriter};
use object_store::ObjectStore;
use tracing::{error, info, warn};

use crate::clean::{CleanOptions, Cleaner};
use crate::leaves::{LeafLimits, Leaves};
use crate::manifests::read_manifest;
use crate::pace::{Pace, PacedObjects};
use crate::reclaim::Graves;
use crate::topic_manifest::TopicManifest;
use backlog::{Backlog, Sources};
use bounds::Bounds;
pub use error::PublishError;
pub use metrics::PublishMetrics;
pub use plan::PublishLimits;
use plan::{ReadyPartition, TopicWork, ready};
use shards::Shards;

/// Pause after a round that found nothing to do, if nothing may wait for less. Requests and shards that are to be claimed
/// are noticed at once.
const ROUND_PAUSE: Duration = Duration::from_secs(10);

/// The same before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// How long the picture may take to show what the store has.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(10);

const OFFSET_MAX: Offset = Offset::new(i64::MAX).expect("not negative");

/// Threads that open batches and write tables: one job at a time keeps one busy.
const THREADS: usize = 1;

/// What publishing works with.
#[derive(Clone)]
pub struct PublishSeams {
    /// Metadata.
    pub store: Arc<dyn MetadataStore>,
    /// Its keys.
    pub keys: Keys,
    /// The session on whose behalf.
    pub session: Arc<Session>,
    /// The picture of the cluster.
    pub view: Arc<ClusterView>,
    /// The bucket.
    pub objects: Arc<dyn ObjectStore>,
    /// How fast what is published, cleaned and joined is read from it and written to it.
    pub pace: Arc<Pace>,
    /// Where what nothing names any more goes.
    pub graves: Arc<Graves>,
    /// For dates and ages.
    pub clock: SharedClock,
    /// For names.
    pub random: SharedRandom,
    /// What is counted.
    pub metrics: PublishMetrics,
}

impl PublishSeams {
    /// The bucket, for what is read and written by the mebibyte.
    fn paced(&self) -> PacedObjects {
        PacedObjects {
            objects: Arc::clone(&self.objects),
            pace: Arc::clone(&self.pace),
        }
    }
}

/// How to publish.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// When, and how much at a time.
    pub limits: PublishLimits,
    /// Size at which a table file ends.
    pub table_bytes: u64,
    /// How table files are written.
    pub table: TableOptions,
    /// Broker-wide settings of topics.
    pub topic_defaults: BTreeMap<String, String>,
    /// Producers that are silent for longer are forgotten, in milliseconds.
    pub producers_expire_ms: i64,
    /// How compacted topics are cleaned.
    pub clean: CleanOptions,
    /// When a topic's manifest gets leaves.
    pub leaves: LeafLimits,
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Topics that were published further.
    pub published: usize,
    /// Topics that could not be, and logs that could not be followed.
    pub failed: usize,
    /// There is more that is due.
    pub more: bool,
}

/// Publishes the topics of the shards that this process claims.
pub struct Publisher {
    with: PublishSeams,
    options: PublishOptions,
    bounds: Bounds,
    writer: PublicationWriter,
    topics: TopicWriter,
    shards: Shards,
    threads: BackgroundThreads,
    backlog: Backlog,
    manifests: HashMap<TopicId, Arc<Manifest>>,
    /// Topics whose manifest could not be read: nobody knows what is published of them.
    unreadable: BTreeSet<TopicId>,
    /// Offsets of batches that cannot be opened: their partitions are not published beyond, and what is there is not
    /// followed, however long that lasts.
    blocked: BTreeMap<TopicPartition, Range<Offset>>,
    /// Topics that were seen to need the column of raw headers.
    raw_headers: std::collections::HashSet<TopicId>,
    cleaner: Cleaner,
    leaves: Leaves,
}

impl Publisher {
    /// Nothing is claimed yet.
    ///
    /// # Errors
    /// The options for table files make no sense, or no thread can be started.
    pub fn new(with: PublishSeams, options: PublishOptions) -> Result<Self, PublishError> {
        Self::bounded(with, options, Bounds::default())
    }

    fn bounded(
        with: PublishSeams,
        options: PublishOptions,
        bounds: Bounds,
    ) -> Result<Self, PublishError> {
        TableWriter::new(&options.table).map_err(PublishError::Table)?;
        let threads = BackgroundThreads::start("compactor", THREADS);
        let (store, keys) = (Arc::clone(&with.store), with.keys.clone());
        Ok(Self {
            writer: PublicationWriter::new(Arc::clone(&store), keys.clone()),
            topics: TopicWriter::new(
                Arc::clone(&store),
                keys.clone(),
                Arc::clone(&with.session),
                Arc::clone(&with.clock),
                Arc::clone(&with.random),
            ),
            shards: Shards::new(store, keys, Arc::clone(&with.session)),
            threads: threads.ok_or(BackgroundStopped)?,
            cleaner: Cleaner::new(options.clean.clone(), Arc::clone(&with.clock)),
            leaves: Leaves::new(Arc::clone(&with.objects)),
            with,
            options,
            bounds,
            backlog: Backlog::new(bounds.backlog_blocks),
            manifests: HashMap::new(),
            unreadable: BTreeSet::new(),
            blocked: BTreeMap::new(),
            raw_headers: std::collections::HashSet::new(),
        })
    }

    /// The task. Ends with the session.
    pub async fn run(mut self) {
        let session = Arc::clone(&self.with.session);
        let work = async {
            let mut changes = self.with.view.changes();
            loop {
                changes.mark_unchanged();
                let round = self.round().await;
                let pause = match round {
                    Round { failed: 1.., .. } => RETRY_PAUSE,
                    Round { more: true, .. } => continue,
                    _ => ROUND_PAUSE,
                };
                let pause = pause.min(self.options.limits.age_max);
                let until = tokio::time::Instant::now() + pause;
                while tokio::time::timeout_at(until, changes.changed())
                    .await
                    .is_ok()
                {
                    if round.failed == 0 && self.is_wanted(&self.with.view.picture()) {
                        break;
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = session.lost() => {}
        }
    }

    /// Whether the picture asks for something that cannot wait for the next round.
    fn is_wanted(&self, picture: &Picture) -> bool {
        let asked = picture.publish_requests.keys();
        let mut asked = asked.filter(|topic_id| {
            let mine = self.shards.holds(CompactionShard::of(**topic_id));
            mine && picture.topics.with_id(**topic_id).is_some()
        });
        asked.next().is_some() || self.shards.are_to_change(picture)
    }

    /// One round.
    pub async fn round(&mut self) -> Round {
        let mut round = Round::default();
        let picture = match self.picture().await {
            Ok(picture) => picture,
            Err(error) => return self.nothing_found(&error, round),
        };
        let held = self.shards.held().clone();
        if let Err(error) = self.shards.keep(&picture).await {
            warn!(%error, "shards cannot be claimed; trying again");
            round.failed += 1;
        }
        let unblocked = self.unblock(&picture);
        if unblocked || held != *self.shards.held() {
            // What others published meanwhile, or was not wanted before, is found anew.
            self.backlog = Backlog::new(self.bounds.backlog_blocks);
        }
        match self.find(&picture).await {
            Ok(failed) => round.failed += failed,
            Err(error) => return self.nothing_found(&error, round),
        }
        self.retain(&picture, &mut round).await;
        let due = self.due(&picture);
        round.more |= due.iter().any(|(_, work, _)| !work.is_all) || self.backlog.is_full();
        for (topic_id, work, request) in due {
            let name = picture
                .topics
                .with_id(topic_id)
                .map(|topic| topic.name.to_string());
            match self.publish(&picture, topic_id, work, request).await {
                Ok(true) => round.published += 1,
                Ok(false) => {}
                // The files are begun anew, with the column for it.
                Err(PublishError::NeedsRawHeaders) => round.more = true,
                // The picture will show what counts now.
                Err(PublishError::Superseded) => {
                    round.failed += 1;
                    info!(topic = name, "another compactor was faster");
                }
                Err(error) => {
                    round.failed += 1;
                    self.with.metrics.errors.inc();
                    error!(topic = name, %error, "a topic cannot be published; its segments stay, and it is tried again");
                }
            }
        }
        if round.published == 0 && self.backlog.is_full() {
            self.backlog.widen();
        }
        if round.failed == 0 && !round.more {
            self.dissolve_if_due(&picture, &mut round).await;
        }
        if round.failed == 0 && !round.more {
            self.clean_if_due(&picture, &mut round).await;
        }
        if round == Round::default() {
            self.trim_if_due(&picture, &mut round).await;
        }
        if round == Round::default() {
            self.join_if_due(&picture, &mut round).await;
        }
        round
    }

    fn nothing_found(&self, error: &PublishError, mut round: Round) -> Round {
        self.with.metrics.errors.inc();
        warn!(%error, "what is to be published cannot be found; trying again");
        round.failed += 1;
        round
    }

    /// The picture. Topics of the backlog that it does not show are gone, and not newer than it.
    async fn picture(&self) -> Result<Arc<Picture>, PublishError> {
        let view = &self.with.view;
        let picture = view.picture();
        let is_shown = |topic_id: &TopicId| picture.topics.with_id(*topic_id).is_some();
        if self.backlog.topics().iter().all(is_shown) {
            return Ok(picture);
        }
        let any = KeyRange::key(self.with.keys.cluster());
        let now = self
            .with
            .store
            .range(RangeRequest::new(any))
            .await?
            .revision;
        let reached = tokio::time::timeout(PICTURE_TIMEOUT, view.reached(now)).await;
        match reached {
            Ok(()) => Ok(view.picture()),
            Err(_) => Err(PublishError::Store(StoreError::Unavailable {
                outcome: Outcome::NotDone,
                reason: "the picture of the cluster is out of date".to_owned(),
            })),
        }
    }

    /// Tries partitions again whose bad batch is deleted by now, and forgets those that are not this process' to publish.
    /// Whether there are any.
    fn unblock(&mut self, picture: &Picture) -> bool {
        let before = self.blocked.len();
        self.blocked.retain(|tp, batch| {
            let mine = self.shards.holds(CompactionShard::of(tp.topic_id));
            let placed = picture.partitions.get(*tp).filter(|_| mine);
            placed.is_some_and(|placed| placed.record.log_start < batch.end)
        });
        self.count_blocked();
        self.blocked.len() < before
    }

    fn count_blocked(&self) {
        let blocked = i64::try_from(self.blocked.len()).unwrap_or(i64::MAX);
        self.with.metrics.blocked_partitions.set(blocked);
    }

    /// Reads new commits of the topics that are this process' to publish. How many manifests and logs could not be read.
    async fn find(&mut self, picture: &Picture) -> Result<usize, PublishError> {
        self.load_manifests(picture).await;
        let (manifests, shards, blocked) = (&self.manifests, &self.shards, &self.blocked);
        // Also of topics that the picture does not show: they may be newer than it.
        let wanted = |tp: TopicPartition| {
            let mine = shards.holds(CompactionShard::of(tp.topic_id));
            let end = blocked.get(&tp).map_or(OFFSET_MAX, |batch| batch.start);
            mine.then(|| published_end(manifests, tp)..end)
        };
        let needed = |tp: TopicPartition| {
            picture.topics.with_id(tp.topic_id)?;
            let wanted = wanted(tp)?;
            let placed = picture.partitions.get(tp);
            let log_start = placed.map_or(Offset::ZERO, |placed| placed.record.log_start);
            Some(wanted.start.max(log_start)..wanted.end)
        };
        self.backlog.forget(needed);
        let sources = Sources {
            store: &*self.with.store,
            keys: &self.with.keys,
            objects: &*self.with.objects,
        };
        let followed = self.backlog.follow(&sources, &wanted).await;
        let failed_logs = followed.map_err(|backlog::BacklogError::Store(error)| error)?;
        Ok(failed_logs + self.unreadable.len())
    }

    /// The manifests that count, of all topics that are this process' to publish.
    async fn load_manifests(&mut self, picture: &Picture) {
        self.unreadable.clear();
        self.manifests
            .retain(|topic_id, _| picture.published.contains_key(topic_id));
        for (topic_id, published) in &*picture.published {
            let known = self.manifests.get(topic_id);
            let is_known = known.is_some_and(|known| known.version() >= published.record.version);
            if is_known || !self.shards.holds(CompactionShard::of(*topic_id)) {
                continue;
            }
            let manifest = read_manifest(&*self.with.objects, *topic_id, &published.record);
            match manifest.await {
                Ok(manifest) => drop(self.manifests.insert(*topic_id, Arc::new(manifest))),
                Err(error) => {
                    self.with.metrics.errors.inc();
                    error!(%topic_id, %error, "a topic cannot be published: its manifest cannot be read; it is tried again");
                    self.unreadable.insert(*topic_id);
                }
            }
        }
    }

    /// What to publish now, oldest first, each with the request that it answers.
    fn due(&self, picture: &Picture) -> Vec<(TopicId, TopicWork, Option<Revision>)> {
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
    async fn publish(
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
        let job = topic::TopicJob {
            with: &self.with,
            options: &self.options,
            bounds: &self.bounds,
            threads: &self.threads,
            manifest: self.topic_manifest(picture, topic_id, claim),
            raw_headers: self.raw_headers.contains(&topic_id),
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

    fn is_compacted(&self, picture: &Picture, topic_id: TopicId) -> bool {
        let defaults = &self.options.topic_defaults;
        let topic = picture.topics.with_id(topic_id);
        topic.is_some_and(|topic| {
            let settings = TopicSettings::parse(&topic.configs, defaults);
            settings.cleanup_policy.compact
        })
    }
}

fn published_end(manifests: &HashMap<TopicId, Arc<Manifest>>, tp: TopicPartition) -> Offset {
    let manifest = manifests.get(&tp.topic_id);
    manifest.map_or(Offset::ZERO, |manifest| {
        manifest.published_end(tp.partition)
    })
}

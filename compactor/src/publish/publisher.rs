//! The loop: round after round of finding, publishing, and what is done when nothing is to be published.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::background::{BackgroundStopped, BackgroundThreads};
use alluvium_common::offset::Offset;
use alluvium_common::topic::{TopicId, TopicPartition};
use alluvium_metadata::compaction::{CompactionShard, PublicationWriter};
use alluvium_metadata::topics::TopicWriter;
use alluvium_metadata::view::Picture;
use alluvium_segment::manifest::Manifest;
use alluvium_table::TableWriter;
use tracing::{error, info, warn};

use super::backlog::Backlog;
use super::bounds::Bounds;
use super::shards::Shards;
use super::{PublishError, PublishOptions, PublishSeams, Round};
use crate::clean::Cleaner;
use crate::leaves::Leaves;

/// Pause after a round that found nothing to do, if nothing may wait for less. Requests and shards that are to be claimed
/// are noticed at once.
const ROUND_PAUSE: Duration = Duration::from_secs(10);

/// The same before what failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Threads that open batches and write tables: one job at a time keeps one busy.
const THREADS: usize = 1;

/// Publishes the topics of the shards that this process claims.
pub struct Publisher {
    pub(super) with: PublishSeams,
    pub(super) options: PublishOptions,
    pub(super) bounds: Bounds,
    pub(super) writer: PublicationWriter,
    pub(super) topics: TopicWriter,
    pub(super) shards: Shards,
    pub(super) threads: BackgroundThreads,
    pub(super) backlog: Backlog,
    pub(super) manifests: HashMap<TopicId, Arc<Manifest>>,
    /// Topics whose manifest could not be read: nobody knows what is published of them.
    pub(super) unreadable: BTreeSet<TopicId>,
    /// Offsets of batches that cannot be opened: their partitions are not published beyond, and what is there is not
    /// followed, however long that lasts.
    pub(super) blocked: BTreeMap<TopicPartition, Range<Offset>>,
    /// Topics that were seen to need the column of raw headers.
    pub(super) raw_headers: HashSet<TopicId>,
    pub(super) cleaner: Cleaner,
    pub(super) leaves: Leaves,
}

impl Publisher {
    /// Nothing is claimed yet.
    ///
    /// # Errors
    /// The options for table files make no sense, or no thread can be started.
    pub fn new(with: PublishSeams, options: PublishOptions) -> Result<Self, PublishError> {
        Self::bounded(with, options, Bounds::default())
    }

    pub(super) fn bounded(
        with: PublishSeams,
        options: PublishOptions,
        bounds: Bounds,
    ) -> Result<Self, PublishError> {
        for table in [&options.table, &options.hasty_table()] {
            TableWriter::new(table).map_err(PublishError::Table)?;
        }
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
            raw_headers: HashSet::new(),
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
}

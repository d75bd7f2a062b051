//! The task behind the open segment: seals, sends, commits, publishes.
//!
//! It owns every segment from its sealing to its commit. An event (something was pushed, an upload or
//! a commit ended, a time came) leads to one round of decisions, all of them pure functions of the
//! state; the waiting is in one place.
//!
//! When the session is lost nothing more can be committed (F2). What was not committed is dropped here
//! without being released, so that the write-ahead log keeps its part for the next start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use alluvium_common::rand::SharedRandom;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Partitions, PipelineConfig};
use crate::commit::{COMMITS_PER_TRANSACTION_MAX, CommitOrder, commit_until_done, record_of};
use crate::partition::{Closed, LeaderPartition};
use crate::publish::publish;
use crate::seal::{SealDecision, SealReason, UploadsView, decide};
use crate::seams::{CommitSink, SegmentSink};
use crate::stages::Stages;
use crate::token_bucket::TokenBucket;
use crate::upload::{InFlight, SealedSegment, UploadError, UploadQueue, UploadedSegment, Uploader};

/// How far the driver is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// Batches committed, counted as the open segment counts them.
    pub(crate) committed: u64,
    /// The session is gone, or the pipeline was shut down.
    pub(crate) stopped: bool,
}

pub(super) struct DriverSeams {
    pub(super) stages: Arc<Stages>,
    pub(super) uploader: Arc<Uploader>,
    pub(super) commits: Arc<dyn CommitSink>,
    pub(super) segment_cache: Option<Arc<dyn SegmentSink>>,
    pub(super) random: SharedRandom,
    pub(super) partitions: Arc<Partitions>,
    pub(super) stop: Arc<Notify>,
}

type Attempt = (Arc<SealedSegment>, Result<UploadedSegment, UploadError>);
type Commit = BoxFuture<'static, CommitEnd>;

/// How a commit ended.
enum CommitEnd {
    /// The segments are committed, and everybody knows.
    Published(Vec<Arc<SealedSegment>>),
    /// The session is gone.
    Fenced,
    /// Publishing panicked.
    Panicked,
}

pub(super) struct Driver {
    config: PipelineConfig,
    seams: DriverSeams,
    progress: watch::Sender<Progress>,
    uploads_lag: watch::Sender<bool>,
    bucket: TokenBucket,
    /// Sealed and not committed, by sequence.
    live: BTreeMap<u64, Arc<SealedSegment>>,
    queue: UploadQueue,
    uploads: JoinSet<Attempt>,
    in_flight: InFlight,
    order: CommitOrder<UploadedSegment>,
    commit: Option<Commit>,
    expire_producers_at: Instant,
}

/// Why the waiting ended.
enum Event {
    Changed,
    Time,
    Upload(Box<Attempt>),
    Panicked,
    Committed(Vec<Arc<SealedSegment>>),
    Fenced,
    SessionLost,
    Stop,
}

impl Driver {
    pub(super) fn new(
        config: PipelineConfig,
        seams: DriverSeams,
        progress: watch::Sender<Progress>,
        uploads_lag: watch::Sender<bool>,
        first_sequence: u64,
    ) -> Self {
        let now = Instant::now();
        Self {
            bucket: TokenBucket::new(config.puts_per_second, config.puts_saved_max, now),
            queue: UploadQueue::new(config.upload.clone()),
            expire_producers_at: now + config.producer_id_expiration_check,
            live: BTreeMap::new(),
            uploads: JoinSet::new(),
            in_flight: InFlight::default(),
            order: CommitOrder::starting_at(first_sequence),
            commit: None,
            config,
            seams,
            progress,
            uploads_lag,
        }
    }

    pub(super) async fn run(mut self) {
        let mut lost = self.seams.stages.session.lost();
        loop {
            let seal_again_at = self.decide();
            match self.next_event(seal_again_at, &mut lost).await {
                Event::Changed | Event::Time => {}
                Event::Upload(attempt) => self.on_upload(*attempt),
                Event::Committed(segments) => self.on_committed(&segments),
                Event::Fenced | Event::SessionLost => {
                    tracing::error!("the broker's session is gone; the write path stops");
                    break;
                }
                Event::Panicked => {
                    tracing::error!("a stage panicked; the write path stops");
                    break;
                }
                Event::Stop => break,
            }
        }
        self.stop().await;
    }

    /// One round of decisions. Returns when the sealing rules want to look again.
    fn decide(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let seal_again_at = loop {
            self.dispatch(now);
            match self.seal_decision(now) {
                Some(SealDecision::Seal(reason)) => self.seal(reason, now),
                Some(SealDecision::WaitUntil(at)) => break Some(at),
                Some(SealDecision::Wait) | None => break None,
            }
        };
        self.spill();
        self.settle_again();
        self.start_commit();
        self.expire_producers(now);
        self.update_gate_and_gauges();
        self.tell_of_lag();
        seal_again_at
    }

    fn seal_decision(&mut self, now: Instant) -> Option<SealDecision> {
        let open = self.seams.stages.open.view()?;
        let uploads = UploadsView {
            in_flight: self.queue.len() + self.in_flight.count,
            slot_free: self.queue.has_free_slot(self.in_flight),
            next_token_at: self.bucket.next_token_at(now),
        };
        let limits = self.seams.stages.open.limits();
        Some(decide(&open, &uploads, limits, now))
    }

    fn seal(&mut self, reason: SealReason, now: Instant) {
        let contents = self.seams.stages.open.take();
        self.bucket.take(now);
        let metrics = &self.seams.stages.metrics;
        metrics.seals.get_or_create(&reason.into()).inc();
        metrics.waiting_segments.inc();
        metrics.waiting_bytes.inc_by(contents.bytes as i64);
        let sequence = self
            .seams
            .stages
            .next_sequence
            .fetch_add(1, Ordering::AcqRel);
        let sealed = Arc::new(SealedSegment::new(sequence, contents));
        self.live.insert(sealed.sequence, Arc::clone(&sealed));
        self.queue.push(sealed);
    }

    fn dispatch(&mut self, now: Instant) {
        while let Some(sealed) = self.queue.next(self.in_flight, now) {
            self.in_flight.count += 1;
            self.in_flight.bytes += sealed.bytes;
            let uploader = Arc::clone(&self.seams.uploader);
            let failures = self.queue.failures_in_a_row();
            self.uploads.spawn(async move {
                let result = uploader.attempt(&sealed, failures).await;
                (sealed, result)
            });
        }
    }

    fn on_upload(&mut self, (sealed, result): Attempt) {
        self.in_flight.count -= 1;
        self.in_flight.bytes -= sealed.bytes;
        match result {
            Ok(mut uploaded) => {
                self.queue.succeeded();
                if let Some(cache) = &self.seams.segment_cache {
                    cache.insert(&uploaded.object_key, &uploaded.encoded);
                }
                // Only the footer is needed from here on.
                uploaded.encoded.chunks = Vec::new();
                self.order.arrive(sealed.sequence, uploaded);
            }
            Err(error) => {
                self.seams.stages.metrics.put_errors.inc();
                let sequence = sealed.sequence;
                tracing::warn!(sequence, %error, "segment upload failed; it is tried again");
                let jitter = self.seams.random.below(1000);
                self.queue.failed(sealed, Instant::now(), jitter);
            }
        }
    }

    fn start_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let Some((first_sequence, segments)) = self.order.take(COMMITS_PER_TRANSACTION_MAX) else {
            return;
        };
        let commits = Arc::clone(&self.seams.commits);
        let random = Arc::clone(&self.seams.random);
        let metrics = self.seams.stages.metrics.clone();
        let commit = async move {
            let records = segments.iter().map(record_of).collect();
            let done = commit_until_done(&*commits, first_sequence, records, &random, &metrics);
            if !done.await {
                return CommitEnd::Fenced;
            }
            // Thousands of batches are let go of at once: not on the listeners' threads.
            match tokio::task::spawn_blocking(move || publish_all(segments)).await {
                Ok(published) => CommitEnd::Published(published),
                Err(_) => CommitEnd::Panicked,
            }
        };
        self.commit = Some(commit.boxed());
    }

    fn on_committed(&mut self, segments: &[Arc<SealedSegment>]) {
        let metrics = &self.seams.stages.metrics;
        for sealed in segments {
            metrics.waiting_segments.dec();
            metrics.waiting_bytes.dec_by(sealed.bytes as i64);
            self.live.remove(&sealed.sequence);
        }
        if let Some(last) = segments.last() {
            self.progress
                .send_modify(|progress| progress.committed = last.pushed);
        }
    }

    /// Above half of the budget, batches that the write-ahead log has are left to it.
    fn spill(&self) {
        if !self.seams.stages.budget.above_half() {
            return;
        }
        for sealed in self.live.values() {
            let spilled = sealed.spill();
            let metrics = &self.seams.stages.metrics;
            metrics.spilled_batches.inc_by(spilled as u64);
            if spilled > 0 && !self.seams.stages.budget.above_half() {
                break;
            }
        }
    }

    /// The session was in doubt and is not any more: what became durable meanwhile becomes visible.
    fn settle_again(&self) {
        let stages = &self.seams.stages;
        let again = stages.session.is_alive() && stages.unsettled.swap(false, Ordering::AcqRel);
        if again {
            self.partitions()
                .iter()
                .for_each(|partition| partition.settle_again());
        }
    }

    fn partitions(&self) -> Vec<Arc<LeaderPartition>> {
        self.seams.partitions.read().values().cloned().collect()
    }

    fn expire_producers(&mut self, now: Instant) {
        if now < self.expire_producers_at {
            return;
        }
        self.expire_producers_at = now + self.config.producer_id_expiration_check;
        let now_ms = self.seams.stages.clock.now_ms();
        for partition in self.partitions() {
            partition.expire_producers(now_ms, self.config.producer_id_expiration_ms);
        }
    }

    fn update_gate_and_gauges(&self) {
        let stages = &self.seams.stages;
        if !stages.wal_pressed() {
            stages.budget.set_open(true);
        }
        let used = stages.budget.used_bytes();
        stages.metrics.budget_bytes.set(used as i64);
        let wal_bytes = stages.wal.as_ref().map_or(0, |wal| wal.bytes());
        stages
            .metrics
            .wal_bytes
            .set(i64::try_from(wal_bytes).unwrap_or(i64::MAX));
    }

    /// Uploads lag when the last one failed, or when something waits for others to end.
    fn tell_of_lag(&self) {
        let waits = || self.queue.len() > 0 || self.seams.stages.open.view().is_some();
        let lags = self.queue.failures_in_a_row() > 0
            || (!self.queue.has_free_slot(self.in_flight) && waits());
        self.uploads_lag.send_if_modified(|told| {
            let before = std::mem::replace(told, lags);
            before != lags
        });
    }

    async fn next_event(
        &mut self,
        seal_again_at: Option<Instant>,
        lost: &mut BoxFuture<'static, ()>,
    ) -> Event {
        let wake_at = [seal_again_at, self.queue.next_wake(self.in_flight)]
            .into_iter()
            .flatten()
            .fold(self.expire_producers_at, Instant::min);
        // While the gate is shut nobody appends, so nobody would wake us when the log has drained; nor
        // does anybody tell when the session is provably alive again.
        let stages = &self.seams.stages;
        let in_doubt = stages.wal_pressed() || stages.unsettled.load(Ordering::Acquire);
        let wake_at = match in_doubt {
            true => wake_at.min(Instant::now() + DOUBT_CHECK),
            false => wake_at,
        };
        let commit = &mut self.commit;
        tokio::select! {
            biased;
            () = &mut *lost => Event::SessionLost,
            () = self.seams.stop.notified() => Event::Stop,
            end = async {
                match commit {
                    Some(commit) => commit.await,
                    None => std::future::pending().await,
                }
            } => {
                self.commit = None;
                match end {
                    CommitEnd::Published(segments) => Event::Committed(segments),
                    CommitEnd::Fenced => Event::Fenced,
                    CommitEnd::Panicked => Event::Panicked,
                }
            }
            Some(ended) = self.uploads.join_next() => match ended {
                Ok(attempt) => Event::Upload(Box::new(attempt)),
                Err(_) => Event::Panicked,
            },
            () = self.seams.stages.open.changed() => Event::Changed,
            () = tokio::time::sleep_until(wake_at) => Event::Time,
        }
    }

    async fn stop(mut self) {
        // Orders this before partitions that are being opened at the same time.
        self.progress
            .send_modify(|progress| progress.stopped = true);
        for partition in self.partitions() {
            partition.close(Closed::NotLeader);
        }
        self.uploads.shutdown().await;
        // Batches hold their partitions, which hold the open segment: without this nothing of it would
        // ever be freed. The write-ahead log keeps its copies, since they are not released.
        drop(self.seams.stages.open.take());
    }
}

/// Tells everybody of committed segments, then gives their memory and the write-ahead log's part back.
fn publish_all(segments: Vec<UploadedSegment>) -> Vec<Arc<SealedSegment>> {
    let publish_one = |segment: UploadedSegment| {
        let (sealed, encoded) = (segment.sealed, segment.encoded);
        publish(
            &sealed,
            segment.object_key,
            encoded.size_bytes,
            encoded.footer,
        );
        sealed.release();
        sealed
    };
    segments.into_iter().map(publish_one).collect()
}

/// How often a shut gate, or a session in doubt, is looked at.
const DOUBT_CHECK: std::time::Duration = std::time::Duration::from_millis(100);

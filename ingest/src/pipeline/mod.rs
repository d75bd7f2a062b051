//! The write path, joined.
//!
//! ```text
//! append: validate -> [partition lock: dedupe, offset, tail, open segment, WAL queue] -> ticket
//! driver: seal -> encode and PUT (parallel) -> commit (in order) -> publish -> acknowledge
//! ```
//!
//! Stage one runs in the caller and never waits. All stages behind the open segment are driven by one
//! task, `driver::Driver`, which owns what is sealed and not committed; it never computes or does
//! I/O itself. Back-pressure is the byte budget ([`crate::backpressure`]): callers take a permit
//! before they read a frame, and the permit is held until the batch is committed or left to the
//! write-ahead log.

mod config;
mod driver;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use alluvium_cache::log::{Logs, PartitionLog};
use alluvium_cache::tail::CloseReason;
use alluvium_common::clock::SharedClock;
use alluvium_common::error::Outcome;
use alluvium_common::rand::SharedRandom;
use alluvium_common::topic::{TopicName, TopicPartition};
use object_store::ObjectStore;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::ack::AppendTicket;
use crate::backpressure::ByteBudget;
use crate::error::AppendError;
use crate::metrics::IngestMetrics;
use crate::open_segment::OpenSegment;
use crate::partition::{AppendOptions, Closed, LeaderPartition, ReplayError};
use crate::producer_state::ProducerSnapshot;
use crate::recovery::Recovered;
use crate::seams::{CommitSink, SegmentSink, SessionGuard, WalSink};
use crate::stages::Stages;
use crate::upload::{Encoders, Uploader};
use crate::validate::TopicRules;

pub use config::PipelineConfig;
use driver::{Driver, DriverSeams, Progress};

/// The components around the write path.
pub struct PipelineSeams {
    /// Where segments go.
    pub store: Arc<dyn ObjectStore>,
    /// Where commits go.
    pub commits: Arc<dyn CommitSink>,
    /// Under which session.
    pub session: Arc<dyn SessionGuard>,
    /// The write-ahead log; without one, class `local` is refused.
    pub wal: Option<Arc<dyn WalSink>>,
    /// The logs that readers find; partitions are entered here when they are opened.
    pub logs: Arc<Logs>,
    /// Receives segments as they are written, so that reading them costs no GET.
    pub segment_cache: Option<Arc<dyn SegmentSink>>,
    /// Wall clock.
    pub clock: SharedClock,
    /// Randomness of object names and pauses.
    pub random: SharedRandom,
    /// Where to count.
    pub metrics: IngestMetrics,
}

/// What a partition starts with.
pub struct OpenState {
    /// Its log: start, end and leader epoch are in its tail, segments in its index.
    pub log: Arc<PartitionLog>,
    /// Its idempotent producers.
    pub producers: Vec<ProducerSnapshot>,
}

/// The write path of one broker session.
pub struct Pipeline {
    stages: Arc<Stages>,
    logs: Arc<Logs>,
    partitions: Arc<Partitions>,
    progress: watch::Receiver<Progress>,
    uploads_lag: watch::Receiver<bool>,
    driver: Mutex<Option<tokio::task::JoinHandle<()>>>,
    stop: Arc<tokio::sync::Notify>,
}

pub(crate) type Partitions = RwLock<HashMap<TopicPartition, Arc<LeaderPartition>>>;

/// The session was lost before all was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker's session was lost")]
pub struct SessionLost;

/// What an operator wants to know at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipelineStats {
    /// Partitions led.
    pub partitions: usize,
    /// Bytes taken from the memory budget.
    pub budget_used_bytes: usize,
    /// The memory budget.
    pub budget_bytes: usize,
    /// Bytes in the write-ahead log that wait for their upload.
    pub wal_bytes: u64,
    /// Whether the write-ahead log has failed: class `local` is refused until the broker is restarted.
    pub wal_failed: bool,
    /// Whether the session was lost: nothing is taken any more.
    pub stopped: bool,
}

impl Pipeline {
    /// Starts the write path; `first_sequence` is the first free sequence of the session's commit log.
    pub fn start(
        config: PipelineConfig,
        seams: PipelineSeams,
        budget: ByteBudget,
        first_sequence: u64,
    ) -> Arc<Self> {
        let config = config.fitted_to(&budget);
        let stages = Arc::new(Stages {
            open: OpenSegment::new(config.seal.clone()),
            wal: seams.wal,
            session: Arc::clone(&seams.session),
            budget,
            clock: Arc::clone(&seams.clock),
            metrics: seams.metrics.clone(),
            next_sequence: AtomicU64::new(first_sequence),
            unsettled: AtomicBool::new(false),
        });
        let uploader = Arc::new(Uploader {
            store: seams.store,
            broker_id: seams.session.broker_id(),
            broker_epoch: seams.session.broker_epoch(),
            clock: seams.clock,
            random: Arc::clone(&seams.random),
            encode: config.encode,
            timeout: config.put_timeout,
            metrics: seams.metrics,
            encoders: Encoders::new(config.encode_in_background),
        });
        let (progress_sender, progress) = watch::channel(Progress::default());
        let (lag_sender, uploads_lag) = watch::channel(false);
        let stop = Arc::new(tokio::sync::Notify::new());
        let partitions = Arc::new(Partitions::default());
        let driver = Driver::new(
            config,
            DriverSeams {
                stages: Arc::clone(&stages),
                uploader,
                commits: seams.commits,
                segment_cache: seams.segment_cache,
                random: seams.random,
                partitions: Arc::clone(&partitions),
                stop: Arc::clone(&stop),
            },
            progress_sender,
            lag_sender,
            first_sequence,
        );
        let handle = tokio::spawn(driver.run());
        Arc::new(Self {
            stages,
            logs: seams.logs,
            partitions,
            progress,
            uploads_lag,
            driver: Mutex::new(Some(handle)),
            stop,
        })
    }

    /// The memory budget: take a permit from it before reading a produce request.
    pub fn budget(&self) -> &ByteBudget {
        &self.stages.budget
    }

    /// Leads a new partition from now on, and lets readers find its log.
    pub fn open_partition(
        &self,
        topic: TopicName,
        rules: TopicRules,
        state: OpenState,
    ) -> Arc<LeaderPartition> {
        let partition = LeaderPartition::new(
            Arc::clone(&state.log),
            topic,
            rules,
            &state.producers,
            Arc::clone(&self.stages),
        );
        self.enter(Arc::clone(&partition));
        partition
    }

    /// Leads partitions of an earlier session from now on. What the write-ahead log adds to them is put
    /// back first; once all of it is committed, `release` is called, so that the log may forget it.
    pub async fn open_recovered(
        self: &Arc<Self>,
        recovered: Vec<Recovered>,
        release: impl FnOnce() + Send + 'static,
    ) -> Result<(), ReplayError> {
        let stages = Arc::clone(&self.stages);
        let replayed = tokio::task::spawn_blocking(move || replay_all(&stages, recovered)).await;
        // Only a bug panics, and it was reported by then.
        let partitions = replayed.map_err(|error| ReplayError::Wal(error.into()))??;
        for partition in partitions {
            self.enter(partition);
        }
        let pushed = self.stages.open.pushed();
        let mut progress = self.progress.clone();
        tokio::spawn(async move {
            let reached = progress
                .wait_for(|progress| progress.stopped || progress.committed >= pushed)
                .await
                .is_ok_and(|progress| progress.committed >= pushed);
            if reached {
                release();
            }
        });
        Ok(())
    }

    fn enter(&self, partition: Arc<LeaderPartition>) {
        let (tp, log) = (partition.tp(), Arc::clone(partition.log()));
        let before = self.partitions.write().insert(tp, Arc::clone(&partition));
        if let Some(before) = before {
            before.close(Closed::NotLeader);
        }
        self.logs.insert(log);
        if self.progress.borrow().stopped {
            // The session was lost between the decision to open and now.
            partition.close(Closed::NotLeader);
        }
    }

    /// No commit of a lower sequence can hold a partition that is opened from now on.
    pub fn next_commit_sequence(&self) -> u64 {
        self.stages.next_sequence.load(Ordering::Acquire)
    }

    /// The partition, if this broker leads it.
    pub fn partition(&self, tp: &TopicPartition) -> Option<Arc<LeaderPartition>> {
        self.partitions.read().get(tp).cloned()
    }

    /// Applies a topic's new settings to one of its partitions, from the next batch on. Unknown
    /// partitions are ignored: they get their settings when they are opened.
    pub fn set_rules(&self, tp: &TopicPartition, rules: TopicRules) {
        if let Some(partition) = self.partition(tp) {
            partition.set_rules(rules);
        }
    }

    /// The partitions that this broker leads.
    pub fn led(&self) -> Vec<TopicPartition> {
        self.partitions.read().keys().copied().collect()
    }

    /// Stops leading a partition. Whoever waits for one of its batches is told that the outcome is unknown.
    pub fn close_partition(&self, tp: &TopicPartition, reason: CloseReason) {
        let removed = self.partitions.write().remove(tp);
        if let Some(partition) = removed {
            partition.close(match reason {
                CloseReason::Deleted => Closed::Deleted,
                CloseReason::NotLeader => Closed::NotLeader,
            });
        }
        self.logs.remove(tp, reason);
    }

    /// Stops taking batches of `tps` and waits until all that was taken is committed. Then no entry of the commit log
    /// beyond the one returned (`None`: none at all) holds anything of them until [`Self::resume`]. An error means
    /// that the session was lost. From then on readers are not told where the partitions end: others may lead them.
    pub async fn drain(&self, tps: &[TopicPartition]) -> Result<Option<u64>, SessionLost> {
        // The most of it while batches are still taken, so that the pause is short.
        self.flush_or_lost().await?;
        self.set_draining(tps, true);
        self.flush_or_lost().await?;
        for partition in tps.iter().filter_map(|tp| self.partition(tp)) {
            partition.set_leaving(true);
        }
        Ok(self.next_commit_sequence().checked_sub(1))
    }

    /// Takes batches of `tps` again.
    pub fn resume(&self, tps: &[TopicPartition]) {
        for partition in tps.iter().filter_map(|tp| self.partition(tp)) {
            partition.set_leaving(false);
        }
        self.set_draining(tps, false);
    }

    fn set_draining(&self, tps: &[TopicPartition], draining: bool) {
        for partition in tps.iter().filter_map(|tp| self.partition(tp)) {
            partition.set_draining(draining);
        }
    }

    async fn flush_or_lost(&self) -> Result<(), SessionLost> {
        match self.flush().await {
            true => Ok(()),
            false => Err(SessionLost),
        }
    }

    /// Appends the one batch in `records`: validates, finds duplicates, assigns offsets and hands the
    /// batch on, synchronously and in the order of calls. The ticket resolves when the batch is as
    /// durable as its topic demands.
    pub fn append(
        &self,
        tp: &TopicPartition,
        records: &bytes::Bytes,
        options: AppendOptions,
    ) -> Result<AppendTicket, AppendError> {
        match self.partition(tp) {
            Some(partition) => partition.append(records, options),
            None => Err(AppendError::NotLeader(Outcome::NotDone)),
        }
    }

    /// Seals what is open and waits until everything appended before is committed. `false` when the
    /// session was lost before that.
    pub async fn flush(&self) -> bool {
        let pushed = self.stages.open.flush();
        let mut progress = self.progress.clone();
        let reached = progress
            .wait_for(|progress| progress.stopped || progress.committed >= pushed)
            .await;
        reached.is_ok_and(|progress| progress.committed >= pushed)
    }

    /// Resolves when the pipeline has stopped because its session is gone.
    pub async fn stopped(&self) {
        let mut progress = self.progress.clone();
        // An error means that the driver is gone, which is the same.
        let _ = progress.wait_for(|progress| progress.stopped).await;
    }

    /// Closes all partitions and ends the driver. What was not committed stays in the write-ahead log
    /// as far as it is there; call [`Self::flush`] before for a clean end.
    pub async fn shutdown(&self) {
        self.stop.notify_one();
        let driver = self.driver.lock().take();
        if let Some(driver) = driver {
            // It panics only if it has a bug, which was logged then.
            let _ = driver.await;
        }
    }

    /// Whether uploads lag behind now, because they fail or because there are more of them than may be under way: then
    /// what else uses the bucket should step back.
    pub fn uploads_lag(&self) -> watch::Receiver<bool> {
        self.uploads_lag.clone()
    }

    /// A glance at the state.
    pub fn stats(&self) -> PipelineStats {
        PipelineStats {
            partitions: self.partitions.read().len(),
            budget_used_bytes: self.stages.budget.used_bytes(),
            budget_bytes: self.stages.budget.capacity_bytes(),
            wal_bytes: self.stages.wal.as_ref().map_or(0, |wal| wal.bytes()),
            wal_failed: self.stages.wal_has_failed(),
            stopped: self.progress.borrow().stopped,
        }
    }
}

fn replay_all(
    stages: &Arc<Stages>,
    recovered: Vec<Recovered>,
) -> Result<Vec<Arc<LeaderPartition>>, ReplayError> {
    recovered
        .into_iter()
        .map(|recovered| {
            let partition = LeaderPartition::new(
                Arc::clone(&recovered.state.log),
                recovered.topic,
                recovered.rules,
                &recovered.state.producers,
                Arc::clone(stages),
            );
            partition.replay(recovered.replay)?;
            recovered
                .state
                .log
                .set_log_start(recovered.record.log_start);
            Ok(partition)
        })
        .collect()
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.get_mut().take() {
            driver.abort();
        }
    }
}

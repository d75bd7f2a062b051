//! A whole start of the write path over a real write-ahead log.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use alluvium_cache::tail::TailBudget;
use alluvium_common::error::ErrorKind;
use alluvium_common::topic::TopicPartition;
use alluvium_metadata::leadership::PartitionWriter;
use alluvium_metadata::model::{Opener, WalHolder};
use alluvium_metadata::store::Compare;

use super::{CommitReader, Led, RecoveredBatch, RecoveryError, ReplaySummary, TakeOver, take_over};
use crate::backpressure::ByteBudget;
use crate::partition::{ReplayError, WalDone};
use crate::pipeline::{Pipeline, PipelineConfig, PipelineSeams};
use crate::seams::{WalCopy, WalSink};
use crate::wal::{DirDisk, Wal, WalOpenError, WalOptions, WalRecovery, WalSession};

/// Where every commit log begins.
const FIRST_SEQUENCE: u64 = 0;

/// Why the write path cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The write-ahead log cannot be opened.
    #[error(transparent)]
    Wal(#[from] WalOpenError),
    /// The partitions cannot be taken over.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The write-ahead log could be opened, but not be read to its end.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Somebody changed a partition of which the write-ahead log may hold records. Nothing is lost; start again.
    #[error("partition {tp} changed while it was opened; start the broker again")]
    Changed {
        /// Which.
        tp: TopicPartition,
    },
    /// A thread of the start panicked, which it has reported.
    #[error("start-up was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl StartError {
    /// What to do next. Others may change partitions while a broker that was gone for a moment starts.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Changed { .. } => ErrorKind::Retry,
            Self::Recovery(error) => error.kind(),
            Self::Wal(_) | Self::Replay(_) | Self::Interrupted(_) => ErrorKind::GiveUp,
        }
    }
}

/// What a broker starts its write path with.
pub struct Start<'a> {
    /// Settings.
    pub config: PipelineConfig,
    /// The neighbours. The write-ahead log is opened here and put in.
    pub seams: PipelineSeams,
    /// Memory of produce requests.
    pub budget: ByteBudget,
    /// Folder of the write-ahead log.
    pub wal_folder: PathBuf,
    /// Settings of the write-ahead log.
    pub wal_options: WalOptions,
    /// Commit logs of all sessions.
    pub commits: &'a dyn CommitReader,
    /// Writes partition records.
    pub writer: &'a PartitionWriter,
    /// F1: holds as long as the new session does.
    pub fence: Compare,
    /// This data folder.
    pub wal_holder: WalHolder,
    /// Memory of the tails.
    pub tail_budget: &'a Arc<TailBudget>,
    /// The partitions that this broker leads.
    pub led: Vec<Led>,
}

/// Opens the write-ahead log, takes over the partitions, starts the pipeline and puts back what the
/// log holds. The partitions are open when this returns.
pub async fn start(mut with: Start<'_>) -> Result<(Arc<Pipeline>, ReplaySummary), StartError> {
    let session = WalSession {
        broker_epoch: with.seams.session.broker_epoch(),
        random: Arc::clone(&with.seams.random),
    };
    let (folder, options) = (with.wal_folder, with.wal_options);
    let opened = tokio::task::spawn_blocking(move || open_wal(&folder, options, session));
    let (wal, recovery, frames) = opened.await??;
    let take = TakeOver {
        commits: with.commits,
        objects: &with.seams.store,
        writer: with.writer,
        fence: with.fence,
        opener: Opener {
            broker_id: with.seams.session.broker_id(),
            broker_epoch: with.seams.session.broker_epoch(),
            // A new session has an empty commit log.
            first_seq: FIRST_SEQUENCE,
            wal: Some(with.wal_holder),
        },
        tail_budget: with.tail_budget,
    };
    let logged = with.led.iter().filter(|led| led.record.wal.is_some());
    let logged: Vec<_> = logged.map(|led| led.tp).collect();
    let (recovered, summary) = take_over(&take, with.led, frames).await?;
    // The log is released once what was recovered is committed, so nothing that it may hold may be left out.
    let opened: HashSet<_> = recovered.iter().map(|one| one.state.log.tp).collect();
    if let Some(tp) = logged.into_iter().find(|tp| !opened.contains(tp)) {
        return Err(StartError::Changed { tp });
    }
    with.seams.wal = Some(Arc::new(wal) as Arc<dyn WalSink>);
    let pipeline = Pipeline::start(with.config, with.seams, with.budget, FIRST_SEQUENCE);
    pipeline
        .open_recovered(recovered, move || recovery.release())
        .await?;
    Ok((pipeline, summary))
}

fn open_wal(
    folder: &std::path::Path,
    options: WalOptions,
    session: WalSession,
) -> Result<(Wal<WalDone>, WalRecovery, Vec<RecoveredBatch>), WalOpenError> {
    let disk = Arc::new(DirDisk::open(folder)?);
    let (wal, recovery) = Wal::open(disk, options, session)?;
    let frames = recovery
        .frames()
        .map(|frame| {
            let frame = frame?;
            let copy = frame.slot as Arc<dyn WalCopy>;
            Ok(RecoveredBatch::new(frame.tp, &frame.batch, copy))
        })
        .collect::<Result<Vec<_>, WalOpenError>>()?;
    Ok((wal, recovery, frames))
}

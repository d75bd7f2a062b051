//! What keeps the metadata small and safe in the background: folding commit logs, forgetting the store's history,
//! copying the metadata into the bucket.
//!
//! The log of the own session is folded by every broker, everything else is done by the controller only.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::object_store::ObjectStore;
use alluvium_compactor::fold::{FoldMetrics, Folder};
use alluvium_compactor::snapshot::{SnapshotKeeper, SnapshotMetrics};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::history::{HistoryKeeper, HistoryMetrics};
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::ClusterRecord;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{Compare, MetadataStore, MetadataStoreExt};
use alluvium_metadata::value;
use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Basics;

/// Commits after which the own log is looked at again: half a fold, so that few entries wait beyond what is due.
const COMMITS_PER_LOOK: u64 = 32;

/// Pause between two looks at the logs of former sessions. They change when a session ends or a topic is deleted.
const FROZEN_LOGS_PAUSE: Duration = Duration::from_secs(60);

/// The comparisons that make a transaction the controller's (F5); `None` while this process is not the controller.
pub type ControllerFence = Arc<dyn Fn() -> Option<Vec<Compare>> + Send + Sync>;

/// What the background works on.
pub struct Duties<'a> {
    pub basics: &'a Basics,
    pub store: &'a Arc<dyn MetadataStore>,
    pub keys: &'a Keys,
    pub session: &'a Arc<Session>,
    pub objects: &'a Arc<dyn ObjectStore>,
    /// Entries of the session's commit log that are known to stand.
    pub acknowledged: watch::Receiver<u64>,
    pub controller: ControllerFence,
}

/// Starts all of it. It ends when what is returned is dropped.
pub async fn start(duties: Duties<'_>) -> anyhow::Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    fold(&duties, &mut tasks);
    look_after_history(&duties, &mut tasks);
    put_snapshots(&duties, &mut tasks).await?;
    Ok(tasks)
}

fn fold(duties: &Duties<'_>, tasks: &mut JoinSet<()>) {
    let basics = duties.basics;
    let folder = Folder {
        store: Arc::clone(duties.store),
        keys: duties.keys.clone(),
        objects: Arc::clone(duties.objects),
        clock: Arc::clone(&basics.clock),
        random: Arc::clone(&basics.random),
        metrics: FoldMetrics::register(&mut basics.registry.lock()),
    };
    let log = LogId {
        broker_id: duties.session.broker_id(),
        broker_epoch: duties.session.broker_epoch(),
    };
    let (own, acknowledged) = (folder.clone(), duties.acknowledged.clone());
    let fence = duties.session.fence();
    tasks.spawn(async move {
        own.keep_own_log(log, acknowledged, COMMITS_PER_LOOK, fence)
            .await;
    });
    let controller = Arc::clone(&duties.controller);
    tasks.spawn(async move {
        folder
            .keep_frozen_logs(FROZEN_LOGS_PAUSE, || controller())
            .await;
    });
}

fn look_after_history(duties: &Duties<'_>, tasks: &mut JoinSet<()>) {
    let config = &duties.basics.loaded.config;
    let keeper = HistoryKeeper::new(
        Arc::clone(duties.store),
        duties.keys.clone(),
        config.history_retention_ms.as_duration(),
        HistoryMetrics::register(&mut duties.basics.registry.lock()),
    );
    let controller = Arc::clone(&duties.controller);
    tasks.spawn(async move { keeper.run(move || controller().is_some()).await });
}

async fn put_snapshots(duties: &Duties<'_>, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    let config = &duties.basics.loaded.config;
    let pause = config.snapshot_interval_ms.as_duration();
    if pause.is_zero() {
        return Ok(());
    }
    let stored = duties.store.get(duties.keys.cluster()).await?;
    let stored = stored.context("the cluster has no identity")?;
    let cluster: ClusterRecord = value::decode(&stored.value)?;
    let keeper = SnapshotKeeper {
        store: Arc::clone(duties.store),
        keys: duties.keys.clone(),
        cluster_id: cluster.cluster_id,
        objects: Arc::clone(duties.objects),
        clock: Arc::clone(&duties.basics.clock),
        random: Arc::clone(&duties.basics.random),
        kept: config.snapshot_count as usize,
        metrics: SnapshotMetrics::register(&mut duties.basics.registry.lock()),
    };
    let controller = Arc::clone(&duties.controller);
    tasks.spawn(async move { keeper.run(pause, move || controller().is_some()).await });
    Ok(())
}

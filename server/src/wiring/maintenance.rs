//! What goes on in the background: publishing what is committed as table files; and what keeps the metadata small and
//! safe: folding commit logs and dropping what is published from them, deleting what nothing names, forgetting the store's
//! history, copying the metadata into the bucket.
//!
//! Those with the role of a compactor, brokers or not, divide topics among themselves for publishing; what of the bucket
//! that replaces, whoever replaced it deletes. The log of the own session is kept short by every broker, everything else
//! is done by the controller only, which is a broker.

use std::sync::Arc;
use std::time::Duration;

use alluvium_common::object_store::{ObjectStore, UnfinishedUploads};
use alluvium_compactor::clean::CleanOptions;
use alluvium_compactor::fold::{FoldMetrics, Folder};
use alluvium_compactor::leaves::LeafLimits;
use alluvium_compactor::log_keeper::LogKeeper;
use alluvium_compactor::manifests::Manifests;
use alluvium_compactor::pace::{LIMIT_MIN, Pace, PaceMetrics};
use alluvium_compactor::publish::{
    PublishLimits, PublishMetrics, PublishOptions, PublishSeams, Publisher,
};
use alluvium_compactor::reclaim::{
    Graves, GravesMetrics, Needs, Reclaimer, Sweeper, UploadSweeper,
};
use alluvium_compactor::snapshot::{SnapshotKeeper, SnapshotMetrics};
use alluvium_metadata::controller::ControllerStatus;
use alluvium_metadata::fold::LogId;
use alluvium_metadata::history::{HistoryKeeper, HistoryMetrics};
use alluvium_metadata::model::ClusterRecord;
use alluvium_metadata::store::{Compare, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_table::TableOptions;
use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Basics;
use super::cluster::Member;
use crate::config::{ByteSize, Role};

/// Commits after which the own log is looked at again: half a fold, so that few entries wait beyond what is due.
const COMMITS_PER_LOOK: u64 = 32;

/// Longest pause between two looks at a commit log. Entries of it are not needed any more when they are published or when
/// a topic is deleted; one of a former session changes in no other way.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Bytes of segments of one topic that are published at a time: what is done again when that fails.
const PUBLISH_BYTES_MAX: u64 = 4 << 30;

/// What any background work needs.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub basics: &'a Basics,
    pub member: &'a Member,
    pub objects: &'a Arc<dyn ObjectStore>,
    /// Whether uploads of this process lag behind, if it has any.
    pub uploads_lag: Option<&'a watch::Receiver<bool>>,
}

/// What the background of a broker works on.
pub struct Duties<'a> {
    pub ground: Ground<'a>,
    /// What uploads in parts have left in the bucket, where that can be told.
    pub uploads: Option<&'a Arc<dyn UnfinishedUploads>>,
    pub manifests: &'a Arc<Manifests>,
    /// Entries of the session's commit log that are known to stand.
    pub acknowledged: watch::Receiver<u64>,
    /// Whether this broker is the controller.
    pub controller: watch::Receiver<ControllerStatus>,
}

/// Starts all that a broker does. It ends with `tasks`.
pub async fn start(duties: Duties<'_>, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    let ground = duties.ground;
    let graves = delete(ground, tasks);
    keep_logs(&duties, &graves, tasks);
    sweep(&duties, &graves, tasks);
    if ground.basics.loaded.config.roles.has(Role::Compactor) {
        tasks.spawn(publisher(ground, &graves)?.run());
    }
    look_after_history(&duties, tasks);
    put_snapshots(&duties, tasks).await
}

/// Prepares all that a process does which compacts only, to be run; the rest of it ends with `tasks`.
pub fn compact(ground: Ground<'_>, tasks: &mut JoinSet<()>) -> anyhow::Result<Publisher> {
    let graves = delete(ground, tasks);
    publisher(ground, &graves)
}

/// Deletes what the others find.
fn delete(ground: Ground<'_>, tasks: &mut JoinSet<()>) -> Arc<Graves> {
    let basics = ground.basics;
    let grace = basics.loaded.config.segment_delete_delay_ms.as_duration();
    let metrics = GravesMetrics::register(&mut basics.registry.lock());
    let graves = Graves::new(Arc::clone(ground.objects), grace, metrics);
    tasks.spawn(Arc::clone(&graves).run());
    graves
}

fn sweep(duties: &Duties<'_>, graves: &Arc<Graves>, tasks: &mut JoinSet<()>) {
    let Ground {
        basics,
        member,
        objects,
        ..
    } = duties.ground;
    let sweeper = Sweeper::new(
        (Arc::clone(&member.store), member.keys.clone()),
        Arc::clone(objects),
        Arc::clone(duties.manifests),
        Arc::clone(graves),
    );
    let uploads = duties.uploads.map(|uploads| {
        let metadata = (Arc::clone(&member.store), member.keys.clone());
        UploadSweeper::new(metadata, Arc::clone(uploads), Arc::clone(graves))
    });
    let pause = basics.loaded.config.sweep_interval_ms.as_duration();
    let controller = duties.controller.clone();
    let is_controller = move || controller.borrow().elected.is_some();
    tasks.spawn(sweeper.run(uploads, pause, is_controller));
}

fn keep_logs(duties: &Duties<'_>, graves: &Arc<Graves>, tasks: &mut JoinSet<()>) {
    let Ground {
        basics,
        member,
        objects,
        ..
    } = duties.ground;
    let folder = Folder {
        store: Arc::clone(&member.store),
        keys: member.keys.clone(),
        objects: Arc::clone(objects),
        clock: Arc::clone(&basics.clock),
        random: Arc::clone(&basics.random),
        metrics: FoldMetrics::register(&mut basics.registry.lock()),
    };
    let log = LogId {
        broker_id: member.me.broker_id,
        broker_epoch: member.me.broker_epoch,
    };
    let keeper = || LogKeeper {
        folder: folder.clone(),
        reclaimer: Reclaimer::new(
            Arc::clone(&member.store),
            member.keys.clone(),
            Arc::clone(objects),
            Needs {
                view: Arc::clone(&member.view),
                manifests: Arc::clone(duties.manifests),
            },
            Arc::clone(graves),
        ),
        look_pause: LOOK_PAUSE_MAX.min(basics.loaded.config.publish_interval_ms.as_duration()),
    };
    let (own, frozen) = (keeper(), keeper());
    let acknowledged = duties.acknowledged.clone();
    let fence = member.session.fence();
    tasks.spawn(async move {
        own.keep_own_log(log, acknowledged, COMMITS_PER_LOOK, fence)
            .await;
    });
    let (controller, keys) = (duties.controller.clone(), member.keys.clone());
    tasks.spawn(async move {
        // F5: who has been deposed without knowing it yet changes nothing.
        let fence = || {
            let epoch = controller.borrow().elected?;
            Some(vec![Compare::created_at(keys.controller(), epoch)])
        };
        frozen.keep_frozen_logs(fence).await;
    });
}

fn publisher(ground: Ground<'_>, graves: &Arc<Graves>) -> anyhow::Result<Publisher> {
    let Ground {
        basics,
        member,
        objects,
        ..
    } = ground;
    let config = &basics.loaded.config;
    let seams = PublishSeams {
        store: Arc::clone(&member.store),
        keys: member.keys.clone(),
        session: Arc::clone(&member.session),
        view: Arc::clone(&member.view),
        objects: Arc::clone(objects),
        pace: pace(ground)?,
        graves: Arc::clone(graves),
        clock: Arc::clone(&basics.clock),
        random: Arc::clone(&basics.random),
        metrics: PublishMetrics::register(&mut basics.registry.lock()),
    };
    let level = |level: u32| i32::try_from(level).unwrap_or(i32::MAX);
    let options = PublishOptions {
        limits: PublishLimits {
            bytes_min: config.publish_bytes.0,
            age_max: config.publish_interval_ms.as_duration(),
            bytes_max: PUBLISH_BYTES_MAX,
        },
        table_bytes: config.publish_table_bytes.0,
        table: TableOptions {
            zstd_level: level(config.publish_zstd_level),
            ..TableOptions::default()
        },
        zstd_level_behind: level(config.publish_behind_zstd_level),
        topic_defaults: basics.loaded.topic_defaults.clone(),
        producers_expire_ms: i64::try_from(config.producer_id_expiration_ms.0).unwrap_or(i64::MAX),
        clean: CleanOptions::default(),
        leaves: LeafLimits::of(config.publish_leaf_tables),
    };
    Publisher::new(seams, options)
        .context("publish.zstd.level and publish.behind.zstd.level are from 1 to 22")
}

/// How fast this process compacts.
fn pace(ground: Ground<'_>) -> anyhow::Result<Arc<Pace>> {
    let basics = ground.basics;
    let limit = limit(basics.loaded.config.compactor_io_max_bytes_per_second)?;
    let metrics = PaceMetrics::register(&mut basics.registry.lock());
    Ok(Pace::new(limit, ground.uploads_lag.cloned(), metrics))
}

/// Bytes a second; `None`: as fast as can be.
fn limit(setting: ByteSize) -> anyhow::Result<Option<u64>> {
    match setting.0 {
        0 => Ok(None),
        enough if enough >= LIMIT_MIN => Ok(Some(enough)),
        less => anyhow::bail!(
            "compactor.io.max.bytes.per.second is 0, for no limit, or at least {LIMIT_MIN}, not {less}"
        ),
    }
}

fn look_after_history(duties: &Duties<'_>, tasks: &mut JoinSet<()>) {
    let Ground { basics, member, .. } = duties.ground;
    let keeper = HistoryKeeper::new(
        Arc::clone(&member.store),
        member.keys.clone(),
        basics.loaded.config.history_retention_ms.as_duration(),
        HistoryMetrics::register(&mut basics.registry.lock()),
    );
    let controller = duties.controller.clone();
    let is_controller = move || controller.borrow().elected.is_some();
    tasks.spawn(async move { keeper.run(is_controller).await });
}

async fn put_snapshots(duties: &Duties<'_>, tasks: &mut JoinSet<()>) -> anyhow::Result<()> {
    let Ground {
        basics,
        member,
        objects,
        ..
    } = duties.ground;
    let config = &basics.loaded.config;
    let pause = config.snapshot_interval_ms.as_duration();
    if pause.is_zero() {
        return Ok(());
    }
    let stored = member.store.get(member.keys.cluster()).await?;
    let stored = stored.context("the cluster has no identity")?;
    let cluster: ClusterRecord = value::decode(&stored.value)?;
    let keeper = SnapshotKeeper {
        store: Arc::clone(&member.store),
        keys: member.keys.clone(),
        cluster_id: cluster.cluster_id,
        objects: Arc::clone(objects),
        clock: Arc::clone(&basics.clock),
        random: Arc::clone(&basics.random),
        kept: config.snapshot_count as usize,
        metrics: SnapshotMetrics::register(&mut basics.registry.lock()),
    };
    let controller = duties.controller.clone();
    tasks.spawn(async move { keeper.run(pause, controller).await });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_none_or_enough() {
        assert_eq!(limit(ByteSize(0)).expect("none"), None);
        assert_eq!(limit(ByteSize(LIMIT_MIN)).expect("some"), Some(LIMIT_MIN));
        let error = limit(ByteSize(LIMIT_MIN - 1)).expect_err("too little");
        assert!(error.to_string().contains("at least 1048576"), "{error}");
    }
}

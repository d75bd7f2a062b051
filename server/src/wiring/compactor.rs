//! A process that compacts only: a session, its part of the topics, and metrics. It has no Kafka listener, no write-ahead
//! log and no cache, leads and coordinates nothing, and is never the controller.
//!
//! All that it does in its cluster's name compares its session (F1). What it was about is lost when it ends, and nothing
//! else: its shards are claimed by others when the session is over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::BrokerId;
use alluvium_metadata::session::Session;
use alluvium_metadata::view::{ClusterView, Picture};
use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use super::cluster::Member;
use super::listeners::BoundHttp;
use super::maintenance::{Ground, compact};
use super::storage::Store;
use super::{Basics, End, bucket, metadata, storage, usage};
use crate::broker::Identity;
use crate::config::{Config, Loaded, MetadataLocation, Role};
use crate::data_folder::DataFolder;
use crate::http::{Health, Readiness};
use crate::partitions::Me;

/// A running process that compacts only.
pub struct Compactor {
    session: Arc<Session>,
    health: Health,
    http: TaskTracker,
    stopping: CancellationToken,
    shutdown_timeout: Duration,
    /// Compaction has ended, whatever the reason.
    ended: CancellationToken,
    tasks: JoinSet<()>,
    // Last, so that the folder is unlocked when all who use it are gone.
    _folder: DataFolder,
}

/// Joins the cluster that the configuration names, and compacts its part of the topics.
pub async fn start(loaded: Loaded) -> anyhow::Result<Compactor> {
    let config = loaded.config.clone();
    check(&config)?;
    let basics = Basics::new(loaded);
    let health = Health::starting();
    let stopping = CancellationToken::new();
    let folder = DataFolder::open(Path::new(&config.data_dir), &*basics.random)?;
    let http = BoundHttp::bind(&config).await?;
    let endpoint = http.endpoint(&config);
    let http = http.serve(Arc::clone(&basics.registry), health.clone(), &stopping);
    http.close();
    let store = metadata::open(&basics, &folder).await?;
    let Store {
        opened: objects,
        requests,
    } = storage::open_store(&basics, &folder).await?;
    let keys = metadata::keys(&config);
    let cluster = metadata::ensure_cluster(&basics, &*store).await?;
    let own = BrokerId(config.broker_id);
    let stores = bucket::Stores {
        metadata: &*store,
        keys: &keys,
        objects: &objects.store,
        url: &objects.url,
        own,
    };
    bucket::check(&stores, cluster.cluster_id, &*basics.random).await?;
    let view = ClusterView::open(Arc::clone(&store), keys.clone())
        .await
        .context("the topics cannot be read")?;
    refuse_with_last_records(&view.picture(), own, folder.instance_id())?;
    let session = metadata::open_session(&basics, &folder, &store, &endpoint, None).await?;
    let member = Member {
        store,
        keys,
        view: Arc::new(view),
        me: Me {
            broker_id: session.broker_id(),
            broker_epoch: session.broker_epoch(),
            instance_id: folder.instance_id(),
        },
        session: Arc::clone(&session),
    };
    let ground = Ground {
        basics: &basics,
        member: &member,
        objects: &objects.store,
        uploads_lag: None,
    };
    let mut tasks = JoinSet::new();
    let publisher = compact(ground, &mut tasks)?;
    let ended = CancellationToken::new();
    // Dropped by a panic too: a process that keeps its shards and does nothing for them helps nobody.
    let guard = ended.clone().drop_guard();
    tasks.spawn(async move {
        let _guard = guard;
        publisher.run().await;
    });
    let proved = Arc::clone(&session);
    health.check_with(move || {
        let alive = proved.is_alive();
        (!alive).then(|| "the session cannot be proved alive; is etcd away?".to_owned())
    });
    health.set(Readiness::Ready);
    let cluster_id = metadata::cluster_id(&cluster);
    let identity = Identity {
        cluster_id: cluster_id.clone(),
        broker_id: own,
        endpoint,
        rack: config.rack.clone().map(Into::into),
    };
    usage::count(&basics, requests, &member.view, &identity, &mut tasks);
    info!(%cluster_id, broker_id = config.broker_id, objects = %objects.url, "compacting");
    Ok(Compactor {
        session,
        health,
        http,
        stopping,
        shutdown_timeout: config.shutdown_timeout_ms.as_duration(),
        ended,
        tasks,
        _folder: folder,
    })
}

/// Says what is missing, and what to do.
fn check(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.roles.has(Role::Compactor),
        "--roles {} does nothing in this build: --roles must contain broker or compactor",
        config.roles
    );
    let mut missing = Vec::new();
    if matches!(config.metadata, MetadataLocation::Embedded) {
        missing.push("the etcd of the brokers (--metadata etcd://HOST:PORT)");
    }
    if config.object_store.is_none() {
        missing.push("their bucket (--object-store s3://BUCKET/PREFIX)");
    }
    anyhow::ensure!(
        missing.is_empty(),
        "--roles {} without broker works for a cluster and needs {}; for a server of its own, which compacts too, leave \
         --roles out",
        config.roles,
        missing.join(" and ")
    );
    Ok(())
}

/// A broker ran in this data folder, and its write-ahead log may have the last records of partitions. They wait for a
/// broker to open them there; a process that has the folder and does not would keep them waiting.
fn refuse_with_last_records(
    picture: &Picture,
    own: BrokerId,
    instance_id: Uuid,
) -> anyhow::Result<()> {
    let mut waiting = picture.partitions.all().filter(|(_, placed)| {
        let is_mine = placed.record.leader == own;
        let holder = placed.record.wal;
        holder.is_some_and(|holder| holder.0 == instance_id || (is_mine && holder.is(instance_id)))
    });
    match waiting.next() {
        None => Ok(()),
        Some((_, placed)) => {
            let leader = placed.record.leader;
            bail!(
                "the data folder may hold the last records of partitions that broker {leader} leads; start that broker with \
                 it (--roles broker --broker-id {leader}), or give this process another --data-dir and --broker-id"
            )
        }
    }
}

impl Compactor {
    /// Resolves when the process cannot go on.
    pub async fn ended(&self) -> End {
        tokio::select! {
            biased;
            () = self.session.lost() => End::SessionLost,
            () = self.ended.cancelled() => match self.session.is_lost() {
                true => End::SessionLost,
                false => {
                    let reason = "compaction has stopped; start the process again";
                    End::Failed(anyhow::anyhow!(reason))
                }
            },
        }
    }

    /// Lets go of what it is about, of which nothing counts yet, and of its shards, which others claim at once.
    pub async fn stop(mut self) {
        self.health.set(Readiness::NotReady("stopping".to_owned()));
        self.tasks.shutdown().await;
        let closed = tokio::time::timeout(self.shutdown_timeout / 2, self.session.close());
        match closed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the session could not be closed; it ends by itself"),
            Err(_) => warn!("closing the session takes too long; it ends by itself"),
        }
        self.stopping.cancel();
        // Whoever is being answered keeps the port a little longer.
        let _answered = tokio::time::timeout(self.shutdown_timeout / 2, self.http.wait()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::cluster_testing::TestCluster;

    fn checked(settings: &[(&str, &str)]) -> Result<(), String> {
        let mut config = Config::default();
        for (key, value) in settings {
            config.set(key, value).expect("known").expect("valid");
        }
        check(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn it_says_what_is_missing() {
        let compactor = ("roles", "compactor");
        let etcd = ("metadata", "etcd://127.0.0.1:2379");
        let bucket = ("object.store", "s3://bucket/prefix");
        assert_eq!(checked(&[compactor, etcd, bucket]), Ok(()));
        let both = [("roles", "compactor,query"), etcd, bucket];
        assert_eq!(checked(&both), Ok(()));
        let lacks = |settings: &[(&str, &str)], etcd: bool, bucket: bool| {
            let error = checked(settings).expect_err("refused");
            assert_eq!(error.contains("--metadata"), etcd, "{error}");
            assert_eq!(error.contains("--object-store"), bucket, "{error}");
        };
        lacks(&[compactor], true, true);
        lacks(&[compactor, etcd], false, true);
        lacks(&[compactor, bucket], true, false);
        let idle = checked(&[("roles", "query"), etcd, bucket]).expect_err("refused");
        assert!(idle.contains("broker or compactor"), "{idle}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_folder_of_a_broker_that_is_waited_for_is_refused() {
        let cluster = TestCluster::new().await;
        cluster.broker(1).await;
        let topic = cluster.topic("t", 2).await;
        cluster.served(&topic, 0, 1).await;
        let (mine, others) = (Uuid::from_u128(71), Uuid::from_u128(72));
        let refused = |picture: &Picture, own, folder| {
            refuse_with_last_records(picture, BrokerId(own), folder).is_err()
        };
        assert!(!refused(&*cluster.picture().await, 1, mine));
        cluster.logged_in(&topic, 0, mine).await;
        let picture = cluster.picture().await;
        assert!(refused(&picture, 1, mine) && refused(&picture, 5, mine));
        assert!(!refused(&picture, 1, others) && !refused(&picture, 5, others));
        // It is not known where the log lies: whoever led may have it.
        cluster.logged_in(&topic, 0, Uuid::nil()).await;
        let picture = cluster.picture().await;
        assert!(refused(&picture, 1, others) && !refused(&picture, 5, others));
    }
}

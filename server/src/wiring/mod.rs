//! Builds every component of a process from its configuration, starts it and stops it.
//!
//! Order of a start: the data folder is locked; metadata store and object store are opened and the latter is
//! probed; listeners are bound, so that a port in use is noticed before any work; the session is opened; what
//! former sessions left behind is recovered; partitions are opened; then connections are accepted.
//!
//! Order of a stop: others are given what this broker leads; no more connections; requests that were read are answered;
//! what is open is uploaded and committed; the session is closed.
//!
//! That is a broker. What a process without that role does is told in `compactor`.

pub(crate) mod adapters;
mod bucket;
mod cluster;
mod compactor;
mod listeners;
mod maintenance;
mod metadata;
mod partitions;
mod rpc;
mod storage;
mod usage;

use std::path::Path;
use std::sync::Arc;

use alluvium_cache::log::Logs;
use alluvium_cache::segment_cache::SegmentCache;
use alluvium_cache::tail::TailBudget;
use alluvium_common::clock::{SharedClock, SystemClock};
use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::{SharedRandom, SystemRandom};
use alluvium_compactor::manifests::Manifests;
use alluvium_ingest::pipeline::Pipeline;
use alluvium_metadata::controller::Controller;
use alluvium_metadata::coordinator::GroupCoordinator;
use alluvium_metadata::producer_ids::ProducerIds;
use alluvium_metadata::session::Session;
use alluvium_metadata::view::ClusterView;
use alluvium_query::fetch::{Fetcher, Replicas};
use alluvium_query::list_offsets::OffsetFinder;
use alluvium_segment::record_batch::DecodeLimits;
use anyhow::Context;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::broker::{Broker, Identity};
use crate::config::{Loaded, Role};
use crate::data_folder::DataFolder;
use crate::http::{Health, Readiness};
use crate::metrics::ServerMetrics;
use crate::partitions::Me;
use crate::published::keep_up_to_date;
use crate::tiers::Tiers;
use cluster::{LeadSeams, Member};
use compactor::Compactor;
use listeners::{BoundHttp, Listeners};

/// What every component is given.
pub(crate) struct Basics {
    pub(crate) loaded: Loaded,
    pub(crate) clock: SharedClock,
    pub(crate) random: SharedRandom,
    pub(crate) registry: Arc<Mutex<Registry>>,
}

impl Basics {
    fn new(loaded: Loaded) -> Self {
        Self {
            loaded,
            clock: Arc::new(SystemClock),
            random: Arc::new(SystemRandom),
            registry: Arc::new(Mutex::new(Registry::with_prefix("alluvium"))),
        }
    }
}

/// A running process, by what it does.
pub enum Running {
    /// A broker, which may compact too.
    Broker(Box<RunningBroker>),
    /// One that compacts only.
    Compactor(Box<Compactor>),
}

/// Starts everything that the configuration asks for.
pub async fn start(loaded: Loaded) -> anyhow::Result<Running> {
    match loaded.config.roles.has(Role::Broker) {
        true => Ok(Running::Broker(Box::new(start_broker(loaded).await?))),
        false => {
            let compactor = compactor::start(loaded).await?;
            Ok(Running::Compactor(Box::new(compactor)))
        }
    }
}

impl Running {
    /// Resolves when the process cannot go on.
    pub async fn ended(&self) -> End {
        match self {
            Self::Broker(broker) => broker.ended().await,
            Self::Compactor(compactor) => compactor.ended().await,
        }
    }

    /// Ends what it does, in order.
    pub async fn stop(self) {
        match self {
            Self::Broker(broker) => broker.stop().await,
            Self::Compactor(compactor) => compactor.stop().await,
        }
    }
}

/// A running broker.
pub struct RunningBroker {
    session: Arc<Session>,
    view: Arc<ClusterView>,
    controller: Controller,
    fetcher: Arc<Fetcher>,
    pipeline: Arc<Pipeline>,
    groups: Arc<GroupCoordinator>,
    cache: SegmentCache,
    listeners: Listeners,
    health: Health,
    stopping: CancellationToken,
    shutdown_timeout: std::time::Duration,
    _rpc: DropGuard,
    // End with the process.
    _tasks: JoinSet<()>,
    // Last, so that the folder is unlocked when all who use it are gone.
    _folder: DataFolder,
}

async fn start_broker(loaded: Loaded) -> anyhow::Result<RunningBroker> {
    let config = loaded.config.clone();
    let basics = Basics::new(loaded);
    let health = Health::starting();
    let stopping = CancellationToken::new();
    let folder = DataFolder::open(Path::new(&config.data_dir), &*basics.random)?;
    let listeners = Listeners::bind(&config).await?;
    let http = BoundHttp::bind(&config).await?;
    let http = http.serve(Arc::clone(&basics.registry), health.clone(), &stopping);
    let store = metadata::open(&basics, &folder).await?;
    let objects = storage::open(&basics, &folder).await?;
    let endpoint = listeners.advertised(&config);
    let rpc = rpc::bind(&config).await?;
    let called_at = rpc.as_ref().map(|rpc| rpc.endpoint().clone());
    let keys = metadata::keys(&config);
    let cluster = metadata::ensure_cluster(&basics, &*store).await?;
    let stores = bucket::Stores {
        metadata: &*store,
        keys: &keys,
        objects: &objects.store,
        url: &objects.url,
        own: BrokerId(config.broker_id),
    };
    bucket::check(&stores, cluster.cluster_id, &*basics.random).await?;
    let cluster_id = metadata::cluster_id(&cluster);
    let session = metadata::open_session(&basics, &folder, &store, &endpoint, called_at).await?;
    let view = ClusterView::open(Arc::clone(&store), keys.clone())
        .await
        .context("the topics cannot be read")?;
    let member = Member {
        store: Arc::clone(&store),
        keys: keys.clone(),
        view: Arc::new(view),
        me: Me {
            broker_id: session.broker_id(),
            broker_epoch: session.broker_epoch(),
            instance_id: folder.instance_id(),
        },
        session: Arc::clone(&session),
    };
    let logs = Logs::new();
    let tail_budget = TailBudget::new(
        config.tail_memory_bytes.as_usize(),
        alluvium_cache::metrics::TailMetrics::register(&mut basics.registry.lock()),
    );
    let manifests = Manifests::new(Arc::clone(&objects.store));
    let (pipeline, acknowledged) = partitions::open(partitions::OpenSeams {
        basics: &basics,
        folder: &folder,
        store: &store,
        keys: &keys,
        session: &session,
        me: &member.me,
        picture: &member.view.picture(),
        objects: &objects,
        manifests: &manifests,
        logs: &logs,
        tail_budget: &tail_budget,
    })
    .await?;
    let mut tasks = JoinSet::new();
    let controller = member.controller(&basics);
    // Not before all is handed over and uploaded: others may ask until then.
    let rpc_stopping = CancellationToken::new();
    let reader = storage::reader(&basics, &objects, &logs, &session);
    let with = rpc::RpcSeams {
        config: &config,
        cluster_id: &cluster_id,
        session: &session,
        view: &member.view,
        logs: &logs,
        reader: &reader,
        cache: &objects.cache,
        tail_budget: &tail_budget,
        manifests: &manifests,
        stopping: &rpc_stopping,
    };
    let rpc = rpc::start(rpc, &with, &mut tasks);
    let seams = LeadSeams {
        pipeline: &pipeline,
        logs: &logs,
        tail_budget,
        objects: Arc::clone(&objects.store),
        manifests: Arc::clone(&manifests),
        former: rpc.former,
        shelf: rpc.shelf,
        tasks: &mut tasks,
    };
    let led = member.lead(&basics, seams);
    let view = Arc::clone(&member.view);
    let kept = keep_up_to_date(
        Arc::clone(&manifests),
        view,
        Arc::clone(&logs),
        rpc.followers.clone(),
    );
    tasks.spawn(kept);
    let groups = member.coordinate(&basics, &mut tasks).await?;
    let duties = maintenance::Duties {
        ground: maintenance::Ground {
            basics: &basics,
            member: &member,
            objects: &objects.store,
            uploads_lag: Some(&pipeline.uploads_lag()),
        },
        uploads: objects.uploads.as_ref(),
        manifests: &manifests,
        acknowledged,
        controller: controller.status(),
    };
    maintenance::start(duties, &mut tasks).await?;
    member.coordinated(&groups).await;
    let identity = Identity {
        cluster_id,
        broker_id: BrokerId(config.broker_id),
        endpoint,
        rack: config.rack.clone().map(Into::into),
    };
    let requests = objects.requests.clone();
    usage::count(&basics, requests, &member.view, &identity, &mut tasks);
    info!(cluster_id = %identity.cluster_id, broker_id = config.broker_id, endpoint = %identity.endpoint, objects = %objects.url, "ready");
    let replicas = rpc
        .followers
        .map(|followers| followers as Arc<dyn Replicas>);
    let fetcher = storage::fetcher(&basics, &reader, replicas);
    let broker = Broker {
        identity,
        view: Arc::clone(&member.view),
        topics: Arc::new(member.topic_service(&basics, led)),
        placement: member.placement_service(&basics),
        publications: member.publication_service(&basics),
        tiers: Tiers::new(&config, &objects.url),
        fetcher: Arc::clone(&fetcher),
        offsets: OffsetFinder::new(Arc::clone(&reader), DecodeLimits::default()),
        reader,
        pipeline: Arc::clone(&pipeline),
        logs,
        groups: Arc::clone(&groups),
        producer_ids: ProducerIds::new(store, keys),
        metrics: ServerMetrics::register(&mut basics.registry.lock()),
        clock: Arc::clone(&basics.clock),
        loaded: basics.loaded,
    };
    let listeners = listeners.serve_kafka(Arc::new(broker), &config, stopping.clone(), http);
    let written = Arc::clone(&pipeline);
    health.check_with(move || {
        let failed = written.stats().wal_failed;
        failed.then(|| {
            "the write-ahead log failed; topics of durability local are refused until a restart on a healthy disk"
                .to_owned()
        })
    });
    health.set(Readiness::Ready);
    Ok(RunningBroker {
        session,
        view: member.view,
        controller,
        fetcher,
        pipeline,
        groups,
        cache: objects.cache,
        listeners,
        health,
        stopping,
        shutdown_timeout: config.shutdown_timeout_ms.as_duration(),
        _rpc: rpc_stopping.drop_guard(),
        _tasks: tasks,
        _folder: folder,
    })
}

/// Why a process does not go on by itself.
pub enum End {
    /// Its session is over: only a new one helps.
    SessionLost,
    /// Something else, which starting anew does not mend.
    Failed(anyhow::Error),
}

impl RunningBroker {
    /// Resolves when the process cannot go on.
    async fn ended(&self) -> End {
        tokio::select! {
            biased;
            () = self.session.lost() => End::SessionLost,
            () = self.pipeline.stopped() => self.end("the write path has stopped"),
        }
    }

    /// Components end because the session did, or for a reason of their own.
    fn end(&self, reason: &str) -> End {
        match self.session.is_lost() {
            true => End::SessionLost,
            false => End::Failed(anyhow::anyhow!("{reason}; start the broker again")),
        }
    }

    /// Gives away what it leads, answers what was read, uploads what is open, and ends.
    async fn stop(mut self) {
        self.health.set(Readiness::NotReady("stopping".to_owned()));
        if tokio::time::timeout(self.shutdown_timeout / 2, self.leave())
            .await
            .is_err()
        {
            warn!(
                "handing over takes too long; others take over what is left when this broker is gone"
            );
        }
        self.stopping.cancel();
        self.fetcher.stop_waiting();
        let timeout = self.shutdown_timeout;
        if tokio::time::timeout(timeout / 2, self.drain())
            .await
            .is_err()
        {
            warn!(
                ?timeout,
                "stopping took too long; what is not uploaded stays in the write-ahead log"
            );
        }
    }

    /// Hands over, while clients are still served, what others can take.
    async fn leave(&self) {
        if self.session.is_lost() || !self.has_others() {
            return;
        }
        if let Err(error) = self.session.announce_stop().await {
            warn!(%error, "others cannot be told that this broker stops");
            return;
        }
        let mut changes = self.view.changes();
        while self.has_others() && self.leads_something() && !self.session.is_lost() {
            // The sender lives as long as the view.
            let _changed = changes.changed().await;
        }
    }

    fn has_others(&self) -> bool {
        let brokers = &self.view.picture().brokers;
        let mut others = brokers.all().map(|live| live.record.broker_id);
        others.any(|other| other != self.session.broker_id() && brokers.is_usable(other))
    }

    fn leads_something(&self) -> bool {
        let picture = self.view.picture();
        let me = self.session.broker_id();
        let mut partitions = picture.partitions.all();
        partitions.any(|(_, placed)| {
            placed
                .serving(&picture.brokers)
                .is_some_and(|(id, _)| id == me)
        })
    }

    async fn drain(&mut self) {
        // The answers to producers of class object wait for an upload, so both go on together.
        let (_, flushed) = tokio::join!(self.listeners.drained(), self.pipeline.flush());
        if !flushed {
            warn!("not everything could be uploaded; the rest stays in the write-ahead log");
        }
        // What was appended while the connections were drained.
        self.pipeline.flush().await;
        self.groups.close();
        self.controller.stop().await;
        self.pipeline.shutdown().await;
        // What is in memory goes to the disk tier, so that the next start finds it there.
        self.cache.close().await;
        if let Err(error) = self.session.close().await {
            warn!(%error, "the session could not be closed; it ends by itself");
        }
    }
}

/// What an audit and a restore need: the stores of a process that is not running.
pub struct Audited {
    /// Metadata.
    pub metadata: Arc<dyn alluvium_metadata::store::MetadataStore>,
    /// Its keys.
    pub keys: alluvium_metadata::keys::Keys,
    /// The bucket.
    pub objects: Arc<dyn alluvium_common::object_store::ObjectStore>,
    /// What uploads in parts have left in it, where that can be told.
    pub uploads: Option<Arc<dyn alluvium_common::object_store::UnfinishedUploads>>,
    /// What it was opened as, without secrets.
    url: String,
    _folder: DataFolder,
}

impl Audited {
    /// Refuses a bucket that is not marked as that of the metadata.
    ///
    /// # Errors
    /// It is not, or one of them cannot be read.
    pub async fn check_same(&self) -> anyhow::Result<()> {
        bucket::check_same(&*self.metadata, &self.keys, &self.objects, &self.url).await
    }
}

/// Opens the stores without a session: nothing is written to the metadata, and the data folder is locked, so that
/// no broker changes it meanwhile.
pub async fn open_for_audit(loaded: Loaded, data_dir: &Path) -> anyhow::Result<Audited> {
    anyhow::ensure!(
        data_dir.is_dir(),
        "{} is not a data folder; name it with --data-dir",
        data_dir.display()
    );
    open_stores(loaded, data_dir).await
}

/// Opens the stores without a session, of a data folder that may be new.
pub async fn open_for_restore(loaded: Loaded) -> anyhow::Result<Audited> {
    let data_dir = loaded.config.data_dir.clone();
    open_stores(loaded, Path::new(&data_dir)).await
}

async fn open_stores(loaded: Loaded, data_dir: &Path) -> anyhow::Result<Audited> {
    let basics = Basics::new(loaded);
    let folder = DataFolder::open(data_dir, &*basics.random)?;
    let metadata = metadata::open(&basics, &folder).await?;
    let objects = storage::open(&basics, &folder).await?;
    Ok(Audited {
        metadata,
        keys: metadata::keys(&basics.loaded.config),
        objects: objects.store,
        uploads: objects.uploads,
        url: objects.url,
        _folder: folder,
    })
}

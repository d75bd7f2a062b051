//! Builds every component of a process from its configuration, starts it and stops it.
//!
//! Order of a start: the data folder is locked; metadata store and object store are opened and the latter is
//! probed; listeners are bound, so that a port in use is noticed before any work; the session is opened; what
//! former sessions left behind is recovered; partitions are opened; then connections are accepted.
//!
//! Order of a stop: no more connections; requests that were read are answered; what is open is uploaded and
//! committed; the session is closed.

mod adapters;
mod alone;
mod listeners;
mod maintenance;
mod metadata;
mod partitions;
mod storage;

use std::path::Path;
use std::sync::Arc;

use alluvium_cache::log::Logs;
use alluvium_cache::segment_cache::SegmentCache;
use alluvium_cache::tail::TailBudget;
use alluvium_common::clock::{SharedClock, SystemClock};
use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::{SharedRandom, SystemRandom};
use alluvium_ingest::pipeline::Pipeline;
use alluvium_metadata::coordinator::GroupCoordinator;
use alluvium_metadata::producer_ids::ProducerIds;
use alluvium_metadata::session::Session;
use alluvium_metadata::topics::TopicWriter;
use alluvium_metadata::view::ClusterView;
use alluvium_query::fetch::Fetcher;
use alluvium_query::list_offsets::OffsetFinder;
use alluvium_segment::record_batch::DecodeLimits;
use anyhow::Context;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::{Broker, Identity};
use crate::config::{Loaded, Role};
use crate::data_folder::DataFolder;
use crate::http::{Health, Readiness};
use crate::metrics::ServerMetrics;
use crate::topic_service::TopicService;
use listeners::Listeners;
use partitions::LocalPartitions;

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

/// A running process.
pub struct Running {
    session: Arc<Session>,
    fetcher: Arc<Fetcher>,
    pipeline: Arc<Pipeline>,
    groups: Arc<GroupCoordinator>,
    cache: SegmentCache,
    listeners: Listeners,
    health: Health,
    stopping: CancellationToken,
    shutdown_timeout: std::time::Duration,
    _maintenance: tokio::task::JoinSet<()>,
    // Last, so that the folder is unlocked when all who use it are gone.
    _folder: DataFolder,
}

/// Starts everything that the configuration asks for.
pub async fn start(loaded: Loaded) -> anyhow::Result<Running> {
    let config = loaded.config.clone();
    anyhow::ensure!(
        config.roles.has(Role::Broker),
        "this build runs brokers only; --roles must contain broker"
    );
    let basics = Basics::new(loaded);
    let health = Health::starting();
    let stopping = CancellationToken::new();
    let folder = DataFolder::open(Path::new(&config.data_dir), &*basics.random)?;
    let listeners = Listeners::bind(&config).await?;
    let http = listeners.serve_http(Arc::clone(&basics.registry), health.clone(), &stopping);
    let store = metadata::open(&basics, &folder).await?;
    let objects = storage::open(&basics, &folder).await?;
    let endpoint = listeners.advertised(&config);
    let (session, cluster_id) = metadata::open_session(&basics, &folder, &store, &endpoint).await?;
    let keys = metadata::keys(&config);
    let view = ClusterView::open(Arc::clone(&store), keys.clone())
        .await
        .context("the topics cannot be read")?;
    let view = Arc::new(view);
    let writer = TopicWriter::new(
        Arc::clone(&store),
        keys.clone(),
        Arc::clone(&session),
        Arc::clone(&basics.clock),
        Arc::clone(&basics.random),
    );
    let topics = view.topics();
    let orphans = writer.remove_orphans(&topics).await?;
    if orphans > 0 {
        info!(
            topics = orphans,
            "removed what was left of half-created or half-deleted topics"
        );
    }
    let logs = Logs::new();
    let tail_budget = TailBudget::new(
        config.tail_memory_bytes.as_usize(),
        alluvium_cache::metrics::TailMetrics::register(&mut basics.registry.lock()),
    );
    let (pipeline, acknowledged) = partitions::open(partitions::OpenSeams {
        basics: &basics,
        folder: &folder,
        store: &store,
        keys: &keys,
        session: &session,
        writer: &writer,
        topics: &topics,
        objects: &objects,
        logs: &logs,
        tail_budget: &tail_budget,
    })
    .await?;
    let host = Arc::new(LocalPartitions {
        pipeline: Arc::clone(&pipeline),
        logs: Arc::clone(&logs),
        tail_budget,
    });
    let groups = metadata::open_groups(&basics, &store, &session).await?;
    groups.follow_topics(Arc::clone(&view));
    // Until there is an election, the one broker of a cluster is its controller.
    let controller = Arc::clone(&session);
    let maintenance = maintenance::start(maintenance::Duties {
        basics: &basics,
        store: &store,
        keys: &keys,
        session: &session,
        objects: &objects.store,
        acknowledged,
        controller: Arc::new(move || controller.is_alive().then(|| vec![controller.fence()])),
    })
    .await?;
    let service = TopicService::new(
        writer,
        Arc::clone(&view),
        host,
        basics.loaded.topic_defaults.clone(),
        &topics,
    );
    let identity = Identity {
        cluster_id,
        broker_id: BrokerId(config.broker_id),
        endpoint,
        rack: config.rack.clone().map(Into::into),
    };
    info!(cluster_id = %identity.cluster_id, broker_id = config.broker_id, endpoint = %identity.endpoint, objects = %objects.url, "ready");
    let reader = storage::reader(&basics, &objects, &logs);
    let fetcher = storage::fetcher(&basics, &reader);
    let broker = Broker {
        identity,
        view,
        topics: Arc::new(service),
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
    Ok(Running {
        session,
        fetcher,
        pipeline,
        groups,
        cache: objects.cache,
        listeners,
        health,
        stopping,
        shutdown_timeout: config.shutdown_timeout_ms.as_duration(),
        _maintenance: maintenance,
        _folder: folder,
    })
}

impl Running {
    /// Resolves when the process cannot go on, with the reason.
    pub async fn failed(&self) -> anyhow::Error {
        tokio::select! {
            () = self.session.lost() => anyhow::anyhow!(
                "the session of this broker with the metadata store is lost; start it again"
            ),
            () = self.pipeline.stopped() => anyhow::anyhow!(
                "the write path has stopped; start the broker again"
            ),
            error = self.groups.stopped() => anyhow::anyhow!(
                "the group coordinator has stopped: {error}; start the broker again"
            ),
        }
    }

    /// Answers what was read, uploads what is open, and ends.
    pub async fn stop(self) {
        self.health.set(Readiness::NotReady("stopping".to_owned()));
        self.stopping.cancel();
        self.fetcher.stop_waiting();
        if tokio::time::timeout(self.shutdown_timeout, self.drain())
            .await
            .is_err()
        {
            warn!(
                timeout = ?self.shutdown_timeout,
                "stopping took too long; what is not uploaded stays in the write-ahead log"
            );
        }
    }

    async fn drain(&self) {
        // The answers to producers of class object wait for an upload, so both go on together.
        let (_, flushed) = tokio::join!(self.listeners.drained(), self.pipeline.flush());
        if !flushed {
            warn!("not everything could be uploaded; the rest stays in the write-ahead log");
        }
        // What was appended while the connections were drained.
        self.pipeline.flush().await;
        self.groups.close();
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
    _folder: DataFolder,
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
        _folder: folder,
    })
}

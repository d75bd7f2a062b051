//! Opens the object store, the cache in front of it, and the read path.

use std::sync::Arc;
use std::time::Duration;

use alluvium_cache::log::Logs;
use alluvium_cache::metrics::SegmentCacheMetrics;
use alluvium_cache::segment_cache::{DiskConfig, SegmentCache, SegmentCacheConfig};
use alluvium_common::object_store::{
    Holds, ObjectStore, OpenedStore, StoreComponents, StoreMetrics, StoreSettings, TopicRequests,
    UnfinishedUploads,
};
use alluvium_metadata::session::Session;
use alluvium_query::fetch::session::SessionConfig;
use alluvium_query::fetch::{FetchConfig, Fetcher, Replicas};
use alluvium_query::log_reader::LogReader;
use alluvium_query::metrics::ReadMetrics;
use alluvium_segment::object_key::ObjectKey;
use tracing::debug;

use super::Basics;
use super::adapters::SessionSeam;
use crate::data_folder::DataFolder;

/// How long the object store may take to prove itself usable at start-up.
const PROBE_TIME: Duration = Duration::from_secs(30);

/// The object store with its cache.
pub struct Objects {
    /// What it was opened as, without secrets.
    pub url: String,
    /// With all decorators.
    pub store: Arc<dyn ObjectStore>,
    /// In front of it.
    pub cache: SegmentCache,
    /// What uploads in parts have left in it, where that can be told.
    pub uploads: Option<Arc<dyn UnfinishedUploads>>,
    /// What is asked of it, by topic.
    pub requests: TopicRequests,
}

/// The object store alone.
pub struct Store {
    /// With all decorators.
    pub opened: OpenedStore,
    /// What is asked of it, by topic.
    pub requests: TopicRequests,
}

/// Opens the object store, and refuses one that cannot be used, saying why.
pub async fn open_store(basics: &Basics, folder: &DataFolder) -> anyhow::Result<Store> {
    let config = &basics.loaded.config;
    let url = match &config.object_store {
        Some(url) => url.clone(),
        None => folder.objects().display().to_string(),
    };
    let requests = TopicRequests::new(holds);
    let metrics = StoreMetrics::default().counting(requests.clone());
    metrics.register(&mut basics.registry.lock());
    let components = StoreComponents::new(Arc::clone(&basics.random), metrics);
    let opened =
        alluvium_common::object_store::open(&url, &StoreSettings::from_process(), &components)
            .await?;
    let report = opened.probe(&*basics.random, PROBE_TIME).await?;
    debug!(?report, "the object store is usable");
    Ok(Store { opened, requests })
}

/// The same with its cache.
pub async fn open(basics: &Basics, folder: &DataFolder) -> anyhow::Result<Objects> {
    let Store { opened, requests } = open_store(basics, folder).await?;
    let config = &basics.loaded.config;
    let cache_config = SegmentCacheConfig {
        page_memory_bytes: config.cache_memory_bytes.as_usize() / 2,
        block_memory_bytes: config.cache_memory_bytes.as_usize() / 2,
        tail_gets_bytes: config.fetch_tail_memory_bytes.as_usize() / 4,
        backfill_gets_bytes: config.fetch_backfill_memory_bytes.as_usize() / 4,
        disk: (config.cache_disk_bytes.0 > 0).then(|| DiskConfig {
            folder: folder.cache(),
            capacity_bytes: config.cache_disk_bytes.0,
        }),
        ..SegmentCacheConfig::default()
    };
    let metrics = SegmentCacheMetrics::register(&mut basics.registry.lock());
    let cache = SegmentCache::open(cache_config, Arc::clone(&opened.store), metrics).await;
    Ok(Objects {
        url: opened.url,
        store: opened.store,
        uploads: opened.uploads,
        cache,
        requests,
    })
}

/// Whose an object is.
fn holds(name: &str) -> Option<Holds> {
    let key = ObjectKey::parse(name).ok()?;
    if let Some(table) = key.table_name() {
        return Some(Holds::Topic(table.topic_id));
    }
    if let Some(manifest) = key.manifest_name() {
        return Some(Holds::Topic(manifest.topic_id));
    }
    key.segment_name().map(|_| Holds::Several)
}

/// Kafka's fetches over `reader`, and over what other brokers lead, with the configured limits.
pub fn fetcher(
    basics: &Basics,
    reader: &Arc<LogReader>,
    replicas: Option<Arc<dyn Replicas>>,
) -> Arc<Fetcher> {
    let config = &basics.loaded.config;
    let limits = FetchConfig {
        max_bytes: config.fetch_max_bytes.as_usize(),
        tail_response_bytes: config.fetch_tail_memory_bytes.as_usize(),
        backfill_response_bytes: config.fetch_backfill_memory_bytes.as_usize(),
        sessions: SessionConfig {
            slots: config.fetch_session_slots as usize,
            ..SessionConfig::default()
        },
    };
    let random = Arc::clone(&basics.random);
    Fetcher::new(Arc::clone(reader), replicas, limits, random)
}

/// The read path over the logs of this broker.
pub fn reader(
    basics: &Basics,
    objects: &Objects,
    logs: &Arc<Logs>,
    session: &Arc<Session>,
) -> Arc<LogReader> {
    let metrics = ReadMetrics::register(&mut basics.registry.lock());
    let guard = Arc::new(SessionSeam(Arc::clone(session)));
    LogReader::new(Arc::clone(logs), objects.cache.clone(), guard, metrics)
}

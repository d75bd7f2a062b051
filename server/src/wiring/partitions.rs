//! The write path of this process, and the partitions that it starts with.

use std::sync::Arc;

use alluvium_cache::log::Logs;
use alluvium_cache::tail::TailBudget;
use alluvium_compactor::manifests::Manifests;
use alluvium_ingest::backpressure::ByteBudget;
use alluvium_ingest::metrics::IngestMetrics;
use alluvium_ingest::pipeline::{Pipeline, PipelineConfig, PipelineSeams};
use alluvium_ingest::recovery::{self, Led, MetadataCommits, Start};
use alluvium_ingest::seal::SealLimits;
use alluvium_ingest::upload::UploadLimits;
use alluvium_ingest::validate::TopicRules;
use alluvium_ingest::wal::WalOptions;
use alluvium_metadata::commit_log::CommitLog;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::leadership::PartitionWriter;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::MetadataStore;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::view::{Picture, Placed};
use anyhow::{Context, bail};
use tokio::sync::watch;
use tracing::info;

use super::Basics;
use super::adapters::{CacheSink, Commits, SessionSeam};
use super::storage::Objects;
use crate::config::Config;
use crate::data_folder::DataFolder;
use crate::partitions::{Me, add_manifests, partitions_of};

/// Seconds of unused PUT budget that are saved for bursts.
const PUTS_SAVED_SECONDS: f64 = 60.0;

/// What opening the partitions needs.
pub struct OpenSeams<'a> {
    pub basics: &'a Basics,
    pub folder: &'a DataFolder,
    pub store: &'a Arc<dyn MetadataStore>,
    pub keys: &'a Keys,
    pub session: &'a Arc<Session>,
    pub me: &'a Me,
    pub picture: &'a Picture,
    pub objects: &'a Objects,
    pub manifests: &'a Manifests,
    pub logs: &'a Arc<Logs>,
    pub tail_budget: &'a Arc<TailBudget>,
}

/// Starts the write path and opens the partitions that were placed here, as former sessions left them, what their
/// write-ahead log holds included. Beside the pipeline it gives how many entries of the session's commit log are known
/// to stand.
pub async fn open(with: OpenSeams<'_>) -> anyhow::Result<(Arc<Pipeline>, watch::Receiver<u64>)> {
    let config = &with.basics.loaded.config;
    refuse_as_another(with.picture, with.me)?;
    let mut led = led(&with);
    add_manifests(with.manifests, with.picture, &mut led)
        .await
        .context("what is published cannot be read")?;
    let partitions = led.len();
    let commit_logs = MetadataCommits {
        store: Arc::clone(with.store),
        keys: with.keys.clone(),
    };
    let commits = CommitLog::new(
        Arc::clone(with.store),
        with.keys.clone(),
        Arc::clone(with.session),
    );
    let acknowledged = commits.acknowledged();
    let start = Start {
        config: pipeline_config(config),
        seams: pipeline_seams(&with, commits),
        budget: ByteBudget::new(config.request_memory_bytes.as_usize()),
        wal_folder: with.folder.wal(),
        wal_options: WalOptions {
            file_bytes: config.wal_file_bytes.0,
            limit_bytes: config.wal_bytes_max.0,
            ..WalOptions::default()
        },
        commits: &commit_logs,
        writer: &PartitionWriter::new(Arc::clone(with.store), with.keys.clone()),
        fence: with.session.fence(),
        wal_holder: with.me.wal_holder(),
        tail_budget: with.tail_budget,
        led,
    };
    let (pipeline, replayed) = recovery::start(start)
        .await
        .context("what the last session left cannot be recovered")?;
    info!(
        partitions,
        replayed = replayed.taken,
        already_uploaded = replayed.committed,
        never_acknowledged = replayed.unacknowledged,
        of_deleted_topics = replayed.unknown,
        "recovered; batches are counted"
    );
    Ok((pipeline, acknowledged))
}

/// The write-ahead log in the data folder is of another broker, which leads partitions whose last records only that log
/// may have. Recovered here it would be given back as if those partitions did not exist.
fn refuse_as_another(picture: &Picture, me: &Me) -> anyhow::Result<()> {
    let of_this_folder = |placed: &Placed| placed.record.wal == Some(me.wal_holder());
    let mut others = picture.partitions.all().filter_map(|(_, placed)| {
        let leader = placed.record.leader;
        (leader != me.broker_id && of_this_folder(placed)).then_some(leader)
    });
    match others.next() {
        None => Ok(()),
        Some(leader) => bail!(
            "the data folder may hold the last records of partitions that broker {leader} leads; start it with --broker-id {leader}"
        ),
    }
}

/// What was placed here and no other data folder has records of. The rest is reported by whoever follows the picture.
fn led(with: &OpenSeams<'_>) -> Vec<Led> {
    let defaults = &with.basics.loaded.topic_defaults;
    let mut led = Vec::new();
    for topic in with.picture.topics.all() {
        let rules = TopicRules::from(&TopicSettings::parse(&topic.configs, defaults));
        for (tp, placed) in partitions_of(with.picture, topic) {
            if placed.record.leader == with.me.broker_id && with.me.may_open(placed) {
                led.push(Led {
                    tp,
                    topic: topic.name.clone(),
                    rules: rules.clone(),
                    record: placed.record.clone(),
                    read_at: placed.mod_revision,
                    manifest: None,
                });
            }
        }
    }
    led
}

fn pipeline_seams(with: &OpenSeams<'_>, commits: CommitLog) -> PipelineSeams {
    let basics = with.basics;
    PipelineSeams {
        store: Arc::clone(&with.objects.store),
        commits: Arc::new(Commits(commits)),
        session: Arc::new(SessionSeam(Arc::clone(with.session))),
        // Opened by the start, which has to read it first.
        wal: None,
        logs: Arc::clone(with.logs),
        segment_cache: Some(Arc::new(CacheSink(with.objects.cache.clone()))),
        clock: Arc::clone(&basics.clock),
        random: Arc::clone(&basics.random),
        metrics: IngestMetrics {
            by_topic: with.objects.requests.clone(),
            ..IngestMetrics::register(&mut basics.registry.lock())
        },
    }
}

fn pipeline_config(config: &Config) -> PipelineConfig {
    PipelineConfig {
        seal: SealLimits {
            bytes_with_waiter: config.segment_upload_waiting_bytes.as_usize(),
            bytes_max: config.segment_upload_bytes.as_usize(),
            age_with_waiter: config.segment_upload_waiting_ms.as_duration(),
            age_max: config.segment_upload_ms.as_duration(),
        },
        puts_per_second: f64::from(config.put_budget_per_second),
        puts_saved_max: f64::from(config.put_budget_per_second) * PUTS_SAVED_SECONDS,
        upload: UploadLimits {
            parallel_max: config.upload_parallelism as usize,
            ..UploadLimits::default()
        },
        producer_id_expiration_ms: i64::try_from(config.producer_id_expiration_ms.0)
            .unwrap_or(i64::MAX),
        ..PipelineConfig::default()
    }
}

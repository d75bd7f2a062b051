//! The partitions that this broker leads.

use std::sync::Arc;

use alluvium_cache::log::{EpochHistory, Logs, PartitionLog};
use alluvium_cache::tail::{TailBudget, TailStart};
use alluvium_common::epoch::LeaderEpoch;
use alluvium_common::offset::Offset;
use alluvium_common::topic::TopicPartition;
use alluvium_ingest::backpressure::ByteBudget;
use alluvium_ingest::metrics::IngestMetrics;
use alluvium_ingest::pipeline::{OpenState, Pipeline, PipelineConfig, PipelineSeams};
use alluvium_ingest::seal::SealLimits;
use alluvium_ingest::upload::UploadLimits;
use alluvium_ingest::validate::TopicRules;
use alluvium_metadata::commit_log::CommitLog;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::TopicRecord;
use alluvium_metadata::session::Session;
use alluvium_metadata::store::MetadataStore;
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_segment::segment_index::SegmentIndex;

use super::Basics;
use super::adapters::{CacheSink, Commits, SessionSeam};
use super::storage::Objects;
use crate::config::Config;
use crate::topic_service::PartitionHost;

/// Seconds of unused PUT budget that are saved for bursts.
const PUTS_SAVED_SECONDS: f64 = 60.0;

/// What opening the partitions needs.
pub struct OpenSeams<'a> {
    pub basics: &'a Basics,
    pub store: &'a Arc<dyn MetadataStore>,
    pub keys: &'a Keys,
    pub session: &'a Arc<Session>,
    pub objects: &'a Objects,
    pub logs: &'a Arc<Logs>,
}

/// Starts the write path and opens every partition as former sessions left it.
pub async fn open(seams: OpenSeams<'_>) -> anyhow::Result<Arc<Pipeline>> {
    let config = &seams.basics.loaded.config;
    let commits = CommitLog::new(
        Arc::clone(seams.store),
        seams.keys.clone(),
        Arc::clone(seams.session),
    );
    let pipeline = Pipeline::start(
        pipeline_config(config),
        PipelineSeams {
            store: Arc::clone(&seams.objects.store),
            commits: Arc::new(Commits(commits)),
            session: Arc::new(SessionSeam(Arc::clone(seams.session))),
            wal: None,
            logs: Arc::clone(seams.logs),
            segment_cache: Some(Arc::new(CacheSink(seams.objects.cache.clone()))),
            clock: Arc::clone(&seams.basics.clock),
            random: Arc::clone(&seams.basics.random),
            metrics: IngestMetrics::register(&mut seams.basics.registry.lock()),
        },
        ByteBudget::new(config.request_memory_bytes.as_usize()),
        0,
    );
    Ok(pipeline)
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

/// Opens and closes partitions as topics come and go.
pub struct LocalPartitions {
    pub pipeline: Arc<Pipeline>,
    pub logs: Arc<Logs>,
    pub tail_budget: Arc<TailBudget>,
}

impl PartitionHost for LocalPartitions {
    fn open_new(&self, topic: &TopicRecord, tp: TopicPartition, settings: Arc<TopicSettings>) {
        let start = TailStart {
            log_start: Offset::ZERO,
            next_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(0),
        };
        let epochs = EpochHistory::new([(LeaderEpoch(0), Offset::ZERO)]);
        let log = PartitionLog::open(
            tp,
            start,
            SegmentIndex::new(Offset::ZERO),
            epochs,
            &self.tail_budget,
        );
        let state = OpenState {
            log,
            producers: Vec::new(),
        };
        self.pipeline
            .open_partition(topic.name.clone(), TopicRules::from(&*settings), state);
    }

    fn set_settings(&self, tp: TopicPartition, settings: Arc<TopicSettings>) {
        self.pipeline.set_rules(&tp, TopicRules::from(&*settings));
    }

    fn close_deleted(&self, tp: TopicPartition) {
        self.pipeline.close_partition(&tp);
    }

    fn set_log_start(&self, tp: TopicPartition, to: Offset) {
        if let Some(log) = self.logs.get(&tp) {
            log.set_log_start(to);
        }
    }
}

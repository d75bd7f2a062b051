//! A topic whose table files are written by the test, and cleaned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::background::BackgroundThreads;
use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::BrokerId;
use alluvium_common::object_store::fault::{FaultPlan, FaultStore};
use alluvium_common::offset::Offset;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::compaction::PublicationWriter;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{BrokerRecord, PartitionRecord, TopicRecord};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{MemoryStore, MetadataStore, MetadataStoreExt, Revision};
use alluvium_metadata::topic_config::TopicSettings;
use alluvium_metadata::value;
use alluvium_metadata::view::ClusterView;
use alluvium_segment::manifest::{CleanState, Holder, Manifest, ManifestContent};
use alluvium_segment::record_batch::{Codec, Record, TimestampType};
use alluvium_table::TableOptions;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use uuid::Uuid;

use super::super::time::CleanTime;
use super::super::{CleanJob, CleanOptions, CleanWork, Cleaner};
use crate::leaves::LeafLimits;
use crate::manifests::read_manifest;
use crate::pace::{Pace, PacedObjects};
use crate::publish::{PublishError, PublishLimits, PublishMetrics, PublishOptions, PublishSeams};
use crate::reclaim::{Graves, GravesMetrics};
use crate::rewrite::{Source, join::run_to_join, keep_all, replace_tables, rewrite};
use crate::tables::{TableOutput, TableOutputSeams};
use crate::topic_manifest::TopicManifest;

pub const TOPIC: TopicId = TopicId(Uuid::from_u128(7));
pub const START_MS: i64 = 1_000_000_000;

pub fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

pub fn at(now_ms: i64) -> CleanTime {
    CleanTime {
        earliest_ms: now_ms,
        latest_ms: now_ms,
    }
}

pub struct World {
    pub seams: PublishSeams,
    pub options: PublishOptions,
    pub faults: Arc<FaultPlan>,
    pub clock: Arc<ManualClock>,
    pub manifests: HashMap<TopicId, Arc<Manifest>>,
    pub cleaner: Cleaner,
    threads: BackgroundThreads,
    writer: PublicationWriter,
}

impl World {
    /// A topic with these settings.
    pub async fn new(seed: u64, partitions: i32, configs: &[(&str, &str)]) -> Self {
        let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let keys = Keys::new("test");
        let record = BrokerRecord {
            broker_id: BrokerId(1),
            host: "localhost".to_owned(),
            port: 9092,
            rack: None,
            instance_id: Uuid::from_u128(1),
            version: "0".to_owned(),
            started_ms: 0,
            rpc: None,
            draining: false,
            roles: alluvium_metadata::model::Roles::broker(),
        };
        let ttl = Duration::from_secs(60);
        let session = Session::open(Arc::clone(&store), &keys, &record, ttl).await;
        let view = ClusterView::open(Arc::clone(&store), keys.clone()).await;
        let faults = FaultPlan::new(seed);
        let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let objects: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(Arc::clone(&bucket), Arc::clone(&faults)));
        let clock = ManualClock::at(START_MS);
        let grace = Duration::from_secs(600);
        let seams = PublishSeams {
            session: Arc::new(session.expect("session")),
            view: Arc::new(view.expect("view")),
            graves: Graves::new(bucket, grace, GravesMetrics::default()),
            clock: clock.clone(),
            random: SeededRandom::new(seed),
            metrics: PublishMetrics::default(),
            store: Arc::clone(&store),
            keys: keys.clone(),
            objects,
            pace: Pace::unlimited(),
        };
        let options = PublishOptions {
            limits: PublishLimits {
                bytes_min: u64::MAX,
                age_max: Duration::MAX,
                bytes_max: u64::MAX,
            },
            table_bytes: 20_000,
            table: TableOptions {
                stripe_bytes: 1_000,
                row_group_bytes: 5_000,
                ..TableOptions::default()
            },
            producers_expire_ms: i64::MAX,
            zstd_level_behind: 1,
            topic_defaults: BTreeMap::new(),
            clean: CleanOptions::default(),
            leaves: LeafLimits::default(),
        };
        let world = Self {
            cleaner: Cleaner::new(options.clean.clone(), clock.clone()),
            threads: BackgroundThreads::start("test", 1).expect("a thread"),
            writer: PublicationWriter::new(store, keys),
            manifests: HashMap::new(),
            faults,
            clock,
            options,
            seams,
        };
        world.set_topic(partitions, configs).await;
        for partition in 0..partitions {
            world.set_log_start(partition, 0).await;
        }
        world
    }

    /// With room for so many keys, and so many bytes of files a run.
    pub fn with(mut self, keys: usize, run_bytes: u64) -> Self {
        // Nine of ten slots are filled.
        self.options.clean.map_bytes = (keys * 10).div_ceil(9) * super::super::map::ENTRY_BYTES;
        self.options.clean.run_bytes = run_bytes;
        self.restart();
        self
    }

    /// Another process: nothing is known of what had begun.
    pub fn restart(&mut self) {
        self.cleaner = Cleaner::new(self.options.clean.clone(), self.clock.clone());
    }

    pub async fn set_topic(&self, partitions: i32, configs: &[(&str, &str)]) {
        let configs = configs.iter();
        let record = TopicRecord {
            name: TopicName::new("topic").expect("valid"),
            topic_id: TOPIC,
            partition_count: partitions,
            replication_factor: 1,
            configs: configs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            created_ms: 0,
        };
        let key = self.seams.keys.topic(&record.name);
        let put = self.seams.store.put(key, value::encode(&record)).await;
        self.seen(put.expect("put")).await;
    }

    pub async fn set_log_start(&self, partition: i32, log_start: i64) {
        let tp = TopicPartition::new(TOPIC, PartitionIndex(partition));
        let record = PartitionRecord {
            log_start: offset(log_start),
            ..PartitionRecord::new(BrokerId(1))
        };
        let key = self.seams.keys.partition(tp);
        let put = self.seams.store.put(key, value::encode(&record)).await;
        self.seen(put.expect("put")).await;
    }

    async fn seen(&self, revision: Revision) {
        self.seams.view.reached(revision).await;
    }

    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifests[&TOPIC]
    }

    pub fn clean_state(&self, partition: i32) -> &CleanState {
        &self.manifest().content().partitions[&PartitionIndex(partition)].clean
    }

    fn topic_manifest(&self) -> TopicManifest<'_> {
        TopicManifest {
            with: &self.seams,
            writer: &self.writer,
            topic_id: TOPIC,
            before: self.manifests.get(&TOPIC).cloned(),
            replaced: None,
            guard: vec![self.seams.session.fence()],
            leaves: None,
            table_bytes: self.options.table_bytes,
        }
    }

    fn paced(&self) -> PacedObjects {
        PacedObjects {
            objects: Arc::clone(&self.seams.objects),
            pace: Arc::clone(&self.seams.pace),
        }
    }

    fn output(&self) -> TableOutputSeams<'_> {
        TableOutputSeams {
            objects: self.paced(),
            threads: &self.threads,
            random: &self.seams.random,
            metrics: &self.seams.metrics,
            topic_id: TOPIC,
            broker_id: self.seams.session.broker_id(),
            broker_epoch: self.seams.session.broker_epoch(),
            table_bytes: self.options.table_bytes,
            part_bytes: 5_000,
        }
    }

    /// Publishes records as files, each partition up to an offset.
    pub async fn publish(&mut self, parts: BTreeMap<i32, (Vec<Record>, i64)>) {
        let manifest = self.topic_manifest();
        let followed = manifest.begin().await.expect("counts");
        let mut content = manifest.content();
        let mut output = TableOutput::new(self.output(), &self.options.table).expect("options");
        for (partition, (records, end)) in parts {
            let partition = PartitionIndex(partition);
            let published = content.partitions.entry(partition).or_default();
            let from = published.next_offset;
            published.next_offset = offset(end);
            for record in &records {
                published.clean.add_dirty(record.timestamp);
            }
            let written = output.write(move |builder| {
                builder.enter(partition, from).expect("ascends");
                for record in &records {
                    let pushed = builder.push_record(record, TimestampType::CreateTime, Codec::Lz4);
                    pushed.expect("ascends");
                }
                builder.reach(offset(end));
                Ok(())
            });
            written.await.expect("written");
        }
        let tables = output.end(Ok(())).await.expect("finished");
        content.tables.extend(tables);
        let manifest = manifest.advance(followed, content).await;
        self.manifests.insert(TOPIC, manifest.expect("counts"));
    }

    /// Joins files, if there are enough, as publishing does when there is nothing else to do.
    pub async fn join(&mut self) {
        let Some(run) = run_to_join(self.manifest().tables(), u64::MAX) else {
            return;
        };
        let manifest = self.topic_manifest();
        let followed = manifest.begin().await.expect("counts");
        let tables = &self.manifest().tables()[run.clone()];
        let new = rewrite(self.output(), &self.options.table, tables, &keep_all()).await;
        let mut content = manifest.content();
        replace_tables(&mut content, run, new.expect("joined"));
        let manifest = manifest.advance(followed, content).await;
        self.manifests.insert(TOPIC, manifest.expect("counts"));
    }

    /// Lets go of the first files, as retention does.
    pub async fn drop_tables(&mut self, count: usize) {
        let manifest = self.topic_manifest();
        let followed = manifest.begin().await.expect("counts");
        let mut content = manifest.content();
        content.tables.drain(..count);
        let manifest = manifest.advance(followed, content).await;
        self.manifests.insert(TOPIC, manifest.expect("counts"));
    }

    /// Moves the first files to a leaf, as happens to topics that are not compacted.
    pub async fn move_to_leaf(&mut self, count: usize) {
        let manifest = self.topic_manifest();
        let followed = manifest.begin().await.expect("counts");
        let mut content = manifest.content();
        let tables = content.tables.drain(..count).map(Arc::new).collect();
        content
            .leaves
            .push(manifest.put_leaf(tables).await.expect("put"));
        let manifest = manifest.advance(followed, content).await;
        self.manifests.insert(TOPIC, manifest.expect("counts"));
    }

    /// What is to be done now.
    pub fn next(&mut self, time: CleanTime) -> Option<CleanWork> {
        let picture = self.seams.view.picture();
        let defaults = &self.options.topic_defaults;
        let settings = |topic_id| {
            let topic = picture.topics.with_id(topic_id)?;
            Some(TopicSettings::parse(&topic.configs, defaults))
        };
        self.cleaner
            .next(&picture, &self.manifests, &settings, time)
    }

    /// One step of a cleaning, if one is due. Whether that was so.
    pub async fn step(&mut self, time: CleanTime) -> Result<bool, PublishError> {
        let Some(work) = self.next(time) else {
            return Ok(false);
        };
        let job = CleanJob {
            manifest: self.topic_manifest(),
            options: &self.options.table,
            output: self.output(),
            threads: &self.threads,
            cover_bytes: self.options.clean.cover_bytes,
            run_bytes: self.options.clean.run_bytes,
            time,
        };
        let stepped = work.step(job).await?;
        self.manifests.insert(TOPIC, stepped.manifest);
        self.cleaner.go_on(stepped.rest);
        Ok(true)
    }

    /// All that is due. How many steps that took.
    pub async fn clean(&mut self, time: CleanTime) -> usize {
        let mut steps = 0;
        while self.step(time).await.expect("cleaned") {
            steps += 1;
            assert!(steps < 1_000, "a cleaning must come to its end");
        }
        steps
    }

    /// Waits until the picture shows the manifest that counts.
    pub async fn shown(&self) {
        let stands = self.writer.read(TOPIC).await.expect("reads");
        self.seen(stands.expect("published").mod_revision).await;
    }

    /// The manifest that counts.
    pub async fn reload(&mut self) {
        let stands = self.writer.read(TOPIC).await.expect("reads");
        let record = stands.expect("published").record;
        let read = read_manifest(&*self.seams.objects, TOPIC, &record).await;
        self.manifests.insert(TOPIC, Arc::new(read.expect("whole")));
    }

    /// What a manifest says of files and partitions, without version and date.
    pub fn said(&self) -> ManifestContent {
        ManifestContent {
            version: 0,
            created_ms: 0,
            ..self.manifest().to_content()
        }
    }

    /// All records of a partition, in order.
    pub async fn stored(&self, partition: i32) -> Vec<Record> {
        let partition = PartitionIndex(partition);
        let objects = &self.paced();
        let mut stored = Vec::new();
        for found in self.manifest().spans_from(partition, Offset::ZERO) {
            let Holder::Table(table) = found.holder else {
                panic!("a compacted topic has no leaves");
            };
            let source = Source::open(objects, Arc::clone(table)).await;
            let source = source.expect("whole");
            for number in source.stripes_of(partition) {
                let ranges = source.file.ranges(number).into_iter();
                let whole = source.whole().expect("small");
                let bytes =
                    ranges.map(|range| whole.slice(range.start as usize..range.end as usize));
                let records = source.file.records(number, &bytes.collect::<Vec<_>>());
                stored.extend(
                    records
                        .expect("whole")
                        .into_iter()
                        .map(|(record, _)| record),
                );
            }
        }
        stored
    }
}

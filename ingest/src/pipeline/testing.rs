//! In-memory neighbours of the pipeline, with faults, and a broker made of them. What survives a crash
//! is in [`World`]; everything else belongs to one [`Rig`], a broker session.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alluvium_cache::log::{EpochHistory, Logs, PartitionLog};
use alluvium_cache::metrics::TailMetrics;
use alluvium_cache::tail::{SpilledBatch, TailBudget, TailRead, TailStart};
use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::object_store::fault::{FaultPlan, FaultStore};
use alluvium_common::offset::Offset;
use alluvium_common::producer::{ProducerEpoch, ProducerId, Sequence};
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::commit_log::{LogEntry, ReadCommitsError};
use alluvium_metadata::compaction::ReadPublishedError;
use alluvium_metadata::model::{CommitRecord, Opener, PartitionRecord};
use alluvium_metadata::store::StoreError;
use alluvium_segment::record_batch::{BatchBuilder, Codec, NO_HEADERS, StoredBatch, split};
use alluvium_segment::segment_index::SegmentIndex;
use alluvium_segment::segment_object::decode_block;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::*;
use crate::ack::Acks;
use crate::backpressure::FramePermit;
use crate::partition::WalDone;

use crate::recovery::{
    CommitReader, PartitionImage, RecoveredBatch, ReplaySummary, load, plan_replay,
};
use crate::seams::{CommitFailure, WalCopy, WalState};
use crate::validate::ClientRules;

pub(crate) const NOW_MS: i64 = 1_700_000_000_000;
pub(crate) const BROKER: BrokerId = BrokerId(1);

/// What a crash leaves: bucket, metadata and synced log frames.
pub(crate) struct World {
    pub(crate) bucket: Arc<InMemory>,
    pub(crate) plan: Arc<FaultPlan>,
    pub(crate) metadata: Arc<MemoryCommits>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) records: Mutex<BTreeMap<TopicPartition, PartitionRecord>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) random: Arc<SeededRandom>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            bucket: Arc::new(InMemory::new()),
            plan: FaultPlan::new(seed),
            metadata: Arc::new(MemoryCommits::new(seed)),
            disk: Arc::default(),
            records: Mutex::default(),
            clock: ManualClock::at(NOW_MS),
            random: SeededRandom::new(seed),
        })
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(FaultStore::new(
            Arc::clone(&self.bucket) as Arc<dyn ObjectStore>,
            Arc::clone(&self.plan),
        ))
    }

    pub(crate) async fn object_count(&self) -> usize {
        use futures::StreamExt;
        self.bucket.list(None).count().await
    }
}

/// Commit logs of all sessions, with the fence (F1).
pub(crate) struct MemoryCommits {
    pub(crate) log: Mutex<BTreeMap<(BrokerEpoch, u64), CommitRecord>>,
    pub(crate) current: Mutex<BrokerEpoch>,
    random: Arc<SeededRandom>,
    /// In thousandths: attempts that fail before, and whose answer is lost after.
    pub(crate) fail_per_mille: AtomicU64,
    pub(crate) lose_per_mille: AtomicU64,
    pub(crate) attempts: AtomicU64,
}

impl MemoryCommits {
    fn new(seed: u64) -> Self {
        Self {
            log: Mutex::default(),
            current: Mutex::new(BrokerEpoch(0)),
            random: SeededRandom::new(seed ^ 0xC0),
            fail_per_mille: AtomicU64::new(0),
            lose_per_mille: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
        }
    }

    fn happens(&self, per_mille: &AtomicU64) -> bool {
        use alluvium_common::rand::Random;
        self.random.below(1000) < per_mille.load(Ordering::SeqCst)
    }
}

/// The commit log of one session.
pub(crate) struct SessionCommits {
    pub(crate) store: Arc<MemoryCommits>,
    pub(crate) epoch: BrokerEpoch,
}

impl CommitSink for SessionCommits {
    fn commit(
        &self,
        first_sequence: u64,
        records: Vec<CommitRecord>,
    ) -> BoxFuture<'_, Result<(), CommitFailure>> {
        async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.store.attempts.fetch_add(1, Ordering::SeqCst);
            let unavailable = || CommitFailure::Unavailable("injected".into());
            if self.store.happens(&self.store.fail_per_mille) {
                return Err(unavailable());
            }
            if *self.store.current.lock() != self.epoch {
                return Err(CommitFailure::Fenced);
            }
            {
                let mut log = self.store.log.lock();
                for (sequence, record) in (first_sequence..).zip(records) {
                    if sequence > 0 {
                        let before = log.contains_key(&(self.epoch, sequence - 1));
                        assert!(before, "commit {sequence} without its predecessor");
                    }
                    let stands = log.entry((self.epoch, sequence)).or_insert(record.clone());
                    assert_eq!(*stands, record, "commit {sequence} written twice");
                }
            }
            match self.store.happens(&self.store.lose_per_mille) {
                true => Err(unavailable()),
                false => Ok(()),
            }
        }
        .boxed()
    }
}

impl CommitReader for MemoryCommits {
    fn read(
        &self,
        _broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
        first_seq: u64,
    ) -> BoxFuture<'_, Result<Vec<LogEntry>, ReadCommitsError>> {
        let log = self.log.lock();
        let entries = log.range((broker_epoch, first_seq)..=(broker_epoch, u64::MAX));
        let entries = entries.map(|((_, sequence), record)| LogEntry::Commit {
            seq: *sequence,
            record: record.clone(),
        });
        let entries: Vec<_> = entries.collect();
        async move { Ok(entries) }.boxed()
    }

    fn is_frozen(
        &self,
        _broker_id: BrokerId,
        broker_epoch: BrokerEpoch,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let frozen = *self.current.lock() != broker_epoch;
        async move { Ok(frozen) }.boxed()
    }

    fn published(&self) -> BoxFuture<'_, Result<HashMap<TopicId, u64>, ReadPublishedError>> {
        async move { Ok(HashMap::new()) }.boxed()
    }
}

/// A session that lives until it is told otherwise.
pub(crate) struct FakeSession {
    pub(crate) epoch: BrokerEpoch,
    pub(crate) alive: AtomicBool,
    pub(crate) lost: watch::Sender<bool>,
}

impl SessionGuard for FakeSession {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    fn lost(&self) -> BoxFuture<'static, ()> {
        let mut lost = self.lost.subscribe();
        async move {
            let _ = lost.wait_for(|lost| *lost).await;
        }
        .boxed()
    }

    fn broker_id(&self) -> BrokerId {
        BROKER
    }

    fn broker_epoch(&self) -> BrokerEpoch {
        self.epoch
    }
}

/// Frames on disk, in order, until they are released.
#[derive(Default)]
pub(crate) struct Disk {
    frames: Mutex<Vec<Arc<MemorySlot>>>,
}

impl Disk {
    /// Frames that a start after a crash now would find, in order.
    pub(crate) fn frames(&self) -> Vec<Arc<MemorySlot>> {
        let mut frames = self.frames.lock();
        frames.retain(|frame| !frame.released.load(Ordering::SeqCst));
        frames.clone()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.frames().iter().map(|slot| slot.size).sum()
    }
}

/// A batch in the in-memory log.
#[derive(Debug)]
pub(crate) struct MemorySlot {
    pub(crate) tp: TopicPartition,
    size: usize,
    synced: OnceLock<StoredBatch>,
    released: AtomicBool,
}

impl SpilledBatch for MemorySlot {
    fn read(&self) -> io::Result<StoredBatch> {
        let batch = self.synced.get().cloned();
        batch.ok_or_else(|| io::Error::other("read before it was synced"))
    }

    fn size_bytes(&self) -> usize {
        self.size
    }
}

impl WalCopy for MemorySlot {
    fn release(&self) {
        self.released.store(true, Ordering::SeqCst);
    }
}

/// A frame of an earlier session: the log forgets those together.
struct RecoveredSlot(Arc<MemorySlot>);

impl SpilledBatch for RecoveredSlot {
    fn read(&self) -> io::Result<StoredBatch> {
        assert!(
            !self.0.released.load(Ordering::SeqCst),
            "released too early"
        );
        self.0.read()
    }

    fn size_bytes(&self) -> usize {
        self.0.size
    }
}

impl WalCopy for RecoveredSlot {
    fn release(&self) {}
}

/// A log whose syncs the test decides, or that syncs by itself after a while.
pub(crate) struct MemoryWal {
    disk: Arc<Disk>,
    queue: Mutex<Vec<(Arc<MemorySlot>, StoredBatch, WalDone)>>,
    pub(crate) state: Mutex<WalState>,
    pub(crate) pressed_bytes: AtomicU64,
    queued: Notify,
}

impl MemoryWal {
    pub(crate) fn new(disk: Arc<Disk>) -> Arc<Self> {
        Arc::new(Self {
            disk,
            queue: Mutex::default(),
            state: Mutex::new(WalState::Accepting),
            pressed_bytes: AtomicU64::new(u64::MAX),
            queued: Notify::new(),
        })
    }

    /// One group commit of all that is queued.
    pub(crate) fn sync(&self) {
        let queued = std::mem::take(&mut *self.queue.lock());
        let mut done = self.write(queued);
        WalDone::synced(&mut done);
    }

    fn write(&self, queued: Vec<(Arc<MemorySlot>, StoredBatch, WalDone)>) -> Vec<WalDone> {
        let mut done = Vec::new();
        for (slot, batch, completion) in queued {
            slot.synced.set(batch).expect("written once");
            self.disk.frames.lock().push(slot);
            done.push(completion);
        }
        done
    }

    /// The sync fails, and with it the log, for good.
    pub(crate) fn fail(&self) {
        *self.state.lock() = WalState::Failed;
        let queued = std::mem::take(&mut *self.queue.lock());
        let mut done = queued.into_iter().map(|(_, _, done)| done).collect();
        WalDone::failed(&mut done);
    }

    /// A crash while writing: the first `survivors` queued frames reach the disk, nobody is told.
    pub(crate) fn crash(&self, survivors: usize) {
        let mut queued = std::mem::take(&mut *self.queue.lock());
        queued.truncate(survivors.min(queued.len()));
        self.write(queued);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.lock().len()
    }

    /// Syncs by itself, a millisecond after something was queued.
    pub(crate) fn run(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let wal = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                wal.queued.notified().await;
                tokio::time::sleep(Duration::from_millis(1)).await;
                if *wal.state.lock() == WalState::Accepting {
                    wal.sync();
                }
            }
        })
    }
}

impl WalSink for MemoryWal {
    fn append(&self, tp: TopicPartition, batch: &StoredBatch, done: WalDone) -> Arc<dyn WalCopy> {
        let slot = Arc::new(MemorySlot {
            tp,
            size: batch.size_bytes(),
            synced: OnceLock::new(),
            released: AtomicBool::new(false),
        });
        let entry = (Arc::clone(&slot), batch.clone(), done);
        self.queue.lock().push(entry);
        self.queued.notify_one();
        slot
    }

    fn state(&self) -> WalState {
        *self.state.lock()
    }

    fn is_pressed(&self) -> bool {
        self.bytes() > self.pressed_bytes.load(Ordering::SeqCst)
    }

    fn bytes(&self) -> u64 {
        self.disk.bytes() as u64
    }
}

/// How a rig differs from the defaults.
pub(crate) struct RigOptions {
    pub(crate) config: PipelineConfig,
    pub(crate) budget_bytes: usize,
    pub(crate) tail_bytes: usize,
    /// Syncs happen by themselves.
    pub(crate) auto_sync: bool,
}

impl Default for RigOptions {
    fn default() -> Self {
        Self {
            config: PipelineConfig {
                // The paused clock waits for the runtime's own threads only.
                encode_in_background: false,
                ..PipelineConfig::default()
            },
            budget_bytes: 64 << 20,
            tail_bytes: 64 << 20,
            auto_sync: true,
        }
    }
}

/// A broker's write path in one session.
pub(crate) struct Rig {
    pub(crate) world: Arc<World>,
    pub(crate) session: Arc<FakeSession>,
    pub(crate) wal: Arc<MemoryWal>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) tails: Arc<TailBudget>,
    pub(crate) metrics: IngestMetrics,
    pub(crate) pipeline: Arc<Pipeline>,
    syncer: Option<tokio::task::JoinHandle<()>>,
}

impl Rig {
    pub(crate) fn start(world: &Arc<World>, options: RigOptions) -> Self {
        let epoch = {
            let mut current = world.metadata.current.lock();
            *current = BrokerEpoch(current.0 + 1);
            *current
        };
        let session = Arc::new(FakeSession {
            epoch,
            alive: AtomicBool::new(true),
            lost: watch::Sender::new(false),
        });
        let wal = MemoryWal::new(Arc::clone(&world.disk));
        let syncer = options.auto_sync.then(|| wal.run());
        let logs = Logs::new();
        let metrics = IngestMetrics::default();
        let seams = PipelineSeams {
            store: world.store(),
            commits: Arc::new(SessionCommits {
                store: Arc::clone(&world.metadata),
                epoch,
            }),
            session: Arc::clone(&session) as _,
            wal: Some(Arc::clone(&wal) as _),
            logs: Arc::clone(&logs),
            segment_cache: None,
            clock: Arc::clone(&world.clock) as _,
            random: Arc::clone(&world.random) as _,
            metrics: metrics.clone(),
        };
        let budget = ByteBudget::new(options.budget_bytes);
        Self {
            world: Arc::clone(world),
            session,
            wal,
            logs,
            tails: TailBudget::new(options.tail_bytes, TailMetrics::default()),
            metrics,
            pipeline: Pipeline::start(options.config, seams, budget, 0),
            syncer,
        }
    }

    /// A new session after a crash: takes over all partitions.
    pub(crate) async fn recover(
        world: &Arc<World>,
        options: RigOptions,
        rules: &TopicRules,
    ) -> (Self, ReplaySummary) {
        let rig = Self::start(world, options);
        let records = world.records.lock().clone();
        let images = records.into_iter();
        let images = images.map(|(tp, record)| PartitionImage::new(tp, record, None));
        let own = (BROKER, rig.session.epoch);
        let mut images = load(&*world.metadata, &world.store(), own, images.collect())
            .await
            .expect("loads");
        let slots = world.disk.frames();
        let frames = slots.iter().map(|slot| {
            let batch = slot.read().expect("synced");
            let copy = Arc::new(RecoveredSlot(Arc::clone(slot)));
            RecoveredBatch::new(slot.tp, &batch, copy)
        });
        let summary = plan_replay(&mut images, frames.collect());
        let mut recovered = Vec::new();
        for image in images {
            let record = image.opened(&rig.opener());
            world.records.lock().insert(image.tp, record.clone());
            let (state, replay) = image.open(&record, &rig.tails);
            recovered.push(Recovered {
                topic: topic(),
                rules: rules.clone(),
                state,
                record,
                replay,
            });
        }
        let release = move || slots.iter().for_each(|slot| slot.release());
        let opened = rig.pipeline.open_recovered(recovered, release).await;
        opened.expect("replays");
        (rig, summary)
    }

    fn opener(&self) -> Opener {
        Opener {
            broker_id: BROKER,
            broker_epoch: self.session.epoch,
            first_seq: self.pipeline.next_commit_sequence(),
            wal: None,
        }
    }

    /// A new, empty partition.
    pub(crate) fn create(&self, partition: i32, rules: TopicRules) -> Arc<LeaderPartition> {
        let new = PartitionRecord::new(BROKER);
        let record = new.opened(&self.opener(), Offset::ZERO, |_| None);
        self.world.records.lock().insert(tp(partition), record);
        let start = TailStart {
            log_start: Offset::ZERO,
            next_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch(0),
        };
        let log = PartitionLog::open(
            tp(partition),
            start,
            SegmentIndex::new(Offset::ZERO),
            EpochHistory::new([(LeaderEpoch(0), Offset::ZERO)]),
            &self.tails,
        );
        let producers = Vec::new();
        self.pipeline
            .open_partition(topic(), rules, OpenState { log, producers })
    }

    pub(crate) fn append(
        &self,
        partition: i32,
        records: &Bytes,
    ) -> Result<AppendTicket, AppendError> {
        let permit = self.pipeline.budget().try_acquire(records.len());
        let permit = permit.unwrap_or_else(FramePermit::unaccounted);
        self.pipeline
            .append(&tp(partition), records, options(Acks::All, permit))
    }

    /// Ends the session the hard way: nothing is told to anybody, nothing more is written.
    pub(crate) async fn crash(self, survivors: usize) {
        if let Some(syncer) = &self.syncer {
            syncer.abort();
        }
        self.wal.crash(survivors);
        self.pipeline.shutdown().await;
    }

    /// Everything readable of a partition, from tail and segments as a reader finds it.
    pub(crate) async fn read(&self, partition: i32) -> Vec<StoredBatch> {
        let log = self.logs.get(&tp(partition)).expect("open");
        read_log(&self.world, &log).await
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(syncer) = self.syncer.take() {
            syncer.abort();
        }
    }
}

/// All batches from log start to high watermark.
pub(crate) async fn read_log(world: &World, log: &PartitionLog) -> Vec<StoredBatch> {
    read_from(world, log, log.tail.offsets().log_start).await
}

/// All batches from `at` to high watermark.
pub(crate) async fn read_from(world: &World, log: &PartitionLog, at: Offset) -> Vec<StoredBatch> {
    let (mut at, end) = (at, log.tail.offsets().high_watermark);
    let mut found = Vec::new();
    while at < end {
        let batches = match log.tail.read(at, end, usize::MAX, true) {
            TailRead::Batches { batches, .. } => {
                let loaded: io::Result<Vec<_>> = batches.iter().map(|batch| batch.load()).collect();
                loaded.expect("spilled batches are readable")
            }
            TailRead::Below { .. } => read_block(world, log, at).await,
            TailRead::Closed(reason) => panic!("closed: {reason:?}"),
        };
        assert!(!batches.is_empty(), "nothing at {at} below {end}");
        let from = at;
        for batch in batches.into_iter().filter(|b| b.next_offset() > from) {
            assert!(batch.base_offset() <= at, "a gap at {at}");
            at = batch.next_offset();
            found.push(batch);
        }
    }
    found
}

async fn read_block(world: &World, log: &PartitionLog, at: Offset) -> Vec<StoredBatch> {
    let (segment, block) = {
        let index = log.index.read();
        let (segment, blocks) = index.find(at).expect("the index has what the tail has not");
        (Arc::clone(segment), blocks[0])
    };
    let path = Path::from(segment.object_key.as_str());
    let range = block.position..block.position + u64::from(block.stored_length);
    let stored = world
        .bucket
        .get_range(&path, range)
        .await
        .expect("object exists");
    let raw = decode_block(&block, stored).expect("block is valid");
    split(&raw)
        .map(|batch| StoredBatch::from_stored(batch.expect("batch is valid").1).expect("stored"))
        .collect()
}

pub(crate) fn topic() -> TopicName {
    TopicName::new("topic").expect("valid")
}

pub(crate) fn tp(partition: i32) -> TopicPartition {
    let topic_id = TopicId(uuid::Uuid::from_u128(7));
    TopicPartition::new(topic_id, PartitionIndex(partition))
}

pub(crate) fn options(acks: Acks, permit: FramePermit) -> AppendOptions {
    AppendOptions {
        acks,
        permit,
        client: ClientRules::default(),
    }
}

/// A batch of `count` records whose values tell them apart.
pub(crate) fn batch(tag: &str, count: u32) -> Bytes {
    build(BatchBuilder::new(Codec::None), tag, count)
}

/// The same of an idempotent producer.
pub(crate) fn idempotent(producer: i64, epoch: i16, sequence: i32, tag: &str, count: u32) -> Bytes {
    let sequence = Sequence::new(sequence).expect("not negative");
    let builder = BatchBuilder::new(Codec::None).producer(
        ProducerId(producer),
        ProducerEpoch(epoch),
        sequence,
    );
    build(builder, tag, count)
}

fn build(mut builder: BatchBuilder, tag: &str, count: u32) -> Bytes {
    for index in 0..count {
        let value = format!("{tag}/{index}");
        builder.push(NOW_MS, None, Some(value.as_bytes()), NO_HEADERS);
    }
    builder.build().expect("builds")
}

/// The tag of a batch made by [`batch`] or [`idempotent`].
pub(crate) fn tag_of(batch: &StoredBatch) -> String {
    let mut records = batch.records(&Default::default()).expect("opens");
    let record = records.next().expect("not empty").expect("decodes");
    let value = record.value.expect("has a value");
    let text = String::from_utf8(value.to_vec()).expect("text");
    text.rsplit_once('/').expect("tagged").0.to_owned()
}

/// Tags of batches with their base offsets.
pub(crate) fn tags(batches: &[StoredBatch]) -> Vec<(i64, String)> {
    batches
        .iter()
        .map(|batch| (batch.base_offset().get(), tag_of(batch)))
        .collect()
}

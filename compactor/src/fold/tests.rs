use std::collections::BTreeMap;
use std::time::Duration;

use alluvium_common::clock::ManualClock;
use alluvium_common::epoch::{BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::commit_log::{CommitLog, read_commit_log};
use alluvium_metadata::model::{BrokerRecord, CommitRecord, TopicRecord};
use alluvium_metadata::session::Session;
use alluvium_metadata::store::{MemoryStore, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_metadata::view::ClusterView;
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::*;
use crate::log_keeper::LogKeeper;
use crate::manifests::Manifests;
use crate::reclaim::{Graves, GravesMetrics, Needs, Reclaimer};

struct World {
    folder: Folder,
    session: Arc<Session>,
    commits: Arc<CommitLog>,
    log: LogId,
    next: std::sync::atomic::AtomicU64,
}

async fn world() -> World {
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
    let session = Arc::new(session.expect("session"));
    let log = LogId {
        broker_id: session.broker_id(),
        broker_epoch: session.broker_epoch(),
    };
    let commits = CommitLog::new(Arc::clone(&store), keys.clone(), Arc::clone(&session));
    World {
        folder: Folder {
            store,
            keys,
            objects: Arc::new(InMemory::new()),
            clock: ManualClock::at(0),
            random: SeededRandom::new(1),
            metrics: FoldMetrics::default(),
        },
        session,
        commits: Arc::new(commits),
        log,
        next: 0.into(),
    }
}

impl World {
    /// Puts and commits a segment of one record.
    async fn commit(&self) -> CommitRecord {
        let seq = self.next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1_000, None, Some(b"value"), NO_HEADERS);
        let raw = builder.build().expect("small");
        let header = BatchHeader::decode(&raw).expect("valid");
        let offset = Offset::new(seq as i64).expect("positive");
        let entry = SegmentEntry {
            tp: TopicPartition::new(TopicId(Uuid::from_u128(7)), PartitionIndex(0)),
            batch: StoredBatch::stamp(raw, &header, offset, LeaderEpoch(0)).expect("fits"),
        };
        let header = SegmentHeader {
            broker_id: self.log.broker_id,
            broker_epoch: self.log.broker_epoch,
            created_ms: 5,
        };
        let segment = encode(&header, vec![entry], &EncodeOptions::default()).expect("valid");
        let record = CommitRecord {
            object_key: ObjectKey::segment(&SegmentName {
                broker_id: self.log.broker_id,
                broker_epoch: self.log.broker_epoch,
                id: self.folder.random.uuid(),
            }),
            size_bytes: segment.size_bytes,
            footer_length: segment.footer_length,
            footer_crc: segment.footer_crc,
        };
        let payload: PutPayload = segment.chunks.into_iter().collect();
        let path = Path::from(record.object_key.as_str());
        self.folder.objects.put(&path, payload).await.expect("put");
        let committed = self
            .commits
            .commit(seq, std::slice::from_ref(&record))
            .await;
        committed.expect("committed");
        record
    }

    /// Of a cluster whose topic is there and not published.
    async fn keeper(&self) -> LogKeeper {
        let (store, keys) = (Arc::clone(&self.folder.store), self.folder.keys.clone());
        let topic = TopicRecord {
            name: TopicName::new("t").expect("valid"),
            topic_id: TopicId(Uuid::from_u128(7)),
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
        };
        let key = keys.topic(&topic.name);
        store.put(key, value::encode(&topic)).await.expect("put");
        let view = ClusterView::open(Arc::clone(&store), keys.clone()).await;
        let needs = Needs {
            view: Arc::new(view.expect("view")),
            manifests: Manifests::new(Arc::clone(&self.folder.objects)),
        };
        let objects = Arc::clone(&self.folder.objects);
        let graves = Graves::new(
            Arc::clone(&objects),
            Duration::ZERO,
            GravesMetrics::default(),
        );
        LogKeeper {
            folder: self.folder.clone(),
            reclaimer: Reclaimer::new(store, keys, objects, needs, graves),
            look_pause: Duration::from_secs(60),
        }
    }

    async fn entries(&self) -> Vec<LogEntry> {
        let LogId {
            broker_id,
            broker_epoch,
        } = self.log;
        let read = read_commit_log(
            &*self.folder.store,
            &self.folder.keys,
            broker_id,
            broker_epoch,
            0,
        );
        read.await.expect("no gap")
    }

    /// Names and first offsets of the segments that the log stands for.
    async fn content(&self) -> Vec<(ObjectKey, i64)> {
        let mut content = Vec::new();
        for entry in self.entries().await {
            let commits = commits_of(&*self.folder.objects, &entry)
                .await
                .expect("whole");
            assert_eq!(
                commits.len() as u64,
                entry.last_seq() - entry.first_seq() + 1
            );
            for commit in commits {
                let footer = commit.decode_footer().expect("valid");
                content.push((commit.object_key, footer.partitions[0].base_offset.get()));
            }
        }
        content
    }
}

#[tokio::test]
async fn a_log_that_is_folded_while_it_grows_stays_short_and_whole() {
    let world = Arc::new(world().await);
    let keeper = world.keeper().await;
    let (log, fence) = (world.log, world.session.fence());
    let acknowledged = world.commits.acknowledged();
    let folding =
        tokio::spawn(async move { keeper.keep_own_log(log, acknowledged, 10, fence).await });
    let mut expected = Vec::new();
    for seq in 0..700 {
        expected.push((world.commit().await.object_key, seq));
        tokio::task::yield_now().await;
    }
    let long = Duration::from_secs(20);
    let folded = async {
        while world.entries().await.len() > 10 + 64 + 10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(long, folded).await.expect("short");
    assert_eq!(world.content().await, expected);
    world.session.close().await.expect("closed");
    folding.abort();

    // The session is over: its fence folds nothing more, the controller's folds all of it.
    let fence = [world.session.fence()];
    let refused = world
        .folder
        .fold_log(log, u64::MAX, &FoldLimits::FROZEN, &fence)
        .await;
    assert_eq!(refused.expect("answered"), Pass::Refused);
    let tended = world.keeper().await.tend_frozen_logs(&[]).await;
    // No partition names it in this test, so it goes.
    assert_eq!(tended.expect("answered").dropped_logs, 1);
    assert_eq!(world.entries().await, []);
}

#[tokio::test]
async fn entries_that_may_be_committed_again_are_not_folded() {
    let world = world().await;
    for _ in 0..100 {
        world.commit().await;
    }
    let fence = [world.session.fence()];
    let pass = world
        .folder
        .fold_log(world.log, 70, &FoldLimits::GROWING, &fence)
        .await;
    assert_eq!(pass.expect("folded"), Pass::Done(1));
    let entries = world.entries().await;
    assert_eq!((entries[0].first_seq(), entries[0].last_seq()), (0, 69));
    assert_eq!(entries.len(), 31);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_folded() {
    let world = world().await;
    for _ in 0..64 {
        world.commit().await;
    }
    let record = world.commit().await;
    let path = Path::from(record.object_key.as_str());
    let whole = world.folder.objects.get(&path).await.expect("there");
    let mut bytes = whole.bytes().await.expect("read").to_vec();
    let at = bytes.len() - 40;
    bytes[at] ^= 1;
    world
        .folder
        .objects
        .put(&path, bytes.into())
        .await
        .expect("put");
    let before = world.entries().await;
    let pass = world
        .folder
        .fold_log(world.log, u64::MAX, &FoldLimits::GROWING, &[])
        .await;
    assert!(
        matches!(pass, Err(FoldError::Read(ReadError::Damaged { .. }))),
        "{pass:?}"
    );
    assert_eq!(world.entries().await, before);
}

//! Dropping, deleting and sweeping, over in-memory neighbours.

mod uploads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::commit_log::{LogEntry, read_commit_log};
use alluvium_metadata::compaction::{Advance, Advanced, PublicationWriter};
use alluvium_metadata::fold::LogId;
use alluvium_metadata::keys::Keys;
use alluvium_metadata::model::{
    BrokerRecord, CommitRecord, PartitionRecord, PublishedRecord, TopicRecord,
};
use alluvium_metadata::store::{MemoryStore, MetadataStore, MetadataStoreExt, Revision};
use alluvium_metadata::value;
use alluvium_metadata::view::ClusterView;
use alluvium_segment::manifest::{
    Leaf, LeafEntry, ManifestContent, PublishedPartition, SpanEntry, TableEntry,
};
use alluvium_segment::object_key::{ManifestName, ObjectKey, SegmentName, TableName};
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::*;
use crate::manifests::Manifests;

const GRACE: Duration = Duration::from_secs(600);
const LOG: LogId = LogId {
    broker_id: BrokerId(1),
    broker_epoch: BrokerEpoch(5),
};

fn topic_id(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn tp(topic: u128) -> TopicPartition {
    TopicPartition::new(topic_id(topic), PartitionIndex(0))
}

fn offset(value: i64) -> Offset {
    Offset::new(value).expect("not negative")
}

struct World {
    store: Arc<dyn MetadataStore>,
    keys: Keys,
    objects: Arc<dyn ObjectStore>,
    random: Arc<SeededRandom>,
    graves: Arc<Graves>,
    manifests: Arc<Manifests>,
    published: BTreeMap<u128, (u64, Revision)>,
}

impl World {
    async fn new(topics: &[u128]) -> Self {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let world = Self {
            store: Arc::new(MemoryStore::new()),
            keys: Keys::new("test"),
            random: SeededRandom::new(1),
            graves: Graves::new(Arc::clone(&objects), GRACE, GravesMetrics::default()),
            manifests: Manifests::new(Arc::clone(&objects)),
            objects,
            published: BTreeMap::new(),
        };
        for number in topics {
            world.create(*number).await;
        }
        world
    }

    async fn create(&self, number: u128) {
        let record = TopicRecord {
            name: TopicName::new(&format!("t{number}")).expect("valid"),
            topic_id: topic_id(number),
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
        };
        let partition = value::encode(&PartitionRecord::new(BrokerId(1)));
        let put = self.store.put(self.keys.partition(tp(number)), partition);
        put.await.expect("put");
        let key = self.keys.topic(&record.name);
        let put = self.store.put(key, value::encode(&record));
        put.await.expect("put");
    }

    async fn delete(&self, number: u128) {
        let name = TopicName::new(&format!("t{number}")).expect("valid");
        let keys = [self.keys.topic(&name), self.keys.partition(tp(number))];
        for key in keys {
            self.store.delete(key).await.expect("deleted");
        }
    }

    fn written(&self) -> SegmentName {
        SegmentName {
            broker_id: LOG.broker_id,
            broker_epoch: LOG.broker_epoch,
            id: self.random.uuid(),
        }
    }

    async fn put(&self, key: &ObjectKey, payload: PutPayload) {
        let path = Path::from(key.as_str());
        self.objects.put(&path, payload).await.expect("put");
    }

    /// Commits a segment with one record of each of `parts`: topic and offset.
    async fn commit(&self, seq: u64, parts: &[(u128, i64)]) -> ObjectKey {
        let mut entries = Vec::new();
        for (topic, at) in parts {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(1_000, None, Some(b"value"), NO_HEADERS);
            let raw = builder.build().expect("small");
            let header = BatchHeader::decode(&raw).expect("valid");
            let batch = StoredBatch::stamp(raw, &header, offset(*at), LeaderEpoch(0));
            entries.push(SegmentEntry {
                tp: tp(*topic),
                batch: batch.expect("fits"),
            });
        }
        let header = SegmentHeader {
            broker_id: LOG.broker_id,
            broker_epoch: LOG.broker_epoch,
            created_ms: 5,
        };
        let segment = encode(&header, entries, &EncodeOptions::default()).expect("valid");
        let record = CommitRecord {
            object_key: ObjectKey::segment(&self.written()),
            size_bytes: segment.size_bytes,
            footer_length: segment.footer_length,
            footer_crc: segment.footer_crc,
        };
        let key = record.object_key.clone();
        self.put(&key, segment.chunks.into_iter().collect()).await;
        let commit = self.keys.commit(LOG.broker_id, LOG.broker_epoch, seq);
        let put = self.store.put(commit, value::encode(&record));
        put.await.expect("put");
        key
    }

    /// From now on `topic` is published up to `end`.
    async fn publish(&mut self, topic: u128, end: i64) -> ObjectKey {
        self.publish_with(topic, end, Vec::new()).await
    }

    async fn publish_with(&mut self, topic: u128, end: i64, leaves: Vec<LeafEntry>) -> ObjectKey {
        let before = self.published.get(&topic).copied();
        let version = before.map_or(0, |(version, _)| version) + 1;
        let partition = PublishedPartition {
            next_offset: offset(end),
            ..PublishedPartition::default()
        };
        let content = ManifestContent {
            version,
            leaves,
            partitions: [(PartitionIndex(0), partition)].into(),
            ..ManifestContent::empty(topic_id(topic))
        };
        let object = content.encode().expect("small");
        let record = PublishedRecord {
            version,
            object_key: ObjectKey::manifest(&ManifestName {
                topic_id: topic_id(topic),
                version,
                written: self.written(),
            }),
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
        };
        let key = record.object_key.clone();
        self.put(&key, object.chunks.into_iter().collect()).await;
        let writer = PublicationWriter::new(Arc::clone(&self.store), self.keys.clone());
        let advance = Advance {
            topic_id: topic_id(topic),
            read_at: before.map(|(_, read_at)| read_at),
            record,
            request: None,
        };
        let advanced = writer.advance(&[], &advance).await.expect("written");
        let Advanced::Done(at) = advanced else {
            panic!("{advanced:?}");
        };
        self.published.insert(topic, (version, at));
        key
    }

    async fn reclaimer(&self) -> Reclaimer {
        let view = ClusterView::open(Arc::clone(&self.store), self.keys.clone()).await;
        let needs = Needs {
            view: Arc::new(view.expect("view")),
            manifests: Arc::clone(&self.manifests),
        };
        let (store, keys) = (Arc::clone(&self.store), self.keys.clone());
        let (objects, graves) = (Arc::clone(&self.objects), Arc::clone(&self.graves));
        Reclaimer::new(store, keys, objects, needs, graves)
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper::new(
            (Arc::clone(&self.store), self.keys.clone()),
            Arc::clone(&self.objects),
            Arc::clone(&self.manifests),
            Arc::clone(&self.graves),
        )
    }

    /// First and last sequence of each entry of the log.
    async fn entries(&self) -> Vec<(u64, u64)> {
        let (id, epoch) = (LOG.broker_id, LOG.broker_epoch);
        let entries = read_commit_log(&*self.store, &self.keys, id, epoch, 0).await;
        let entries = entries.expect("no gap").into_iter();
        entries
            .map(|one| (one.first_seq(), one.last_seq()))
            .collect()
    }

    async fn exists(&self, key: &ObjectKey) -> bool {
        let path = Path::from(key.as_str());
        self.objects.head(&path).await.is_ok()
    }

    async fn objects(&self) -> usize {
        let all: Vec<_> = self.objects.list(None).try_collect().await.expect("lists");
        all.len()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_dropped_and_then_deleted() {
    let mut world = World::new(&[1, 2]).await;
    let first = world.commit(0, &[(1, 0), (2, 0)]).await;
    let second = world.commit(1, &[(1, 1)]).await;
    world.commit(2, &[(1, 2)]).await;
    let mut reclaimer = world.reclaimer().await;
    let all = u64::MAX;
    assert_eq!(reclaimer.reclaim(LOG, all, &[]).await.expect("read"), 0);
    world.publish(1, 2).await;
    // Topic 2 still needs the first.
    let mut reclaimer = world.reclaimer().await;
    assert_eq!(reclaimer.reclaim(LOG, all, &[]).await.expect("read"), 0);
    world.publish(2, 1).await;
    let mut reclaimer = world.reclaimer().await;
    assert_eq!(
        reclaimer.reclaim(LOG, 1, &[]).await.expect("read"),
        1,
        "not what may be committed again"
    );
    assert_eq!(reclaimer.reclaim(LOG, all, &[]).await.expect("read"), 1);
    assert_eq!(world.entries().await, [(0, 1), (2, 2)]);
    assert_eq!(reclaimer.reclaim(LOG, all, &[]).await.expect("read"), 0);

    assert_eq!(world.graves.delete_due().await, 0);
    assert!(world.exists(&first).await, "somebody may be reading it");
    tokio::time::advance(GRACE).await;
    assert_eq!(world.graves.delete_due().await, 2);
    assert!(!world.exists(&first).await && !world.exists(&second).await);
}

#[tokio::test(start_paused = true)]
async fn a_late_copy_of_a_dropped_commit_changes_nothing() {
    let mut world = World::new(&[1]).await;
    for seq in 0..4 {
        world.commit(seq, &[(1, seq as i64)]).await;
    }
    world.publish(1, 3).await;
    let mut reclaimer = world.reclaimer().await;
    let dropped = reclaimer.reclaim(LOG, u64::MAX, &[]).await;
    assert_eq!(dropped.expect("read"), 3);
    world.commit(1, &[(1, 1)]).await;
    assert_eq!(world.entries().await, [(0, 2), (3, 3)]);
    world.publish(1, 4).await;
    let mut reclaimer = world.reclaimer().await;
    let dropped = reclaimer.reclaim(LOG, u64::MAX, &[]).await;
    assert_eq!(dropped.expect("read"), 1);
    assert_eq!(world.entries().await, [(0, 3)]);
    let (id, epoch) = (LOG.broker_id, LOG.broker_epoch);
    let left = world
        .store
        .list(world.keys.commits_from(id, epoch, 0))
        .await;
    assert_eq!(left.expect("read").1.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn deleted_topics_and_records_need_nothing() {
    let world = World::new(&[1, 2]).await;
    world.commit(0, &[(1, 0), (2, 0)]).await;
    world.commit(1, &[(1, 1)]).await;
    let raised = PartitionRecord {
        log_start: offset(2),
        ..PartitionRecord::new(BrokerId(1))
    };
    let put = world
        .store
        .put(world.keys.partition(tp(1)), value::encode(&raised));
    put.await.expect("put");
    let mut reclaimer = world.reclaimer().await;
    let dropped = reclaimer.reclaim(LOG, u64::MAX, &[]).await;
    assert_eq!(dropped.expect("read"), 0, "topic 2 is there");
    world.delete(2).await;
    let mut reclaimer = world.reclaimer().await;
    let dropped = reclaimer.reclaim(LOG, u64::MAX, &[]).await;
    assert_eq!(dropped.expect("read"), 2);
}

/// F6: a topic that the picture does not show yet is not a deleted one.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_newer_than_the_picture_is_not_deleted() {
    let world = World::new(&[]).await;
    let mut reclaimer = world.reclaimer().await;
    world.create(3).await;
    world.commit(0, &[(3, 0)]).await;
    let dropped = reclaimer.reclaim(LOG, u64::MAX, &[]).await;
    assert_eq!(dropped.expect("read"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fence_that_does_not_hold_drops_nothing() {
    let mut world = World::new(&[1]).await;
    world.commit(0, &[(1, 0)]).await;
    world.publish(1, 1).await;
    let mut reclaimer = world.reclaimer().await;
    let fence = alluvium_metadata::store::Compare::exists(world.keys.controller());
    let dropped = reclaimer.reclaim(LOG, u64::MAX, &[fence]).await;
    assert_eq!(dropped.expect("read"), 0);
    assert_eq!((world.entries().await.len(), world.graves.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_finds_what_ended_sessions_left_and_nothing_else() {
    let mut world = World::new(&[1]).await;
    let named = world.commit(0, &[(1, 0)]).await;
    let orphan = ObjectKey::segment(&world.written());
    world.put(&orphan, "x".into()).await;
    let live = SegmentName {
        broker_id: BrokerId(2),
        broker_epoch: open_session(&world, 2).await,
        id: world.random.uuid(),
    };
    let in_flight = ObjectKey::segment(&live);
    world.put(&in_flight, "x".into()).await;
    let table_in_flight = ObjectKey::table(&TableName {
        topic_id: topic_id(1),
        written: live,
    });
    world.put(&table_in_flight, "x".into()).await;
    let of_deleted = ObjectKey::table(&TableName {
        topic_id: topic_id(99),
        written: live,
    });
    world.put(&of_deleted, "x".into()).await;
    let old_manifest = world.publish(1, 0).await;
    let manifest = world.publish(1, 0).await;

    let mut sweeper = world.sweeper();
    let first = sweeper.look().await.expect("read");
    assert_eq!((first.suspects, first.orphans.len()), (3, 0));
    tokio::time::advance(GRACE / 2).await;
    assert_eq!(sweeper.sweep().await.expect("read"), 0);
    tokio::time::advance(GRACE / 2).await;
    assert_eq!(sweeper.sweep().await.expect("read"), 3);
    tokio::time::advance(GRACE).await;
    assert_eq!(world.graves.delete_due().await, 3);
    for gone in [&orphan, &of_deleted, &old_manifest] {
        assert!(!world.exists(gone).await, "{gone}");
    }
    for kept in [&named, &in_flight, &table_in_flight, &manifest] {
        assert!(world.exists(kept).await, "{kept}");
    }
    assert_eq!(world.objects().await, 4);
}

/// I19: what cannot be read may name anything.
#[tokio::test(start_paused = true)]
async fn a_sweep_that_cannot_read_decides_nothing() {
    let mut world = World::new(&[1]).await;
    let orphan = ObjectKey::segment(&world.written());
    world.put(&orphan, "x".into()).await;
    let manifest = world.publish(1, 1).await;
    let path = Path::from(manifest.as_str());
    world.objects.delete(&path).await.expect("deleted");
    let mut sweeper = world.sweeper();
    for _ in 0..3 {
        assert!(sweeper.sweep().await.is_err());
        tokio::time::advance(GRACE).await;
    }
    assert!(world.graves.is_empty() && world.exists(&orphan).await);
}

/// I19: what a leaf lists is as needed as what a manifest names itself.
#[tokio::test(start_paused = true)]
async fn a_sweep_looks_into_leaves() {
    let mut world = World::new(&[1]).await;
    let named = |world: &World| TableName {
        topic_id: topic_id(1),
        written: world.written(),
    };
    let [listed, orphan] = [(); 2].map(|()| ObjectKey::table(&named(&world)));
    let table = TableEntry {
        object_key: listed.clone(),
        size_bytes: 1,
        tail_length: 1,
        tail_crc: 1,
        spans: vec![SpanEntry {
            partition: PartitionIndex(0),
            base_offset: Offset::ZERO,
            next_offset: offset(10),
            records: 10,
            raw_bytes: 10,
            min_timestamp: 0,
            max_timestamp: 0,
        }],
    };
    let leaf = Leaf::new(topic_id(1), vec![Arc::new(table)]).expect("well formed");
    let object = leaf.encode().expect("small");
    let payload: PutPayload = object.chunks.iter().cloned().collect();
    let [leaf_key, orphan_leaf] = [(); 2].map(|()| ObjectKey::leaf(&named(&world)));
    let entry = LeafEntry::new(leaf_key.clone(), &object, &leaf);
    world.put(&leaf_key, payload.clone()).await;
    world.put(&orphan_leaf, payload).await;
    for key in [&listed, &orphan] {
        world.put(key, "x".into()).await;
    }
    let manifest = world.publish_with(1, 10, vec![entry]).await;
    let mut sweeper = world.sweeper();
    assert_eq!(sweeper.look().await.expect("read").suspects, 2);
    tokio::time::advance(GRACE).await;
    assert_eq!(sweeper.sweep().await.expect("read"), 2);
    tokio::time::advance(GRACE).await;
    assert_eq!(world.graves.delete_due().await, 2);
    for kept in [&listed, &leaf_key, &manifest] {
        assert!(world.exists(kept).await, "{kept}");
    }
    for gone in [&orphan, &orphan_leaf] {
        assert!(!world.exists(gone).await, "{gone}");
    }
    // Nobody knows what it lists.
    world.put(&leaf_key, "x".into()).await;
    assert!(sweeper.sweep().await.is_err());
    assert!(world.graves.is_empty());
}

async fn open_session(world: &World, id: i32) -> BrokerEpoch {
    let record = BrokerRecord {
        broker_id: BrokerId(id),
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
    let put = world
        .store
        .put(world.keys.broker(BrokerId(id)), value::encode(&record));
    let at = put.await.expect("put");
    BrokerEpoch::from(at)
}

#[test]
fn entries_are_told_apart() {
    let dropped = alluvium_metadata::model::DroppedRecord { last_seq: 9 };
    let decoded = LogEntry::decode(9, &value::encode(&dropped)).expect("a record");
    assert_eq!((decoded.first_seq(), decoded.last_seq()), (0, 9));
    assert!(LogEntry::decode(8, &value::encode(&dropped)).is_err());
}

use std::collections::BTreeMap;

use alluvium_common::epoch::{BrokerEpoch, BrokerId, LeaderEpoch};
use alluvium_common::object_store::ObjectStoreExt;
use alluvium_common::offset::Offset;
use alluvium_common::rand::{Random, SeededRandom};
use alluvium_common::topic::{PartitionIndex, TopicId, TopicName, TopicPartition};
use alluvium_metadata::model::{
    CommitRecord, PartitionRecord, PublishedRecord, TailEntry, TopicRecord,
};
use alluvium_metadata::store::{MemoryStore, MetadataStoreExt};
use alluvium_metadata::value;
use alluvium_segment::manifest::ManifestContent;
use alluvium_segment::object_key::{ManifestName, ObjectKey, SegmentName};
use alluvium_segment::record_batch::{BatchBuilder, BatchHeader, Codec, NO_HEADERS, StoredBatch};
use alluvium_segment::segment_object::{EncodeOptions, SegmentEntry, SegmentHeader, encode};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use uuid::Uuid;

use super::*;
use crate::audit::audit;

const GRACE: Duration = Duration::from_secs(1_200);
const HERE: TopicId = TopicId(Uuid::from_u128(1));
const GONE: TopicId = TopicId(Uuid::from_u128(2));
const EPOCH: BrokerEpoch = BrokerEpoch(5);

struct World {
    metadata: Arc<dyn MetadataStore>,
    keys: Keys,
    objects: Arc<dyn ObjectStore>,
    random: Arc<SeededRandom>,
}

fn tp(topic_id: TopicId) -> TopicPartition {
    TopicPartition::new(topic_id, PartitionIndex(0))
}

impl World {
    /// A topic with one committed segment, and nothing that is not needed.
    async fn new() -> Self {
        let world = Self {
            metadata: Arc::new(MemoryStore::new()),
            keys: Keys::new("test"),
            objects: Arc::new(InMemory::new()),
            random: SeededRandom::new(3),
        };
        let topic = TopicRecord {
            name: TopicName::new("orders").expect("valid"),
            topic_id: HERE,
            partition_count: 1,
            replication_factor: 1,
            configs: BTreeMap::new(),
            created_ms: 0,
        };
        world
            .put(world.keys.topic(&topic.name), value::encode(&topic))
            .await;
        let partition = PartitionRecord {
            leader_epoch: LeaderEpoch(1),
            tail: vec![TailEntry {
                broker_id: BrokerId(1),
                broker_epoch: EPOCH,
                first_seq: 0,
                last_seq: None,
            }],
            ..PartitionRecord::new(BrokerId(1))
        };
        world
            .put(world.keys.partition(tp(HERE)), value::encode(&partition))
            .await;
        world.commit(EPOCH, HERE).await;
        world
    }

    async fn put(&self, key: bytes::Bytes, stored: impl Into<bytes::Bytes> + Send) {
        self.metadata.put(key, stored).await.expect("put");
    }

    fn written(&self, broker_epoch: BrokerEpoch) -> SegmentName {
        SegmentName {
            broker_id: BrokerId(1),
            broker_epoch,
            id: self.random.uuid(),
        }
    }

    /// Commits a segment with the first record of the topic's partition.
    async fn commit(&self, broker_epoch: BrokerEpoch, topic_id: TopicId) {
        let record = self.segment(broker_epoch, topic_id, 0).await;
        let commit = self.keys.commit(BrokerId(1), broker_epoch, 0);
        self.put(commit, value::encode(&record)).await;
    }

    /// Puts a segment with a record, and does not commit it.
    async fn segment(&self, broker_epoch: BrokerEpoch, topic_id: TopicId, at: i64) -> CommitRecord {
        let mut builder = BatchBuilder::new(Codec::None);
        builder.push(1_000, None, Some(b"value"), NO_HEADERS);
        let raw = builder.build().expect("small");
        let header = BatchHeader::decode(&raw).expect("valid");
        let batch = StoredBatch::stamp(
            raw,
            &header,
            Offset::new(at).expect("valid"),
            LeaderEpoch(0),
        );
        let entry = SegmentEntry {
            tp: tp(topic_id),
            batch: batch.expect("fits"),
        };
        let header = SegmentHeader {
            broker_id: BrokerId(1),
            broker_epoch,
            created_ms: 5,
        };
        let segment = encode(&header, vec![entry], &EncodeOptions::default()).expect("valid");
        let record = CommitRecord {
            object_key: ObjectKey::segment(&self.written(broker_epoch)),
            size_bytes: segment.size_bytes,
            footer_length: segment.footer_length,
            footer_crc: segment.footer_crc,
        };
        let path = Path::from(record.object_key.as_str());
        let payload = segment.chunks.into_iter().collect();
        self.objects.put(&path, payload).await.expect("put");
        record
    }

    /// Everything that a repair repairs.
    async fn damage(&self) {
        let orphan = ObjectKey::segment(&self.written(EPOCH));
        let path = Path::from(orphan.as_str());
        self.objects
            .put(&path, "left by an upload".into())
            .await
            .expect("put");
        let partition = PartitionRecord::new(BrokerId(1));
        self.put(self.keys.partition(tp(GONE)), value::encode(&partition))
            .await;
        self.put(
            self.keys.published(GONE),
            value::encode(&self.published().await),
        )
        .await;
        self.put(self.keys.publish_request(GONE), "").await;
        self.commit(BrokerEpoch(7), GONE).await;
    }

    /// Puts a manifest of the topic that is gone.
    async fn published(&self) -> PublishedRecord {
        let content = ManifestContent {
            version: 1,
            ..ManifestContent::empty(GONE)
        };
        let object = content.encode().expect("small");
        let name = ManifestName {
            topic_id: GONE,
            version: 1,
            written: self.written(EPOCH),
        };
        let record = PublishedRecord {
            version: 1,
            object_key: ObjectKey::manifest(&name),
            size_bytes: object.size_bytes,
            index_length: object.index_length,
            index_crc: object.index_crc,
        };
        let path = Path::from(record.object_key.as_str());
        let payload = object.chunks.into_iter().collect();
        self.objects.put(&path, payload).await.expect("put");
        record
    }

    fn repair(&self, dry_run: bool) -> Repair {
        Repair::new(RepairSeams {
            metadata: Arc::clone(&self.metadata),
            keys: self.keys.clone(),
            objects: Arc::clone(&self.objects),
            uploads: None,
            grace: GRACE,
            dry_run,
        })
    }

    /// All steps, as the command takes them, and all that was said.
    async fn repaired(&self, dry_run: bool) -> (Vec<String>, usize) {
        let mut repair = self.repair(dry_run);
        let mut told = vec![repair.metadata().await, repair.look().await];
        if let Some(pause) = repair.pause() {
            tokio::time::advance(pause).await;
            told.push(repair.sweep().await);
        }
        let repaired = told.iter().map(|one| one.repaired).sum();
        (
            told.into_iter().flat_map(|one| one.lines).collect(),
            repaired,
        )
    }

    /// What there is: keys of the metadata and names of objects.
    async fn all(&self) -> (usize, usize) {
        let (_, kvs) = self.metadata.list(self.keys.all()).await.expect("read");
        let objects: Vec<_> = self.objects.list(None).try_collect().await.expect("listed");
        (kvs.len(), objects.len())
    }

    async fn is_in_order(&self) -> bool {
        let report = audit(&*self.metadata, &self.keys, &*self.objects, |_, _| {}).await;
        let report = report.expect("audited");
        report.findings.is_empty() && report.orphans == 0 && report.leftovers == 0
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_is_removed_and_a_second_audit_is_clean() {
    let world = World::new().await;
    assert!(world.is_in_order().await);
    let clean = world.all().await;
    world.damage().await;
    let damaged = world.all().await;
    let report = audit(&*world.metadata, &world.keys, &*world.objects, |_, _| {}).await;
    let report = report.expect("audited");
    assert_eq!(report.findings, []);
    // Of objects that nothing names only: the log that no partition names still names its segment.
    assert_eq!((report.leftovers, report.orphans), (1, 2));

    let (would, _) = world.repaired(true).await;
    assert_eq!(world.all().await, damaged, "a dry run changes nothing");
    for words in ["3 keys of topic", "epoch 7, which no partition names"] {
        let line = would.iter().find(|line| line.contains(words));
        assert!(
            line.is_some_and(|line| line.starts_with("would repair:")),
            "{words}: {would:#?}"
        );
    }

    let (told, repaired) = world.repaired(false).await;
    assert_eq!(repaired, 3, "{told:#?}");
    for words in [
        "3 keys of topic",
        "epoch 7, which no partition names",
        "3 objects that nothing named: deleted",
    ] {
        let line = told.iter().find(|line| line.contains(words));
        assert!(
            line.is_some_and(|line| line.starts_with("repaired:")),
            "{words}: {told:#?}"
        );
    }
    assert_eq!(world.all().await, clean);
    assert!(world.is_in_order().await);
    assert_eq!(world.repaired(false).await.1, 0, "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn beside_a_broker_only_what_cannot_be_its_is_removed() {
    let world = World::new().await;
    world.damage().await;
    world.put(world.keys.broker(BrokerId(2)), "a session").await;
    let (told, _) = world.repaired(false).await;
    let line = told.iter().find(|line| line.contains("3 keys of topic"));
    assert!(
        line.is_some_and(|line| line.starts_with("left alone:")),
        "{told:#?}"
    );
    let stands = world.metadata.get(world.keys.partition(tp(GONE))).await;
    assert!(stands.expect("read").is_some());
    assert!(
        told.iter()
            .any(|line| line.contains("2 objects that nothing named: deleted")),
        "{told:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_needed_after_all_is_not_deleted() {
    let world = World::new().await;
    let clean = world.all().await;
    let segment = world.segment(EPOCH, HERE, 1).await;
    let mut repair = world.repair(false);
    repair.metadata().await;
    repair.look().await;
    let pause = repair.pause().expect("something to wait for");
    assert!(pause <= GRACE && pause > GRACE / 2);
    // Named meanwhile: by a restore, for instance.
    tokio::time::advance(pause).await;
    let commit = world.keys.commit(BrokerId(1), EPOCH, 1);
    world.put(commit, value::encode(&segment)).await;
    let told = repair.sweep().await;
    assert_eq!(told, Told::new(false));
    assert_eq!(world.all().await, (clean.0 + 1, clean.1 + 1));
    assert!(world.is_in_order().await);
}

/// I19: what cannot be read may name anything.
#[tokio::test(start_paused = true)]
async fn while_something_cannot_be_read_nothing_is_removed_that_it_may_name() {
    let world = World::new().await;
    world.damage().await;
    let name = TopicName::new("damaged").expect("valid");
    world.put(world.keys.topic(&name), "?").await;
    world.put(world.keys.partition(tp(HERE)), "?").await;
    world.put(world.keys.published(HERE), "?").await;
    let damaged = world.all().await;
    let (told, repaired) = world.repaired(false).await;
    assert_eq!(repaired, 0, "{told:#?}");
    assert_eq!(world.all().await, damaged);
    let alone = told.iter().filter(|line| line.starts_with("left alone:"));
    assert!(alone.count() >= 3, "{told:#?}");
}

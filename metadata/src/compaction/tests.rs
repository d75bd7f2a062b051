use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alluvium_common::clock::{ManualClock, SharedClock};
use alluvium_common::epoch::{BrokerEpoch, BrokerId};
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::TopicId;
use alluvium_segment::object_key::{ManifestName, ObjectKey, SegmentName};
use uuid::Uuid;

use super::*;
use crate::keys::Keys;
use crate::leased_key::HoldError;
use crate::model::{BrokerRecord, PublishedRecord};
use crate::session::Session;
use crate::store::fault::{Fault, Faults, FaultyStore};
use crate::store::{MemoryStore, MetadataStore, MetadataStoreExt};
use crate::view::ClusterView;

const TTL: Duration = Duration::from_secs(9);
const TOPIC: TopicId = TopicId(Uuid::from_u128(7));

fn keys() -> Keys {
    Keys::new("test")
}

fn brokers(ids: &[i32]) -> BTreeSet<BrokerId> {
    ids.iter().map(|id| BrokerId(*id)).collect()
}

async fn session(store: &Arc<dyn MetadataStore>, id: i32) -> Arc<Session> {
    let record = BrokerRecord {
        broker_id: BrokerId(id),
        host: "localhost".to_owned(),
        port: 9092,
        rack: None,
        instance_id: Uuid::from_u128(id as u128),
        version: "0".to_owned(),
        started_ms: 0,
        rpc: None,
        draining: false,
        roles: crate::model::Roles::broker(),
    };
    let opened = Session::open(Arc::clone(store), &keys(), &record, TTL).await;
    Arc::new(opened.expect("session"))
}

fn claims(store: &Arc<dyn MetadataStore>, session: &Arc<Session>) -> Claims {
    Claims::new(Arc::clone(store), keys(), Arc::clone(session))
}

fn record(version: u64) -> PublishedRecord {
    PublishedRecord {
        version,
        object_key: ObjectKey::manifest(&ManifestName {
            topic_id: TOPIC,
            version,
            written: SegmentName {
                broker_id: BrokerId(1),
                broker_epoch: BrokerEpoch(5),
                id: Uuid::from_u128(version.into()),
            },
        }),
        size_bytes: 100,
        index_length: 50,
        index_crc: 7,
    }
}

fn advance(version: u64, read_at: Option<crate::store::Revision>) -> Advance {
    Advance {
        topic_id: TOPIC,
        read_at,
        record: record(version),
        request: None,
    }
}

#[test]
fn shards_are_divided_evenly_and_mostly_stay() {
    let divide = |ids: &[i32]| -> BTreeMap<_, _> {
        let all = brokers(ids);
        let each = all.iter().flat_map(|id| {
            let shards = shards_of(*id, &all);
            let fair = (COMPACTION_SHARDS as usize).div_ceil(all.len());
            assert!(shards.len() <= fair, "{id} has {}", shards.len());
            shards.into_iter().map(|shard| (shard, *id))
        });
        each.collect()
    };
    for count in 1..=20 {
        let ids: Vec<_> = (1..=count).collect();
        assert_eq!(divide(&ids).len(), COMPACTION_SHARDS as usize, "{count}");
    }
    let (three, four) = (divide(&[1, 2, 3]), divide(&[1, 2, 3, 4]));
    let moved = three.iter().filter(|(shard, id)| four[*shard] != **id);
    assert!(moved.count() <= 9);
    assert!(shards_of(BrokerId(9), &brokers(&[1, 2])).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shard_has_one_holder_until_its_session_ends() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let (one, two) = (session(&store, 1).await, session(&store, 2).await);
    let (first, second) = (claims(&store, &one), claims(&store, &two));
    let shard = CompactionShard::of(TOPIC);
    first.join().await.expect("joined");
    second.join().await.expect("joined");
    let epoch = first.take(shard).await.expect("asked").expect("free");
    assert_eq!(
        first.take(shard).await.expect("asked"),
        Some(epoch),
        "it has it"
    );
    assert_eq!(second.take(shard).await.expect("asked"), None);
    let view = ClusterView::open(Arc::clone(&store), keys()).await;
    let picture = view.expect("view").picture();
    assert_eq!(*picture.compactors, brokers(&[1, 2]));
    assert_eq!(picture.claims[&shard].broker_id, BrokerId(1));
    assert_eq!(picture.claims[&shard].epoch, epoch);
    first.release(shard, epoch).await.expect("released");
    let later = second.take(shard).await.expect("asked").expect("free");
    assert!(later > epoch);
    two.close().await.expect("closed");
    assert!(matches!(second.take(shard).await, Err(HoldError::Fenced)));
    assert!(first.take(shard).await.expect("asked").is_some());
}

#[tokio::test(start_paused = true)]
async fn manifests_follow_each_other_and_only_under_the_claim() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let one = session(&store, 1).await;
    let claims = claims(&store, &one);
    let shard = CompactionShard::of(TOPIC);
    let epoch = claims.take(shard).await.expect("asked").expect("free");
    let guard = [one.fence(), claims.guard(shard, epoch)];
    let writer = PublicationWriter::new(Arc::clone(&store), keys());
    assert_eq!(writer.read(TOPIC).await.expect("read"), None);
    let first = writer.advance(&guard, &advance(1, None)).await;
    let Advanced::Done(at) = first.expect("written") else {
        panic!("nobody was faster");
    };
    let stands = writer.read(TOPIC).await.expect("read").expect("stands");
    assert_eq!((&*stands.record, stands.mod_revision), (&record(1), at));
    let late = writer.advance(&guard, &advance(2, None)).await;
    assert_eq!(late.expect("asked"), Advanced::Changed);
    claims.release(shard, epoch).await.expect("released");
    let without = writer.advance(&guard, &advance(2, Some(at))).await;
    assert_eq!(without.expect("asked"), Advanced::Refused);
    let stands = writer.read(TOPIC).await.expect("read").expect("stands");
    assert_eq!(stands.record.version, 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_looked_up() {
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        let faults = Faults::new(SeededRandom::new(1));
        let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
        let store: Arc<dyn MetadataStore> = Arc::new(FaultyStore::new(memory, Arc::clone(&faults)));
        let writer = PublicationWriter::new(Arc::clone(&store), keys());
        faults.next([fault]);
        let written = writer.advance(&[], &advance(1, None)).await;
        assert!(matches!(written, Ok(Advanced::Done(_))), "{written:?}");
        let stands = writer.read(TOPIC).await.expect("read").expect("stands");
        assert_eq!(written.ok(), Some(Advanced::Done(stands.mod_revision)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_ends_with_what_it_asked_for_and_no_sooner() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let one = session(&store, 1).await;
    let clock: SharedClock = ManualClock::at(0);
    let writer = PublicationWriter::new(Arc::clone(&store), keys());
    let asked = writer.request(&one, TOPIC, &clock).await.expect("asked");
    let again = writer.request(&one, TOPIC, &clock).await.expect("asked");
    let standing = async || {
        let kv = store.get(keys().publish_request(TOPIC)).await;
        kv.expect("read").map(|kv| kv.mod_revision)
    };
    let done = |version, read_at, request| Advance {
        request: Some(request),
        ..advance(version, read_at)
    };
    let first = writer.advance(&[], &done(1, None, asked)).await;
    let Advanced::Done(at) = first.expect("written") else {
        panic!("nobody was faster");
    };
    assert_eq!(
        standing().await,
        Some(again),
        "somebody has asked since then"
    );
    let second = writer.advance(&[], &done(2, Some(at), again)).await;
    assert!(matches!(second, Ok(Advanced::Done(_))));
    assert_eq!(standing().await, None);
    one.close().await.expect("closed");
    let late = writer.request(&one, TOPIC, &clock).await;
    assert!(matches!(late, Err(RequestError::Fenced)));
}

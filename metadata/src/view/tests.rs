use alluvium_common::rand::SeededRandom;
use uuid::Uuid;

use super::*;
use crate::store::MemoryStore;
use crate::store::fault::{Faults, FaultyStore};

fn record(name: &str, id: u128) -> TopicRecord {
    TopicRecord {
        name: TopicName::new(name).unwrap(),
        topic_id: TopicId(Uuid::from_u128(id)),
        partition_count: 1,
        replication_factor: 1,
        configs: BTreeMap::new(),
        created_ms: 0,
    }
}

async fn put(store: &dyn MetadataStore, record: &TopicRecord) -> Revision {
    let key = Keys::new("test").topic(&record.name);
    store.put(key, value::encode(record)).await.unwrap()
}

async fn view(store: &Arc<dyn MetadataStore>) -> ClusterView {
    ClusterView::open(Arc::clone(store), Keys::new("test"))
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_picture_follows_the_store() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    put(&*store, &record("before", 1)).await;
    let view = view(&store).await;
    assert!(view.topics().named("before").is_some());
    view.reached(put(&*store, &record("after", 2)).await).await;
    assert_eq!(view.topics().all().count(), 2);
    // Deleted and created again: the old id is gone (I23).
    let revision = put(&*store, &record("after", 3)).await;
    view.reached(revision).await;
    assert!(view.topics().with_id(TopicId(Uuid::from_u128(2))).is_none());
    assert!(view.topics().with_id(TopicId(Uuid::from_u128(3))).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_changed_no_topic_is_reached() {
    let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let view = view(&store).await;
    let elsewhere = store.put("elsewhere", "x").await.unwrap();
    view.reached(elsewhere).await;
    // And the watch goes on from there.
    view.reached(put(&*store, &record("t", 1)).await).await;
    assert!(view.topics().named("t").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_picture_survives_outages_and_compaction() {
    let memory: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
    let faults = Faults::new(SeededRandom::new(1));
    let store: Arc<dyn MetadataStore> =
        Arc::new(FaultyStore::new(Arc::clone(&memory), Arc::clone(&faults)));
    let view = view(&store).await;
    faults.away_for(Duration::from_secs(2));
    put(&*memory, &record("meanwhile", 1)).await;
    let newest = put(&*memory, &record("later", 2)).await;
    memory.compact(newest).await.unwrap();
    view.reached(newest).await;
    assert_eq!(view.topics().all().count(), 2);
    view.reached(put(&*memory, &record("last", 3)).await).await;
    assert_eq!(view.topics().all().count(), 3);
}

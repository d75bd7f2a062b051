use alluvium_common::clock::ManualClock;
use alluvium_common::rand::SeededRandom;
use alluvium_metadata::store::{MemoryStore, MetadataStoreExt};
use alluvium_segment::snapshot_object::Snapshot;
use object_store::memory::InMemory;

use super::*;

fn keeper(clock: &Arc<ManualClock>) -> SnapshotKeeper {
    SnapshotKeeper {
        store: Arc::new(MemoryStore::new()),
        keys: Keys::new("test"),
        cluster_id: Uuid::from_u128(7),
        objects: Arc::new(InMemory::new()),
        clock: Arc::clone(clock) as _,
        random: SeededRandom::new(1),
        kept: 3,
        metrics: SnapshotMetrics::default(),
    }
}

#[tokio::test]
async fn snapshots_are_made_of_changes_and_a_few_are_kept() {
    let clock = ManualClock::at(1_000_000);
    let keeper = keeper(&clock);
    let mut last = None;
    let mut made = Vec::new();
    for round in 0..6 {
        // A clock that goes back does not make a newer snapshot look older.
        clock.set_ms(1_000_000 - round);
        let value = format!("{round}");
        keeper
            .store
            .put(keeper.keys.cluster(), value)
            .await
            .expect("put");
        made.extend(keeper.round(&mut last).await.expect("round"));
        assert_eq!(keeper.round(&mut last).await.expect("round"), None);
    }
    let names = keeper.existing().await.expect("listed");
    let kept: Vec<_> = names.iter().map(ObjectKey::snapshot).collect();
    assert_eq!(made.len(), 6);
    assert_eq!(kept, made[3..]);
    let newest = Path::from(kept[2].as_str());
    let object = keeper.objects.get(&newest).await.expect("there");
    let snapshot = Snapshot::decode(&object.bytes().await.expect("read")).expect("valid");
    assert_eq!(snapshot.keys, [("cluster".into(), "5".into())]);
}

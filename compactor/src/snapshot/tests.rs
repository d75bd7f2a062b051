use alluvium_common::clock::ManualClock;
use alluvium_common::rand::SeededRandom;
use alluvium_metadata::store::{MemoryStore, MetadataStoreExt, Revision};
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

/// However long the pause is, who is elected makes one at once: the one before may have ended in its pause.
#[tokio::test(start_paused = true)]
async fn whoever_is_elected_makes_a_snapshot_at_once() {
    let keeper = keeper(&ManualClock::at(1_000_000));
    let made = keeper.metrics.made.clone();
    keeper
        .store
        .put(keeper.keys.cluster(), "it")
        .await
        .expect("put");
    let (status, seen) = watch::channel(ControllerStatus::default());
    let elected = |epoch: Option<u64>| {
        status.send_modify(|status| status.elected = epoch.map(Revision));
    };
    let hour = Duration::from_secs(3600);
    let running = tokio::spawn(keeper.run(hour, seen));
    let minutes = async |count: u32| tokio::time::sleep(Duration::from_secs(60) * count).await;
    minutes(90).await;
    assert_eq!(made.get(), 0, "another is the controller");
    elected(Some(5));
    minutes(1).await;
    assert_eq!(made.get(), 1);
    minutes(300).await;
    assert_eq!(made.get(), 1, "nothing has changed");
    elected(None);
    minutes(90).await;
    elected(Some(9));
    minutes(1).await;
    assert_eq!(made.get(), 2, "what others did meanwhile is not known");
    drop(status);
    running.await.expect("it ends with the controller");
}

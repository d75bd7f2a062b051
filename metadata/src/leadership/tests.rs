use alluvium_common::epoch::BrokerId;
use alluvium_common::rand::SeededRandom;
use alluvium_common::topic::{PartitionIndex, TopicId};
use uuid::Uuid;

use super::*;
use crate::store::MemoryStore;
use crate::store::fault::{Fault, Faults, FaultyStore};

const GUARD: &str = "guard";

struct World {
    memory: Arc<MemoryStore>,
    faults: Arc<Faults>,
    writer: PartitionWriter,
    guard: Compare,
}

impl World {
    async fn new() -> Self {
        let memory = Arc::new(MemoryStore::new());
        let faults = Faults::new(SeededRandom::new(1));
        let faulty = FaultyStore::new(memory.clone(), Arc::clone(&faults));
        let created = memory.put(GUARD, "me").await.expect("put");
        Self {
            writer: PartitionWriter::new(Arc::new(faulty), Keys::new("test")),
            guard: Compare::created_at(GUARD, created),
            memory,
            faults,
        }
    }

    /// Partitions that broker 1 leads, and their changes to broker 2.
    async fn changes(&self, count: i32) -> Vec<PartitionChange> {
        let mut changes = Vec::new();
        for index in 0..count {
            let tp = TopicPartition::new(TopicId(Uuid::from_u128(1)), PartitionIndex(index));
            let record = PartitionRecord::new(BrokerId(1));
            let read_at = self.put(tp, &record).await;
            let record = record.assigned_to(BrokerId(2));
            changes.push(PartitionChange {
                tp,
                record,
                read_at,
            });
        }
        changes
    }

    async fn put(&self, tp: TopicPartition, record: &PartitionRecord) -> Revision {
        let key = Keys::new("test").partition(tp);
        let put = self.memory.put(key, value::encode(record)).await;
        put.expect("put")
    }

    async fn leader(&self, tp: TopicPartition) -> i32 {
        let kv = self.memory.get(Keys::new("test").partition(tp)).await;
        let kv = kv.expect("read").expect("exists");
        let record: PartitionRecord = value::decode(&kv.value).expect("record");
        record.leader.0
    }

    async fn write(&self, changes: &[PartitionChange]) -> Result<Vec<Written>, LeadershipError> {
        self.writer
            .write(std::slice::from_ref(&self.guard), changes)
            .await
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_records_take_few_transactions() {
    let world = World::new().await;
    let changes = world.changes(1_000).await;
    let before = world.memory.put("x", "y").await.expect("put");
    let written = world.write(&changes).await.expect("written");
    assert!(written.iter().all(|w| matches!(w, Written::Done(_))));
    let after = world.memory.put("x", "y").await.expect("put");
    assert!(after.0 - before.0 <= 9, "{before} to {after}");
    assert_eq!(world.leader(changes[999].tp).await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_others_changed_is_left_alone_and_the_rest_is_written() {
    let world = World::new().await;
    let changes = world.changes(5).await;
    let other = PartitionRecord::new(BrokerId(3));
    world.put(changes[2].tp, &other).await;
    let gone = Keys::new("test").partition(changes[4].tp);
    world.memory.delete(gone).await.expect("deleted");
    let written = world.write(&changes).await.expect("written");
    let changed: Vec<_> = written.iter().map(|w| *w == Written::Changed).collect();
    assert_eq!(changed, [false, false, true, false, true]);
    assert_eq!(world.leader(changes[2].tp).await, 3);
    assert_eq!(world.leader(changes[3].tp).await, 2);
}

/// F5 and F2: who is no longer elected, or who finds the old leader back, changes nothing.
#[tokio::test(start_paused = true)]
async fn nothing_is_written_without_the_guard() {
    let world = World::new().await;
    let changes = world.changes(3).await;
    world.memory.delete(GUARD).await.expect("deleted");
    world.memory.put(GUARD, "another").await.expect("put");
    let error = world.write(&changes).await.expect_err("guarded");
    assert!(matches!(error, LeadershipError::Guard { index: 0, .. }));
    assert_eq!(world.leader(changes[0].tp).await, 1);
}

/// F4
#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_looked_up() {
    for fault in [Fault::ReplyLost, Fault::RequestLost, Fault::Refused] {
        let world = World::new().await;
        let changes = world.changes(3).await;
        world.faults.next([fault]);
        let written = world.write(&changes).await.expect("written");
        assert!(written.iter().all(|w| matches!(w, Written::Done(_))));
    }
}

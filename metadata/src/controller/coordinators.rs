//! Who coordinates which groups.
//!
//! A group shard needs no hand-over: its state is in the store alone, and every transaction of its coordinator compares
//! the record that named it. So a record written anew moves the shard at once, whether its coordinator lives or not.

use alluvium_common::epoch::BrokerId;

use super::placement::Duty;
use super::plan::{Circumstances, Plan, PlanOptions, Task, plan_duties};
use super::standing::Standing;
use crate::coordinator::GroupShard;
use crate::keys::Keys;
use crate::model::CoordinatorRecord;
use crate::store::{Compare, MetadataStore, Op, Revision, StoreError, Txn};
use crate::value;
use crate::view::Picture;

/// The coordinator of a shard that never had one.
const NOBODY: BrokerId = BrokerId(-1);

/// All shards are of one kind: they are only to be even in number.
impl Duty for GroupShard {
    type Group = ();

    fn group(self) {}
}

/// Who shall coordinate what, for a picture.
pub fn plan_coordinators(
    picture: &Picture,
    options: &PlanOptions,
    now: &Circumstances<'_>,
) -> Plan<GroupShard> {
    let tasks: Vec<_> = GroupShard::all()
        .map(|shard| {
            let leader = picture.coordinators.get(&shard).map(|c| c.broker_id);
            let leader = leader.unwrap_or(NOBODY);
            Task {
                duty: shard,
                leader,
                standing: standing(picture, leader),
                weight: 1,
            }
        })
        .collect();
    let now = Circumstances {
        expected: &|broker_id| broker_id != NOBODY && (now.expected)(broker_id),
        ..*now
    };
    plan_duties(&picture.brokers, &tasks, options, &now)
}

fn standing(picture: &Picture, leader: BrokerId) -> Standing {
    if picture.brokers.is_usable(leader) {
        Standing::Served { moving_to: None }
    } else if picture.brokers.get(leader).is_some() {
        // Whoever is to be emptied gives its shards up at once.
        Standing::Unopened
    } else {
        Standing::Vacant {
            wish: None,
            unclean: false,
        }
    }
}

/// Writes the plan under the controller's guard (F5). What somebody else changed meanwhile is left to the next round.
/// Answers with the revision of the write, if there was one.
pub(super) async fn write_coordinators(
    store: &dyn MetadataStore,
    keys: &Keys,
    guard: Compare,
    picture: &Picture,
    plan: &Plan<GroupShard>,
) -> Result<Option<Revision>, StoreError> {
    let assigned = plan.assignments.iter().map(|a| (a.duty, Some(a.to)));
    let moved = plan.moves.iter().map(|m| (m.duty, m.to));
    let changes: Vec<_> = assigned
        .chain(moved)
        .filter_map(|(shard, to)| Some((shard, to?)))
        .collect();
    if changes.is_empty() {
        return Ok(None);
    }
    let mut txn = Txn::new().when(guard);
    for (shard, broker) in changes {
        let key = keys.group_coordinator(shard);
        let known = picture.coordinators.get(&shard);
        let known = known.map_or(Revision::NONE, |known| known.mod_revision);
        txn = txn
            .when(Compare::unchanged_since(key.clone(), known))
            .then(Op::put(key, value::encode(&CoordinatorRecord { broker })));
    }
    // Once: whatever became of it, the next picture shows it (F4).
    let response = store.txn(txn).await?;
    Ok(Some(response.revision))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::controller::testing::{broker, worker};
    use crate::model::{BrokerRecord, ControllerRecord};
    use crate::store::{MemoryStore, MetadataStoreExt};
    use crate::view::ClusterView;

    struct World {
        store: Arc<dyn MetadataStore>,
        keys: Keys,
        view: ClusterView,
        guard: Compare,
    }

    impl World {
        async fn new() -> Self {
            let store: Arc<dyn MetadataStore> = Arc::new(MemoryStore::new());
            let keys = Keys::new("test");
            let record = ControllerRecord {
                broker_id: BrokerId(1),
            };
            let elected = store.put(keys.controller(), value::encode(&record)).await;
            Self {
                guard: Compare::created_at(keys.controller(), elected.expect("put")),
                view: ClusterView::open(Arc::clone(&store), keys.clone())
                    .await
                    .expect("view"),
                store,
                keys,
            }
        }

        async fn join(&self, record: BrokerRecord) {
            let key = self.keys.broker(record.broker_id);
            let put = self.store.put(key, value::encode(&record)).await;
            self.view.reached(put.expect("put")).await;
        }

        /// Plans and writes until nothing changes any more; how many shards each broker has then.
        async fn settle(&self) -> BTreeMap<i32, usize> {
            let now = Circumstances {
                usable_for: Duration::from_secs(60),
                rebalancing: false,
                expected: &|_| true,
            };
            for _ in 0..20 {
                let picture = self.view.picture();
                let plan = plan_coordinators(&picture, &PlanOptions::default(), &now);
                let guard = self.guard.clone();
                let written =
                    write_coordinators(&*self.store, &self.keys, guard, &picture, &plan).await;
                match written.expect("written") {
                    Some(revision) => self.view.reached(revision).await,
                    None => break,
                }
            }
            let mut counts = BTreeMap::new();
            for coordinator in self.view.picture().coordinators.values() {
                *counts.entry(coordinator.broker_id.0).or_default() += 1;
            }
            counts
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shards_are_spread_and_follow_the_brokers() {
        let world = World::new().await;
        world.join(broker(1)).await;
        assert_eq!(world.settle().await, BTreeMap::from([(1, 16)]));
        for id in [2, 3, 4] {
            world.join(broker(id)).await;
        }
        world.join(worker(5)).await;
        let spread = BTreeMap::from([(1, 4), (2, 4), (3, 4), (4, 4)]);
        assert_eq!(world.settle().await, spread);
        let draining = BrokerRecord {
            draining: true,
            ..broker(4)
        };
        world.join(draining).await;
        let counts = world.settle().await;
        assert!(!counts.contains_key(&4), "{counts:?}");
        assert_eq!(counts.values().sum::<usize>(), 16);
        // In its next session it is no broker any more.
        world.join(worker(3)).await;
        assert_eq!(world.settle().await, BTreeMap::from([(1, 8), (2, 8)]));
    }

    /// F5
    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_without_the_election() {
        let world = World::new().await;
        world.join(broker(1)).await;
        world
            .store
            .delete(world.keys.controller())
            .await
            .expect("deleted");
        assert_eq!(world.settle().await, BTreeMap::new());
    }
}
